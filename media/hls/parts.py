"""Partial segments of low-latency HLS; draft-pantos-hls-rfc8216bis section 4.4.4.9.

A part is one fragment of a segment, given out before the segment is whole. PART-TARGET is promised
like TARGETDURATION: it is the configured duration, or as many whole frames as come nearest to it if
these last longer, and stays what it is from the first playlist on. A part is cut before the frame
that would make it longer.

Playlists name the parts of the last three target durations and of the open segment.
"""

from collections import deque
from dataclasses import dataclass

from media.hls.segment import TIME_HZ

LISTED_TARGETS = 3  # target durations from the end, in which parts are named; section 4.4.4.9
HOLD_BACK_PARTS = 3  # PART-HOLD-BACK in part targets; section 4.4.3.8
SLACK = TIME_HZ // 1000  # what rounding may add


@dataclass(frozen=True, slots=True)
class Part:
    """One part; never changes."""

    name: str
    data: bytes
    duration: int  # ticks of 90 kHz
    is_independent: bool  # holds a frame that a decoder can start with

    @property
    def seconds(self) -> float:
        """The duration for playlists."""
        return self.duration / TIME_HZ


class PartList:
    """The parts that can be fetched: of the open segment, and of those before it."""

    def __init__(self, part_duration: float) -> None:
        self._configured = round(part_duration * TIME_HZ)
        self._is_final = False
        self.target = self._configured  # ticks
        self._past: deque[tuple[int, tuple[Part, ...]]] = deque()  # media sequence number, parts
        self._by_name: dict[str, Part] = {}
        self._stem = ""  # of the open segment's parts
        self._start = 0
        self._has_key = False
        self.sequence = 0  # of the open segment
        self.open: list[Part] = []

    @property
    def target_seconds(self) -> float:
        """PART-TARGET."""
        return self.target / TIME_HZ

    @property
    def next_name(self) -> str:
        """The name of the part in the making; section 4.4.5.3."""
        return f"{self._stem}.{len(self.open)}.m4s"

    @property
    def size_bytes(self) -> int:
        """Bytes of all parts that are kept beside their segments."""
        return sum(len(part.data) for part in self._by_name.values())

    def freeze(self) -> None:
        """A playlist goes out: the target stays."""
        self._is_final = True

    def begin(self, stem: str, sequence: int, dts: int) -> None:
        """A segment begins."""
        self._stem = stem
        self._start = dts
        self._has_key = False
        self.sequence = sequence
        self.open = []

    def frame(self, *, is_key: bool) -> None:
        """A frame goes into the open part."""
        self._has_key = self._has_key or is_key

    def is_due(self, dts: int, frame_duration: int) -> bool:
        """Whether a part has to end before the frame at `dts`, which lasts so long."""
        if not self._is_final and frame_duration:
            frames = max(1, round(self._configured / frame_duration))
            self.target = max(self._configured, frames * frame_duration)
        elapsed = dts - self._start
        return elapsed > 0 and elapsed + frame_duration > self.target + SLACK

    def add(self, data: bytes, end: int) -> None:
        """The open part ends."""
        duration = max(1, min(end - self._start, self.target))
        part = Part(self.next_name, data, duration, self._has_key)
        self.open.append(part)
        self._by_name[part.name] = part
        self._start = end
        self._has_key = False

    def close(self, kept_ticks: int, stem: str) -> None:
        """The open segment is whole, the next one's parts will be called after `stem`.

        Parts that ended more than `kept_ticks` ago go, but for one segment's.
        """
        self._past.append((self.sequence, tuple(self.open)))
        self.open = []
        self.sequence += 1
        self._stem = stem
        total = 0
        keep = 0
        for _, parts in reversed(self._past):
            keep += 1
            if total > kept_ticks:  # one segment more than is listed, for late requests
                break
            total += sum(part.duration for part in parts)
        while len(self._past) > keep:
            for part in self._past.popleft()[1]:
                del self._by_name[part.name]

    def listed(self, target_ticks: int) -> dict[int, tuple[Part, ...]]:
        """The parts of whole segments near the end of the playlist, by sequence number."""
        found: dict[int, tuple[Part, ...]] = {}
        total = sum(part.duration for part in self.open)
        for number, parts in reversed(self._past):
            if total > LISTED_TARGETS * target_ticks:
                break
            total += sum(part.duration for part in parts)
            found[number] = parts
        return found

    def has(self, sequence: int, part: int | None) -> bool:
        """Whether a part of a segment is there, or with None the whole segment; section 6.2.5.2.

        A part beyond the last of a whole segment is the first of the next one.
        """
        if part is None or sequence != self.sequence:
            return sequence < self.sequence
        return part < len(self.open)

    def find(self, name: str) -> Part | None:
        """The part of this name, while it is kept."""
        return self._by_name.get(name)
