"""Session descriptions, RFC 8866."""

from protocols.sdp.fmtp import FormatParameters
from protocols.sdp.media import Attribute, Bandwidth, MediaDescription, PayloadType
from protocols.sdp.session import Origin, SessionDescription

__all__ = (
    "SessionDescription",
    "MediaDescription",
    "PayloadType",
    "FormatParameters",
    "Origin",
    "Attribute",
    "Bandwidth",
)
