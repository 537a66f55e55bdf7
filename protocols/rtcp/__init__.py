"""The RTP Control Protocol, RFC 3550 section 6."""

from protocols.rtcp.compound import parse_compound, serialize_compound
from protocols.rtcp.packet import (
    Application,
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    SourceDescription,
    UnknownPacket,
)
from protocols.rtcp.report import ReceiverReporter

__all__ = (
    "parse_compound",
    "serialize_compound",
    "RtcpPacket",
    "SenderReport",
    "ReceiverReport",
    "ReportBlock",
    "SourceDescription",
    "Goodbye",
    "Application",
    "UnknownPacket",
    "ReceiverReporter",
)
