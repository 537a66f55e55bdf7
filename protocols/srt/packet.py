"""SRT packets, draft section 3: the header, data packets, and control packets as a frame.

Typed contents of control packets are in `control.py` and `handshake_wire.py`. The data path
reads and writes headers with `HEADER` alone; `DataPacket` is for tests and for rare packets.
"""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Any, Self

from flux.base.errors import WireError

Address = tuple[Any, ...]  # of a socket; the first two are host and port
# Datagrams for one address: segment size, and datagrams of that size joined (the last may be
# shorter), as the kernel cuts them.
Run = tuple[Address, int, bytes]

#  0                   1                   2                   3
#  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
# |0|                    packet sequence number                   |
# |P P|O|K K|R|                message number                     |
# |                  timestamp, microseconds                      |
# |                   destination socket id                       |
#
# |1|          type               |            subtype            |
# |                  type-specific information                    |
HEADER = Struct("!IIII")
HEADER_BYTES = 16
unpack_header = HEADER.unpack_from
pack_header = HEADER.pack

SEQUENCE_BITS = 31
SEQUENCE_MASK = 0x7FFFFFFF
TIMESTAMP_BITS = 32
TIMESTAMP_MASK = 0xFFFFFFFF
CONTROL_FLAG = 0x80000000  # word 0

# Word 1 of a data packet.
POSITION_SHIFT = 30
SOLO = 0b11 << POSITION_SHIFT
FIRST = 0b10 << POSITION_SHIFT
LAST = 0b01 << POSITION_SHIFT
MIDDLE = 0
POSITION_MASK = 0b11 << POSITION_SHIFT
IN_ORDER = 1 << 29
KEY_SHIFT = 27
KEY_MASK = 0b11 << KEY_SHIFT
RETRANSMITTED = 1 << 26
MESSAGE_BITS = 26
MESSAGE_MASK = (1 << MESSAGE_BITS) - 1
MAX_MESSAGE = MESSAGE_MASK  # then 1 again: 0 is a packet of the filter
FILTER_MESSAGE = 0

KEY_CLEAR = 0
KEY_EVEN = 1
KEY_ODD = 2
KEY_BOTH = 3  # in key material only

GROUP_ID_FLAG = 1 << 30  # of a socket id

# libsrt ends control packets without content with a word of zeros, and so do we.
PAD = bytes(4)


class ControlType(IntEnum):
    """Draft section 3.2; any other number is kept as it is."""

    HANDSHAKE = 0x0000
    KEEPALIVE = 0x0001
    ACK = 0x0002
    NAK = 0x0003
    CONGESTION_WARNING = 0x0004
    SHUTDOWN = 0x0005
    ACKACK = 0x0006
    DROP_REQUEST = 0x0007
    PEER_ERROR = 0x0008
    USER = 0x7FFF  # its subtype is an ExtensionType


@dataclass(slots=True)
class DataPacket:
    """One data packet. Read-only once made."""

    sequence: int  # 31 bits
    message: int  # 26 bits
    timestamp: int  # 32 bits, microseconds since the sender's start
    destination: int
    payload: bytes
    position: int = SOLO
    key: int = KEY_CLEAR
    is_in_order: bool = False
    is_retransmitted: bool = False

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read one packet. Raises WireError: `srt-truncated`, `srt-not-data`."""
        if len(data) < HEADER_BYTES:
            raise WireError("srt-truncated", f"{len(data)} bytes")
        first, second, timestamp, destination = unpack_header(data)
        if first & CONTROL_FLAG:
            raise WireError("srt-not-data")
        return cls(
            first,
            second & MESSAGE_MASK,
            timestamp,
            destination,
            data[HEADER_BYTES:],
            second & POSITION_MASK,
            second >> KEY_SHIFT & 3,
            bool(second & IN_ORDER),
            bool(second & RETRANSMITTED),
        )

    def serialize(self) -> bytes:
        """The packet's bytes."""
        second = (
            self.position
            | (IN_ORDER if self.is_in_order else 0)
            | self.key << KEY_SHIFT
            | (RETRANSMITTED if self.is_retransmitted else 0)
            | self.message
        )
        return pack_header(self.sequence, second, self.timestamp, self.destination) + self.payload


@dataclass(slots=True)
class ControlPacket:
    """One control packet as a frame; `body` is what follows the header, pads included."""

    kind: int  # ControlType or any other 15 bits
    timestamp: int
    destination: int
    body: bytes = PAD
    specific: int = 0  # word 1: ACK number, message number, error code
    subtype: int = 0

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read one packet. Raises WireError: `srt-truncated`, `srt-not-control`."""
        if len(data) < HEADER_BYTES:
            raise WireError("srt-truncated", f"{len(data)} bytes")
        first, specific, timestamp, destination = unpack_header(data)
        if not first & CONTROL_FLAG:
            raise WireError("srt-not-control")
        return cls(
            first >> 16 & 0x7FFF,
            timestamp,
            destination,
            data[HEADER_BYTES:],
            specific,
            first & 0xFFFF,
        )

    def serialize(self) -> bytes:
        """The packet's bytes."""
        first = CONTROL_FLAG | self.kind << 16 | self.subtype
        return pack_header(first, self.specific, self.timestamp, self.destination) + self.body


def destination_of(datagram: bytes) -> int:
    """The socket id that a datagram with a whole header is for; 0: a connection request."""
    return int.from_bytes(datagram[12:16], "big")


def is_control(datagram: bytes) -> bool:
    """Whether a datagram with a whole header is a control packet."""
    return datagram[0] >= 0x80


def is_handshake(datagram: bytes) -> bool:
    """Whether a datagram with a whole header is a handshake: for the machine of the handshake."""
    return datagram[0] == 0x80 and datagram[1] == 0


def timestamp_at(now: float, started_at: float) -> int:
    """The wire's timestamp of `now` for a sender that started at `started_at`."""
    return int((now - started_at) * 1_000_000) & TIMESTAMP_MASK
