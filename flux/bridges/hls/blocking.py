"""What a player asks of a playlist of low latency; draft-pantos-hls-rfc8216bis section 6.2.5."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from flux.base.errors import WireError
from media.hls.parts import PartList

SEQUENCE, PART, SKIP = "_HLS_msn", "_HLS_part", "_HLS_skip"
MAX_AHEAD = 1  # segments beyond the one in the making
MAX_DIGITS = 12
SKIPS = ("YES", "v2")


@dataclass(frozen=True, slots=True)
class Wish:
    """The delivery directives of one request."""

    sequence: int | None = None  # hold the answer until this segment is there,
    part: int | None = None  # or this part of it
    may_skip: bool = False

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> Self:
        """Read a query; WireError `hls-directive-invalid`."""
        sequence, part = _number(query.get(SEQUENCE)), _number(query.get(PART))
        if part is not None and sequence is None:
            raise WireError("hls-directive-invalid", f"{PART} without {SEQUENCE}")
        return cls(sequence, part, query.get(SKIP) in SKIPS)

    def is_met(self, parts: PartList | None) -> bool:
        """Whether the playlist has what is asked for. Without parts nothing is waited for.

        WireError `hls-directive-too-far` for what is not to be expected soon.
        """
        if parts is None or self.sequence is None:
            return True
        if self.sequence > parts.sequence + MAX_AHEAD:
            raise WireError("hls-directive-too-far")
        return parts.has(self.sequence, self.part)


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > MAX_DIGITS:
        raise WireError("hls-directive-invalid", "expected a number")
    return int(text)


NO_WISH = Wish()
