"""RTP payload format for KLV metadata (SMPTE ST 336), RFC 6597: pieces of one KLV unit.

No packet says that it begins a unit (section 4.2). After a loss it is believed of one that begins
with a universal label (SMPTE ST 298), as every KLV unit does, those of local sets too.
"""

from media.payloads.pieces import PiecesAssembler, PiecesPacketizer

UNIVERSAL_LABEL = b"\x06\x0e\x2b\x34"


class KlvDepacketizer(PiecesAssembler):
    """Makes KLV units from RTP payloads."""

    __slots__ = ()

    prefix = "klv"

    def _begins_unit(self, payload: bytes) -> bool:
        return payload.startswith(UNIVERSAL_LABEL)


class KlvPacketizer(PiecesPacketizer):
    """Makes RTP payloads from KLV units."""

    __slots__ = ()
