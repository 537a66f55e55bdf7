"""Sizes and names of the house style, counted."""

from pathlib import Path

import pytest

from tests.support import style

ROOT = Path(__file__).parent.parent
FOLDERS = ("flux", "protocols", "media", "config", "benchmarks", "tests")


def sources() -> dict[str, str]:
    """Every Python file of the project by its path."""
    return {
        str(path.relative_to(ROOT)): path.read_text()
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
    }


def test_the_project_keeps_to_its_style() -> None:
    assert style.check(sources()) == []


def test_all_files_are_seen() -> None:
    assert {"flux/base/errors.py", "tests/test_style.py"} <= set(sources())


DOC = '"""A module."""\n'
LONG_FUNCTION = "def f():\n" + "    x = 1\n" * 80
WIDE_CLASS = "class C:\n    def __init__(self):\n" + "".join(
    f"        self.a{n} = 1\n" for n in range(26)
)
TALL_CLASS = "class C:\n" + "".join(f"    def m{n}(self): ...\n" for n in range(21))
BROKEN = [
    ("flux/utils.py", DOC, "utils says nothing"),
    ("media/common/track.py", DOC, "common says nothing"),
    ("tests/support/helpers.py", DOC, "helpers says nothing"),
    ("media/router.py", DOC + "x = 1\n" * 450, "451 lines, 450 are the limit"),
    ("tests/test_x.py", DOC + "x = 1\n" * 700, "701 lines, 700 are the limit"),
    ("media/router.py", DOC + LONG_FUNCTION, "f has 81 lines"),
    ("media/router.py", DOC + "async " + LONG_FUNCTION, "f has 81 lines"),
    ("media/router.py", DOC + WIDE_CLASS, "C has 26 attributes"),
    ("media/router.py", DOC + TALL_CLASS, "C has 21 public methods"),
    ("media/router.py", DOC + "print('x')\n", ":2: print"),
    ("tests/test_x.py", DOC + "print('x')\n", ":2: print"),
    ("media/router.py", DOC + "try:\n    x = 1\nexcept:\n    raise\n", ":4: bare except"),
    ("media/router.py", "x = 1\n", "no docstring"),
    ("media/__init__.py", DOC + f"__all__ = {tuple('abcdefghijklm')}\n", "13 exports"),
]


@pytest.mark.parametrize(("path", "source", "problem"), BROKEN)
def test_a_fault_is_found(path: str, source: str, problem: str) -> None:
    (found,) = style.check({path: source})
    assert problem in found


GOOD = [
    ("flux/__init__.py", ""),
    ("benchmarks/fanout.py", DOC + "print('a table')\n"),
    ("tests/support/gst_server.py", DOC + "print('ready')\n"),
    ("media/router.py", DOC + "x = 1\n" * 449),
]


@pytest.mark.parametrize(("path", "source"), GOOD)
def test_what_is_right_passes(path: str, source: str) -> None:
    assert style.check({path: source}) == []
