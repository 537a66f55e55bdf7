"""How long an endpoint leaves its socket unread between two turns: by what is missing on its links.

    something is missing, or a link is beginning     1 ms: every millisecond counts for the repair
    for 3 s from then on, or somebody calls          5 ms: the first question is not late
    nothing was missing for a while                 10 ms
    for ten seconds, and all links bear it      longer

A waking costs more than ten packets do, so the last step is what one stream's processor time hangs
on. What it costs is that the first question for a packet that gets lost then is later by as much:
so long that three attempts at least are left within the latency; half as long where we only send
and hear no questions meanwhile, since the last packet of a turn is missed with the next one only.
Links whose pace hangs on our acknowledgements do not bear it, nor do those with little to
acknowledge, whose sender might wonder. What a link hands out later than it is due (`defer`) may be
missing for so much longer.

Acknowledgements say nothing that has to be known soon where we only send, the peer asks for what it
misses, and we hear it ask: then those of some bursts are read together.
"""

from collections.abc import Collection, Iterable

from protocols.srt.handshake_wire import HsFlag
from protocols.srt.link import Link
from protocols.srt.options import Control
from protocols.srt.timed import Timed

SHORT_REST = 0.001  # seconds
REST = 0.005
CALM_REST = 0.010
CALM_AFTER = 3.0  # seconds without a loss
LONG_AFTER = 10.0
SEND_REST = 0.090  # if all links bear it: as long as sources rest, for one waking of both
CALLED = 1.0  # seconds that a handshake may take
MEASURE_EVERY = 2.0  # seconds
MEASURE_PROMPT_EVERY = 0.5  # while rests are short: within `CALLED`, what new links measure first
ANSWERED = 3  # bursts whose acknowledgements are read together
ROOMY = 8  # bursts that the peer has room for, at least
LATENCY_SHARE = 0.75  # of the latency, that may be rested
ATTEMPTS = 3  # that must be left
MARGIN = 0.010  # seconds that an answer may take longer than the handshake did
MOST_FULL = 0.25  # share of the buffer that may fill meanwhile
FEW_LINKS = 8  # that are asked one by one
LITTLE = 8  # data packets of a turn; fewer are acknowledged sooner


class Pace:
    """Public: `rest` in seconds; `is_behind`: there is more to take, without a rest."""

    __slots__ = (
        "_brought",
        "_called_at",
        "_can_answers_lie",
        "_filled_at",
        "_fills_for",
        "_longest",
        "_measured_at",
        "_room",
        "_urgent",
        "_urgent_at",
        "is_behind",
        "rest",
    )

    def __init__(self, now: float, room: int) -> None:
        """`room`: datagrams that the socket's buffer holds."""
        self._room = room
        self._brought = 0  # since the last rest
        self._filled_at = now  # when that ended
        self._fills_for = 1.0  # seconds in which that came
        self.is_behind = False
        self._urgent: set[Link] = set()  # where something is missing
        self._urgent_at = now  # when something was
        self._called_at = -CALLED
        self._longest = CALM_REST
        self._measured_at = now
        self._can_answers_lie = False
        self.rest = SHORT_REST

    def hurry(self, link: Link) -> None:
        """This one is beginning."""
        self._urgent.add(link)
        self.rest = SHORT_REST

    def hear_call(self, now: float) -> None:
        """Somebody calls, and will answer our answer."""
        self._called_at = now

    def fill(self, brought: int, now: float, *, is_behind: bool) -> None:
        """A turn took so many datagrams; there are more if it `is_behind`."""
        if not self.is_behind:  # it was after a rest
            self._fills_for, self._filled_at = max(now - self._filled_at, SHORT_REST), now
            self._brought = 0
        self._brought += brought
        self.is_behind = is_behind

    def look(self, touched: Iterable[Timed], data: int, now: float) -> None:
        """Those who were heard or due in a turn, and those who missed something before.

        `data`: packets that came in the turn.
        """
        urgent = self._urgent
        if urgent:
            urgent.difference_update([link for link in urgent if link.end or not link.is_urgent])
        for part in touched:
            if isinstance(part, Link) and not part.end:
                self._longest = max(CALM_REST, min(self._longest, part.leisure))
                if part.is_urgent:
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
            until_full = MOST_FULL * self._room * self._fills_for / max(self._brought, 1)
            self.rest = max(CALM_REST, min(self._longest, until_full))

    @property
    def send_rest(self) -> float:
        """The same after packets were sent: the first acknowledgement comes some ms later."""
        if self.rest < CALM_REST:
            return self.rest
        return max(self.rest, min(SEND_REST, self._longest))

    @property
    def answers_rest(self) -> float:
        """Seconds since the last turn in which packets may leave and no answer need be read."""
        is_full = self.is_behind or self._brought > MOST_FULL * self._room
        if is_full or not self._can_answers_lie:
            return 0.0
        return (ANSWERED - 0.5) * self.send_rest  # bursts are not to the millisecond

    def is_measure_due(self, now: float) -> bool:
        """Whether `measure` is to be called."""
        is_prompt = self.rest < CALM_REST
        return now >= self._measured_at + (MEASURE_PROMPT_EVERY if is_prompt else MEASURE_EVERY)

    def measure(self, links: Collection[Link], now: float) -> None:
        """See how long all these bear it."""
        self._measured_at = now
        if self.rest < CALM_REST:
            for link in links:
                if link.connection is not None:
                    link.connection.round_trip.note_prompt()
        self._longest = max(CALM_REST, min(map(patience, links), default=CALM_REST))
        self._can_answers_lie = self._longest > CALM_REST and all(map(can_answers_lie, links))


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
    if connection.inbox is not None:
        latency += connection.inbox.deferred
    # What the peer tells has our own pauses in it.
    trip, first = connection.round_trip, result.rtt
    answer = trip.overdue if trip.prompt is None else min(trip.overdue, trip.prompt)
    if not trip.is_own and first is not None:
        answer = min(answer, first + MARGIN)
    spare = latency - ATTEMPTS * answer
    if not trip.is_own and not link.hears_questions:
        # We only send, in turns: that the last packet of one is missing shows with the next one,
        # and the question for it lies until the one after that.
        spare /= 2
    return min(spare, latency * LATENCY_SHARE, link.leisure)


def are_awaiting(links: Collection[Link]) -> bool:
    """Whether acknowledgements are still to come; of many links, some always are."""
    if len(links) > FEW_LINKS:
        return True
    connections = [link.connection for link in links]
    return any(each.feedback.is_awaiting for each in connections if each is not None)


def can_answers_lie(link: Link) -> bool:
    """Whether acknowledgements need not be read after each burst that is sent, and nothing else is
    to be expected."""
    connection = link.connection
    if connection is None or connection.round_trip.is_own:
        return False
    state = connection.state
    asks = bool(connection.result.peer_flags & HsFlag.PERIODIC_NAK)
    return asks and state.confirmed > 0 and ROOMY * state.unconfirmed <= state.window


def defer(link: Link, seconds: float, now: float) -> None:
    """Hand out what is due up to so much later, in live mode, as nobody waits for it."""
    connection = link.connection
    if connection is not None and connection.inbox is not None:
        is_sooner, connection.inbox.deferred = seconds < connection.inbox.deferred, seconds
        if is_sooner and not link.end:
            connection.handle_timer(now)
            link.flush(now)
