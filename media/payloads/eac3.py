"""RTP payload format for E-AC-3, RFC 4598.

As AC-3, but the frame type is one bit (section 4.1): whole frames, or a fragment, of which only the
sync word tells whether it is the first. What is passed on is an access unit: the frames of all
substreams of one instant, which this wants to be in one packet or in fragments of one frame.
"""

from media.codecs.ac3 import SYNC_WORD, Ac3Header
from media.codecs.eac3 import access_units
from media.payloads.ac3 import HEADER_BYTES, MAX_FRAGMENTS, Ac3Depacketizer
from media.payloads.base import MIN_PAYLOAD_BYTES, cut_equal

FRAGMENT = 1  # F


class Eac3Depacketizer(Ac3Depacketizer):
    """Makes access units from RTP payloads."""

    __slots__ = ()

    prefix = "eac3"

    def _is_whole(self, payload: bytes) -> bool:
        return not payload[0] & FRAGMENT

    def _is_head(self, payload: bytes) -> bool:
        # Within a frame the two bytes can be there by chance.
        return not self._pieces and payload.startswith(SYNC_WORD, HEADER_BYTES)

    def _access_units(self, data: bytes) -> list[tuple[int, Ac3Header]]:
        return access_units(data)


class Eac3Packetizer:
    """Makes RTP payloads; an access unit that does not fit is cut into equal fragments."""

    __slots__ = ("_limit",)

    def __init__(self, max_payload_bytes: int) -> None:
        self._limit = max(max_payload_bytes, MIN_PAYLOAD_BYTES) - HEADER_BYTES

    def packetize(self, payload: tuple[bytes, ...]) -> list[tuple[bytes, bool]]:
        """The packets of one access unit; the marker is on the last."""
        unit = payload[0] if len(payload) == 1 else b"".join(payload)
        if not unit:
            return []
        if len(unit) <= self._limit:
            return [(bytes((0, _frames(unit))) + unit, True)]
        pieces = cut_equal(unit, 0, self._limit)
        count = len(pieces)
        if count > MAX_FRAGMENTS:
            return []
        head = bytes((FRAGMENT, count))
        return [(head + piece, index == count - 1) for index, piece in enumerate(pieces)]


def _frames(unit: bytes) -> int:
    """How many frames there are, each with its size in its header."""
    count = at = 0
    while at + 4 <= len(unit) and count < MAX_FRAGMENTS:
        at += 2 * ((unit[at + 2] << 8 | unit[at + 3]) & 0x7FF) + 2
        count += 1
    return count or 1
