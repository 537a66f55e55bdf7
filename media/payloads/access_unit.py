"""Access units of NAL units to RTP and back: what H.264 and H.265 have in common.

Both know single NAL units, aggregates (16-bit sizes before the units) and fragments (a byte with a
start bit, an end bit and the unit's type), RFC 6184 and RFC 7798; they differ in the NAL header.

Tolerated: a last fragment without its end bit, fragments with both start and end bit (RFC 6184
section 5.8 and RFC 7798 section 4.4.3 forbid them), zeros after the last unit of an aggregate, a
missing marker, and Annex-B start codes between NAL units that a camera packs into one payload or
fragmented unit (RFC 6184 sections 5.6 and 5.8 allow one unit only; the bytes 00 00 01 cannot occur
inside of one). The search for them costs more than all the rest, and who packs units does so from
the first picture on. So slices, which are most of the bytes, are searched at the start only, and
for ever once a start code was found anywhere.
"""

from struct import Struct

from media.codecs.nal import split_annexb
from media.codecs.start_codes import START_CODE
from media.payloads.assembler import UnitAssembler
from media.payloads.base import MAX_UNIT_BYTES, MIN_PAYLOAD_BYTES, DropCallback, cut_equal

SEARCHED_SLICES = 64
SIZE = Struct("!H")


class AccessUnitAssembler(UnitAssembler):
    """Base of the NAL unit depacketizers; a format says what its headers are.

    `don_bytes` is the length of a decoding order number, 0 where packets carry none.
    """

    __slots__ = ("_don_bytes", "_searches")

    has_one_unit_a_time = True
    header_bytes = 1  # of a NAL unit, and of a packet before its FU header or first size
    kinds = bytes(256)  # by the first byte of a payload: its type
    slices = bytes(256)  # by the first byte of a NAL unit: 1 for slices
    aggregate = 0  # packet types
    fragment = 0

    def __init__(self, on_drop: DropCallback, don_bytes: int = 0) -> None:
        super().__init__(on_drop)
        self._searches = SEARCHED_SLICES  # slices to be searched still; -1: all
        self._don_bytes = don_bytes

    # What a format says.

    def _take_single(self, payload: bytes, kind: int) -> None:
        """Take a packet that is neither a fragment nor an aggregate."""
        raise NotImplementedError

    def _original_header(self, payload: bytes) -> bytes:
        """The NAL header of the unit that a first fragment begins; empty if there is none such."""
        raise NotImplementedError

    def _is_leading(self, head: bytes) -> bool:
        """Tell whether a NAL unit, of which this is the head, can be an access unit's first."""
        raise NotImplementedError

    def _read_don(self, payload: bytes, at: int, is_first: bool) -> None:
        """Take the decoding order number of the next NAL unit."""

    # Packets.

    def _take(self, payload: bytes) -> None:
        kind = self.kinds[payload[0]]
        if kind == self.fragment:
            self._take_fragment(payload)
            return
        if self._fragments:
            self._end_fragments()  # quirk: the fragmented unit before has no end bit
        if kind == self.aggregate:
            self._take_aggregate(payload)
        else:
            self._take_single(payload, kind)

    def _take_fragment(self, payload: bytes) -> None:
        at = self.header_bytes
        if len(payload) <= at:
            self._fail("malformed")
            return
        flags = payload[at]
        if flags & 0x80:
            header = self._original_header(payload)
            start = at + 1 + self._don_bytes
            if not header or len(payload) < start:
                self._fail("malformed")
                return
            if self._fragments:
                self._end_fragments()  # quirk: the fragmented unit before has no end bit
            if self._skipping:
                return
            if self._don_bytes:
                self._read_don(payload, at + 1, is_first=True)
            piece = payload[start:]
            self._fragments = [header, piece]
            self._size_bytes += len(header) + len(piece)
        elif self._fragments:
            piece = payload[at + 1 :]
            self._fragments.append(piece)
            self._size_bytes += len(piece)
            if self._size_bytes > MAX_UNIT_BYTES:
                self._fail("unit-too-large")
                return
        else:
            self._fail("fu-loss")
            return
        if flags & 0x40:
            self._end_fragments()

    def _take_aggregate(self, payload: bytes) -> None:
        """STAP-A (RFC 6184 section 5.7.1) or AP, with DONL and DONDs (RFC 7798 section 4.4.2)."""
        at = self.header_bytes
        end = len(payload)
        skip = self._don_bytes  # 2 for DONL, then 1 for DOND
        is_first = True
        while at + skip + 2 < end:
            (size,) = SIZE.unpack_from(payload, at + skip)
            if not size:
                break
            if skip:
                self._read_don(payload, at, is_first)
            at += skip + 2
            if at + size > end or size < self.header_bytes:
                self._fail("malformed")
                return
            self._add(payload[at : at + size])
            at += size
            skip = min(skip, 1)
            is_first = False
        # quirk: cameras that pad an aggregate with zeros, in place of a next size.
        if is_first or payload.count(0, at) != end - at:
            self._fail("malformed")

    def _begins_unit(self, payload: bytes) -> bool:
        at = self.header_bytes
        if len(payload) < at:
            return False
        kind = self.kinds[payload[0]]
        if kind == self.fragment:
            if len(payload) <= at or not payload[at] & 0x80:
                return False
            start = at + 1 + self._don_bytes
            header = self._original_header(payload)
            head = header and header + payload[start : start + 3]
        elif kind == self.aggregate:
            start = at + self._don_bytes + SIZE.size
            head = payload[start : start + 4]
        else:
            start = at + self._don_bytes
            head = payload[:at] + payload[start : start + 3]
        return bool(head) and (START_CODE in head or self._is_leading(head))

    def _is_fragment(self, payload: bytes) -> bool:
        return bool(payload) and self.kinds[payload[0]] == self.fragment

    # NAL units.

    def _add(self, nal: bytes) -> None:
        """Add one NAL unit, or several that a camera packed into one."""
        if self.slices[nal[0]]:
            if not self._searches:
                self._append(nal)
                return
            if self._searches > 0:
                self._searches -= 1
        if START_CODE in nal:
            # quirk: cameras that put a whole Annex-B access unit into one NAL or FU payload.
            self._searches = -1
            for piece in split_annexb(nal):
                self._append(piece)
        else:
            self._append(nal)

    def _end_fragments(self) -> None:
        nal = b"".join(self._fragments)
        self._fragments = []
        self._size_bytes -= len(nal)  # `_append` counts it again
        self._add(nal)


