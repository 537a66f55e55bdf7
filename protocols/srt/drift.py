"""How far the peer's clock walks away from ours: a windowed minimum, never a mean.

Theory of operation. `offset` of a packet is arrival minus the play-out base plus its timestamp:
the one-way delay, but for a constant, plus the drift of the clocks, plus whatever queues added.
The smallest offset of a window of 10 s is free of queues. The first whole window is the reference;
what later minima differ from it is drift, once half of what the smallest round trip has changed is
taken off, because a longer path is no drift. Jitter makes a smallest round trip uncertain, so only
a change that is clear beside it counts as another path. Of three windows the middle one is
believed: one in which the path changed shows the packets of one and the round trip of another.

The base follows the estimate by at most half a millisecond a second, so that no step is ever heard.
"""

WINDOW = 10.0  # seconds
SLEW = 0.0005  # seconds a second
DEAD_BAND = 0.0002  # seconds; less is noise
MIN_STEP = 0.004  # seconds of round trip that tell of another path
STEP_SHARE = 0.5  # of the mean round trip's distance from the smallest
WINDOWS = 3
NEVER = float("inf")


class DriftTracker:
    """Public, in seconds: `estimate` of the last windows, `applied` to the base so far."""

    __slots__ = (
        "_ends_at",
        "_lowest",
        "_lowest_rtt",
        "_path_rtt",
        "_recent",
        "_reference",
        "_reference_rtt",
        "_rtt_count",
        "_rtt_sum",
        "_slewed_at",
        "applied",
        "estimate",
    )

    def __init__(self) -> None:
        self._lowest = self._lowest_rtt = NEVER
        self._rtt_sum = 0.0
        self._rtt_count = 0
        self._reference: float | None = None
        self._reference_rtt: float | None = None
        self._path_rtt = 0.0  # of the path as it is now
        self._recent: tuple[float, ...] = ()
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
        """Take a measured round trip, as it came."""
        self._rtt_sum += rtt
        self._rtt_count += 1
        if rtt < self._lowest_rtt:
            self._lowest_rtt = rtt

    def _close(self, now: float) -> None:
        """A window is over."""
        path = self._path_change()
        if self._reference is None:
            self._reference = self._lowest
        else:
            self._recent = (*self._recent[1 - WINDOWS :], self._lowest - self._reference - path)
            ranked = sorted(self._recent)
            self.estimate = ranked[len(ranked) // 2] if len(ranked) == WINDOWS else 0.0
        self._lowest = self._lowest_rtt = NEVER
        self._rtt_sum = 0.0
        self._rtt_count = 0
        self._ends_at = now + WINDOW

    def _path_change(self) -> float:
        """Seconds that the way here is longer than it was at first."""
        if self._rtt_count:
            lowest = self._lowest_rtt
            uncertain = (self._rtt_sum / self._rtt_count - lowest) * STEP_SHARE
            if self._reference_rtt is None:
                self._reference_rtt = self._path_rtt = lowest
            elif abs(lowest - self._path_rtt) > max(MIN_STEP, uncertain):
                self._path_rtt = lowest
        return (self._path_rtt - (self._reference_rtt or 0.0)) / 2

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
