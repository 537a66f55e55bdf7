"""The catalogue of events: complete, described, and the page as it is in the repository."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flux.core import catalogue
from flux.core.catalogue import Chapter, EventField, chapters, event_word, fields_of, render
from flux.telemetry import eventlog
from tests.support.markdown import Page
from tests.support.syntax import nodes_of

ROOT = Path(__file__).parents[3]
ROOMS = ("flux", "media", "protocols", "config")
EMITTERS = frozenset({"emit", "_emit"})


@dataclass(frozen=True)
class TeaMade:
    """The tea is ready: it can be drunk.

    This is told once a pot.
    """

    pot: int  # its number | from 1
    stream: str
    sugar: bool | None = None


def emitted(source: str) -> Iterator[str]:
    """Names of the classes that are made in a call of `emit`."""
    if not any(name in source for name in EMITTERS):
        return
    for node in nodes_of(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else ""
        name = name or (function.id if isinstance(function, ast.Name) else "")
        if name not in EMITTERS:
            continue
        for argument in node.args:
            if isinstance(argument, ast.Call) and isinstance(argument.func, ast.Name):
                yield argument.func.id


def known() -> set[str]:
    return {kind.__name__ for chapter in chapters() for kind in chapter.events}


def test_the_page_is_up_to_date() -> None:
    """If this fails: python -m flux.core.catalogue > docs/events.md"""
    assert (ROOT / "docs/events.md").read_text() == render()


def test_the_command_makes_the_page() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "flux.core.catalogue"], cwd=ROOT, capture_output=True, check=True
    )
    assert result.stdout.decode() == render()
    assert result.stderr == b""


def test_everything_that_is_emitted_is_in_the_catalogue() -> None:
    found = {
        name
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        for name in emitted(path.read_text())
    }
    assert {"ReaderJoined", "PhaseChanged", "ChildStarted", "HookFailed"} <= found
    assert found - known() == set()


def test_an_event_that_is_emitted_is_seen() -> None:
    source = "self._emit(A(1))\nbus.emit(B())\nemit(C(x=1))\nlog.info(D())\nemit(event)"
    assert list(emitted(source)) == ["A", "B", "C"]


@pytest.mark.parametrize("kind", [kind for chapter in chapters() for kind in chapter.events])
def test_every_event_is_described(kind: type) -> None:
    assert kind.__doc__
    assert not kind.__doc__.startswith(f"{kind.__name__}(")  # what dataclasses make of nothing
    for field in fields_of(kind):
        assert field.meaning, f"{kind.__name__}.{field.name} needs a comment"


def test_words_are_those_of_the_log_and_each_is_there_once() -> None:
    events = [kind for chapter in chapters() for kind in chapter.events]
    words = [event_word(kind) for kind in events]
    assert words == [eventlog.event_word(kind) for kind in events]
    assert len(set(words)) == len(words)


def test_common_meanings_are_all_in_use() -> None:
    used = {
        field.name
        for chapter in chapters()
        for kind in chapter.events
        for field in fields_of(kind)
        if field.meaning == catalogue.MEANINGS.get(field.name)
    }
    assert catalogue.MEANINGS.keys() - used == set()


def test_fields_and_their_comments() -> None:
    assert fields_of(TeaMade) == (
        EventField("pot", "int", "its number | from 1"),
        EventField("stream", "str", catalogue.MEANINGS["stream"]),
        EventField("sugar", "bool | None", ""),
    )


def test_an_event_on_the_page() -> None:
    page = Page(render([Chapter("Tea", (TeaMade,))]))
    overview, details = page.tables
    assert [cells for _, cells in overview.rows] == [
        ["[`tea-made`](#tea-made)", "The tea is ready: it can be drunk"]
    ]
    assert [cells for _, cells in details.rows] == [
        ["`pot`", "whole number", "its number | from 1"],
        ["`stream`", "text", "its name"],
        ["`sugar`", "true or false or nothing", ""],
    ]
    assert "tea-made" in page.anchors
    assert "This is told once a pot." in render([Chapter("Tea", (TeaMade,))])


def test_only_events_are_taken_from_a_module() -> None:
    module = sys.modules[__name__]
    assert catalogue.events_of(module) == (TeaMade,)
