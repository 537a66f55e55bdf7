"""The packet filter's configuration as text: `fec,cols:10,rows:5,layout:even,arq:onreq`.

The handshake merges both sides' texts: a key that one side alone gives holds for both, and values
that differ end the connection. What the keys mean is the business of the filter itself.
"""

from dataclasses import dataclass
from typing import Self

from flux.base.errors import WireError

FEC = "fec"
MAX_TEXT = 512
MAX_SIDE = 1000  # columns or rows; a matrix has at most this many packets a side
MIN_COLUMNS = 2

LAYOUTS = ("even", "staircase")
ARQ = ("always", "onreq", "never")
# libsrt's code; its documentation says that even is the default layout.
DEFAULTS = {"arq": "onreq", "layout": "staircase", "rows": "1"}
KEYS = frozenset({"cols", "rows", "layout", "arq"})


@dataclass(frozen=True, slots=True)
class FilterConfig:
    """A filter's name and its parameters, sorted by key."""

    name: str
    parameters: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read it. Raises WireError `filter-malformed`, `filter-unknown`, `filter-bad-value`."""
        if len(text) > MAX_TEXT:
            raise WireError("filter-malformed", f"{len(text)} characters")
        name, *parts = (part.strip() for part in text.split(","))
        found: dict[str, str] = {}
        for part in parts:
            key, colon, value = part.partition(":")
            if not colon or not key or key in found:
                raise WireError("filter-malformed", part)
            found[key] = value
        if name != FEC:
            raise WireError("filter-unknown", name)
        for key, value in found.items():
            _check(key, value)
        return cls(name, tuple(sorted(found.items())))

    def serialize(self) -> str:
        """The text, keys in order."""
        return ",".join((self.name, *(f"{key}:{value}" for key, value in self.parameters)))

    def get(self, key: str) -> str:
        """A parameter; what was not given has libsrt's default, `cols` none."""
        return dict(self.parameters).get(key) or DEFAULTS.get(key, "")

    @property
    def columns(self) -> int:
        """Packets in a row."""
        return int(self.get("cols") or 0)

    @property
    def rows(self) -> int:
        """Rows of a matrix; 1: no columns are protected; negative: columns alone are."""
        return int(self.get("rows"))

    def merge(self, other: Self) -> Self:
        """Both together, defaults filled in. Raises WireError `filter-conflict`."""
        merged = dict(self.parameters)
        for key, value in other.parameters:
            if merged.setdefault(key, value) != value:
                raise WireError("filter-conflict", f"{key}: {merged[key]} and {value}")
        if self.name != other.name:
            raise WireError("filter-conflict", f"{self.name} and {other.name}")
        merged = DEFAULTS | merged
        if "cols" not in merged:
            raise WireError("filter-bad-value", "no cols")
        return type(self)(self.name, tuple(sorted(merged.items())))


def merge_texts(own: str, peer: str) -> str:
    """What both sides use; empty if the peer wants none. Raises as `parse` and `merge`.

    A listener without filter takes the caller's.
    """
    if not peer:
        return ""
    theirs = FilterConfig.parse(peer)
    return (FilterConfig.parse(own) if own else theirs).merge(theirs).serialize()


def _check(key: str, value: str) -> None:
    if key not in KEYS:
        raise WireError("filter-unknown", key)
    is_good = (
        value in LAYOUTS
        if key == "layout"
        else value in ARQ
        if key == "arq"
        else _is_number(value) and _is_side(key, int(value))
    )
    if not is_good:
        raise WireError("filter-bad-value", f"{key}:{value}")


def _is_number(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) <= 4


def _is_side(key: str, number: int) -> bool:
    if key == "cols":
        return MIN_COLUMNS <= number <= MAX_SIDE
    return number == 1 or 2 <= abs(number) <= MAX_SIDE
