"""When the pictures from some frame on begin to be shown, known as soon as that frame comes.

Playlists count presentation time. Of a key frame it is the PTS: what was decoded before it is shown
before it. Of a frame that is shown later than all before it, too, little is open: what was decoded
before it has been shown by then, and what follows is shown between the two. So all begins where the
last picture ends, or behind a hole where this frame is decoded, since nothing is shown before that.
The frames in between come in decoding order: theirs is the DTS plus what lay between the two then.

How long a picture lasts is the least distance between those of late, for of what was lost only
longer ones are left.
"""

from collections import deque
from itertools import pairwise

from media.frame import NO_TIME

RECENT = 16  # pictures


class Presentation:
    """Follows one track; times in ticks of 90 kHz."""

    __slots__ = ("_highest", "_last", "_last_dts", "_offset", "_recent", "_step")

    def __init__(self) -> None:
        self._recent: deque[int] = deque(maxlen=RECENT)  # PTS
        self.reset()

    def reset(self) -> None:
        """The timeline begins anew."""
        self._recent.clear()
        self._offset = 0
        self._highest = NO_TIME  # PTS so far
        self._last = NO_TIME  # what was answered
        self._last_dts = NO_TIME
        self._step = 0  # how long a picture lasts

    def place(self, pts: int, dts: int, *, is_key: bool) -> int:
        """The presentation start of everything from this frame on; never goes back."""
        if is_key or self._highest == NO_TIME:
            start = pts
            self._offset = pts - dts
        elif pts > self._highest:
            start = pts if pts == dts else min(pts, max(self._highest + self._length(dts), dts))
            self._offset = start - dts
        else:
            start = min(dts + self._offset, self._highest + self._step)
        start = max(start, self._last)
        self._last, self._last_dts = start, dts
        self._highest = max(self._highest, pts)
        self._recent.append(pts)
        return start

    def _length(self, dts: int) -> int:
        """Ticks that a picture lasts; `dts` tells as long as there is one alone."""
        shown = sorted(self._recent)
        steps = [after - before for before, after in pairwise(shown) if after > before]
        self._step = min(steps, default=max(0, dts - self._last_dts))
        return self._step
