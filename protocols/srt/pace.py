"""How long an endpoint leaves its socket unread between two turns: by what is missing on its links.

    something is missing, or a link is beginning     1 ms: every millisecond counts for the repair
    for 3 s from then on, or somebody calls          5 ms: the first question is not late
    nothing was missing for a while                 10 ms
    for ten seconds, and all links bear it      longer

A waking costs more than ten packets do, so the last step is what one stream's processor time hangs
on. What it costs is that the first question for a packet that gets lost then is later by as much:
so long that three attempts at least are left within the latency. Links whose pace hangs on our
acknowledgements do not bear it, nor do those with little to acknowledge, whose sender might wonder.
"""

from collections.abc import Iterable

from protocols.srt.link import Link
from protocols.srt.options import Control
from protocols.srt.timed import Timed

SHORT_REST = 0.001  # seconds
REST = 0.005
CALM_REST = 0.010
CALM_AFTER = 3.0  # seconds without a loss
LONG_AFTER = 10.0
SEND_REST = 0.030  # if all links bear it: as long as sources rest, for one waking of both
CALLED = 1.0  # seconds that a handshake may take
MEASURE_EVERY = 2.0
LATENCY_SHARE = 0.75  # of the latency, that may be rested
ATTEMPTS = 3  # that must be left
MARGIN = 0.010  # seconds that an answer may take longer than the handshake did
MOST_FULL = 0.25  # share of the buffer that may fill meanwhile
LITTLE = 8  # data packets of a turn; fewer are acknowledged sooner


class Pace:
    """Public: `rest` in seconds; `measured_at`: when `measure` was called."""

    __slots__ = ("_called_at", "_longest", "_urgent", "_urgent_at", "measured_at", "rest")

    def __init__(self, now: float) -> None:
        self._urgent: set[Link] = set()  # where something is missing
        self._urgent_at = now  # when something was
        self._called_at = -CALLED
        self._longest = CALM_REST
        self.measured_at = now
        self.rest = SHORT_REST

    def hurry(self, link: Link) -> None:
        """This one is beginning."""
        self._urgent.add(link)
        self.rest = SHORT_REST

    def hear_call(self, now: float) -> None:
        """Somebody calls, and will answer our answer."""
        self._called_at = now

    def look(self, touched: Iterable[Timed], data: int, full: float, now: float) -> None:
        """Those who were heard or due in a turn, and those who missed something before.

        `data`: packets that came in the turn. `full`: share of the socket's buffer that fills in a
        second.
        """
        urgent = self._urgent
        if urgent:
            urgent.difference_update([link for link in urgent if link.end or not link.is_urgent])
        for part in touched:
            if isinstance(part, Link) and part.is_urgent and not part.end:
                urgent.add(part)
        if urgent:
            self._urgent_at, self.rest = now, SHORT_REST
            return
        calm = now - self._urgent_at
        if calm <= CALM_AFTER or now < self._called_at + CALLED:
            self.rest = REST
        elif calm <= LONG_AFTER or 0 < data < LITTLE:
            self.rest = CALM_REST
        else:
            self.rest = max(CALM_REST, min(self._longest, MOST_FULL / max(full, MOST_FULL)))

    @property
    def send_rest(self) -> float:
        """The same after packets were sent: the first acknowledgement comes some ms later."""
        if self.rest < CALM_REST:
            return self.rest
        return max(self.rest, min(SEND_REST, self._longest))

    def measure(self, links: Iterable[Link], now: float) -> None:
        """See how long all these bear it; to be called every `MEASURE_EVERY`."""
        self.measured_at = now
        self._longest = max(CALM_REST, min(map(patience, links), default=CALM_REST))


def patience(link: Link) -> float:
    """Seconds that a link may be left unread while nothing is missing."""
    connection, options = link.connection, link.options
    if connection is None or not options.is_live or options.control is Control.AIMD:
        return 0.0
    result = connection.result
    is_grouped = result.peer_group is not None or result.group_id or options.group is not None
    if is_grouped or options.rate.max_rate >= 0:
        return 0.0
    latencies = result.receive_latency_ms, result.send_latency_ms  # 0: nothing goes that way
    latency = min(filter(None, latencies), default=0) / 1000
    answer, first = connection.round_trip.overdue, result.rtt
    if not connection.round_trip.is_own and first is not None:
        answer = min(answer, first + MARGIN)  # what the peer tells has our own pauses in it
    spare = latency - ATTEMPTS * answer
    return min(spare, latency * LATENCY_SHARE, link.leisure)
