"""RTCP packets, RFC 3550 section 6. Each `parse_body` reads what follows the four-byte header.

Bodies arrive without padding. They raise WireError("rtcp-truncated") where they end too early.
"""

from dataclasses import dataclass
from struct import Struct
from typing import Self

from flux.base.errors import WireError

HEADER = Struct("!BBH")  # V P count | type | length in 32-bit words less one
BLOCK = Struct("!IIIIII")  # section 6.4.1
SENDER_INFO = Struct("!IQIII")  # SSRC, NTP, RTP, packets, octets
WORD = Struct("!I")

VERSION = 0x80
MAX_COUNT = 31

SR = 200
RR = 201
SDES = 202
BYE = 203
APP = 204

CNAME = 1  # SDES item type, section 6.5.1


def pack(packet_type: int, count: int, body: bytes) -> bytes:
    """Header and body, filled up with zeros to a whole word."""
    body += bytes(-len(body) % 4)
    return HEADER.pack(VERSION | count, packet_type, len(body) // 4) + body


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What a receiver says of one source, section 6.4.1."""

    ssrc: int
    fraction_lost: int  # 8 bits, in 1/256 since the last report
    cumulative_lost: int  # 24 bits, signed
    highest_sequence: int  # extended, 32 bits
    jitter: int  # ticks
    last_sr: int  # middle 32 bits of the NTP of the last sender report; 0 if none
    delay_since_last_sr: int  # in 1/65536 seconds

    @classmethod
    def parse_at(cls, body: bytes, offset: int) -> Self:
        """Read one block; the bytes must be there."""
        ssrc, lost, highest, jitter, last_sr, delay = BLOCK.unpack_from(body, offset)
        cumulative = lost & 0xFF_FFFF
        if cumulative & 0x80_0000:
            cumulative -= 1 << 24
        return cls(ssrc, lost >> 24, cumulative, highest, jitter, last_sr, delay)

    def serialize(self) -> bytes:
        """The 24 bytes of the block; the cumulative loss is clamped to its 24 bits."""
        cumulative = max(-0x80_0000, min(0x7F_FFFF, self.cumulative_lost)) & 0xFF_FFFF
        return BLOCK.pack(
            self.ssrc,
            self.fraction_lost << 24 | cumulative,
            self.highest_sequence,
            self.jitter,
            self.last_sr,
            self.delay_since_last_sr,
        )


def _parse_blocks(count: int, body: bytes, offset: int) -> tuple[tuple[ReportBlock, ...], bytes]:
    """`count` blocks and the profile-specific extension after them."""
    end = offset + count * BLOCK.size
    if len(body) < end:
        raise WireError("rtcp-truncated", "report-block")
    blocks = tuple(ReportBlock.parse_at(body, at) for at in range(offset, end, BLOCK.size))
    return blocks, body[end:]


@dataclass(frozen=True, slots=True)
class SenderReport:
    """SR, section 6.4.1: `ntp` and `rtp_timestamp` are the same instant."""

    ssrc: int
    ntp: int  # 64 bits; 0 if the sender has no clock
    rtp_timestamp: int  # 32 bits
    packet_count: int
    octet_count: int
    blocks: tuple[ReportBlock, ...] = ()  # at most 31
    extension: bytes = b""

    @classmethod
    def parse_body(cls, count: int, body: bytes) -> Self:
        """Read sender info, `count` blocks and the extension."""
        if len(body) < SENDER_INFO.size:
            raise WireError("rtcp-truncated", "sender-report")
        blocks, extension = _parse_blocks(count, body, SENDER_INFO.size)
        ssrc, ntp, rtp_timestamp, packets, octets = SENDER_INFO.unpack_from(body)
        return cls(ssrc, ntp, rtp_timestamp, packets, octets, blocks, extension)

    def serialize(self) -> bytes:
        """The packet's bytes."""
        info = SENDER_INFO.pack(
            self.ssrc, self.ntp, self.rtp_timestamp, self.packet_count, self.octet_count
        )
        blocks = b"".join([block.serialize() for block in self.blocks])
        return pack(SR, len(self.blocks), info + blocks + self.extension)


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """RR, section 6.4.2; without blocks where nothing was received."""

    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()  # at most 31
    extension: bytes = b""

    @classmethod
    def parse_body(cls, count: int, body: bytes) -> Self:
        """Read the SSRC, `count` blocks and the extension."""
        if len(body) < WORD.size:
            raise WireError("rtcp-truncated", "receiver-report")
        blocks, extension = _parse_blocks(count, body, WORD.size)
        return cls(WORD.unpack_from(body)[0], blocks, extension)

    def serialize(self) -> bytes:
        """The packet's bytes."""
        blocks = b"".join([block.serialize() for block in self.blocks])
        return pack(RR, len(self.blocks), WORD.pack(self.ssrc) + blocks + self.extension)


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One SDES item, section 6.5."""

    kind: int  # 8 bits, not 0; CNAME is 1
    value: bytes  # at most 255 bytes, UTF-8


@dataclass(frozen=True, slots=True)
class SourceChunk:
    """The SDES items of one source."""

    ssrc: int
    items: tuple[SourceItem, ...]

    def serialize(self) -> bytes:
        """The chunk's bytes: its items end with one to four zeros, up to a whole word."""
        parts = [WORD.pack(self.ssrc)]
        parts += [bytes((item.kind, len(item.value))) + item.value for item in self.items]
        data = b"".join(parts)
        return data + bytes(4 - len(data) % 4)


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """SDES, section 6.5."""

    chunks: tuple[SourceChunk, ...]  # at most 31

    @classmethod
    def cname(cls, ssrc: int, name: str) -> Self:
        """The description that every compound carries, section 6.5.1."""
        return cls((SourceChunk(ssrc, (SourceItem(CNAME, name.encode()[:255]),)),))

    @classmethod
    def parse_body(cls, count: int, body: bytes) -> Self:
        """Read `count` chunks."""
        chunks: list[SourceChunk] = []
        at = 0
        for _ in range(count):
            if len(body) < at + WORD.size:
                raise WireError("rtcp-truncated", "sdes")
            (ssrc,) = WORD.unpack_from(body, at)
            items, at = _parse_items(body, at + WORD.size)
            chunks.append(SourceChunk(ssrc, items))
        return cls(tuple(chunks))

    def serialize(self) -> bytes:
        """The packet's bytes."""
        return pack(SDES, len(self.chunks), b"".join([chunk.serialize() for chunk in self.chunks]))


def _parse_items(body: bytes, at: int) -> tuple[tuple[SourceItem, ...], int]:
    """The items from `at` on and where the next chunk begins."""
    items: list[SourceItem] = []
    # quirk: some cameras leave out the zero that ends a chunk (section 6.5) when the last item ends
    # on a word; the end of the packet then ends the chunk. test: test_sdes_without_end
    while at < len(body) and body[at] != 0:
        if at + 2 > len(body) or at + 2 + body[at + 1] > len(body):
            raise WireError("rtcp-truncated", "sdes-item")
        end = at + 2 + body[at + 1]
        items.append(SourceItem(body[at], body[at + 2 : end]))
        at = end
    return tuple(items), at + 4 - at % 4


@dataclass(frozen=True, slots=True)
class Goodbye:
    """BYE, section 6.6."""

    ssrcs: tuple[int, ...]  # at most 31
    reason: str = ""

    @classmethod
    def parse_body(cls, count: int, body: bytes) -> Self:
        """Read `count` sources and the reason."""
        end = 4 * count
        if len(body) < end:
            raise WireError("rtcp-truncated", "bye")
        text = b""
        if len(body) > end:
            size = body[end]
            text = body[end + 1 : end + 1 + size]
            if len(text) < size:
                raise WireError("rtcp-truncated", "bye-reason")
        ssrcs = Struct(f"!{count}I").unpack_from(body)
        return cls(ssrcs, text.decode("utf-8", "replace"))

    def serialize(self) -> bytes:
        """The packet's bytes."""
        body = Struct(f"!{len(self.ssrcs)}I").pack(*self.ssrcs)
        if self.reason:
            text = self.reason.encode()[:255]
            body += bytes((len(text),)) + text
        return pack(BYE, len(self.ssrcs), body)


@dataclass(frozen=True, slots=True)
class Application:
    """APP, section 6.7."""

    subtype: int  # 5 bits
    ssrc: int
    name: bytes  # four ASCII letters
    data: bytes  # a multiple of four bytes

    @classmethod
    def parse_body(cls, count: int, body: bytes) -> Self:
        """Read SSRC, name and data; `count` is the subtype."""
        if len(body) < 8:
            raise WireError("rtcp-truncated", "app")
        return cls(count, WORD.unpack_from(body)[0], body[4:8], body[8:])

    def serialize(self) -> bytes:
        """The packet's bytes."""
        return pack(APP, self.subtype, WORD.pack(self.ssrc) + self.name + self.data)


@dataclass(frozen=True, slots=True)
class UnknownPacket:
    """A packet that is kept as it came: feedback (RFC 4585), extended reports (RFC 3611), ..."""

    packet_type: int  # 8 bits
    count: int  # 5 bits: count, subtype or feedback message type
    body: bytes  # a multiple of four bytes

    def serialize(self) -> bytes:
        """The packet's bytes."""
        return pack(self.packet_type, self.count, self.body)


RtcpPacket = (
    SenderReport | ReceiverReport | SourceDescription | Goodbye | Application | UnknownPacket
)
