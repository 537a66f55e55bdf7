"""Every event of the bus as a log line: the class is the word, the fields are its values."""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum

from flux.core.bus import Bus
from flux.telemetry.log import get_logger

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def event_word(kind: type) -> str:
    """`StreamStateChanged` -> `stream-state-changed`."""
    return _WORD_START.sub("-", kind.__name__).lower()


class EventLog:
    """Logs events. `levels` says for a class or a base of it at which level; `info` otherwise."""

    def __init__(self, bus: Bus, levels: Mapping[type, str] | None = None) -> None:
        self._levels = dict(levels or {})
        self._words: dict[type, tuple[str, str, tuple[str, ...]]] = {}  # word, level, field names
        self._log = get_logger("flux.events")
        self.close: Callable[[], None] = bus.subscribe(object, self.write)

    def write(self, event: object) -> None:
        """Log one event."""
        known = self._words.get(type(event))
        if known is None:
            known = self._words[type(event)] = self._describe(type(event))
        word, level, names = known
        values = {name: getattr(event, name) for name in names}
        if type(event).__str__ is not object.__str__:
            values["text"] = str(event)  # the event has words of its own for people
        getattr(self._log, level)(
            word, **{n: v.value if isinstance(v, Enum) else v for n, v in values.items()}
        )

    def _describe(self, kind: type) -> tuple[str, str, tuple[str, ...]]:
        level = next((self._levels[base] for base in kind.__mro__ if base in self._levels), "info")
        names = tuple(f.name for f in fields(kind) if f.repr) if is_dataclass(kind) else ()
        return event_word(kind), level, tuple(n for n in names if n not in ("event", "level"))
