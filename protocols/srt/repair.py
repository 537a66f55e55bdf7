"""Which packets are sent again, and when: the sender's half of repair.

Theory of operation. A NAK names packets. Each is sent again at once, but not

- when its last copy went out less than a round trip ago: the NAK was written before that could
  arrive (`nak-early`);
- when it would come after its play time (`repair-late`), unless the peer shows that it waits, as
  it still asks for it a whole latency after that;
- faster than the budget allows (`repair_budget`), a share of the input: a path that drops at random
  is repaired, and one that is too narrow is not flooded.

A receiver of ours asks for each packet when its answer is overdue. libsrt's repeats its whole list
by a timer, and often too late for a last attempt. Such a receiver shows itself: it asks again
before an answer was possible. For it, a packet that was sent again and of which nothing was heard
is sent once more, unasked, at the last moment that is useful. What its lists leave out has come.

With `doubles_last`, a packet that cannot be asked for again in time is sent twice, some
milliseconds apart.
"""

from heapq import heappop, heappush

from protocols.srt.repair_budget import RepairBudget
from protocols.srt.rtt import RttEstimator
from protocols.srt.send_buffer import SendBatch, SendBuffer
from protocols.srt.send_count import SendCount

LATE_MARGIN = 0.005  # seconds beyond the latency that a copy may still be of use
LAST_MARGIN = 0.008  # seconds before the latency is over: the last useful moment
FIT_MARGIN = 0.002  # seconds before it that the last answer must be on its way
DOUBLE_DELAY = 0.003
EARLY_SHARES = (0.25, 0.85)  # of a round trip; a repeated question between was by a timer
PERIODIC_SIGNS = 3
PERIODIC_SHARE = 0.2  # of all questions; late turns make a few of them look like that
MEMORY = 256  # questions; then older ones count half
MAX_KNOWN = 16_384
FILE_GUARD = 0.015  # seconds at least between two copies of one packet, in file modes
PATIENT = 0.05  # seconds beyond a latency after the first late question: nobody else asks so long
WAIT = 0.001  # seconds at least, until a budget is looked at again
NEVER = float("inf")


class Copy:
    """A packet that was sent again; no record is left once it is acknowledged."""

    __slots__ = ("at", "is_heard", "is_last")

    def __init__(self) -> None:
        self.at = -NEVER
        self.is_heard = False  # the peer has it
        self.is_last = False  # nothing more is planned for it


