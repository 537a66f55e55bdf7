"""What is done when nothing is heard of packets in flight: one watch for each kind of mode.

Live mode: the very last packet is sent again after a round trip and some milliseconds, three times
at most, which shows the receiver what it misses; everything else is the receiver's to ask for. A
receiver that asks only once (no periodic NAK) gets all that is in flight again, as libsrt does it.

File modes: an acknowledgement stops at the first packet that is missing. One that stands there for
longer than its answer takes was lost once more, or the question was; it is sent again, and with it
all that were asked for as long ago, since libsrt's receiver asks only once in these modes. When
that brings nothing twice in a row the path is as good as dead: all that is in flight is wanted
again, and the congestion control begins anew.
"""

from typing import Protocol

from protocols.srt.congestion.control import CongestionControl
from protocols.srt.options import RepairOptions
from protocols.srt.repair import RepairQueue
from protocols.srt.rtt import RttEstimator
from protocols.srt.send_count import SendCount

ROUNDING = 0.001
PROBE_MARGIN = 0.02  # two intervals of acknowledgements
MAX_PROBES = 3
MAX_DOUBLINGS = 6
PATIENCE = 2  # stalls in a row that are mended without giving the pace up
NEVER = float("inf")


class Watch(Protocol):
    """All numbers are unwrapped."""

    def restart(self, now: float) -> None:
        """Something is acknowledged, or sent after a pause."""

    def sent(self, now: float) -> None:
        """New packets go out."""

    def get_timer(self, acknowledged: int, unsent: int) -> float:
        """When `act` is wanted."""

    def act(self, acknowledged: int, unsent: int, now: float) -> None:
        """Nothing was heard for too long of these."""


class TailWatch:
    """Of live mode. Any new packet shows what is missing as well as a probe does."""

    __slots__ = ("_count", "_heard_at", "_is_asked", "_limit", "_repair", "_rtt", "_times")

    def __init__(
        self,
        repair: RepairQueue,
        rtt: RttEstimator,
        count: SendCount,
        now: float,
        options: RepairOptions,
    ) -> None:
        """`options.has_periodic_nak` is the peer's: whether it asks more than once."""
        self._repair = repair
        self._rtt = rtt
        self._count = count
        self._is_asked = options.has_periodic_nak
        self._limit = MAX_PROBES if options.has_tail_probe else 0
        self._heard_at = now  # something was sent, or acknowledged
        self._times = 0

    def restart(self, now: float) -> None:
        """See `Watch`."""
        self._heard_at = now
        self._times = 0

    def sent(self, now: float) -> None:
        """See `Watch`."""
        if self._is_asked:
            self._heard_at = now

    def get_timer(self, acknowledged: int, unsent: int) -> float:
        """See `Watch`."""
        if acknowledged >= unsent:
            return NEVER
        if not self._is_asked:
            wait = self._rtt.timeout
        elif self._times < self._limit:
            wait = self._rtt.overdue
        else:
            return NEVER
        return self._heard_at + (wait + PROBE_MARGIN) * (1 << min(self._times, MAX_DOUBLINGS))

    def act(self, acknowledged: int, unsent: int, now: float) -> None:
        """See `Watch`."""
        self._heard_at = now
        self._times += 1
        if self._is_asked:
            self._count.probes += 1
            self._repair.want(unsent - 1)
            return
        self._count.timeouts += 1
        for number in range(acknowledged, unsent):
            self._repair.want(number)


class StallWatch:
    """Of file modes."""

    __slots__ = ("_control", "_count", "_moved_at", "_repair", "_rtt", "_stalls")

    def __init__(
        self,
        repair: RepairQueue,
        rtt: RttEstimator,
        count: SendCount,
        now: float,
        control: CongestionControl,
    ) -> None:
        self._repair = repair
        self._rtt = rtt
        self._count = count
        self._control = control
        self._moved_at = now
        self._stalls = 0

    def restart(self, now: float) -> None:
        """See `Watch`."""
        self._moved_at = now
        self._stalls = 0

    def sent(self, now: float) -> None:
        """See `Watch`: what is sent behind the gap does not fill it."""

    @property
    def _wait(self) -> float:
        return self._rtt.overdue + PROBE_MARGIN

    def get_timer(self, acknowledged: int, unsent: int) -> float:
        """See `Watch`."""
        if acknowledged >= unsent:
            return NEVER
        sent_again_at = self._repair.copied_at(acknowledged)
        return max(self._moved_at, sent_again_at) + self._wait * (
            1 << min(self._stalls, MAX_DOUBLINGS)
        )

    def act(self, acknowledged: int, unsent: int, now: float) -> None:
        """See `Watch`."""
        repair, count = self._repair, self._count
        self._stalls += 1
        if self._stalls > PATIENCE:
            count.timeouts += 1
            self._control.on_timeout(now)
            again = [each for each in range(acknowledged, unsent) if not repair.wants(each)]
        else:
            # The first one may never have been asked for: questions get lost as well.
            others = repair.overdue(acknowledged, self._wait - ROUNDING, now)
            again = sorted({acknowledged, *(others or (unsent - 1,))})
            # Most of the others have come, and wait behind the first.
            self._control.on_loss(1, again[-1], unsent, now)
        count.lost += len(again)
        for number in again:
            repair.want(number)