class AccessUnitPacketizer:
    """Base of the NAL unit packetizers.

    NAL units that fit together into one packet are joined to an aggregate, one that does not fit
    into a packet is cut to fragments of equal size.
    """

    __slots__ = ("_limit",)

    header_bytes = 1  # as in AccessUnitAssembler

    def __init__(self, max_payload_bytes: int) -> None:
        self._limit = max(max_payload_bytes, MIN_PAYLOAD_BYTES)

    def _fragment_header(self, nal: bytes) -> tuple[bytes, int]:
        """The packet header of a NAL unit's fragments, and its type for the FU header."""
        raise NotImplementedError

    def _aggregate_header(self, nals: list[bytes]) -> bytes:
        """The packet header of an aggregate."""
        raise NotImplementedError

    def packetize(self, payload: tuple[bytes, ...]) -> list[tuple[bytes, bool]]:
        """The packets of one access unit; the marker is on the last."""
        limit = self._limit
        header_bytes = self.header_bytes
        packets: list[bytes] = []
        small: list[bytes] = []  # waits for company
        size = header_bytes
        for nal in payload:
            if len(nal) < header_bytes:
                continue
            if small and size + 2 + len(nal) > limit:
                packets.append(self._aggregate(small))
                small = []
                size = header_bytes
            if len(nal) > limit:
                header, kind = self._fragment_header(nal)
                pieces = cut_equal(nal, header_bytes, limit - header_bytes - 1)
                last = pieces.pop()
                packets.append(header + bytes((kind | 0x80,)) + pieces[0])
                middle = header + bytes((kind,))
                packets += [middle + piece for piece in pieces[1:]]
                packets.append(header + bytes((kind | 0x40,)) + last)
            else:
                small.append(nal)
                size += 2 + len(nal)
        if small:
            packets.append(self._aggregate(small))
        if not packets:
            return []
        result = [(packet, False) for packet in packets]
        result[-1] = (packets[-1], True)
        return result

    def _aggregate(self, nals: list[bytes]) -> bytes:
        """One NAL unit as it is, several as an aggregate."""
        if len(nals) == 1:
            return nals[0]
        parts = [self._aggregate_header(nals)]
        for nal in nals:
            parts += (SIZE.pack(len(nal)), nal)
        return b"".join(parts)
