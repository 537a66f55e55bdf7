"""Contents of the control packets of the data path, draft section 3.2.

Each class is parsed from a `ControlPacket` and made into one; sequence numbers have 31 bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Self

from flux.base.errors import WireError
from protocols.srt.packet import (
    CONTROL_FLAG,
    PAD,
    SEQUENCE_BITS,
    SEQUENCE_MASK,
    ControlPacket,
    ControlType,
    pack_header,
)

WORD = Struct("!I")
PAIR = Struct("!II")
SMALL_ACK = Struct("!4I")
MEDIUM_ACK = Struct("!6I")
FULL_ACK = Struct("!7I")
FULL_ACK_DATAGRAM = Struct("!4xI8x7I")  # its number, and the seven words
LIGHT_ACK_DATAGRAM = Struct("!4xI8xI")
ACK_HEAD = CONTROL_FLAG | ControlType.ACK << 16
ACKACK_HEAD = CONTROL_FLAG | ControlType.ACKACK << 16

USER_HEAD = CONTROL_FLAG | ControlType.USER << 16

RANGE = 0x80000000  # of a loss list: the first of a range, its last comes next
FILE_SYSTEM_ERROR = 4000  # of PEER_ERROR

Range = tuple[int, int]  # first and last sequence number, both lost


@dataclass(slots=True)
class Ack:
    """An acknowledgement, section 3.2.4: light (sequence alone), small (to `buffer_packets`) or
    full. Fields that were not there are None. Read-only once made."""

    number: int  # its own counter; 0 for a light one
    sequence: int  # the next that is expected
    rtt_us: int | None = None
    rtt_variance_us: int | None = None
    buffer_packets: int | None = None  # room at the receiver
    receive_packets: int | None = None  # per second
    capacity_packets: int | None = None  # of the link, per second
    receive_bytes: int | None = None  # per second

    @classmethod
    def parse(cls, packet: ControlPacket) -> Self:
        """Read what is there; words past the seventh are let go. Raises WireError `ack-bad`."""
        body = packet.body
        size = len(body)
        if size >= 28:
            fields = FULL_ACK.unpack_from(body)
        elif size >= 24:
            fields = MEDIUM_ACK.unpack_from(body)
        elif size >= 16:
            fields = SMALL_ACK.unpack_from(body)
        elif size >= 4:
            fields = WORD.unpack_from(body)
        else:
            raise WireError("ack-bad", f"{size} bytes")
        if fields[0] > SEQUENCE_MASK:
            raise WireError("ack-bad", f"sequence {fields[0]:#x}")
        return cls(packet.specific, *fields)

    @classmethod
    def read(cls, datagram: bytes) -> Self:
        """As `parse`, with the header before it: without a detour for full ones and light ones."""
        size = len(datagram)
        if size >= FULL_ACK_DATAGRAM.size:
            fields = FULL_ACK_DATAGRAM.unpack_from(datagram)
        elif size == LIGHT_ACK_DATAGRAM.size:
            fields = LIGHT_ACK_DATAGRAM.unpack(datagram)
        else:
            return cls.parse(ControlPacket.parse(datagram))
        if fields[1] > SEQUENCE_MASK:
            raise WireError("ack-bad", f"sequence {fields[1]:#x}")
        return cls(*fields)

    def to_packet(self, timestamp: int, destination: int) -> ControlPacket:
        """The packet, as short as the fields that are set."""
        if self.rtt_us is None:
            body = WORD.pack(self.sequence)
        else:
            fields = [self.sequence, self.rtt_us, self.rtt_variance_us or 0]
            fields.append(self.buffer_packets or 0)
            if self.receive_packets is not None:
                fields += [self.receive_packets, self.capacity_packets or 0]
            if self.receive_bytes is not None:
                fields.append(self.receive_bytes)
            body = Struct(f"!{len(fields)}I").pack(*fields)
        return ControlPacket(ControlType.ACK, timestamp, destination, body, self.number)


def serialize_full_ack(number: int, timestamp: int, destination: int, *fields: int) -> bytes:
    """A full ACK's bytes; `fields` are the seven words as in `Ack`."""
    return pack_header(ACK_HEAD, number, timestamp, destination) + FULL_ACK.pack(*fields)


def serialize_light_ack(sequence: int, timestamp: int, destination: int) -> bytes:
    """A light ACK's bytes."""
    return pack_header(ACK_HEAD, 0, timestamp, destination) + WORD.pack(sequence)


def serialize_ackack(number: int, timestamp: int, destination: int) -> bytes:
    """An ACKACK's bytes."""
    return pack_header(ACKACK_HEAD, number, timestamp, destination) + PAD


def serialize_empty(kind: int, timestamp: int, destination: int, specific: int = 0) -> bytes:
    """A packet without content: KEEPALIVE, SHUTDOWN, CONGESTION_WARNING, PEER_ERROR with a code."""
    return pack_header(CONTROL_FLAG | kind << 16, specific, timestamp, destination) + PAD


def serialize_user(subtype: int, body: bytes, timestamp: int, destination: int) -> bytes:
    """A user-defined packet: key material during the connection."""
    return pack_header(USER_HEAD | subtype, 0, timestamp, destination) + body


def parse_losses(body: bytes) -> tuple[list[Range], int]:
    """The loss list of a NAK, section 3.2.5 and appendix A, and how many entries made no sense.

    A range without end, or one whose last comes before its first, is passed over and counted: one
    forged packet must not end a stream. Whether numbers were ever sent is for the sender to judge.
    """
    losses: list[Range] = []
    bad = 1 if len(body) % 4 else 0
    first = -1
    half = 1 << SEQUENCE_BITS - 1
    for (word,) in WORD.iter_unpack(body[: len(body) & ~3]):
        if first < 0:
            if word & RANGE:
                first = word & SEQUENCE_MASK
            else:
                losses.append((word, word))
        elif word & RANGE:
            bad += 1  # the range before has no end
            first = word & SEQUENCE_MASK
        else:
            if (word - first & SEQUENCE_MASK) < half:
                losses.append((first, word))
            else:
                bad += 1
            first = -1
    return losses, bad + (first >= 0)


def serialize_losses(losses: Sequence[Range], max_words: int) -> bytes:
    """The body of a NAK with the first of these ranges, at most `max_words` long."""
    words: list[int] = []
    for first, last in losses:
        if len(words) + 1 + (first != last) > max_words:
            break
        if first == last:
            words.append(first)
        else:
            words += (first | RANGE, last)
    return Struct(f"!{len(words)}I").pack(*words)


@dataclass(slots=True)
class DropRequest:
    """The sender gave up these packets, section 3.2.9. `message` 0: no message is meant."""

    message: int
    first: int
    last: int

    @classmethod
    def parse(cls, packet: ControlPacket) -> Self:
        """Read the request. Raises WireError `drop-request-bad`."""
        if len(packet.body) < PAIR.size:
            raise WireError("drop-request-bad", f"{len(packet.body)} bytes")
        first, last = PAIR.unpack_from(packet.body)
        if (first | last) > SEQUENCE_MASK or (last - first & SEQUENCE_MASK) >= 1 << 30:
            raise WireError("drop-request-bad", f"{first:#x}..{last:#x}")
        return cls(packet.specific, first, last)

    def to_packet(self, timestamp: int, destination: int) -> ControlPacket:
        """The packet."""
        body = PAIR.pack(self.first, self.last)
        return ControlPacket(ControlType.DROP_REQUEST, timestamp, destination, body, self.message)
