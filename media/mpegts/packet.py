"""Transport packets of one PID; ISO/IEC 13818-1 section 2.4.3.

The four header bytes of a packet without adaptation field depend on nothing but the continuity
counter, so a PID has them ready in a row, in the order in which a long PES takes them.
"""

from struct import Struct

SYNC_BYTE = 0x47
PACKET_BYTES = 188
PAYLOAD_BYTES = 184

_PAYLOAD_START = 0x40
_ONLY_PAYLOAD = 0x10
_ONLY_ADAPTATION = 0x20
_BOTH = 0x30

_FLAG_DISCONTINUITY = 0x80
_FLAG_RANDOM_ACCESS = 0x40
_FLAG_PCR = 0x10
_PCR_BASE_MASK = (1 << 33) - 1

NO_PCR = -1


def adaptation_flags(is_random_access: bool, is_discontinuity: bool) -> int:
    """The flags byte, without PCR; 2.4.3.5."""
    return (_FLAG_RANDOM_ACCESS if is_random_access else 0) | (
        _FLAG_DISCONTINUITY if is_discontinuity else 0
    )


# An adaptation field of n bytes that does nothing but fill, n = 1 .. 183.
_STUFFING = (
    b"",
    b"\x00",
    *(bytes((size - 1, 0)) + b"\xff" * (size - 2) for size in range(2, PAYLOAD_BYTES)),
)

_BLOCK = 64  # payloads that are cut at once
_CUTTERS = tuple(Struct(f"{PAYLOAD_BYTES}s" * count).unpack_from for count in range(_BLOCK + 1))


def _cut(pes: bytes, at: int, count: int) -> list[bytes]:
    """So many whole payloads from `at` on; a quarter of what slices take."""
    pieces: list[bytes] = []
    while count > 0:
        some = min(count, _BLOCK)
        pieces += _CUTTERS[some](pes, at)
        at += some * PAYLOAD_BYTES
        count -= some
    return pieces


class PacketWriter:
    """Cuts the PES packets of one PID into transport packets and keeps its continuity counter."""

    __slots__ = ("_both", "_counter", "_full", "_start", "_start_both", "pid")

    def __init__(self, pid: int, counter: int = 0) -> None:
        self.pid = pid
        self._counter = counter  # of the next packet with payload
        head = bytes((SYNC_BYTE, pid >> 8, pid & 0xFF))
        start = bytes((SYNC_BYTE, _PAYLOAD_START | pid >> 8, pid & 0xFF))
        self._start = [start + bytes((_ONLY_PAYLOAD | n,)) for n in range(16)]
        self._start_both = [start + bytes((_BOTH | n,)) for n in range(16)]
        self._both = [head + bytes((_BOTH | n,)) for n in range(16)]
        self._full = [head + bytes((_ONLY_PAYLOAD | n,)) for n in range(16)] * 8

    def write(self, pes: bytes, out: list[bytes], flags: int = 0, pcr: int = NO_PCR) -> None:
        """Append the pieces of all packets of `pes` to `out`; join them to get whole packets.

        `flags` and `pcr` (in 90 kHz) go into the adaptation field of the first packet.
        """
        counter = self._counter
        size = len(pes)
        if flags or pcr != NO_PCR:
            field = _adaptation_field(flags, pcr)
            room = PAYLOAD_BYTES - len(field)
            if size < room:
                field = _stuffed(field, room - size)
            at = min(size, room)
            out += (self._start_both[counter], field, pes[:at])
        elif size >= PAYLOAD_BYTES:
            at = PAYLOAD_BYTES
            out += (self._start[counter], pes[:PAYLOAD_BYTES])
        else:
            self._counter = counter + 1 & 15
            out += (self._start_both[counter], _STUFFING[PAYLOAD_BYTES - size], pes)
            return
        counter = counter + 1 & 15
        full = (size - at) // PAYLOAD_BYTES
        if full:
            end = at + full * PAYLOAD_BYTES
            if counter + full > len(self._full):
                self._full *= (counter + full) // len(self._full) + 1
            pieces = [b""] * (2 * full)
            pieces[::2] = self._full[counter : counter + full]
            pieces[1::2] = _cut(pes, at, full)
            out += pieces
            counter = counter + full & 15
            at = end
        if at < size:
            out += (self._both[counter], _STUFFING[PAYLOAD_BYTES - size + at], pes[at:])
            counter = counter + 1 & 15
        self._counter = counter

    def clock_packet(self, pcr: int, flags: int = 0) -> bytes:
        """A packet with an adaptation field only; it does not move the counter; 2.4.3.3."""
        field = _stuffed(_adaptation_field(flags, pcr), PAYLOAD_BYTES - 8)
        last = self._counter - 1 & 15
        return bytes((SYNC_BYTE, self.pid >> 8, self.pid & 0xFF, _ONLY_ADAPTATION | last)) + field


def _adaptation_field(flags: int, pcr: int) -> bytes:
    if pcr == NO_PCR:
        return bytes((1, flags))
    clock = (pcr & _PCR_BASE_MASK) << 15 | 0x7E00  # six reserved bits, extension 0
    return bytes((7, flags | _FLAG_PCR)) + clock.to_bytes(6, "big")


def _stuffed(field: bytes, count: int) -> bytes:
    """The same field, longer by `count` stuffing bytes."""
    return bytes((field[0] + count,)) + field[1:] + b"\xff" * count
