"""PES packets out of the transport packets of one PID; ISO/IEC 13818-1 sections 2.4.3.3, 2.4.3.6.

A PES packet ends where its length says, or with the start of the next one where it says nothing
(video). It is handed on if none of its packets is missing by the continuity counter:

    counter          meaning
    --------------   ---------------------------------------------------------------------------
    one more         the next packet
    the same         a duplicate, if the payload is the same too: nothing happens
    any other        packets are missing; also with discontinuity_indicator, which only says that
                     this was to be expected: what was cut off there is no whole unit either

Loss policy as in `media/payloads/base.py`: what lost a packet is dropped whole and counted once, a
gap between two PES packets counts as one, and joining in the middle is no loss. Where a PES packet
is a row of small frames, those in front of the gap are whole, and are kept.

A PID may be skimmed (`skim.py`): all of this goes on then, but of each PES packet only the front
and the size are handed on.
"""

from collections.abc import Callable

from flux.base.twins import twin
from media.mpegts import bulk
from media.mpegts.bulk import HEADER_BYTES, ONLY_PAYLOAD, PACKET_BYTES, PAYLOAD_BYTES

MAX_PES_BYTES = 8 << 20
MAX_OTHER_BYTES = 256 << 10  # of all but video, whose PES packets tell their length
FREE_BYTES = 1 << 20  # that a PID may hold without a look at the others
LOSS = "ts-packet-loss"
_START = b"\0\0\1"
_strip = twin(bulk.strip)

Pieces = list[bytes | bytearray]  # in order; the first is the front of a PES packet
OnPes = Callable[[Pieces, float, bool], None]  # arrival of the first byte, whether whole
OnHead = Callable[[bytes, int, int], None]  # front of a whole PES packet, its size, its mark
OnLoss = Callable[[], None]
OnDrop = Callable[[str], None]


