"""The catalogue of events: every class that the bus carries, as `docs/events.md` tells it.

    python -m flux.core.catalogue > docs/events.md

A field's meaning is the comment behind it, so an event is described where it is defined; fields
that mean the same in all events are described here.
"""

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, is_dataclass
from types import ModuleType

import flux.core.events
import flux.core.hooks.events
import media.events
from flux.core.children import ChildEnded, ChildStarted
from flux.core.forward import ForwardStateChanged

INTRODUCTION = """\
# Events

<!-- Made by `python -m flux.core.catalogue`; a test holds it to the code. -->

What happens in FLUX is told once, as an event on a bus inside the process. The log has a line for
each ([operations.md](operations.md#logs)), the API sends them to whoever listens, counters and
[hooks](hooks.md) are made from them. An event is a dataclass; its word, as the log and the API
have it, is made from the name of the class. Whoever needs time for an event takes a bounded queue
of them; when that is full the oldest is dropped and counted (`flux_events_dropped_total`), so that
no listener slows the streams down.
"""
MEANINGS = {  # of fields that mean the same everywhere; a comment behind the field goes before
    "stream": "its name",
    "origin": "who made the name known: config, api, pattern, publisher",
    "protocol": "by which it comes or goes, such as rtsp or hls",
    "session": "id of the publisher's session, as the API has it",
    "reader": "id of the reader's session, as the API has it",
    "readers": "how many there are, those who wait included",
    "address": "IP address without the port",
    "reason": "why: a stable slug, empty if there is nothing to say",
    "state": "the new state",
    "before": "the state that it left",
    "after": "the state that it is in",
    "track": "number of the track in its stream",
    "kind": "video, audio or data",
    "codec": "its short name, such as h264",
    "output": "its format, such as hls-ts",
    "version": "number of these parameters, growing",
    "wanted": "whether there are readers now",
    "sent_bytes": "bytes that it was sent",
    "part": "its name, such as http",
    "name": "what it works for",
    "hook": "hooks[0] is the first of the list in the configuration",
    "error": "what the fault says of itself",
    "pid": "process id",
}
TYPES = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_COMMENT = re.compile(r"#\s*(.*)$")


@dataclass(frozen=True, slots=True)
class Chapter:
    """Events that belong together."""

    title: str
    events: tuple[type, ...]


@dataclass(frozen=True, slots=True)
class EventField:
    """One field of an event."""

    name: str
    type: str  # as the source has it
    meaning: str


def event_word(kind: type) -> str:
    """`StreamStateChanged` -> `stream-state-changed`."""
    return _WORD_START.sub("-", kind.__name__).lower()


def events_of(module: ModuleType) -> tuple[type, ...]:
    """The dataclasses that a module of events defines, in their order there."""
    return tuple(
        value
        for value in vars(module).values()
        if isinstance(value, type) and is_dataclass(value) and value.__module__ == module.__name__
    )


def chapters() -> tuple[Chapter, ...]:
    """All events of FLUX."""
    server = (*events_of(flux.core.events), ChildStarted, ChildEnded)
    return (
        Chapter("Streams, publishers and readers", events_of(media.events)),
        Chapter("Targets that streams are sent to", (ForwardStateChanged,)),
        Chapter("The server and its processes", server),
        Chapter("Hooks", events_of(flux.core.hooks.events)),
    )


def fields_of(kind: type) -> tuple[EventField, ...]:
    """The fields of an event and what they mean."""
    source = textwrap.dedent(inspect.getsource(kind))
    lines = source.splitlines()
    (tree,) = ast.parse(source).body
    if not isinstance(tree, ast.ClassDef):
        raise TypeError(f"{kind.__name__} is no class")
    found = []
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            end = node.end_col_offset or 0
            comment = _COMMENT.search(lines[(node.end_lineno or 1) - 1][end:])
            name = node.target.id
            meaning = comment[1].strip() if comment else MEANINGS.get(name, "")
            found.append(EventField(name, ast.unparse(node.annotation), meaning))
    return tuple(found)


def render(content: Iterable[Chapter] | None = None) -> str:
    """The whole page."""
    found = chapters() if content is None else tuple(content)
    return "\n".join((INTRODUCTION, *_overview(found), *_details(found)))


def _overview(content: Iterable[Chapter]) -> Iterator[str]:
    yield "| event | when |"
    yield "| --- | --- |"
    for chapter in content:
        for kind in chapter.events:
            word = event_word(kind)
            yield f"| [`{word}`](#{word}) | {_summary(kind)} |"
    yield ""


def _details(content: Iterable[Chapter]) -> Iterator[str]:
    for chapter in content:
        yield f"## {chapter.title}\n"
        for kind in chapter.events:
            yield f"### `{event_word(kind)}`\n"
            yield f"`{kind.__name__}`: {inspect.cleandoc(kind.__doc__ or '')}\n"
            fields = fields_of(kind)
            if fields:
                yield "| field | type | meaning |"
                yield "| --- | --- | --- |"
                for field in fields:
                    yield f"| `{field.name}` | {_type(field.type)} | {_cell(field.meaning)} |"
                yield ""


def _summary(kind: type) -> str:
    """The first sentence of its docstring, or as much as stands in its first paragraph."""
    paragraph = " ".join(inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0].split())
    return _cell(paragraph.rstrip("."))


def _type(annotation: str) -> str:
    parts = (part.strip() for part in annotation.split("|"))
    return " or ".join(TYPES.get(part, "nothing" if part == "None" else part) for part in parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(render())
