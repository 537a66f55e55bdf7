"""Transport packets of one PID; ISO/IEC 13818-1 section 2.4.3."""

from flux.base.twins import twin
from media.mpegts import bulk
from media.mpegts.bulk import PACKET_BYTES, PAYLOAD_BYTES, SYNC_BYTE

_ONLY_ADAPTATION = 0x20
_FLAG_DISCONTINUITY = 0x80
_FLAG_RANDOM_ACCESS = 0x40
_FLAG_PCR = 0x10
_PCR_BASE_MASK = (1 << 33) - 1
_CLOCK_FIELD_BYTES = 8

NO_PCR = -1

_write = twin(bulk.write)


def adaptation_flags(is_random_access: bool, is_discontinuity: bool) -> int:
    """The flags byte, without PCR; 2.4.3.5."""
    return (_FLAG_RANDOM_ACCESS if is_random_access else 0) | (
        _FLAG_DISCONTINUITY if is_discontinuity else 0
    )


class PacketWriter:
    """Cuts the PES packets of one PID into transport packets and keeps its continuity counter."""

    __slots__ = ("_counter", "pid")

    def __init__(self, pid: int, counter: int = 0) -> None:
        self.pid = pid
        self._counter = counter  # of the next packet with payload

    def write(
        self, pes: tuple[bytes, ...], lead: bytes = b"", flags: int = 0, pcr: int = NO_PCR
    ) -> bytes:
        """`lead`, and behind it the packets of a PES packet, which comes in pieces, not all empty.

        `flags` and `pcr` (in 90 kHz) go into the adaptation field of the first packet.
        """
        field = _adaptation_field(flags, pcr) if flags or pcr != NO_PCR else b""
        data = _write(pes, lead, self.pid, self._counter, field)
        self._counter = self._counter + (len(data) - len(lead)) // PACKET_BYTES & 15
        return data

    def clock_packet(self, pcr: int, flags: int = 0) -> bytes:
        """A packet with an adaptation field only; it does not move the counter; 2.4.3.3."""
        field = bytearray(_adaptation_field(flags, pcr))
        field[0] += PAYLOAD_BYTES - _CLOCK_FIELD_BYTES
        last = self._counter - 1 & 15
        head = bytes((SYNC_BYTE, self.pid >> 8, self.pid & 0xFF, _ONLY_ADAPTATION | last))
        return head + field + b"\xff" * (PAYLOAD_BYTES - _CLOCK_FIELD_BYTES)


def _adaptation_field(flags: int, pcr: int) -> bytes:
    if pcr == NO_PCR:
        return bytes((1, flags))
    clock = (pcr & _PCR_BASE_MASK) << 15 | 0x7E00  # six reserved bits, extension 0
    return bytes((7, flags | _FLAG_PCR)) + clock.to_bytes(6, "big")
