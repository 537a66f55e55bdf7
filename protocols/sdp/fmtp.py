"""Format parameters, the `a=fmtp` line: RFC 8866 section 6.15; names are the formats' own."""

import re
from collections.abc import Iterable, Iterator, Mapping

MAX_PARAMETERS = 256

# Parameters are parted by ";". quirk: some cameras part them by "," or by a space alone; that is
# taken as a separator only where `name=value` follows, so base64 lists ("Z0I...,aM48gA==") survive.
# test: test_odd_separators
_NEXT = r"(?=[A-Za-z][A-Za-z0-9_-]*=[^=,;\s])"
_SEPARATOR = re.compile(rf";|, ?{_NEXT}| {_NEXT}")


class FormatParameters(Mapping[str, str]):
    """Read-only map of parameter to value; looks keys up in any case and keeps their spelling.

    `text` is the whole as it came, for those who pass it on.
    """

    __slots__ = ("_items", "text")

    def __init__(self, items: Iterable[tuple[str, str]] = (), text: str = "") -> None:
        self._items: dict[str, tuple[str, str]] = {}
        for key, value in items:
            self._items.setdefault(key.lower(), (key, value))
        self.text = text or str(self)

    @classmethod
    def parse(cls, text: str) -> "FormatParameters":
        """Split `a=1; b=2`. The first of two equal names wins; a bare word has the value ""."""
        items: list[tuple[str, str]] = []
        plain = " ".join(text.split())  # a long run of blanks would cost the square of its length
        for part in _SEPARATOR.split(plain)[:MAX_PARAMETERS]:
            key, _, value = part.strip().partition("=")
            if key := key.strip():
                items.append((key, value.strip().strip('"')))
        return cls(items, plain)

    def __getitem__(self, key: str) -> str:
        return self._items[key.lower()][1]

    def __iter__(self) -> Iterator[str]:
        return iter([key for key, _ in self._items.values()])

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.lower() in self._items

    def __str__(self) -> str:
        return "; ".join(f"{k}={v}" if v else k for k, v in self._items.values())

    def __repr__(self) -> str:
        return f"FormatParameters({str(self)!r})"
