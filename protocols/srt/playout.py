"""Live mode's receive buffer: packets wait for their play time, draft sections 4.5 and 4.6.

Theory of operation. `ready` is the stretch without holes, from the packet to be played next up to
`expected`, the first that is missing. What came beyond `expected` is `ahead`. When the hole is
filled, the packets behind it move over. When `ready` is empty and the first packet ahead is due,
the hole before it is skipped (TLPKTDROP), unless late packets are to be waited for.

While nothing is missing, a packet may be played up to one tick late, so that one turn serves many;
a hole is skipped on time, so that what is behind it is not held up. All of it may be deferred
where nobody waits for what is played; it is handed out in larger pieces then, unless it takes too
much of the room.
"""

from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush

from protocols.srt.events import DataReceived
from protocols.srt.histogram import Histogram
from protocols.srt.inbox import Entry
from protocols.srt.tsbpd import PlayClock

TICK = 0.010
MOST_DEFERRED = 0.25  # of the capacity
MAX_SKIPS = 256  # ranges that are remembered, to tell belated packets from duplicates
NEVER = float("inf")


class Playout:
    """Public counters: `skipped` packets, `unreadable` ones; `lateness`: of turns, in ms.

    `deferred`, which may be changed: seconds that packets wait beyond their play time.
    """

    __slots__ = (
        "_ahead",
        "_capacity",
        "_drops_late",
        "_end",
        "_lost",
        "_ready",
        "_skips",
        "_starts",
        "clock",
        "deferred",
        "expected",
        "lateness",
        "skipped",
        "unreadable",
    )

    def __init__(
        self, first_sequence: int, clock: PlayClock, capacity: int, drops_late: bool = True
    ) -> None:
        """`capacity` in packets; more than that are never held."""
        self.expected = first_sequence
        self.clock: PlayClock | None = clock
        self._capacity = capacity
        self._drops_late = drops_late
        self._ready: deque[Entry] = deque()
        self._ahead: dict[int, Entry] = {}
        self._starts: list[int] = []  # heap: where stretches of `ahead` begin
        self._end = first_sequence  # behind the highest that is held
        self._lost = 0  # packets that the next event tells as lost
        self._skips: deque[tuple[int, int]] = deque(maxlen=MAX_SKIPS)
        self.skipped = 0
        self.unreadable = 0
        self.lateness = Histogram()
        self.deferred = 0.0

    @property
    def held(self) -> int:
        """Packets that wait inside."""
        return len(self._ready) + len(self._ahead)

    @property
    def waiting(self) -> int:
        """See `Inbox`."""
        return self.held

    @property
    def held_seconds(self) -> float:
        """Play time from the first packet inside to the last."""
        if not self.held:
            return 0.0
        first = self._ready[0] if self._ready else self._ahead[self._starts[0]]
        last = self._ahead.get(self._end - 1, first) if self._ahead else self._ready[-1]
        return max(last[0] - first[0], 0.0)

    def append_run(self, first: int, entries: Sequence[Entry]) -> int:
        """See `Inbox`."""
        ahead = self._ahead
        count = len(entries)
        room = self._capacity - len(self._ready) - len(ahead)
        if count > room:
            count = max(room, 0)
            entries = entries[:count]
        if first == self.expected and not ahead:
            self._ready.extend(entries)
            self.expected = self._end = first + count
            return count
        if first < self._end:
            insert = self.insert
            return sum([insert(sequence, entry) for sequence, entry in enumerate(entries, first)])
        if count:
            self._end = first + count
            heappush(self._starts, first)
            for sequence, entry in enumerate(entries, first):
                ahead[sequence] = entry
            if first == self.expected:
                self._advance()
        return count

    def insert(self, sequence: int, entry: Entry) -> bool:
        """See `Inbox`."""
        ahead = self._ahead
        if sequence < self.expected or sequence in ahead or self.held >= self._capacity:
            return False
        if sequence >= self._end:
            self._end = sequence + 1
        if sequence == self.expected:
            self._ready.append(entry)
            self.expected += 1
            if ahead:
                self._advance()
        else:
            heappush(self._starts, sequence)
            ahead[sequence] = entry
        return True

    def _advance(self) -> None:
        """Move what is contiguous over, and find where the next stretch begins."""
        ahead, ready, starts = self._ahead, self._ready, self._starts
        sequence = self.expected
        while True:
            entry = ahead.pop(sequence, None)
            if entry is None:
                break
            ready.append(entry)
            sequence += 1
        self.expected = sequence
        while starts and starts[0] < sequence:
            heappop(starts)

    def has(self, sequence: int) -> bool:
        """See `Inbox`."""
        return sequence < self.expected or sequence in self._ahead

    def was_skipped(self, sequence: int) -> bool:
        """See `Inbox`."""
        return any(first <= sequence < end for first, end in self._skips)

    def room(self) -> int:
        """See `Inbox`."""
        # What is ahead of a hole is in flight for the peer: it counts there.
        return max(self._capacity - len(self._ready), 0)

    def give_up(self, first: int, end: int, message: int) -> None:
        """See `Inbox`: the hole is skipped when its time has come, as without being told."""

    def release(self, now: float) -> list[DataReceived]:
        """See `Inbox`."""
        ready = self._ready
        events: list[DataReceived] = []
        if not ready and not self._ahead:
            return events
        due = now - self.deferred
        if ready:
            if len(ready) >= MOST_DEFERRED * self._capacity:
                due = now
            if ready[0][0] > due:
                return events
            self.lateness.observe((due - ready[0][0]) * 1000)
        payloads: list[bytes] = []
        while True:
            while ready and ready[0][0] <= now:
                payload = ready.popleft()[1]
                if payload is not None:
                    payloads.append(payload)
                else:
                    self.unreadable += 1
                    payloads = self._hand_out(payloads, events, 1)
            if ready or not self._ahead or not self._drops_late:
                break
            if self._ahead[self._starts[0]][0] > due:
                break
            payloads = self._hand_out(payloads, events, self._skip())
        self._hand_out(payloads, events, 0)
        return events

    def _hand_out(
        self, payloads: list[bytes], events: list[DataReceived], lost: int
    ) -> list[bytes]:
        """Tell of these, which `lost` packets follow; an empty list comes back."""
        if payloads:
            events.append(DataReceived(payloads, self._lost))
            self._lost = 0
        self._lost += lost
        return []

    def _skip(self) -> int:
        """Give the hole up: how many packets it had."""
        first, end = self.expected, self._starts[0]
        self._skips.append((first, end))
        self.skipped += end - first
        self.expected = end
        self._advance()
        return end - first

    def get_timer(self) -> float:
        """See `Inbox`."""
        if self._ready:
            return self._ready[0][0] + TICK + self.deferred
        if self._ahead and self._drops_late:
            return self._ahead[self._starts[0]][0] + self.deferred
        return NEVER
