"""What a media playlist holds."""

from dataclasses import dataclass, field
from datetime import datetime

from tests.support.conform.hls_text import Line, Text


@dataclass(slots=True)
class Part:
    """A partial segment."""

    uri: str
    duration: float
    is_independent: bool
    is_gap: bool
    range: tuple[int, int] | None  # offset, length
    number: int  # of its line


@dataclass(slots=True)
class Segment:
    """A media segment; the one in the making has no URI."""

    sequence: int
    uri: str = ""
    duration: float = -1.0
    discontinuities: int = 0  # discontinuity sequence number
    is_discontinuity: bool = False
    date: datetime | None = None
    map_uri: str = ""
    is_gap: bool = False
    range: tuple[int, int] | None = None
    kbps: int = 0
    parts: list[Part] = field(default_factory=list)
    number: int = 0  # of its line


@dataclass(slots=True)
class MediaPlaylist:
    """A media playlist, read."""

    text: Text
    target: int = -1
    sequence: int = 0
    discontinuity_sequence: int = 0
    type: str = ""
    is_ended: bool = False
    is_independent: bool = False
    has_frames_only: bool = False
    part_target: float = -1.0
    control: Line | None = None
    skipped: int = 0
    segments: list[Segment] = field(default_factory=list)
    making: Segment | None = None  # parts whose parent is not there yet
    hints: list[Line] = field(default_factory=list)
    reports: list[Line] = field(default_factory=list)

    @property
    def version(self) -> int:
        """EXT-X-VERSION."""
        return self.text.version

    @property
    def duration(self) -> float:
        """Of its segments, seconds."""
        return sum(segment.duration for segment in self.segments)

    @property
    def last_part(self) -> tuple[int, int]:
        """Media sequence number and index of the last part; (-1, -1): there is none."""
        for segment in (*([self.making] if self.making else ()), *reversed(self.segments)):
            if segment.parts:
                return segment.sequence, len(segment.parts) - 1
        return -1, -1

    def covers(self, sequence: int, part: int | None) -> bool:
        """Whether this segment, or this part of it, or anything later is there."""
        last = self.segments[-1].sequence if self.segments else self.sequence - 1
        if part is None:
            return last >= sequence
        return last >= sequence or self.last_part >= (sequence, part)
