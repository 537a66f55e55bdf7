"""RTP payload format for H.264, RFC 6184: single NAL unit, STAP-A and FU-A.

The interleaved packets STAP-B, MTAP16, MTAP24 and FU-B are refused by name; they appear in
packetization-mode 2 alone, which no known camera sends.

Tolerated, besides what `access_unit` says: reserved NAL unit types (left out).
"""

from collections.abc import Mapping

from flux.base.errors import WireError
from media.codecs.h264 import NAL_AUD, NAL_PPS, NAL_SEI, NAL_SPS, H264Parameters
from media.codecs.start_codes import START_CODE
from media.payloads.access_unit import AccessUnitAssembler, AccessUnitPacketizer
from media.payloads.sprop import encode_sprop, read_sprop

STAP_A, STAP_B, MTAP16, MTAP24, FU_A, FU_B = range(24, 30)

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
    kinds = bytes(first & 31 for first in range(256))
    slices = bytes(first & 31 in SLICE_TYPES for first in range(256))
    aggregate = STAP_A
    fragment = FU_A

    def _take_single(self, payload: bytes, kind: int) -> None:
        if 0 < kind < STAP_A:
            self._add(payload)
        elif kind in REFUSED:
            self._fail(REFUSED[kind])
        elif START_CODE in payload[:4]:
            self._add(payload)  # quirk: a byte stream, start code first
        else:
            # Types 0, 30 and 31 mean nothing: decoders ignore them (H.264 section 7.4.1).
            self._on_drop("h264-reserved-type")

    def _original_header(self, payload: bytes) -> bytes:
        kind = payload[1] & 31
        if not kind:  # quirk: a byte stream, as above
            return b"\0" if START_CODE in b"\0" + payload[2:5] else b""
        return bytes((payload[0] & 0xE0 | kind,)) if kind < STAP_A else b""

    def _is_leading(self, head: bytes) -> bool:
        kind = head[0] & 31
        if kind in SLICE_TYPES:
            return head[1:2] >= b"\x80"  # first_mb_in_slice is 0: ue(v) is the single bit 1
        return kind in LEADING_TYPES


class H264Packetizer(AccessUnitPacketizer):
    """Makes RTP payloads of packetization-mode 1 (section 6.3) from access units."""

    __slots__ = ()

    def _fragment_header(self, nal: bytes) -> tuple[bytes, int]:
        return bytes((nal[0] & 0xE0 | FU_A,)), nal[0] & 31

    def _aggregate_header(self, nals: list[bytes]) -> bytes:
        # Section 5.7: F is set if it is set in any unit, NRI is the highest of all.
        header = STAP_A | max(nal[0] & 0x60 for nal in nals)
        for nal in nals:
            header |= nal[0] & 0x80
        return bytes((header,))


def parameters_from_fmtp(
    fmtp: Mapping[str, str], clock_rate: int = 90000, channels: int = 1
) -> H264Parameters | None:
    """Parameters of `sprop-parameter-sets` (section 8.1); None if no usable set is there."""
    sets = read_sprop(fmtp, ("sprop-parameter-sets",), H264Depacketizer.kinds)
    try:
        return H264Parameters.build(sets[NAL_SPS], sets[NAL_PPS])
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
