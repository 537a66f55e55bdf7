"""RTP payload format for AV1, "RTP Payload Format For AV1" v1.0 (Alliance for Open Media).

A packet is an aggregation header and OBU elements: whole OBUs, or fragments where Z (the first goes
on from the packet before) or Y (the last goes on in the next) say so. Sizes are before the
elements, but for the last where W gives their number (section 4.4). OBUs come out without size
fields; temporal delimiters, tile lists and padding, which nobody needs, are left out (section 5).

Sequence headers are parameters (`media.codecs.av1`): the tracker takes them out of frames, and
whoever makes packets of a key frame puts `Av1Parameters.obu` before its payload, as parameter sets
of H.264. A unit that begins with one gets the N bit.

No packet but one with N says that it begins a temporal unit. After a loss it is believed of one
with a sequence header or a frame's beginning; where units of several frames were seen (hidden ones,
spatial layers), a frame may be the second of its unit, and only a sequence header is believed.
"""

from flux.base.errors import WireError
from media.codecs.av1 import Av1Parameters
from media.codecs.obu import (
    FRAME,
    FRAME_HEADER,
    METADATA,
    PADDING,
    SEQUENCE_HEADER,
    TEMPORAL_DELIMITER,
    TILE_LIST,
    leb128,
    obu_type,
    read_leb128,
    without_size,
)
from media.payloads.assembler import UnitAssembler
from media.payloads.base import MIN_PAYLOAD_BYTES, DropCallback, Unit, cut_equal

GOES_ON, TO_BE_CONTINUED, NEW_SEQUENCE = 0x80, 0x40, 0x08  # Z, Y and N; W is between
COUNT_SHIFT = 4
MAX_COUNT = 3  # of elements that W can tell
LEFT_OUT = frozenset((TEMPORAL_DELIMITER, TILE_LIST, PADDING))
FRAMES = frozenset((FRAME, FRAME_HEADER))
FIRST = frozenset((SEQUENCE_HEADER, TEMPORAL_DELIMITER))
FIRST_OF_ONE_FRAME = FIRST | FRAMES | {METADATA}


class Av1Depacketizer(UnitAssembler):
    """Makes temporal units from RTP payloads."""

    __slots__ = ("_first",)

    prefix = "av1"

    def __init__(self, on_drop: DropCallback) -> None:
        super().__init__(on_drop)
        self._first = FIRST_OF_ONE_FRAME  # types of OBUs that are believed to begin a unit

    def _take(self, payload: bytes) -> None:
        header = payload[0]
        if bool(header & GOES_ON) != bool(self._fragments):
            self._fail("malformed" if self._fragments else "fu-loss")
            return
        try:
            elements = _elements(payload)
        except WireError:
            self._fail("malformed")
            return
        last = len(elements) - 1
        for index, element in enumerate(elements):
            is_whole = index < last or not header & TO_BE_CONTINUED
            if self._fragments:
                self._append_fragment(element)
                if is_whole and self._fragments:
                    self._end_fragments()
            elif is_whole:
                self._append(element)
            elif not self._skipping:
                self._append_fragment(element)

    def _end(self) -> tuple[Unit, ...]:
        if self._fragments:
            self._fail("fu-loss")  # half an OBU is of no use
        return super()._end()

    def _append(self, part: bytes) -> None:
        try:
            obu = without_size(part)
        except WireError:
            self._fail("malformed")
            return
        if obu_type(obu) not in LEFT_OUT:
            super()._append(obu)

    def _begins_unit(self, payload: bytes) -> bool:
        if not payload or payload[0] & GOES_ON:
            return False
        try:
            obu = _elements(payload)[0]
        except WireError:
            return False
        return bool(payload[0] & NEW_SEQUENCE) or obu_type(obu) in self._first

    def _finish(self, parts: list[bytes]) -> tuple[bytes, ...]:
        if len(parts) > 1 and sum(obu_type(obu) in FRAMES for obu in parts) > 1:
            self._first = FIRST
        return tuple(parts)

    def _is_fragment(self, payload: bytes) -> bool:
        return bool(payload) and bool(payload[0] & GOES_ON)


def _elements(payload: bytes) -> list[bytes]:
    """The OBU elements of a packet, none of them empty; `WireError` if they are malformed."""
    count = payload[0] >> COUNT_SHIFT & MAX_COUNT
    at = 1
    end = len(payload)
    elements: list[bytes] = []
    while at < end:
        if len(elements) + 1 == count:
            size = end - at
        else:
            size, at = read_leb128(payload, at)
        if at + size > end:
            raise WireError("av1-malformed", "element size")
        if size:
            elements.append(payload[at : at + size])
        at += size
    if not elements or (count and len(elements) != count):
        raise WireError("av1-malformed", "elements")
    return elements


class Av1Packetizer:
    """Makes RTP payloads from temporal units.

    OBUs that fit together into one packet, up to three, are joined; one that does not fit into a
    packet is cut to fragments of equal size.
    """

    __slots__ = ("_limit",)

    def __init__(self, max_payload_bytes: int) -> None:
        self._limit = max(max_payload_bytes, MIN_PAYLOAD_BYTES)

    def packetize(self, payload: tuple[bytes, ...]) -> list[tuple[bytes, bool]]:
        """The packets of one temporal unit; the marker is on the last."""
        limit = self._limit
        packets: list[bytes] = []
        small: list[bytes] = []  # waits for company
        size = 1
        for obu in payload:
            if not obu or obu_type(obu) == TEMPORAL_DELIMITER:
                continue
            # The one before needs a size of its own now: two bytes at most below 16 KiB.
            if small and (len(small) == MAX_COUNT or size + 3 + len(obu) > limit):
                packets.append(_aggregate(small))
                small = []
                size = 1
            if len(obu) >= limit:
                pieces = cut_equal(obu, 0, limit - 1)
                head = 1 << COUNT_SHIFT
                last = len(pieces) - 1
                packets += [
                    bytes((head | (i > 0) * GOES_ON | (i < last) * TO_BE_CONTINUED,)) + piece
                    for i, piece in enumerate(pieces)
                ]
            else:
                small.append(obu)
                size += 3 + len(obu)
        if small:
            packets.append(_aggregate(small))
        if not packets:
            return []
        if obu_type(payload[0]) == SEQUENCE_HEADER:
            first = packets[0]
            packets[0] = bytes((first[0] | NEW_SEQUENCE,)) + first[1:]
        result = [(packet, False) for packet in packets]
        result[-1] = (packets[-1], True)
        return result


def _aggregate(obus: list[bytes]) -> bytes:
    parts = [bytes((len(obus) << COUNT_SHIFT,))]
    for obu in obus[:-1]:
        parts += (leb128(len(obu)), obu)
    parts.append(obus[-1])
    return b"".join(parts)


def fmtp_from_parameters(parameters: Av1Parameters) -> dict[str, str]:
    """The format parameters of an SDP offer, section 7.2."""
    head = parameters.sequence
    return {
        "profile": str(head.profile),
        "level-idx": str(head.level),
        "tier": str(head.tier),
    }
