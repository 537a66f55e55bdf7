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


class Watch:
    """All numbers are unwrapped."""

    __slots__ = ("_count", "_repair", "_rtt", "_since", "_times")

    def __init__(
        self, repair: RepairQueue, rtt: RttEstimator, count: SendCount, now: float
    ) -> None:
        self._repair = repair
        self._rtt = rtt
        self._count = count
        self._since = now  # that nothing was heard
        self._times = 0  # that this was acted upon

    def restart(self, now: float) -> None:
        """Something is acknowledged, or sent after a pause."""
        # An acknowledgement may be read after what was sent later than it came.
        self._since = max(self._since, now)
        self._times = 0

    def sent(self, now: float) -> None:
        """New packets go out."""

    def get_timer(self, acknowledged: int, unsent: int) -> float:
        """When `act` is wanted."""
        raise NotImplementedError

    def act(self, acknowledged: int, unsent: int, now: float) -> None:
        """Nothing was heard for too long of these."""
        raise NotImplementedError

    def _doubled(self, wait: float) -> float:
        """The wait, twice as long each time."""
        return wait * (1 << min(self._times, MAX_DOUBLINGS))


class TailWatch(Watch):
    """Of live mode. Any new packet shows what is missing as well as a probe does."""

    __slots__ = ("_is_asked", "_limit")

    def __init__(
        self,
        repair: RepairQueue,
        rtt: RttEstimator,
        count: SendCount,
        now: float,
        options: RepairOptions,
    ) -> None:
        """`options.has_periodic_nak` is the peer's: whether it asks more than once."""
        super().__init__(repair, rtt, count, now)
        self._is_asked = options.has_periodic_nak
        self._limit = MAX_PROBES if options.has_tail_probe else 0

    def sent(self, now: float) -> None:
        """See `Watch`."""
        if self._is_asked:
            self._since = now

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
        return self._since + self._doubled(wait + PROBE_MARGIN)

    def act(self, acknowledged: int, unsent: int, now: float) -> None:
        """See `Watch`."""
        self._since = now
        self._times += 1
        if self._is_asked:
            self._count.probes += 1
            self._repair.probe(unsent - 1)
            return
        self._count.timeouts += 1
        for number in range(acknowledged, unsent):
            self._repair.want(number)


class StallWatch(Watch):
    """Of file modes. What is sent behind the gap does not fill it."""

    __slots__ = ("_control",)

    def __init__(
        self,
        repair: RepairQueue,
        rtt: RttEstimator,
        count: SendCount,
        now: float,
        control: CongestionControl,
    ) -> None:
        super().__init__(repair, rtt, count, now)
        self._control = control

    @property
    def _wait(self) -> float:
        return self._rtt.overdue + PROBE_MARGIN

    def get_timer(self, acknowledged: int, unsent: int) -> float:
        """See `Watch`."""
        if acknowledged >= unsent:
            return NEVER
        sent_again_at = self._repair.copied_at(acknowledged)
        return max(self._since, sent_again_at) + self._doubled(self._wait)

    def act(self, acknowledged: int, unsent: int, now: float) -> None:
        """See `Watch`."""
        repair, count = self._repair, self._count
        self._times += 1
        if self._times > PATIENCE:
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
