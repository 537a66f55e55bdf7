"""RTP payload format for H.264, RFC 6184: single NAL unit, STAP-A and FU-A.

The interleaved packets STAP-B, MTAP16, MTAP24 and FU-B are refused by name; they appear in
packetization-mode 2 alone, which no known camera sends.

Tolerated, besides what `access_unit` says: FU-A with both start and end bit (forbidden by section
5.8), zeros after the last unit of a STAP-A, reserved NAL unit types (left out).
"""

from collections.abc import Mapping
from struct import Struct

from flux.base.errors import WireError
from media.codecs.h264 import NAL_AUD, NAL_PPS, NAL_SEI, NAL_SPS, H264Parameters
from media.codecs.nal import START_CODE
from media.payloads.access_unit import AccessUnitAssembler
from media.payloads.base import MAX_UNIT_BYTES, MIN_PAYLOAD_BYTES, cut_equal
from media.payloads.sprop import decode_sprop, encode_sprop

STAP_A, STAP_B, MTAP16, MTAP24, FU_A, FU_B = range(24, 30)
FU_HEADER_BYTES = 2
SIZE = Struct("!H")

REFUSED = {
    STAP_B: "stap-b-unsupported",
    MTAP16: "mtap16-unsupported",
    MTAP24: "mtap24-unsupported",
    FU_B: "fu-b-unsupported",
}

# NAL unit types that come before the first slice of an access unit (H.264 section 7.4.1.2.3):
# SEI, SPS, PPS, AUD, prefix unit, SPS extension and subset SPS.
LEADING_TYPES = frozenset((NAL_SEI, NAL_SPS, NAL_PPS, NAL_AUD, 13, 14, 15))
SLICE_TYPES = frozenset((1, 2, 5))  # those that start with first_mb_in_slice


class H264Depacketizer(AccessUnitAssembler):
    """Makes access units from RTP payloads."""

    __slots__ = ()

    prefix = "h264"
    slices = bytes(first & 31 in SLICE_TYPES for first in range(256))

    def _take(self, payload: bytes) -> None:
        kind = payload[0] & 31
        if kind == FU_A:
            if len(payload) < FU_HEADER_BYTES:
                self._fail("malformed")
                return
            flags = payload[1]
            if flags < 64:  # neither start nor end: the hot path
                if not self._fragments:
                    self._fail("fu-loss")
                    return
                self._fragments.append(payload[2:])
                self._size_bytes += len(payload)
                if self._size_bytes > MAX_UNIT_BYTES:
                    self._fail("unit-too-large")
            else:
                self._take_fragment_edge(payload, flags)
            return
        if self._fragments:
            self._end_fragments()  # quirk: the fragmented unit before has no end bit
        if 0 < kind < STAP_A:
            self._add(payload)
        elif kind == STAP_A:
            self._take_aggregate(payload)
        elif kind in REFUSED:
            self._fail(REFUSED[kind])
        elif START_CODE in payload[:4]:
            self._add(payload)  # quirk: a byte stream, start code first
        else:
            # Types 0, 30 and 31 mean nothing: decoders ignore them (H.264 section 7.4.1).
            self._on_drop("h264-reserved-type")

    def _take_fragment_edge(self, payload: bytes, flags: int) -> None:
        """A fragment with the start bit, the end bit or both, section 5.8."""
        if flags & 0x80:
            kind = flags & 31
            header = bytes((payload[0] & 0xE0 | kind if kind else 0,))
            is_stream = START_CODE in header + payload[2:5]  # quirk: a byte stream, as above
            if kind >= STAP_A or not (kind or is_stream):
                self._fail("malformed")
                return
            self._begin_fragments(header, payload[2:])
        elif self._fragments:
            self._fragments.append(payload[2:])
            self._size_bytes += len(payload)
        else:
            self._fail("fu-loss")
            return
        if flags & 0x40 and self._fragments:
            self._end_fragments()

    def _take_aggregate(self, payload: bytes) -> None:
        """STAP-A, section 5.7.1: 16-bit sizes before the NAL units."""
        at = 1
        end = len(payload)
        while at + 2 < end:
            (size,) = SIZE.unpack_from(payload, at)
            at += 2
            if not size:
                break
            if at + size > end:
                self._fail("malformed")
                return
            self._add(payload[at : at + size])
            at += size
        # quirk: cameras that pad a STAP-A with zeros, in place of a next size.
        if payload.count(0, at) != end - at:
            self._fail("malformed")

    def _begins_unit(self, payload: bytes) -> bool:
        head = payload[:4]  # of the first NAL unit in it
        kind = head[0] & 31 if head else STAP_B
        if kind == FU_A:
            if len(payload) < FU_HEADER_BYTES or not payload[1] & 0x80:
                return False
            head = bytes((payload[1] & 31,)) + payload[2:5]
        elif kind == STAP_A:
            head = payload[3:7]
        if not head:
            return False
        kind = head[0] & 31
        if kind in SLICE_TYPES:
            return head[1:2] >= b"\x80"  # first_mb_in_slice is 0: ue(v) is the single bit 1
        return kind in LEADING_TYPES or START_CODE in head

    def _is_fragment(self, payload: bytes) -> bool:
        return bool(payload) and payload[0] & 31 == FU_A


