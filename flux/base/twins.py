"""Compiled twins: a few functions and classes exist twice, in Python and in Cython.

The one in Python, in `NAME.py`, says what is done and is all that an installation needs. The one in
`_NAME.pyx` beside it does the same with each packet several times as fast; it is compiled when FLUX
is installed, where the machine can do that (`hatch_build.py`). The tests run with both.

`FLUX_PURE=1` in the environment: do without.
"""

import importlib
import os
from typing import Any, TypeVar

PURE = "FLUX_PURE"

T = TypeVar("T")
_missed: set[str] = set()  # modules that were asked for, and had no compiled twin


def twin(original: T) -> T:
    """The compiled one of a function or class of the same name, or this one itself."""
    if is_pure():
        return original
    named: Any = original
    package, _, name = named.__module__.rpartition(".")
    try:
        module: Any = importlib.import_module(f"{package}._{name}")
    except ImportError:  # there was no compiler
        _missed.add(named.__module__)
        return original
    found: T = getattr(module, named.__name__)
    return found


def are_compiled() -> bool:
    """Whether all that have been asked for are compiled."""
    return not (is_pure() or _missed)


def is_pure() -> bool:
    """Whether compiled twins are not to be used, though they may be there."""
    return os.environ.get(PURE, "0") not in ("", "0")
