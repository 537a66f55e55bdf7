"""The receive buffer of message and stream mode: nothing is timed, nothing is skipped unasked.

Draft section 4.2. Stream mode hands out bytes as far as they have no hole. Message mode hands out
whole messages: in order, but one that is marked as free of order (O = 0) as soon as all of it is
there. What the sender gives up (drop request) is skipped. While `is_held`, nothing is handed out,
the room shrinks, and the peer waits.
"""

from collections.abc import Sequence

from protocols.srt.events import DataReceived
from protocols.srt.inbox import Entry
from protocols.srt.packet import FIRST, IN_ORDER, LAST, MESSAGE_MASK, POSITION_MASK
from protocols.srt.tsbpd import PlayClock

TAKEN: Entry = (0.0, None, 0)  # handed out before its turn
GIVEN_UP: Entry = (-1.0, None, 0)
NEVER = float("inf")


class _Loose:
    """A message free of order, as far as it has come."""

    __slots__ = ("count", "first", "last")

    def __init__(self) -> None:
        self.count = 0
        self.first = self.last = -1


class MessageInbox:
    """Public: `is_held`; counters `given_up` packets, `broken` messages."""

    def __init__(self, first_sequence: int, capacity: int, is_stream: bool) -> None:
        """`capacity` in packets, from the first that was not handed out on."""
        self.expected = first_sequence
        self.clock: PlayClock | None = None
        self.deferred = 0.0
        self.is_held = False
        self.given_up = 0
        self.broken = 0
        self._capacity = capacity
        self._is_stream = is_stream
        self._first = first_sequence  # not handed out yet
        self._packets: dict[int, Entry] = {}
        self._loose: dict[int, _Loose] = {}  # by message number
        self._early: list[bytes] = []  # messages that were complete before their turn
        self._partial: list[bytes] = []  # of the message that has begun
        self._partial_message = -1
        self._lost = 0

    @property
    def held(self) -> int:
        """Packets that wait inside."""
        return len(self._packets)

    @property
    def waiting(self) -> int:
        """See `Inbox`: without a hole before them, and held back by the owner."""
        return self.expected - self._first + len(self._early)

    def append_run(self, first: int, entries: Sequence[Entry]) -> int:
        """See `Inbox`."""
        insert = self.insert
        return sum([insert(sequence, entry) for sequence, entry in enumerate(entries, first)])

    def insert(self, sequence: int, entry: Entry) -> bool:
        """See `Inbox`."""
        packets = self._packets
        if sequence < self.expected or sequence in packets:
            return False
        if sequence >= self._first + self._capacity:
            return False
        packets[sequence] = entry
        if sequence == self.expected:
            self._advance()
        if not self._is_stream and not entry[2] & IN_ORDER:
            self._collect(sequence, entry[2])
        return True

    def _advance(self) -> None:
        packets, expected = self._packets, self.expected
        while expected in packets:
            expected += 1
        self.expected = expected

    def _collect(self, sequence: int, word: int) -> None:
        """A packet of a message free of order: hand the message out if it is whole."""
        message = word & MESSAGE_MASK
        if len(self._loose) >= self._capacity:
            del self._loose[next(iter(self._loose))]  # one whose rest was given up
        loose = self._loose.setdefault(message, _Loose())
        loose.count += 1
        if word & FIRST:
            loose.first = sequence
        if word & LAST:
            loose.last = sequence
        if loose.first < 0 or loose.last < loose.first:
            return
        if loose.count != loose.last - loose.first + 1:
            return
        del self._loose[message]
        if loose.last < self.expected:
            return  # its turn comes anyway
        packets = self._packets
        pieces: list[bytes] = []
        for number in range(loose.first, loose.last + 1):
            entry = packets.get(number)
            if entry is None or entry[1] is None:
                return
            pieces.append(entry[1])
        for number in range(loose.first, loose.last + 1):
            packets[number] = TAKEN
        self._early.append(b"".join(pieces))

    def has(self, sequence: int) -> bool:
        """See `Inbox`."""
        return sequence < self.expected or sequence in self._packets

    def was_skipped(self, sequence: int) -> bool:
        """See `Inbox`: what was given up is not told from what came."""
        return False

    def room(self) -> int:
        """See `Inbox`."""
        return max(self._capacity - (self.expected - self._first), 0)

    def give_up(self, first: int, end: int, message: int) -> None:
        """See `Inbox`."""
        packets = self._packets
        for sequence in range(max(first, self._first), min(end, self._first + self._capacity)):
            entry = packets.get(sequence)
            if entry is None or (message and entry is not TAKEN and entry is not GIVEN_UP):
                packets[sequence] = GIVEN_UP
                self.given_up += 1
        self._loose.pop(message, None)
        self._advance()

    def release(self, now: float) -> list[DataReceived]:
        """See `Inbox`."""
        if self.is_held:
            return []
        events: list[DataReceived] = []
        payloads, self._early = self._early, []
        packets = self._packets
        for sequence in range(self._first, self.expected):
            entry = packets.pop(sequence)
            payload = entry[1]
            if entry is TAKEN:
                continue
            if payload is None:
                self._break_off()
                if payloads:
                    events.append(DataReceived(payloads, self._lost))
                    payloads, self._lost = [], 0
                self._lost += 1
            elif self._is_stream:
                payloads.append(payload)
            else:
                self._assemble(payload, entry[2], payloads)
        self._first = self.expected
        if payloads:
            events.append(DataReceived(payloads, self._lost))
            self._lost = 0
        return events

    def _assemble(self, payload: bytes, word: int, payloads: list[bytes]) -> None:
        """The next packet of message mode."""
        position, message = word & POSITION_MASK, word & MESSAGE_MASK
        if position & FIRST:
            self._break_off()
        elif message != self._partial_message:
            self._break_off()
            self.broken += 1  # its beginning was given up
            return
        if len(self._partial) >= self._capacity:
            self._break_off()  # longer than any buffer: it would never end
            return
        self._partial.append(payload)
        self._partial_message = message
        if position & LAST:
            payloads.append(b"".join(self._partial))
            self._partial = []
            self._partial_message = -1

    def _break_off(self) -> None:
        """The message that has begun gets no end."""
        if self._partial:
            self.broken += 1
        self._partial = []
        self._partial_message = -1

    def get_timer(self) -> float:
        """See `Inbox`."""
        return NEVER
