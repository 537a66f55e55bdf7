"""RTP payload format for H.265, RFC 7798: single NAL unit, AP and FU; PACI is refused by name.

With sprop-max-don-diff above 0 every NAL unit carries a decoding order number (DON). Units may then
be out of order within an access unit: they are sorted. Units that are out of order across access
units are refused by name (`h265-interleaving-unsupported`); no known camera sends them.

Tolerated, besides what `access_unit` says: reserved packet types (left out).
"""

from collections.abc import Mapping

from flux.base.errors import WireError
from flux.base.serial import add, distance
from media.codecs.h265 import H265Parameters
from media.codecs.h265_sets import NAL_AUD, NAL_PPS, NAL_PREFIX_SEI, NAL_SPS, NAL_VPS
from media.payloads.access_unit import SIZE, AccessUnitAssembler, AccessUnitPacketizer
from media.payloads.base import DropCallback
from media.payloads.sprop import encode_sprop, read_sprop

AP, FU, PACI = 48, 49, 50
HEADER_BYTES = 2
DON_BITS = 16

# NAL unit types that come before the first slice of an access unit (H.265 section 7.4.2.4.4).
LEADING_TYPES = frozenset((NAL_VPS, NAL_SPS, NAL_PPS, NAL_AUD, NAL_PREFIX_SEI, 41, 42, 43, 44))


class H265Depacketizer(AccessUnitAssembler):
    """Makes access units from RTP payloads."""

    __slots__ = ("_don", "_dons", "_last_don")

    prefix = "h265"
    header_bytes = HEADER_BYTES
    kinds = bytes(first >> 1 & 63 for first in range(256))
    slices = bytes(kind < NAL_VPS for kind in kinds)
    aggregate = AP
    fragment = FU

    def __init__(self, on_drop: DropCallback, has_don: bool = False) -> None:
        super().__init__(on_drop, 2 if has_don else 0)
        self._don = 0  # of the NAL unit that is being added
        self._dons: list[int] = []  # one for each of `_parts`
        self._last_don: int | None = None  # the highest of the access units that went out

    def _take_single(self, payload: bytes, kind: int) -> None:
        don_bytes = self._don_bytes
        if len(payload) < HEADER_BYTES + don_bytes:
            self._fail("malformed")
        elif kind < AP:
            if don_bytes:  # DONL, section 4.4.1
                self._read_don(payload, HEADER_BYTES, is_first=True)
                payload = payload[:HEADER_BYTES] + payload[HEADER_BYTES + don_bytes :]
            self._add(payload)
        elif kind == PACI:
            self._fail("paci-unsupported")
        else:
            self._on_drop("h265-reserved-type")

    def _original_header(self, payload: bytes) -> bytes:
        kind = payload[2] & 63
        return bytes((payload[0] & 0x81 | kind << 1, payload[1])) if kind < AP else b""

    def _is_leading(self, head: bytes) -> bool:
        kind = head[0] >> 1 & 63
        if kind < NAL_VPS:  # a slice: first_slice_segment_in_pic_flag is its first bit
            return head[2:3] >= b"\x80"
        return kind in LEADING_TYPES

    def _read_don(self, payload: bytes, at: int, is_first: bool) -> None:
        if is_first:
            (self._don,) = SIZE.unpack_from(payload, at)
        else:
            self._don = add(self._don, payload[at] + 1, DON_BITS)

    def _append(self, part: bytes) -> None:
        super()._append(part)
        if self._don_bytes and not self._skipping:
            self._dons.append(self._don)

    def _drop(self, reason: str) -> None:
        super()._drop(reason)
        self._dons = []
        self._last_don = None  # a jump of the numbers is to be expected

    def _finish(self, parts: list[bytes]) -> tuple[bytes, ...]:
        if not self._don_bytes:
            return tuple(parts)
        dons, self._dons = self._dons, []
        first = dons[0]
        order = sorted(range(len(dons)), key=lambda i: distance(dons[i], first, DON_BITS))
        lowest, highest = dons[order[0]], dons[order[-1]]
        last, self._last_don = self._last_don, highest
        if last is not None and distance(lowest, last, DON_BITS) < 0:
            self._on_drop("h265-interleaving-unsupported")
            return ()
        return tuple(parts[i] for i in order)


class H265Packetizer(AccessUnitPacketizer):
    """Makes RTP payloads without decoding order numbers from access units."""

    __slots__ = ()

    header_bytes = HEADER_BYTES

    def _fragment_header(self, nal: bytes) -> tuple[bytes, int]:
        return bytes((nal[0] & 0x81 | FU << 1, nal[1])), nal[0] >> 1 & 63

    def _aggregate_header(self, nals: list[bytes]) -> bytes:
        # Section 4.4.2: F is set if it is set in any, layer and temporal id are the lowest of all.
        forbidden = max(nal[0] & 0x80 for nal in nals)
        layer = min((nal[0] & 1) << 5 | nal[1] >> 3 for nal in nals)
        temporal = min(nal[1] & 7 for nal in nals)
        return bytes((forbidden | AP << 1 | layer >> 5, (layer & 31) << 3 | temporal))


def has_decoding_order(fmtp: Mapping[str, str]) -> bool:
    """Whether sprop-max-don-diff says that packets carry DONL and DOND fields, section 7.1."""
    value = fmtp.get("sprop-max-don-diff", "").strip()
    return value.isdecimal() and value.strip("0") != ""


def parameters_from_fmtp(
    fmtp: Mapping[str, str], clock_rate: int = 90000, channels: int = 1
) -> H265Parameters | None:
    """Parameters of sprop-vps, sprop-sps and sprop-pps (section 7.1); None if one is missing."""
    # By their type, not by their name: quirk: encoders that put all into one of the three.
    sets = read_sprop(fmtp, ("sprop-vps", "sprop-sps", "sprop-pps"), H265Depacketizer.kinds)
    try:
        return H265Parameters.build(sets[NAL_VPS], sets[NAL_SPS], sets[NAL_PPS])
    except WireError:
        return None


def fmtp_from_parameters(parameters: H265Parameters) -> dict[str, str]:
    """The format parameters of an SDP offer, section 7.1."""
    profile = parameters.profile
    return {
        "profile-space": str(profile.space),
        "profile-id": str(profile.idc),
        "tier-flag": str(int(profile.is_high_tier)),
        "level-id": str(profile.level_idc),
        "interop-constraints": f"{profile.constraints:012X}",
        "sprop-vps": encode_sprop(parameters.vps),
        "sprop-sps": encode_sprop(parameters.sps),
        "sprop-pps": encode_sprop(parameters.pps),
    }
