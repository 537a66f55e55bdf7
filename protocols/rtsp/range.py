"""The Range header, RFC 2326 sections 3.5 to 3.7 and 12.29: which part of a recording is played."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from flux.base.errors import WireError

NPT = "npt"
CLOCK = "clock"
MAX_RANGE_CHARACTERS = 128
MAX_SECONDS = 10.0**10 - 1  # beyond that a position is nonsense

RANGE = re.compile(
    r"(npt|clock|smpte(?:-25|-30-drop)?)=([^-;\s]*)-([^-;\s]*)", re.IGNORECASE | re.ASCII
)
SECONDS = re.compile(r"\d{1,10}(?:\.\d{0,9})?", re.ASCII)
HOURS = re.compile(r"(\d{1,6}):([0-5]?\d):([0-5]?\d(?:\.\d{0,9})?)")
FRAMES = re.compile(r"(\d{1,6}):([0-5]?\d):([0-5]?\d)(?::(\d{1,2}(?:\.\d{1,2})?))?")
UTC_TIME = re.compile(r"(\d{8})T(\d{6})(?:\.(\d{1,9}))?Z", re.IGNORECASE | re.ASCII)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_INSTANT = (datetime(9999, 12, 31, tzinfo=UTC) - EPOCH).total_seconds()
FRAME_RATES = {"smpte": 30.0, "smpte-30-drop": 30.0, "smpte-25": 25.0}


@dataclass(frozen=True, slots=True)
class PlayRange:
    """A range as it stands in the header: unit, first position, last position.

    Positions are text as it was written; an empty `end` is open, an empty `start` the beginning.
    """

    unit: str  # npt, clock, smpte, smpte-25, smpte-30-drop
    start: str = ""
    end: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `npt=10-20.5`, `npt=now-`, `clock=20261121T080000Z-`, `smpte=0:10:00-0:10:30`.

        A `;time=` behind it is left out. Raises `WireError("rtsp-range")`.
        """
        value = text.partition(";")[0].strip()
        match = RANGE.fullmatch(value) if len(value) <= MAX_RANGE_CHARACTERS else None
        if match is None:
            raise WireError("rtsp-range", text[:32])
        found = cls(match[1].lower(), match[2], match[3])
        for position in (found.start, found.end):
            is_now = (found.unit, position.lower()) == (NPT, "now")
            if position and not is_now and found.seconds_of(position) is None:
                raise WireError("rtsp-range", text[:32])
        if not found.start and not found.end:
            raise WireError("rtsp-range", text[:32])
        return found

    def serialize(self) -> str:
        """The value as it stands in the header."""
        return f"{self.unit}={self.start}-{self.end}"

    def seconds_of(self, position: str) -> float | None:
        """A position in seconds from the unit's zero; None for `now` and for what is none."""
        if self.unit == CLOCK:
            return _instant(position)
        if self.unit == NPT:
            if SECONDS.fullmatch(position):
                seconds = float(position)
                return seconds if seconds <= MAX_SECONDS else None
            match = HOURS.fullmatch(position)
            return _clock(match[1], match[2], match[3]) if match else None
        match = FRAMES.fullmatch(position)
        if match is None:
            return None
        return _clock(match[1], match[2], match[3]) + float(match[4] or 0) / FRAME_RATES[self.unit]

    @property
    def is_live(self) -> bool:
        """It begins at the live edge and has no end: nothing of a recording."""
        return self.unit == NPT and self.start.lower() == "now" and not self.end

    @property
    def duration(self) -> float | None:
        """Seconds from first to last position; None for an open range. Negative is backwards."""
        start = self.seconds_of(self.start) if self.start else 0.0
        end = self.seconds_of(self.end) if self.end else None
        return None if start is None or end is None else end - start

    def advanced(self, seconds: float) -> "PlayRange":
        """What is left after so many seconds of it, or itself where that cannot be said.

        At least a millisecond is left, as an empty range is none (section 3.6).
        """
        start = self.seconds_of(self.start) if self.start else 0.0
        duration = self.duration
        if start is None or seconds <= 0 or (duration is not None and duration < 0):
            return self
        if duration is not None:
            seconds = min(seconds, max(duration - 0.001, 0.0))
        return PlayRange(self.unit, self._position(start + seconds), self.end)

    def _position(self, seconds: float) -> str:
        if self.unit == NPT:
            return f"{min(seconds, MAX_SECONDS):.3f}"
        if self.unit == CLOCK:
            instant = EPOCH + timedelta(seconds=min(seconds, LAST_INSTANT))
            return f"{instant:%Y%m%dT%H%M%S}.{instant.microsecond // 1000:03d}Z"
        seconds = min(seconds, MAX_SECONDS / 10)  # hours have six digits
        whole = int(seconds)
        frame = int((seconds - whole) * FRAME_RATES[self.unit])
        return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}:{frame:02d}"


def _clock(hours: str, minutes: str, seconds: str) -> float:
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _instant(text: str) -> float | None:
    """Unix seconds of a UTC time of section 3.7."""
    match = UTC_TIME.fullmatch(text)
    if match is None:
        return None
    try:
        instant = datetime.strptime(f"{match[1]}{match[2]}+0000", "%Y%m%d%H%M%S%z")
    except ValueError:
        return None
    return (instant - EPOCH).total_seconds() + float(f"0.{match[3] or 0}")
