"""RTP payload format for H.265, RFC 7798: single NAL unit, AP and FU; PACI is refused by name.

With sprop-max-don-diff above 0 every NAL unit carries a decoding order number (DON). Units may then
be out of order within an access unit: they are sorted. Units that are out of order across access
units are refused by name (`h265-interleaving-unsupported`); no known camera sends them.

Tolerated, besides what `access_unit` says: FU with both start and end bit (forbidden by section
4.4.3), zeros after the last unit of an AP, reserved packet types (left out).
"""

from collections.abc import Mapping
from struct import Struct

from flux.base.errors import WireError
from flux.base.serial import add, distance
from media.codecs.h265 import H265Parameters
from media.codecs.h265_sets import NAL_AUD, NAL_PPS, NAL_PREFIX_SEI, NAL_SPS, NAL_VPS
from media.codecs.nal import START_CODE
from media.payloads.access_unit import AccessUnitAssembler
from media.payloads.base import (
    MAX_UNIT_BYTES,
    MIN_PAYLOAD_BYTES,
    NOTHING,
    DropCallback,
    Unit,
    cut_equal,
)
from media.payloads.sprop import decode_sprop, encode_sprop

AP, FU, PACI = 48, 49, 50
HEADER_BYTES = 2
FU_HEADER_BYTES = 3
DON_BITS = 16
SIZE = Struct("!H")

# NAL unit types that come before the first slice of an access unit (H.265 section 7.4.2.4.4).
LEADING_TYPES = frozenset((NAL_VPS, NAL_SPS, NAL_PPS, NAL_AUD, NAL_PREFIX_SEI, 41, 42, 43, 44))


class H265Depacketizer(AccessUnitAssembler):
    """Makes access units from RTP payloads."""

    __slots__ = ("_don", "_don_bytes", "_dons", "_last_don")

    prefix = "h265"
    slices = bytes(first >> 1 & 63 < NAL_VPS for first in range(256))

    def __init__(self, on_drop: DropCallback, has_don: bool = False) -> None:
        super().__init__(on_drop)
        self._don_bytes = 2 if has_don else 0
        self._don = 0  # of the NAL unit that is being added
        self._dons: list[int] = []  # one for each of `_nals`
        self._last_don: int | None = None  # the highest of the access units that went out

    def _take(self, payload: bytes) -> None:
        kind = payload[0] >> 1 & 63
        if len(payload) < (FU_HEADER_BYTES if kind == FU else HEADER_BYTES):
            self._fail("malformed")
            return
        if kind == FU:
            flags = payload[2]
            if flags < 64:  # neither start nor end: the hot path
                if not self._fragments:
                    self._fail("fu-loss")
                    return
                self._fragments.append(payload[3:])
                self._size_bytes += len(payload)
                if self._size_bytes > MAX_UNIT_BYTES:
                    self._fail("unit-too-large")
            else:
                self._take_fragment_edge(payload, flags)
            return
        if self._fragments:
            self._end_fragments()  # quirk: the fragmented unit before has no end bit
        if kind < AP:
            if self._don_bytes:
                self._take_single_don(payload)
            else:
                self._add(payload)
        elif kind == AP:
            self._take_aggregate(payload)
        elif kind == PACI:
            self._fail("paci-unsupported")
        else:
            self._on_drop("h265-reserved-type")

    def _take_single_don(self, payload: bytes) -> None:
        """A single NAL unit packet with DONL, section 4.4.1."""
        if len(payload) < HEADER_BYTES + 2:
            self._fail("malformed")
            return
        (self._don,) = SIZE.unpack_from(payload, HEADER_BYTES)
        self._add(payload[:HEADER_BYTES] + payload[HEADER_BYTES + 2 :])

    def _take_fragment_edge(self, payload: bytes, flags: int) -> None:
        """A fragment with the start bit, the end bit or both, section 4.4.3."""
        if flags & 0x80:
            kind = flags & 63
            at = FU_HEADER_BYTES + self._don_bytes
            if kind >= AP or len(payload) < at:
                self._fail("malformed")
                return
            header = bytes((payload[0] & 0x81 | kind << 1, payload[1]))
            self._begin_fragments(header, payload[at:])
            if self._don_bytes:  # after the unit before, if that one was still open
                (self._don,) = SIZE.unpack_from(payload, FU_HEADER_BYTES)
        elif self._fragments:
            self._fragments.append(payload[3:])
            self._size_bytes += len(payload)
        else:
            self._fail("fu-loss")
            return
        if flags & 0x40 and self._fragments:
            self._end_fragments()

    def _take_aggregate(self, payload: bytes) -> None:
        """AP, section 4.4.2: 16-bit sizes before the NAL units, with DONL and DONDs if in use."""
        at = HEADER_BYTES
        end = len(payload)
        is_first = True
        while at < end:
            skip = 0
            if self._don_bytes:
                skip = 2 if is_first else 1
            if at + skip + 2 >= end:
                break
            (size,) = SIZE.unpack_from(payload, at + skip)
            if not size:
                break
            if skip == 2:
                (self._don,) = SIZE.unpack_from(payload, at)
            elif skip:
                self._don = add(self._don, payload[at] + 1, DON_BITS)
            at += skip + 2
            if at + size > end or size < HEADER_BYTES:
                self._fail("malformed")
                return
            self._add(payload[at : at + size])
            at += size
            is_first = False
        # quirk: encoders that pad an AP with zeros, in place of a next size.
        if is_first or payload.count(0, at) != end - at:
            self._fail("malformed")

    def _append(self, nal: bytes) -> None:
        super()._append(nal)
        if self._don_bytes and not self._skipping:
            self._dons.append(self._don)

    def _drop(self, reason: str) -> None:
        super()._drop(reason)
        self._dons = []
        self._last_don = None  # a jump of the numbers is to be expected

    def _end(self) -> tuple[Unit, ...]:
        units = super()._end()
        if not units or not self._don_bytes:
            return units
        dons, self._dons = self._dons, []
        first = dons[0]
        order = sorted(range(len(dons)), key=lambda i: distance(dons[i], first, DON_BITS))
        lowest, highest = dons[order[0]], dons[order[-1]]
        last, self._last_don = self._last_don, highest
        if last is not None and distance(lowest, last, DON_BITS) < 0:
            self._on_drop("h265-interleaving-unsupported")
            return NOTHING
        unit = units[0]
        unit.payload = tuple(unit.payload[i] for i in order)
        return units

    def _begins_unit(self, payload: bytes) -> bool:
        if len(payload) < HEADER_BYTES:
            return False
        if START_CODE in payload[:4]:
            return True  # quirk: a byte stream, start code first
        don_bytes = self._don_bytes
        kind = payload[0] >> 1 & 63
        at = HEADER_BYTES + don_bytes  # of the first slice's header, if it is one
        if kind == FU:
            if len(payload) < FU_HEADER_BYTES or not payload[2] & 0x80:
                return False
            kind = payload[2] & 63
            at = FU_HEADER_BYTES + don_bytes
        elif kind == AP:
            at = HEADER_BYTES + don_bytes + SIZE.size
            if len(payload) <= at:
                return False
            kind = payload[at] >> 1 & 63
            at += HEADER_BYTES
        if kind < NAL_VPS:  # a slice: first_slice_segment_in_pic_flag is its first bit
            return payload[at : at + 1] >= b"\x80"
        return kind in LEADING_TYPES

    def _is_fragment(self, payload: bytes) -> bool:
        return bool(payload) and payload[0] >> 1 & 63 == FU


