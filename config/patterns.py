"""Patterns for stream names: an exact name, `live/*`, `~regex`, `all`.

What the variable parts matched can be put into a source URL as `$1` to `$9`; `$name` is the whole
name.
"""

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self
from urllib.parse import quote

from config.names import check_stream_name
from config.text_value import TextValue

ALL = "all"
MAX_PATTERN = 500  # characters
_PLACE = re.compile(r"\$(name|[1-9])")


@dataclass(frozen=True, slots=True)
class StreamPattern(TextValue):
    """Which names are meant; `str()` is the text as it was written.

    `*` stands for one or more characters, slashes included: `live/*` is all below `live/`. After
    `~` comes a regular expression that is searched in the name: anchor it with `^` and `$`.
    """

    expected = "expected a name, live/*, ~regex or all"
    json_schema: ClassVar[dict[str, Any]] = {"examples": ["cam1", "live/*", "~^cam[0-9]+$", "all"]}

    text: str
    _expression: re.Pattern[str] | None = field(repr=False, compare=False, default=None)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern; `ValueError` says what is wrong with it."""
        if not text or len(text) > MAX_PATTERN:
            raise ValueError(f"expected a pattern of 1 to {MAX_PATTERN} characters")
        if text == ALL:
            return cls(text, re.compile("^(.*)$"))
        if text.startswith("~"):
            try:
                return cls(text, re.compile(text[1:]))
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"expected a regular expression behind ~: {error}") from None
        if "*" in text:
            # A stand-in shows whether the rest is what a name may hold.
            check_stream_name(text.replace("*", "x"))
            pieces = (re.escape(piece) for piece in text.split("*"))
            return cls(text, re.compile(f"^{'(.+)'.join(pieces)}$"))
        return cls(check_stream_name(text))

    @property
    def is_exact(self) -> bool:
        """Whether this names one stream only."""
        return self._expression is None

    def matches(self, name: str) -> bool:
        """Whether this name is meant."""
        return self.match(name) is not None

    def match(self, name: str) -> tuple[str, ...] | None:
        """What the variable parts matched, or None; an exact name has no such parts."""
        if self._expression is None:
            return () if name == self.text else None
        found = self._expression.search(name)
        return tuple(group or "" for group in found.groups()) if found else None

    def __str__(self) -> str:
        return self.text


def check_name_or_pattern(text: str) -> str:
    """`text` itself if it is a name or a pattern; raises `ValueError`."""
    return StreamPattern.parse(text).text


def fill_in(url: str, name: str, parts: tuple[str, ...]) -> str:
    """`url` with `$name` and `$1` to `$9` replaced, escaped as parts of a URL's path."""

    def value(place: re.Match[str]) -> str:
        key = place[1]
        if key == "name":
            return quote(name)
        index = int(key) - 1
        return quote(parts[index]) if index < len(parts) else ""

    return _PLACE.sub(value, url)
