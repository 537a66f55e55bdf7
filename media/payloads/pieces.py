"""Formats without any header: packets are pieces of one unit, the marker ends it."""

from media.payloads.assembler import UnitAssembler
from media.payloads.base import MIN_PAYLOAD_BYTES, cut_equal


class PiecesAssembler(UnitAssembler):
    """Base of their depacketizers; a format says how its units begin."""

    __slots__ = ()

    def _take(self, payload: bytes) -> None:
        self._append_fragment(payload)


class PiecesPacketizer:
    """Makes RTP payloads: pieces of equal size."""

    __slots__ = ("_limit",)

    def __init__(self, max_payload_bytes: int) -> None:
        self._limit = max(max_payload_bytes, MIN_PAYLOAD_BYTES)

    def packetize(self, payload: tuple[bytes, ...]) -> list[tuple[bytes, bool]]:
        """The packets of one unit; the marker is on the last."""
        if not payload or not payload[0]:
            return []
        pieces = cut_equal(payload[0], 0, self._limit)
        last = len(pieces) - 1
        return [(piece, index == last) for index, piece in enumerate(pieces)]
