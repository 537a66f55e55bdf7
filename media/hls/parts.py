"""Partial segments of low-latency HLS; draft-pantos-hls-rfc8216bis section 4.4.4.9.

A part is one fragment of a segment, given out before the segment is whole. PART-TARGET is promised
like TARGETDURATION: it is the configured duration, or as many whole frames as come nearest to it if
these last longer, by the shortest frame so far, and stays what it is from the first part on.

No part is longer than that, and none but the last of a segment shorter than 85 % of it. So a part
ends before the last frame that begins within these bounds, which where frame lengths vary is known
only one frame later. Where no frame begins there, one that lasts too long is in the way: then the
part ends at the target, in the middle of that frame, and the next one begins with what comes after
it. Such a part may hold nothing of the leading track.

Parts are numbered through a run, so that the name of the next one is known whatever it begins with.
Playlists name the parts of the last three target durations and of the open segment.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from media.frame import Frame
from media.hls.segment import TIME_HZ

LISTED_TARGETS = 3  # target durations from the end, in which parts are named; section 4.4.4.9
HOLD_BACK_PARTS = 3  # PART-HOLD-BACK in part targets; section 4.4.3.8
SLACK = TIME_HZ // 1000  # what rounding may add
LEAST_PERCENT = 86  # of the target, in a part that is not the last of its segment; 85 with room
LONGEST_FRAME = TIME_HZ  # a frame that lasts longer does not stretch the target


@dataclass(frozen=True, slots=True)
class Part:
    """One part; never changes."""

    name: str
    data: bytes
    duration: int  # ticks of 90 kHz
    is_independent: bool  # holds a frame that a decoder can start with
    is_gap: bool = False  # there is nothing to fetch

    @property
    def seconds(self) -> float:
        """The duration for playlists."""
        return self.duration / TIME_HZ


@dataclass(frozen=True, slots=True)
class PartCut:
    """The end of a part."""

    at: int  # presentation time, ticks of 90 kHz
    following: Frame | None  # the first frame of the leading track that stays for the next part
    has_key: bool


class PartClock:
    """Decides where the parts of a segment end, by the frames of the leading track."""

    def __init__(self, part_duration: float) -> None:
        self._configured = round(part_duration * TIME_HZ)
        self._is_final = False
        self._shortest = 0  # frame so far
        self.target = self._configured  # ticks
        self._start = 0  # of the open part
        self._has_key = False
        # The last frame that could begin one: its start, whether a key frame is before it, is one.
        self._fits: tuple[int, Frame, bool, bool] | None = None

    @property
    def target_seconds(self) -> float:
        """PART-TARGET."""
        return self.target / TIME_HZ

    @property
    def start(self) -> int:
        """Where the open part begins."""
        return self._start

    def freeze(self) -> None:
        """A playlist goes out: the target stays."""
        self._is_final = True

    def begin(self, start: int) -> None:
        """A segment begins."""
        self._start = start
        self._has_key = False
        self._fits = None

    def frame(self, frame: Frame, start: int, duration: int, *, is_key: bool) -> Iterator[PartCut]:
        """The cuts before this frame of the leading track, which is expected to last so long."""
        if not self._is_final and duration:
            self._shortest = min(duration, self._shortest or duration)
            frames = max(1, round(self._configured / self._shortest))
            self.target = max(self._configured, frames * min(self._shortest, LONGEST_FRAME))
        yield from self._pass(frame, start)
        elapsed = start - self._start
        if elapsed * 100 >= self.target * LEAST_PERCENT:
            if elapsed + duration > self.target + SLACK:
                yield self._cut(min(start, self._start + self.target), frame)
            else:
                self._fits = start, frame, self._has_key, is_key
        self._has_key = self._has_key or is_key

    def finish(self, end: int, following: Frame | None = None) -> Iterator[PartCut]:
        """The cuts of a segment before the last one, which is at its end.

        `following`: the frame of the leading track that comes next, if that is known.
        """
        yield from self._pass(following, end)

    def last(self, end: int) -> int:
        """Where the segment ends that would end there: rounding makes no part of its own."""
        self._is_final = True
        most = self._start + self.target
        return most if most < end <= most + SLACK else max(end, self._start + 1)

    @property
    def has_key(self) -> bool:
        """Whether the open part holds a frame that a decoder can start with."""
        return self._has_key

    def _pass(self, following: Frame | None, until: int) -> Iterator[PartCut]:
        """The cuts without which a part would be longer than the target."""
        while until - self._start > self.target + SLACK:
            if self._fits is None:
                yield self._cut(self._start + self.target, following)
            else:
                start, frame, self._has_key, is_key = self._fits
                yield self._cut(start, frame)
                self._has_key = is_key

    def _cut(self, at: int, following: Frame | None) -> PartCut:
        self._is_final = True
        cut = PartCut(at, following, self._has_key)
        self._start, self._has_key, self._fits = at, False, None
        return cut


class PartList:
    """The parts of one playlist that can be fetched: of the open segment, and of those before."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._number = 0
        self._past: deque[tuple[int, tuple[Part, ...]]] = deque()  # media sequence number, parts
        self._by_name: dict[str, Part] = {}
        self._start = 0
        self.sequence = 0  # of the open segment
        self.open: list[Part] = []

    @property
    def next_name(self) -> str:
        """The name of the part in the making; section 4.4.5.3."""
        return f"{self._prefix}-p{self._number}.m4s"

    @property
    def last(self) -> tuple[int, int]:
        """Media sequence number and index of the last part; -1 where there is none."""
        if self.open or not self._past:
            return self.sequence, len(self.open) - 1
        sequence, parts = self._past[-1]
        return sequence, len(parts) - 1

    @property
    def size_bytes(self) -> int:
        """Bytes of all parts that are kept beside their segments."""
        return sum(len(part.data) for part in self._by_name.values())

    def begin(self, sequence: int, start: int) -> None:
        """A segment begins."""
        self._start = start
        self.sequence = sequence
        self.open = []

    def add(self, data: bytes, end: int, *, has_key: bool, is_gap: bool = False) -> None:
        """The open part ends."""
        part = Part(self.next_name, data, end - self._start, has_key, is_gap)
        self._number += 1
        self.open.append(part)
        self._by_name[part.name] = part
        self._start = end

    def close(self, kept_ticks: int) -> None:
        """The open segment is whole.

        Parts that ended more than `kept_ticks` ago go, but for one segment's.
        """
        self._past.append((self.sequence, tuple(self.open)))
        self.open = []
        self.sequence += 1
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

    def drop(self) -> None:
        """The open segment comes to nothing."""
        for part in self.open:
            del self._by_name[part.name]
        self.open = []

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