class H265Packetizer:
    """Makes RTP payloads without decoding order numbers from access units.

    NAL units that fit together into one packet are joined to an AP, one that does not fit into a
    packet is cut to FUs of equal size.
    """

    __slots__ = ("_limit",)

    def __init__(self, max_payload_bytes: int) -> None:
        self._limit = max(max_payload_bytes, MIN_PAYLOAD_BYTES)

    def packetize(self, payload: tuple[bytes, ...]) -> list[tuple[bytes, bool]]:
        """The packets of one access unit; the marker is on the last."""
        limit = self._limit
        packets: list[bytes] = []
        small: list[bytes] = []  # waits for company
        size = HEADER_BYTES
        for nal in payload:
            if len(nal) < HEADER_BYTES:
                continue
            if small and size + 2 + len(nal) > limit:
                packets.append(_aggregate(small))
                small = []
                size = HEADER_BYTES
            if len(nal) > limit:
                kind = nal[0] >> 1 & 63
                header = bytes((nal[0] & 0x81 | FU << 1, nal[1]))
                pieces = cut_equal(nal, HEADER_BYTES, limit - FU_HEADER_BYTES)
                last = pieces.pop()
                packets.append(header + bytes((kind | 0x80,)) + pieces[0])
                middle = header + bytes((kind,))
                packets += [middle + piece for piece in pieces[1:]]
                packets.append(header + bytes((kind | 0x40,)) + last)
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
    """One NAL unit as it is, several as an AP."""
    if len(nals) == 1:
        return nals[0]
    # Section 4.4.2: F is set if it is set in any unit, layer and temporal id are the lowest of all.
    forbidden = max(nal[0] & 0x80 for nal in nals)
    layer = min((nal[0] & 1) << 5 | nal[1] >> 3 for nal in nals)
    temporal = min(nal[1] & 7 for nal in nals)
    parts = [bytes((forbidden | AP << 1 | layer >> 5, (layer & 31) << 3 | temporal))]
    for nal in nals:
        parts += (SIZE.pack(len(nal)), nal)
    return b"".join(parts)


def has_decoding_order(fmtp: Mapping[str, str]) -> bool:
    """Whether sprop-max-don-diff says that packets carry DONL and DOND fields, section 7.1."""
    value = fmtp.get("sprop-max-don-diff", "").strip()
    return value.isdecimal() and value.strip("0") != ""


def parameters_from_fmtp(
    fmtp: Mapping[str, str], clock_rate: int = 90000, channels: int = 1
) -> H265Parameters | None:
    """Parameters of sprop-vps, sprop-sps and sprop-pps (section 7.1); None if one is missing."""
    nals = [
        nal
        for name in ("sprop-vps", "sprop-sps", "sprop-pps")
        for nal in decode_sprop(fmtp.get(name, ""))
    ]
    kinds: dict[int, list[bytes]] = {NAL_VPS: [], NAL_SPS: [], NAL_PPS: []}
    for nal in nals:
        # By their type, not by their name: quirk: encoders that put all into one of the three.
        kinds.get(nal[0] >> 1 & 63, []).append(nal)
    try:
        return H265Parameters.build(kinds[NAL_VPS], kinds[NAL_SPS], kinds[NAL_PPS])
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