class PesAssembler:
    """Assembles the PES packets of one PID."""

    __slots__ = (
        "_arrived",
        "_budget",
        "_expected",
        "_is_complete",
        "_is_open",
        "_is_video",
        "_last",
        "_limit",
        "_mark",
        "_on_drop",
        "_on_head",
        "_on_loss",
        "_on_pes",
        "_pieces",
        "_salvages",
        "_skips",
        "_trusts_length",
        "counter",
        "has_clock",
        "is_broken",
        "mark",
        "pid",
        "plain",
        "size_bytes",
    )

    def __init__(
        self,
        pid: int,
        on_pes: OnPes,
        on_loss: OnLoss,
        on_drop: OnDrop,
        budget: Callable[[], bool],
        *,
        is_video: bool = False,
        salvages: bool = False,
    ) -> None:
        """`budget` tells whether all PIDs together may hold more; `salvages`: see above."""
        self.pid = pid
        self._on_pes = on_pes
        self._on_loss = on_loss
        self._on_drop = on_drop
        self._budget = budget
        self._is_video = is_video
        self._salvages = salvages
        self.counter = -1  # of the last packet with payload
        self.plain = -1  # fourth header byte of the next packet, if it is nothing but payload
        self.has_clock = False  # this is the PID of the program clock
        self.is_broken = False  # discontinuity_indicator was set since the last payload
        self._pieces: Pieces = []
        self.size_bytes = 0  # of the pieces
        self._expected = 0  # bytes of the PES packet; 0: it does not say
        self._limit = FREE_BYTES if is_video else MAX_OTHER_BYTES
        self._arrived = 0.0
        self._is_open = False
        self._is_complete = False  # a PES packet was handed on, and the next has not begun
        self._skips = True  # until the next PES packet begins, and no loss is counted
        self._trusts_length = True
        self._last = b""  # payload, to know a duplicate
        self._on_head: OnHead | None = None  # it is skimmed
        self.mark = 0  # what the demuxer knows of the packet that comes
        self._mark = 0  # of the one that the PES packet began with

    def skim(self, on_head: OnHead) -> None:
        """Hand on only the fronts of PES packets, that of the open one first."""
        self._on_head = on_head
        del self._pieces[1:]

    def read_on(self) -> None:
        """Hand on PES packets again, beginning as one who has seen nothing yet."""
        self._on_head = None
        self._close()
        self._is_complete = False
        self._skips = True
        self.counter = self.plain = -1
        self.mark = self._mark = 0

    def run(self, data: bytes, at: int, count: int, stride: int) -> None:
        """Take packets in a row that are nothing but payload, whose counters are right."""
        end = at + count * stride
        self.counter = self.counter + count & 15
        self.plain = ONLY_PAYLOAD | self.counter + 1 & 15
        last = self._last = data[end - stride + HEADER_BYTES : end - stride + PACKET_BYTES]
        if not self._is_open:
            if self._is_complete:
                self._exceed()
            return
        if self._on_head is not None:
            pass  # what it is worth is its size
        elif count == 1:
            self._pieces.append(last)
        else:
            self._pieces.append(_strip(data, at, count, stride))
        self.size_bytes += count * PAYLOAD_BYTES
        self._grow()

    def packet(self, payload: bytes, is_start: bool, counter: int, arrived: float) -> None:
        """Take the payload of any packet."""
        if counter != self.counter + 1 & 15 and self.counter >= 0:
            if counter == self.counter and payload == self._last:
                return
            self.lose("ts-discontinuity" if self.is_broken else LOSS)
        self.is_broken = False
        self.counter = counter
        self.plain = ONLY_PAYLOAD | counter + 1 & 15
        self._last = payload
        if is_start:
            self._start(payload, arrived)
        elif self._is_open:
            if self._on_head is None:
                self._pieces.append(payload)
            self.size_bytes += len(payload)
            self._grow()
        elif self._is_complete:
            self._exceed()

    def lose(self, reason: str) -> None:
        """Packets are missing or of no use: drop what is open, until the next PES packet begins."""
        if self._skips:
            return
        self._skips = True
        self._on_drop(reason)
        if self._is_open and self._salvages and self._on_head is None:
            self._on_pes(self._pieces, self._arrived, False)
        self._close()
        self._is_complete = False
        self._on_loss()

    def scrambled(self, counter: int) -> None:
        """A packet that cannot be read, and was counted: what is open is lost with it."""
        self.counter = counter
        self.plain = ONLY_PAYLOAD | counter + 1 & 15
        self.is_broken = False
        if not self._skips:
            self._skips = True
            self._close()
            self._is_complete = False
            self._on_loss()

    def flush(self) -> None:
        """The stream has ended: a PES packet that does not tell its length is complete."""
        if self._is_open and not self._expected and self.size_bytes:
            self._finish()

    def _start(self, payload: bytes, arrived: float) -> None:
        if self._is_open:
            if self._expected:
                self.lose("ts-pes-truncated")
            else:
                self._finish()
        self._skips = self._is_complete = False
        self._is_open = True
        self._mark = self.mark
        self._arrived = arrived
        self._pieces.append(payload)
        self.size_bytes = len(payload)
        if not payload.startswith(_START[: len(payload)]):
            self.lose("ts-pes-malformed")
            return
        # A header that is cut in two tells its length too late: it ends where the next one begins.
        length = payload[4] << 8 | payload[5] if len(payload) >= 6 else 0
        self._expected = length + 6 if length and self._trusts_length else 0
        self._grow()

    def _grow(self) -> None:
        """Bytes were added."""
        size = self.size_bytes
        if self._expected:
            if size >= self._expected:
                self._finish()
        elif size > self._limit:
            if not self._is_video or size > MAX_PES_BYTES or not self._budget():
                self.lose("ts-pes-too-large")
            else:
                self._limit = size + FREE_BYTES

    def _finish(self) -> None:
        """A PES packet is complete."""
        pieces = self._pieces
        if self._on_head is not None:
            head, size = pieces[0], self._expected or self.size_bytes
            self._close()
            self._is_complete = True
            self._on_head(bytes(head), size, self._mark)
            return
        if self._expected and self.size_bytes > self._expected:
            pieces = [b"".join(pieces)[: self._expected]]
        arrived = self._arrived
        self._close()
        self._is_complete = True
        self._on_pes(pieces, arrived, True)

    def _close(self) -> None:
        self._pieces = []  # the old ones were handed on
        self.size_bytes = 0
        self._expected = 0
        self._is_open = False
        if self._is_video:
            self._limit = FREE_BYTES

    def _exceed(self) -> None:
        """There is more of a PES packet than its length says.

        quirk: encoders that write the length of a large picture modulo 65536, where section 2.4.3.7
        wants 0; test: test_length_that_overflowed
        """
        self._is_complete = False
        if self._is_video:
            self._trusts_length = False
        self._skips = False
        self.lose("ts-pes-length")
