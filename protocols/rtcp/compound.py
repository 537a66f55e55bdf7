"""Compound RTCP, RFC 3550 section 6.1 and A.2: several packets in one datagram.

The check of A.2 that a compound begins with a report is not made: cameras send a lone BYE or SDES,
and RFC 5506 allows compounds of reduced size. Version and lengths must be right.
"""

from collections.abc import Callable, Iterable

from flux.base.errors import WireError
from protocols.rtcp.packet import (
    APP,
    BYE,
    HEADER,
    MAX_COUNT,
    RR,
    SDES,
    SR,
    Application,
    Goodbye,
    ReceiverReport,
    RtcpPacket,
    SenderReport,
    SourceDescription,
    UnknownPacket,
)

MAX_PACKETS = 128  # of one compound
VERSION_MASK = 0xC0
VERSION = 0x80
PADDING = 0x20

_KINDS: dict[int, Callable[[int, bytes], RtcpPacket]] = {
    SR: SenderReport.parse_body,
    RR: ReceiverReport.parse_body,
    SDES: SourceDescription.parse_body,
    BYE: Goodbye.parse_body,
    APP: Application.parse_body,
}


def parse_compound(data: bytes) -> tuple[RtcpPacket, ...]:
    """Read all packets of a datagram or interleaved frame; at least one.

    Raises WireError: `rtcp-truncated`, `rtcp-version`, `rtcp-padding`, `rtcp-too-many-packets`.
    """
    packets: list[RtcpPacket] = []
    at = 0
    while at < len(data) or not packets:
        if at + HEADER.size > len(data):
            raise WireError("rtcp-truncated", "header")
        first, packet_type, words = HEADER.unpack_from(data, at)
        if first & VERSION_MASK != VERSION:
            raise WireError("rtcp-version", str(first >> 6))
        end = at + HEADER.size + 4 * words
        if end > len(data):
            raise WireError("rtcp-truncated", f"type {packet_type}")
        body = data[at + HEADER.size : end]
        if first & PADDING:
            body = _without_padding(body)
        if len(packets) == MAX_PACKETS:
            raise WireError("rtcp-too-many-packets")
        packets.append(_parse_packet(packet_type, first & MAX_COUNT, body))
        at = end
    return tuple(packets)


def serialize_compound(packets: Iterable[RtcpPacket]) -> bytes:
    """One datagram of these packets; the caller keeps the order of section 6.1: a report first."""
    return b"".join([packet.serialize() for packet in packets])


def _parse_packet(packet_type: int, count: int, body: bytes) -> RtcpPacket:
    parse_body = _KINDS.get(packet_type)
    if parse_body is None:
        return UnknownPacket(packet_type, count, body)
    return parse_body(count, body)


def _without_padding(body: bytes) -> bytes:
    """Section 6.4.1: the last octet counts the padding, itself included."""
    if not body or not 0 < body[-1] <= len(body):
        raise WireError("rtcp-padding", str(body[-1] if body else 0))
    return body[: -body[-1]]
