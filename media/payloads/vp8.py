"""RTP payload format for VP8, RFC 7741: the payload descriptor before pieces of one frame.

All that the descriptor says beyond the start of a frame (picture number, temporal layer, partition)
is for senders and receivers that drop layers or ask for repair; frames are whole here, so it is
checked and left out. A frame is cut without regard to its partitions, and PID stays 0, as section
4.2 allows.
"""

from media.payloads.assembler import UnitAssembler
from media.payloads.base import MIN_PAYLOAD_BYTES, cut_equal

EXTENDED, START = 0x80, 0x10  # X and S of the first byte
PICTURE_ID, TL0PICIDX, TID_OR_KEYIDX = 0x80, 0x40, 0x30  # I, L, T or K of the second
START_MASK = START | 0x07  # S and PID
DESCRIPTOR_BYTES = 4  # of those that are made here: X, I and a picture number of 15 bits


class Vp8Depacketizer(UnitAssembler):
    """Makes frames from RTP payloads."""

    __slots__ = ()

    prefix = "vp8"

    def _take(self, payload: bytes) -> None:
        first = payload[0]
        at = 1
        if first & EXTENDED:
            at = _descriptor_bytes(payload)
        if at >= len(payload):
            self._fail("malformed")
            return
        is_start = first & START_MASK == START
        if is_start == bool(self._fragments):
            # A piece of a frame without a beginning, or a second one of the same time stamp.
            self._fail("malformed" if is_start else "fu-loss")
            return
        self._append_fragment(payload[at:])

    def _begins_unit(self, payload: bytes) -> bool:
        return bool(payload) and payload[0] & START_MASK == START


def _descriptor_bytes(payload: bytes) -> int:
    """The length of an extended descriptor, section 4.2; it may go beyond the payload."""
    flags = payload[1] if len(payload) > 1 else 0
    at = 2
    if flags & PICTURE_ID:
        at += 2 if len(payload) > 2 and payload[2] & 0x80 else 1
    if flags & TL0PICIDX:
        at += 1
    if flags & TID_OR_KEYIDX:
        at += 1
    return at


class Vp8Packetizer:
    """Makes RTP payloads from frames, in pieces of equal size, with picture numbers of 15 bits."""

    __slots__ = ("_limit", "_picture")

    def __init__(self, max_payload_bytes: int) -> None:
        self._limit = max(max_payload_bytes, MIN_PAYLOAD_BYTES)
        self._picture = 0

    def packetize(self, payload: tuple[bytes, ...]) -> list[tuple[bytes, bool]]:
        """The packets of one frame; the marker is on the last."""
        if not payload or not payload[0]:
            return []
        picture = self._picture
        self._picture = picture + 1 & 0x7FFF
        number = bytes((PICTURE_ID, 0x80 | picture >> 8, picture & 0xFF))
        begin, middle = bytes((EXTENDED | START,)) + number, bytes((EXTENDED,)) + number
        pieces = cut_equal(payload[0], 0, self._limit - DESCRIPTOR_BYTES)
        packets = [(middle + piece, False) for piece in pieces]
        packets[0] = (begin + pieces[0], False)
        packets[-1] = (packets[-1][0], True)
        return packets
