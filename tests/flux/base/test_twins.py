"""Compiled twins are used where they are, and not missed where they are not."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flux.base import twins
from media.codecs import nal, start_codes

ROOT = Path(__file__).parents[3]
SOURCES = sorted(
    path.relative_to(ROOT)
    for folder in ("flux", "media", "protocols", "config")
    for path in (ROOT / folder).rglob("*.pyx")
)
USED = "from media.codecs.nal import split_start_codes as used; print(used.__module__)"


def name_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts)


def test_there_are_some() -> None:
    assert len(SOURCES) >= 4


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_each_is_compiled_and_has_its_original(path: Path) -> None:
    """Off (not found by `hatch_build.py`, or not compiled), only the clock would tell."""
    module = importlib.import_module(name_of(path))
    assert not str(module.__file__).endswith(".py")
    assert (ROOT / path.with_name(path.stem[1:] + ".py")).is_file()


def test_the_compiled_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(twins.PURE, raising=False)
    assert twins.twin(start_codes.split_start_codes) is not start_codes.split_start_codes
    assert nal.split_start_codes(b"a\0\0\1b") == [b"a", b"b"]
    monkeypatch.setenv(twins.PURE, "1")
    assert twins.twin(start_codes.split_start_codes) is start_codes.split_start_codes


def test_one_that_is_not_there_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twins, "_missed", set())
    assert twins.are_compiled()
    function: Callable[[], bool] = twins.is_pure  # has none
    assert twins.twin(function) is function
    assert not twins.are_compiled()


@pytest.mark.parametrize(
    ("value", "module"), [("1", "media.codecs.start_codes"), ("0", "media.codecs._start_codes")]
)
def test_the_environment_decides(value: str, module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", USED],
        env={twins.PURE: value, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.strip() == module