class H264Packetizer:
    """Makes RTP payloads of packetization-mode 1 (section 6.3) from access units.

    NAL units that fit together into one packet are joined to a STAP-A, one that does not fit into
    a packet is cut to FU-A of equal size.
    """

    __slots__ = ("_limit",)

    def __init__(self, max_payload_bytes: int) -> None:
        self._limit = max(max_payload_bytes, MIN_PAYLOAD_BYTES)

    def packetize(self, payload: tuple[bytes, ...]) -> list[tuple[bytes, bool]]:
        """The packets of one access unit; the marker is on the last."""
        limit = self._limit
        packets: list[bytes] = []
        small: list[bytes] = []  # waits for company
        size = 1
        for nal in payload:
            if not nal:
                continue
            if small and size + 2 + len(nal) > limit:
                packets.append(_aggregate(small))
                small = []
                size = 1
            if len(nal) > limit:
                header = nal[0]
                begin = bytes((header & 0xE0 | FU_A, header & 31 | 0x80))
                middle = bytes((begin[0], header & 31))
                pieces = cut_equal(nal, 1, limit - FU_HEADER_BYTES)
                last = pieces.pop()
                packets.append(begin + pieces[0])
                packets += [middle + piece for piece in pieces[1:]]
                packets.append(bytes((begin[0], header & 31 | 0x40)) + last)
            else:
                small.append(nal)
                size += 2 + len(nal)
        if small:
            packets.append(_aggregate(small))
        if not packets:
            return []
        result = [(packet, False) for packet in packets]
        result[-1] = (packets[-1], True)
        return result


def _aggregate(nals: list[bytes]) -> bytes:
    """One NAL unit as it is, several as a STAP-A."""
    if len(nals) == 1:
        return nals[0]
    # Section 5.7: F is set if it is set in any unit, NRI is the highest of all.
    header = STAP_A | max(nal[0] & 0x60 for nal in nals)
    for nal in nals:
        header |= nal[0] & 0x80
    parts = [bytes((header,))]
    for nal in nals:
        parts += (SIZE.pack(len(nal)), nal)
    return b"".join(parts)


def parameters_from_fmtp(
    fmtp: Mapping[str, str], clock_rate: int = 90000, channels: int = 1
) -> H264Parameters | None:
    """Parameters of `sprop-parameter-sets` (section 8.1); None if no usable set is there."""
    nals = decode_sprop(fmtp.get("sprop-parameter-sets", ""))
    sps = [nal for nal in nals if nal[0] & 31 == NAL_SPS]
    pps = [nal for nal in nals if nal[0] & 31 == NAL_PPS]
    if not sps or not pps:
        return None
    try:
        return H264Parameters.build(sps, pps)
    except WireError:
        return None


def fmtp_from_parameters(parameters: H264Parameters) -> dict[str, str]:
    """The format parameters of an SDP offer, section 8.2.1."""
    profile = parameters.profile_idc << 16 | parameters.constraint_flags << 8
    return {
        "packetization-mode": "1",
        "profile-level-id": f"{profile | parameters.level_idc:06X}",
        "sprop-parameter-sets": encode_sprop((*parameters.sps, *parameters.pps)),
    }
