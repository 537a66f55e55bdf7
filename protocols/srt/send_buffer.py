"""What was given to be sent, until nobody can want it again.

Payloads are kept in the batches that they were given in, by reference and in clear: a stream with
many readers keeps each payload once. What a packet looks like on the wire follows from its batch:
numbers, time, and the cipher that it was sealed with, so that it is the same when it is sent again.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

from protocols.srt.cipher import PacketCipher
from protocols.srt.packet import (
    FIRST,
    IN_ORDER,
    KEY_SHIFT,
    LAST,
    MAX_MESSAGE,
    MESSAGE_MASK,
    MIDDLE,
    RETRANSMITTED,
    SEQUENCE_MASK,
    SOLO,
    pack_header,
)
from protocols.srt.payloads import Payloads

PROBE_MASK = 15  # each sixteenth packet and the one after it go out together: a packet pair
NEVER = float("inf")


def paired(first: int, count: int, most: int) -> int:
    """How many of `most` packets from `first` on go, if `count` may: pairs stay together."""
    return count + 1 if count < most and not (first + count - 1) & PROBE_MASK else count


class SendBatch:
    """Packets in a row. Read-only but for its cipher, which it gets when it is first sent."""

    __slots__ = (
        "cipher",
        "end",
        "expires_at",
        "first",
        "flags",
        "is_dropped",
        "is_head",
        "is_split",
        "is_tail",
        "key",
        "message",
        "payloads",
        "sent_at",
        "stamp",
    )

    def __init__(
        self, first: int, payloads: Payloads, message: int, sent_at: float, stamp: int
    ) -> None:
        """Each payload is a message of its own, the first has the number `message`."""
        self.first = first  # unwrapped sequence number
        self.end = first + len(payloads)
        self.payloads = payloads
        self.message = message
        self.sent_at = sent_at
        self.stamp = stamp  # the wire's timestamp
        self.key = -1  # key flags; -1: not sealed yet
        self.cipher: PacketCipher | None = None
        self.expires_at = NEVER
        self.is_dropped = False  # it was given up
        self.is_split = False  # all are one message
        self.is_head = self.is_tail = True  # of that message
        self.flags = 0  # IN_ORDER

    def word(self, start: int, count: int) -> int:
        """Word 1 of the `start`-th header, where those of the `count` from there count up; or 0."""
        number = self.message + start
        if self.is_split or number + count > MAX_MESSAGE + 1:
            return 0
        return self.key << KEY_SHIFT | self.flags | SOLO | number

    def words(self, start: int, count: int) -> list[int]:
        """Word 1 of the headers of `count` packets from the `start`-th on."""
        base = self.key << KEY_SHIFT | self.flags
        if self.is_split:
            return [base | self.message | self._position(i) for i in range(start, start + count)]
        number = self.message + start
        if number + count <= MAX_MESSAGE + 1:
            base |= SOLO
            return [base | each for each in range(number, number + count)]
        base |= SOLO
        return [base | (each - 1) % MAX_MESSAGE + 1 for each in range(number, number + count)]

    def _position(self, index: int) -> int:
        is_first = self.is_head and index == 0
        is_last = self.is_tail and index == len(self.payloads) - 1
        if is_first:
            return SOLO if is_last else FIRST
        return LAST if is_last else MIDDLE

    def bytes_from(self, number: int) -> int:
        """Payloads of this packet, or of the first, and all behind it here."""
        start = max(number - self.first, 0)
        return self.payloads.part(start, len(self.payloads) - start).size_bytes

    def packet(self, number: int, destination: int) -> bytes:
        """The whole packet with this unwrapped number, as it is sent again."""
        index = number - self.first
        (word,) = self.words(index, 1)
        sequence = number & SEQUENCE_MASK
        header = pack_header(sequence, word | RETRANSMITTED, self.stamp, destination)
        payload = self.payloads[index]
        if self.cipher is not None:
            payload = self.cipher.seal(sequence, header, payload)
        return header + payload


class SendBuffer:
    """Batches by number. Public, unwrapped: `first` that is kept, `unsent`, `end`; `message`."""

    __slots__ = ("_batches", "_starts", "bytes", "end", "first", "message", "unsent")

    def __init__(self, first_sequence: int) -> None:
        self.first = self.unsent = self.end = first_sequence
        self.message = 1  # of the next
        self.bytes = 0  # payloads that are kept
        self._batches: deque[SendBatch] = deque()
        self._starts: deque[int] = deque()

    def __len__(self) -> int:
        return self.end - self.first

    @property
    def is_empty(self) -> bool:
        """Whether nothing is kept."""
        return not self._batches

    @property
    def oldest(self) -> SendBatch | None:
        """The first batch that is kept."""
        return self._batches[0] if self._batches else None

    @property
    def seconds(self) -> float:
        """Time from the first packet that is kept to the last."""
        return self.seconds_from(self.first)

    def seconds_from(self, number: int) -> float:
        """Time from this packet to the last."""
        batch = self.find(number)
        return self._batches[-1].sent_at - batch.sent_at if batch is not None else 0.0

    def bytes_from(self, number: int) -> int:
        """Payloads of this packet and all behind it."""
        count = 0
        for batch in reversed(self._batches):
            if batch.end <= number:
                break
            count += batch.bytes_from(number)
        return count

    def append(self, payloads: Sequence[bytes], sent_at: float, stamp: int) -> SendBatch:
        """Payloads that are a packet and a message each."""
        batch = SendBatch(self.end, Payloads.of(payloads), self.message, sent_at, stamp)
        self._keep(batch)
        count = len(payloads)
        self.message += count
        if self.message > MAX_MESSAGE:
            self.message = (self.message - 1) % MAX_MESSAGE + 1
        return batch

    def append_message(
        self,
        pieces: Sequence[bytes],
        sent_at: float,
        stamp: int,
        is_in_order: bool,
        expires_at: float,
    ) -> SendBatch:
        """The packets of one message."""
        batch = SendBatch(self.end, Payloads.of(pieces), self.message, sent_at, stamp)
        batch.is_split = True
        batch.flags = IN_ORDER if is_in_order else 0
        batch.expires_at = expires_at
        self._keep(batch)
        self.message = self.message % MAX_MESSAGE + 1
        return batch

    def _keep(self, batch: SendBatch) -> None:
        self._batches.append(batch)
        self._starts.append(batch.first)
        self.end = batch.end
        self.bytes += batch.payloads.size_bytes

    def find(self, number: int) -> SendBatch | None:
        """The batch that has this packet; None: it is not kept."""
        if not self.first <= number < self.end:
            return None
        index = bisect_right(self._starts, number) - 1
        batch = self._batches[index] if index >= 0 else None
        return batch if batch is not None and number < batch.end else None

    def pop(self) -> SendBatch:
        """Forget the first batch."""
        batch = self._batches.popleft()
        self._starts.popleft()
        self.bytes -= batch.payloads.size_bytes
        self.first = self._batches[0].first if self._batches else self.end
        self.unsent = max(self.unsent, self.first)
        return batch

    def remove(self, batch: SendBatch) -> None:
        """Take out a batch of which nothing was sent; those behind it move up."""
        later = list(self._batches)[self._batches.index(batch) + 1 :]
        for _ in range(len(later) + 1):
            self._batches.pop()
            self._starts.pop()
        self.bytes -= batch.payloads.size_bytes
        self.end = batch.first
        for each in later:
            size = each.end - each.first
            each.first, each.end = self.end, self.end + size
            self._batches.append(each)
            self._starts.append(each.first)
            self.end = each.end
        if not self._batches:
            self.first = self.end

    def forget(self, number: int, least: int = 0) -> None:
        """Forget batches that end before this packet, as long as more than `least` packets stay."""
        batches = self._batches
        while batches and batches[0].end <= number and self.end - self.first > least:
            self.pop()

    def jump(self, number: int, message: int) -> None:
        """Forget everything, and go on with these numbers."""
        self._batches.clear()
        self._starts.clear()
        self.bytes = 0
        self.first = self.unsent = self.end = number
        self.message = message & MESSAGE_MASK or 1
