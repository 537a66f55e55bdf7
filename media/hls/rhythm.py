"""When a segmenter cuts, and which numbers its segments get.

A stream by itself is cut by its own key frames and counted one by one. Members of a group are cut
where the group says (`media/hls/grid.py`), so that the same number is the same time in all of them.
"""

from typing import NamedTuple, Protocol

from media.frame import Frame
from media.hls.options import HlsOptions
from media.hls.segment import TIME_HZ
from media.hls.target import TargetDuration

# Not 0, which hls.js 1.7 takes for none: it forgets which parts of that segment it has loaded, and
# loads them again where sound is apart. Browsers then drop pictures up to the next key frame.
FIRST_SEQUENCE = 1
EARLY = TIME_HZ // 20  # a key frame that jitters to this much before its time is in time


class Start(NamedTuple):
    """What is decided about a segment when it begins."""

    number: int  # media sequence number
    is_break: bool  # EXT-X-DISCONTINUITY goes before it


class Rhythm(Protocol):
    """Decides about cuts; times are ticks of 90 kHz."""

    target: TargetDuration

    def is_due(self, frame: Frame, elapsed: int) -> bool:
        """Whether this key frame, `elapsed` ticks into the open segment, starts another one."""
        ...

    def is_late(self, frame: Frame, end: int) -> bool:
        """Whether the segment has to end before this frame, which would make it `end` long."""
        ...

    def begin(self, frame: Frame, following: int, *, is_break: bool) -> Start:
        """A segment begins with this frame; `following`: the number after the last one's."""
        ...

    def breaks_before(self, number: int) -> int:
        """How many segments before this one stand behind a discontinuity."""
        ...

    def is_break(self, number: int) -> bool:
        """Whether all variants have a discontinuity before this segment."""
        ...


class OwnRhythm:
    """The rhythm of a stream by itself: at the first key frame after the configured duration."""

    def __init__(self, options: HlsOptions) -> None:
        self.target = TargetDuration(options.segment_duration, options.max_gop)
        self._wanted = max(1, round(options.segment_duration * TIME_HZ) - EARLY)

    def is_due(self, frame: Frame, elapsed: int) -> bool:
        """Also earlier, where one more GOP would make the segment too long."""
        del frame
        target = self.target
        return elapsed >= self._wanted or (target.is_known and elapsed + target.gop > target.limit)

    def is_late(self, frame: Frame, end: int) -> bool:
        """No segment is longer than the target duration."""
        del frame
        return end > self.target.limit

    def begin(self, frame: Frame, following: int, *, is_break: bool) -> Start:
        """One after the other."""
        del frame
        return Start(following, is_break)

    def breaks_before(self, number: int) -> int:
        """Nobody asks: no number is skipped."""
        del number
        return 0

    def is_break(self, number: int) -> bool:
        """There are no other variants."""
        del number
        return False
