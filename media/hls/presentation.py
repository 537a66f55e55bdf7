"""When the pictures from some frame on begin to be shown, known as soon as that frame comes.

Playlists count presentation time. Of a key frame it is the PTS: what was decoded before it is shown
before it. The other frames come in decoding order, so theirs is the DTS plus what lay between the
two at the key frame. Where that would lie beyond all that has been shown by then, a DTS derived
from reordered pictures has caught up with a gap, and the distance is taken anew. Behind a hole the
first picture may be one that is shown before those it was coded after: nothing is left of them, so
all begins with it.
"""

from media.frame import NO_TIME
from media.hls.segment import TIME_HZ

HOLE = 4  # times the step before
LEEWAY = TIME_HZ * 3 // 100  # of uneven frame times


class Presentation:
    """Follows one track; times in ticks of 90 kHz."""

    __slots__ = ("_highest", "_last", "_last_dts", "_offset", "_step")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """The timeline begins anew."""
        self._offset = 0
        self._highest = NO_TIME  # PTS so far
        self._last = NO_TIME  # what was answered
        self._last_dts = NO_TIME
        self._step = 0  # from one DTS to the next

    def place(self, pts: int, dts: int, *, is_key: bool) -> int:
        """The presentation start of everything from this frame on; never goes back."""
        if is_key or self._highest == NO_TIME:
            start = pts
            self._offset = pts - dts
        else:
            start = dts + self._offset
            shown = max(self._highest, pts) + self._step
            if start > shown + LEEWAY:
                start = max(self._last, min(pts, shown))
                self._offset = start - dts
            if 0 < self._step * HOLE < dts - self._last_dts:
                start = min(start, pts)
        start = max(start, self._last)
        if self._last_dts != NO_TIME and dts > self._last_dts:
            self._step = dts - self._last_dts
        self._last, self._last_dts = start, dts
        self._highest = max(self._highest, pts)
        return start
