"""The order of tests that several workers share, and their turns."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest

from tests.support import schedule

LIMIT = 10.0
VISITOR = """
import sys
from tests.support.turns import turn
with turn(sys.argv[1], alone=sys.argv[2] == "alone"):
    print("in", flush=True)
    sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class Item:
    """What the order looks at."""

    nodeid: str
    marks: frozenset[str]

    @property
    def path(self) -> Path:
        return Path(self.nodeid.partition("::")[0])

    def get_closest_marker(self, name: str) -> str | None:
        return name if name in self.marks else None


def test_what_takes_long_comes_first() -> None:
    slow = frozenset({"interop"})
    items = [
        Item("tests/interop/test_many.py::a", slow),
        Item("tests/interop/test_many.py::b", slow),
        Item("tests/media/test_b.py::a", frozenset()),
        Item("tests/interop/test_few.py::a", slow),
        Item("tests/media/test_a.py::a", frozenset()),
        Item("tests/browser/test_page.py::a", slow),
        Item("tests/interop/test_soak.py::a", slow | {"alone"}),
    ]
    found = schedule.by_weight(cast(list[pytest.Item], items))
    assert [item.nodeid.removeprefix("tests/") for item in found] == [
        "media/test_b.py::a",
        "media/test_a.py::a",
        "interop/test_soak.py::a",
        "browser/test_page.py::a",
        "interop/test_few.py::a",
        "interop/test_many.py::a",
        "interop/test_many.py::b",
    ]


def test_what_would_never_run_is_told() -> None:
    items = [
        Item("tests/interop/test_a.py::a", frozenset({"interop"})),
        Item("tests/interop/test_a.py::b", frozenset({"long"})),
        Item("tests/browser/test_b.py::a", frozenset()),
        Item("tests/media/test_c.py::a", frozenset()),
    ]
    found = schedule.unmarked(cast(list[pytest.Item], items))
    assert found == ["tests/interop/test_a.py::b", "tests/browser/test_b.py::a"]


class Visitor:
    """A worker that wants its turn."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def is_in(self) -> bool:
        """Wait until it has its turn."""
        assert self._process.stdout is not None
        return self._process.stdout.readline() == "in\n"

    def waits(self) -> bool:
        """Wait until it stands in a queue, as the system lists those who wait for locks."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            for line in Path("/proc/locks").read_text().splitlines():
                if "->" in line and str(self._process.pid) in line.split():
                    return True
            time.sleep(0.005)
        return False

    def leaves(self) -> None:
        self._process.communicate()


@pytest.fixture
def run() -> str:
    return uuid4().hex


@contextmanager
def visitors(run: str, *manners: str) -> Iterator[list[Visitor]]:
    """Workers that come one after the other."""
    with ExitStack() as stack:
        found = []
        for manner in manners:
            command = [sys.executable, "-c", VISITOR, run, manner]
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            found.append(Visitor(process))
        yield found


def test_others_share_a_turn(run: str) -> None:
    with visitors(run, "shared", "shared") as (one, other):
        assert one.is_in()
        assert other.is_in()


def test_who_is_alone_waits_and_lets_nobody_pass(run: str) -> None:
    with visitors(run, "shared") as (first,):
        assert first.is_in()
        with visitors(run, "alone") as (alone,):
            assert alone.waits()
            with visitors(run, "shared") as (late,):
                assert late.waits()
                first.leaves()
                assert alone.is_in()
                assert late.waits()
                alone.leaves()
                assert late.is_in()


def test_runs_do_not_know_of_each_other(run: str) -> None:
    with visitors(run, "alone") as (one,), visitors(uuid4().hex, "alone") as (other,):
        assert one.is_in()
        assert other.is_in()


def test_a_worker_that_dies_holds_nothing(run: str) -> None:
    with visitors(run, "alone") as (one,):
        assert one.is_in()
    with visitors(run, "alone") as (other,):
        assert other.is_in()
