"""When packets are played out, draft sections 4.5 and 4.7: the sender's pace, one latency later.

play time = base + timestamp + latency + drift. `base` is our `now` at the peer's timestamp 0, by
the packet that brought its HSREQ or HSRSP. Timestamps have 32 bits and wrap every 71 minutes; which
lap is meant is told by our own clock, so no state is kept and no packet can disturb it.
"""

from protocols.srt.drift import DriftTracker
from protocols.srt.packet import TIMESTAMP_MASK

HALF_LAP_US = 1 << 31
MICROSECOND = 1e-6
MAX_AHEAD = 1.0  # seconds beyond arrival plus latency that a packet may be played at


class PlayClock:
    """The play-out clock of a connection, or of a group. Public: `latency`, `drift`."""

    __slots__ = ("_base", "drift", "latency")

    def __init__(self, base: float, latency: float) -> None:
        """`base` is our time at the peer's timestamp 0; both in seconds."""
        self._base = base
        self.latency = latency
        self.drift = DriftTracker()

    def frame(self, now: float) -> tuple[int, float]:
        """How to read timestamps that arrive now: `low` and `start`.

        play time = start + (timestamp - low & TIMESTAMP_MASK) * MICROSECOND; a batch asks once.
        """
        reference = int((now - self._base) * 1_000_000) - HALF_LAP_US
        drift = self.drift.slew(now)
        start = self._base + reference * MICROSECOND + self.latency + drift
        return reference & TIMESTAMP_MASK, start

    def sample(self, play_at: float, now: float) -> None:
        """A packet that was never sent before, with the play time that it got, arrived now."""
        drift = self.drift
        drift.add(now - play_at + self.latency + drift.applied, now)
