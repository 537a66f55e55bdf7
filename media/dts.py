"""Decode times for sources that have none (RTP), without lookahead.

With N frames of reordering, the DTS of the i-th frame in decode order is the (i-N)-th smallest PTS
seen so far: a PTS that certainly will not be passed by a later frame. The first N frames are
extrapolated backwards from the first PTS by the frame duration.

Where the stream does not say N (no bitstream_restriction), N starts at 0 and is raised when a PTS
steps back. The DTS that were given out before cannot be taken back, so they are then held to one
tick more a frame until the rule fits again: for these few frames DTS may exceed PTS.
"""

from bisect import insort

MAX_REORDER = 16  # H.264 section A.3.1 and H.265 section A.4.2: the largest decoded picture buffer


class DecodeClock:
    """Gives each frame of a video track its DTS. All times are ticks of the track's clock."""

    __slots__ = ("_count", "_duration", "_first", "_last", "_lead", "_recent", "_reorder")

    def __init__(self) -> None:
        self._reorder = 0
        self._duration = 0
        self._recent: list[int] = []  # the greatest PTS seen since the reset, sorted
        self._count = 0
        self._first = 0
        self._lead = 0
        self._last: int | None = None

    @property
    def reorder_frames(self) -> int:
        """N in use now."""
        return self._reorder

    @property
    def delay(self) -> int:
        """By how much the first DTS after a reset lies before the first PTS."""
        return self._reorder * self._duration

    def configure(self, reorder_frames: int | None, duration: int) -> None:
        """Take N (None: not known, what was learned holds) and the nominal frame duration."""
        if reorder_frames is not None:
            self._reorder = min(reorder_frames, MAX_REORDER)
        self._duration = max(1, duration)

    def reset(self, lead: int = 0) -> None:
        """Begin anew after a discontinuity; the DTS still never step back.

        `lead`: ticks by which the first frame may be shown after others that follow it.
        """
        self._recent.clear()
        self._count = 0
        self._lead = lead

    def next(self, pts: int) -> int:
        """The DTS of the next frame in decode order, greater than the one before."""
        recent = self._recent
        if recent and pts < recent[-1]:
            ahead = 0
            for seen in reversed(recent):
                if seen <= pts:
                    break
                ahead += 1
            if ahead > self._reorder:
                self._reorder = min(ahead, MAX_REORDER)
        if not self._count:
            self._first = pts - self._lead
        insort(recent, pts)
        if len(recent) > MAX_REORDER + 1:
            del recent[0]
        reorder = self._reorder
        if self._count < reorder:
            dts = self._first - (reorder - self._count) * self._duration
        else:
            dts = recent[-1 - reorder]
        self._count += 1
        last = self._last
        if last is not None and dts <= last:
            dts = last + 1
        self._last = dts
        return dts
