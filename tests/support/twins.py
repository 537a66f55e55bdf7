"""Both twins of a function or class (`flux.base.twins`); the compiled one has to be there."""

import importlib
from typing import Any, TypeVar, cast

PYTHON, COMPILED = "python", "compiled"
KINDS = (PYTHON, COMPILED)
T = TypeVar("T")


def choose(original: T, kind: str) -> T:
    """The one of this kind."""
    if kind == PYTHON:
        return original
    named: Any = original
    package, _, name = named.__module__.rpartition(".")
    return cast(T, getattr(importlib.import_module(f"{package}._{name}"), named.__name__))
