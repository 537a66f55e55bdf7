"""RTP payload format for ONVIF metadata, ONVIF Streaming Specification section 5.1.2.1.

A unit is one XML document of `tt:MetadataStream`; its packets are pieces of it, the marker ends it.
After a loss a packet is believed to begin one if it begins with an XML declaration or with the
root's start tag. The compressed forms (`vnd.onvif.metadata.gzip`, `.exi.onvif`) stay opaque.
"""

from media.payloads.pieces import PiecesAssembler, PiecesPacketizer

DECLARATION = b"<?xml"
ROOT = b"MetadataStream"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SEARCHED_BYTES = 64


class OnvifDepacketizer(PiecesAssembler):
    """Makes XML documents from RTP payloads."""

    __slots__ = ()

    prefix = "onvif"

    def _begins_unit(self, payload: bytes) -> bool:
        head = payload[:SEARCHED_BYTES].removeprefix(BYTE_ORDER_MARK).lstrip()
        if head.startswith(DECLARATION):
            return True
        # The root's start tag with any prefix, or none: `<tt:MetadataStream xmlns:tt=...`.
        tag = head[1:].replace(b">", b" ").split(maxsplit=1)[:1]
        is_start = head.startswith(b"<") and not head.startswith(b"</")
        return is_start and bool(tag) and tag[0].rpartition(b":")[2] == ROOT


class OnvifPacketizer(PiecesPacketizer):
    """Makes RTP payloads from XML documents."""

    __slots__ = ()
