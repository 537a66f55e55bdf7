"""Programs in C that several ask for at once."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks import native

pytestmark = pytest.mark.interop  # it needs a C compiler


def test_threads_that_ask_at_once_get_one_whole_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "CACHE", tmp_path)
    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(native.program, ["tsudp"] * 4))
    (program,) = made
    assert "usage" in subprocess.run([program], capture_output=True, text=True, check=False).stderr
    assert list(program.parent.iterdir()) == [program]