class RepairQueue:
    """Public: `is_peer_periodic`: the peer asks by a timer; `budget`."""

    def __init__(
        self,
        buffer: SendBuffer,
        rtt: RttEstimator,
        count: SendCount,
        latency: float,
        now: float,
        *,
        rate: int = -1,
        overhead_percent: int = 25,
        doubles_last: bool = False,
        drops_late: bool = True,
    ) -> None:
        """`latency` of the peer in seconds, 0: nothing is timed. `rate`: see RateOptions.

        `drops_late`: the peer has no use for what comes after its play time.
        """
        self._buffer = buffer
        self._rtt = rtt
        self._count = count
        self._latency = latency
        self._doubles_last = doubles_last
        self._useful = latency + LATE_MARGIN if drops_late else NEVER  # seconds after it was sent
        self.budget = RepairBudget(rtt, rate, overhead_percent, now)
        self._wanted: set[int] = set()
        self._copies: dict[int, Copy] = {}
        self._probe = -1  # a packet that nobody asked for
        self._late: dict[int, float] = {}  # when it was first too late for a packet
        self._awaited: set[int] = set()  # those that the peer asked for much later still
        self._later: list[tuple[float, int, bool]] = []  # heap: at, packet, whether doubled
        self._early = 0.0  # signs that the peer asks by a timer
        self._questions = 0.0
        self.is_peer_periodic = False

    def ask(self, numbers: list[int], now: float) -> int:
        """The peer misses these, all of them in the buffer, in order; how many that is news of."""
        rtt = self._rtt
        guard = rtt.rtt - min(2 * rtt.variance, rtt.rtt / 4) - 0.001
        if not self._latency:
            guard = max(guard, FILE_GUARD)
        copies, wanted = self._copies, self._wanted
        early_from, early_to = EARLY_SHARES[0] * rtt.rtt, EARLY_SHARES[1] * rtt.rtt
        is_list = False
        news = 0
        for number in numbers:
            copy = copies.get(number)
            if copy is None:
                news += number not in wanted
                wanted.add(number)
                continue
            copy.is_heard = False
            is_list = True
            age = now - copy.at
            if age >= guard:
                news += number not in wanted
                wanted.add(number)
                continue
            self._count.refuse("nak-early")
            if early_from < age < early_to:
                self._early += 1
        if self._probe in numbers:
            self._probe = -1
        if self._late:
            since = now - self._latency - PATIENT
            self._awaited.update([each for each in numbers if self._late.get(each, now) < since])
        self.budget.lost += news
        self._judge(len(numbers))
        if is_list and self.is_peer_periodic:
            self._hear(set(numbers), now)
        return news

    def _judge(self, asked: int) -> None:
        """So many packets were asked for: see whether by a timer."""
        self._questions += asked
        share = PERIODIC_SHARE * self._questions
        self.is_peer_periodic = self._early >= PERIODIC_SIGNS and self._early >= share
        if self._questions > MEMORY:
            self._questions /= 2
            self._early /= 2

    def _hear(self, listed: set[int], now: float) -> None:
        """A list of all that the peer misses: what it leaves out has come."""
        margin = self._rtt.rtt + max(self._rtt.variance, 0.003)
        for number, copy in self._copies.items():
            if number not in listed and now - copy.at > margin:
                copy.is_heard = True

    def want(self, number: int) -> None:
        """Send this one again, as nothing was heard for too long."""
        self._wanted.add(number)

    def probe(self, number: int) -> None:
        """Send this one again to see whether it, or anything, is missing."""
        self._wanted.add(number)
        self._probe = number

    def wants(self, number: int) -> bool:
        """Whether this one waits to be sent again."""
        return number in self._wanted

    def copied_at(self, number: int) -> float:
        """When this one was sent again; minus infinity: never; infinity: it still waits."""
        if number in self._wanted:
            return NEVER
        copy = self._copies.get(number)
        return -NEVER if copy is None else copy.at

    def overdue(self, first: int, age: float, now: float) -> list[int]:
        """Packets from `first` on whose last copy is so old that it was lost, or came unheard."""
        wanted = self._wanted
        return sorted(
            number
            for number, copy in self._copies.items()
            if number >= first and now - copy.at >= age and number not in wanted
        )

    def forget_below(self, number: int) -> None:
        """The peer has these, or they are given up."""
        if self._wanted:
            self._wanted = {each for each in self._wanted if each >= number}
        copies = self._copies
        if copies:
            for old in [each for each in copies if each < number]:
                del copies[old]
        if self._late:
            self._late = {each: at for each, at in self._late.items() if each >= number}
            self._awaited = {each for each in self._awaited if each >= number}

    def clear(self) -> None:
        """Forget everything."""
        self._wanted.clear()
        self._copies.clear()
        self._late.clear()
        self._awaited.clear()
        self._probe = -1
        self._later.clear()

    def is_quiet(self, now: float) -> bool:
        """Whether `due` has nothing to do now."""
        return not self._wanted and not (self._later and self._later[0][0] <= now)

    @property
    def is_wanted(self) -> bool:
        """Whether something is to be sent again, be it now or when the budget allows."""
        return bool(self._wanted)

    @property
    def is_open(self) -> bool:
        """Whether a loss is not mended yet, as far as is known. A probe is no sign of one: a peer
        that reads its packets in turns answers late."""
        if not self._wanted and not self._copies:
            return False
        return any(each != self._probe for each in (*self._wanted, *self._copies))

    def update(self, input_rate: float, now: float) -> None:
        """Set the budget by the input, bytes of payload per second; call it now and then."""
        self.budget.update(input_rate, self._count)

    def due(self, now: float, limit: float) -> list[tuple[SendBatch, int]]:
        """The packets to send again now, at most `limit` bytes; they count as sent."""
        later = self._later
        while later and later[0][0] <= now:
            self._reconsider(*heappop(later)[1:])
        if not self._wanted:
            return []
        is_timed = self._latency > 0
        if is_timed or self.budget.is_fixed:
            limit = min(limit, self.budget.available(now))
        useful = self._useful - self.budget.queue  # what waits on the way comes so much later
        chosen: list[tuple[SendBatch, int]] = []
        for number in sorted(self._wanted):
            batch = self._buffer.find(number)
            if batch is None:
                self._wanted.discard(number)
                continue
            if is_timed and now > batch.sent_at + useful and number not in self._awaited:
                self._note_late(number, now)
                self._wanted.discard(number)
                self._count.refuse("repair-late")
                continue
            if limit <= 0:
                break
            self._wanted.discard(number)
            size = batch.payloads.size_of(number - batch.first) + 44
            limit -= size
            self.budget.take(size)
            chosen.append((batch, number))
            self._note(batch, number, now)
        return chosen

    def _note_late(self, number: int, now: float) -> None:
        if len(self._late) >= MAX_KNOWN:
            del self._late[next(iter(self._late))]
        self._late.setdefault(number, now)

    def get_timer(self, now: float) -> float:
        """When `due` may have something; infinity: when the peer asks."""
        at = self._later[0][0] if self._later else NEVER
        if self._wanted:
            is_shaped = self._latency or self.budget.is_fixed
            ready = self.budget.ready_at() if is_shaped else now
            at = min(at, max(ready, now + WAIT))
        return at

    def _note(self, batch: SendBatch, number: int, now: float) -> None:
        """A copy goes out now: see what may have to follow."""
        copies = self._copies
        copy = copies.get(number)
        if copy is None:
            if len(copies) >= MAX_KNOWN:
                del copies[next(iter(copies))]
            copy = copies[number] = Copy()
        copy.at = now
        copy.is_heard = False
        if not self._latency or copy.is_last:
            return
        rtt = self._rtt
        end = batch.sent_at + self._latency
        answered = now + rtt.overdue
        last = end - LAST_MARGIN
        if answered > end - FIT_MARGIN:
            copy.is_last = True
            if self._doubles_last and now + DOUBLE_DELAY <= end:
                heappush(self._later, (now + DOUBLE_DELAY, number, True))
        elif self.is_peer_periodic and answered <= last:
            heappush(self._later, (last, number, False))

    def _reconsider(self, number: int, is_double: bool) -> None:
        """The moment for a copy that nobody asked for."""
        copy = self._copies.get(number)
        if copy is None or number in self._wanted:
            return
        if is_double:
            self._count.doubled += 1
        elif copy.is_heard:
            return
        else:
            self._count.unasked += 1
        self.budget.lost += 1  # as good as asked for
        self._wanted.add(number)
