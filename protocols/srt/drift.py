"""How far the peer's clock walks away from ours: a windowed minimum, never a mean.

Theory of operation. `offset` of a packet is arrival minus the play-out base plus its timestamp:
the one-way delay, but for a constant, plus the drift of the clocks, plus whatever queues added.
The smallest offset of a window of 10 s is free of queues. The first whole window is the reference;
what later minima differ from it is drift, once half of what the smallest round trip has changed is
taken off, because a longer path is no drift. The base follows that estimate by at most half a
millisecond a second, so that no step is ever heard.
"""

WINDOW = 10.0  # seconds
SLEW = 0.0005  # seconds a second
DEAD_BAND = 0.0002  # seconds; less is noise
NEVER = float("inf")


class DriftTracker:
    """Public, in seconds: `estimate` of the last window, `applied` to the base so far."""

    __slots__ = (
        "_ends_at",
        "_lowest",
        "_lowest_rtt",
        "_reference",
        "_reference_rtt",
        "_slewed_at",
        "applied",
        "estimate",
    )

    def __init__(self) -> None:
        self._lowest = self._lowest_rtt = NEVER
        self._reference: float | None = None
        self._reference_rtt = NEVER
        self._ends_at = NEVER
        self._slewed_at = 0.0
        self.estimate = 0.0
        self.applied = 0.0

    def add(self, offset: float, now: float) -> None:
        """Take a packet's offset, measured against the base as it was at the start."""
        if offset < self._lowest:
            self._lowest = offset
        if self._ends_at == NEVER:
            self._ends_at = now + WINDOW
            self._slewed_at = now
        elif now >= self._ends_at:
            self._close(now)

    def add_rtt(self, rtt: float) -> None:
        """Take a measured round trip."""
        if rtt < self._lowest_rtt:
            self._lowest_rtt = rtt

    def _close(self, now: float) -> None:
        """A window is over."""
        if self._reference is None:
            self._reference, self._reference_rtt = self._lowest, self._lowest_rtt
        else:
            path = 0.0
            if self._lowest_rtt < NEVER and self._reference_rtt < NEVER:
                path = (self._lowest_rtt - self._reference_rtt) / 2
            self.estimate = self._lowest - self._reference - path
        self._lowest = self._lowest_rtt = NEVER
        self._ends_at = now + WINDOW

    def slew(self, now: float) -> float:
        """Move `applied` on towards the estimate: call it once a turn; answers `applied`."""
        missing = self.estimate - self.applied
        if -DEAD_BAND < missing < DEAD_BAND:
            self._slewed_at = now
            return self.applied
        step = SLEW * (now - self._slewed_at)
        self._slewed_at = now
        self.applied += min(max(missing, -step), step)
        return self.applied
