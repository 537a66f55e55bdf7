"""RTP payload format for H.265."""

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.codecs.h265 import H265Parameters
from media.payloads.base import MAX_UNIT_BYTES, Unit
from media.payloads.h265 import (
    H265Depacketizer,
    H265Packetizer,
    fmtp_from_parameters,
    has_decoding_order,
    parameters_from_fmtp,
)
from tests.support import nal
from tests.support.payloads import Drops, Packet, deliver, number, packets_of, without

VPS, SPS, PPS = nal.h265_vps(), nal.h265_sps(), nal.h265_pps()
AUD = nal.h265_header(35) + b"\x50"
IDR = nal.h265_slice(19, size_bytes=3000)
SLICE = nal.h265_slice(1, size_bytes=300)
SECOND_SLICE = nal.h265_slice(1, is_first=False, size_bytes=300)
UNITS = [(VPS, SPS, PPS, IDR), (SLICE, SECOND_SLICE), (nal.h265_slice(1, size_bytes=900),)] * 4


def aggregate(*nals: bytes) -> bytes:
    return b"\x60\x01" + b"".join(pack("!H", len(unit)) + unit for unit in nals)


def fragments(unit: bytes, size: int, don: bytes = b"") -> list[bytes]:
    pieces = [unit[at : at + size] for at in range(2, len(unit), size)]
    head = bytes((unit[0] & 0x81 | 49 << 1, unit[1]))
    last = len(pieces) - 1
    return [
        head
        + bytes((unit[0] >> 1 & 63 | (index == 0) << 7 | (index == last) << 6,))
        + (don if index == 0 else b"")
        + piece
        for index, piece in enumerate(pieces)
    ]


def run(*packets: Packet, has_don: bool = False) -> tuple[list[Unit], list[str]]:
    drops = Drops()
    return deliver(H265Depacketizer(drops, has_don), packets), drops.reasons


def payloads(units: list[Unit]) -> list[tuple[bytes, ...]]:
    return [unit.payload for unit in units]


@pytest.mark.parametrize("name", ["hdr10-video-with-sdr-container.mp4", "sample_h265.ts"])
@pytest.mark.parametrize("limit", [100, 1188, 1452])
def test_round_trip_of_a_real_clip(name: str, limit: int) -> None:
    clip = nal.read_clip(name)
    packets = packets_of(H265Packetizer(limit), clip.units)
    units, drops = run(*packets)
    assert payloads(units) == clip.units
    assert max(len(packet.payload) for packet in packets) <= limit
    assert drops == []


@given(st.integers(64, 1500), st.integers(2, 20_000))
def test_fragments_are_equal_but_for_the_last(limit: int, size: int) -> None:
    packets = H265Packetizer(limit).packetize((b"\x26\x01" + b"x" * size,))
    sizes = [len(payload) for payload, _ in packets]
    assert len(set(sizes[:-1])) <= 1
    assert sizes[-1] <= sizes[0] <= limit
    assert [marker for _, marker in packets] == [False] * (len(packets) - 1) + [True]


def test_small_units_are_aggregated() -> None:
    packets = H265Packetizer(1200).packetize((VPS, SPS, PPS, IDR))
    assert packets[0] == (aggregate(VPS, SPS, PPS), False)
    assert H265Packetizer(1200).packetize((b"", SLICE)) == [(SLICE, True)]
    assert H265Packetizer(1200).packetize(()) == []
    # Layer and temporal id of an aggregate are the lowest of its units.
    ((packet, _),) = H265Packetizer(1200).packetize((b"\x03\x0bxy", b"\x02\x12xy"))
    assert packet[:2] == b"\x60\x12"


def test_truncated_packets_lose_their_unit_only() -> None:
    for payload in (aggregate(VPS, SPS, SLICE), fragments(IDR, 1000)[0], SLICE):
        for size in range(len(payload)):
            units, drops = run(*number(payload[:size]), *number(SLICE, timestamp=1, sequence=1))
            assert units[-1] == Unit(1, (SLICE,))
            assert len(units) + len(drops) <= 2


@pytest.mark.parametrize("marker", [True, False])
def test_units_end_by_marker_or_by_time(marker: bool) -> None:
    packets = packets_of(H265Packetizer(500), UNITS)
    for packet in packets:
        packet.marker &= marker
    units, drops = run(*packets)
    assert payloads(units) == (UNITS if marker else UNITS[:-1])
    assert drops == []


BOTH_BITS = bytes((0x62, 0x01, 0xC0 | 19)) + IDR[2:]
END_OF_SEQUENCE = nal.h265_header(36)


@pytest.mark.parametrize(
    ("packets", "expected"),
    [
        # quirk: FU with both start and end bit; RFC 7798 section 4.4.3 forbids it
        (number(BOTH_BITS), (IDR,)),
        # quirk: AP padded with zeros behind its last unit
        (number(aggregate(VPS, SPS) + b"\0" * 9, IDR), (VPS, SPS, IDR)),
        (number(aggregate(VPS, SPS) + b"\0", IDR), (VPS, SPS, IDR)),
        # quirk: a whole Annex-B access unit in one packet or one fragmented unit
        (number(VPS + b"\0\0\0\1" + SPS + b"\0\0\1" + IDR), (VPS, SPS, IDR)),
        (number(b"\0\0\0\1" + VPS + b"\0\0\0\1" + IDR), (VPS, IDR)),
        (number(*fragments(VPS + b"\0\0\0\1" + SPS + b"\0\0\1" + IDR, 700)), (VPS, SPS, IDR)),
        # quirk: fragments without end bit
        (number(*fragments(SLICE, 100)[:3], SECOND_SLICE), (SLICE[:302], SECOND_SLICE)),
        (number(AUD, SLICE, END_OF_SEQUENCE), (AUD, SLICE, END_OF_SEQUENCE)),
        (number(SLICE, b""), (SLICE,)),
    ],
)
def test_what_cameras_send(packets: list[Packet], expected: tuple[bytes, ...]) -> None:
    units, drops = run(*packets)
    assert payloads(units) == [expected]
    assert drops == []


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (bytes((50 << 1, 1)) + b"xyz", "h265-paci-unsupported"),
        (b"\x60\x01\x00\x05\x40\x01c", "h265-malformed"),  # AP cut in a unit
        (b"\x60\x01\x00\x01\x40", "h265-malformed"),  # AP with half a header
        (b"\x60\x01", "h265-malformed"),  # empty AP
        (b"\x62\x01", "h265-malformed"),  # FU without FU header
        (b"\x62\x01\xb1xx", "h265-malformed"),  # FU of FU
        (b"\x40", "h265-malformed"),
    ],
)
def test_bad_packets_drop_their_unit(bad: bytes, reason: str) -> None:
    units, drops = run(*number(VPS, bad, IDR), *number(SLICE, sequence=3, timestamp=9))
    assert payloads(units) == [(SLICE,)]
    assert drops == [reason]


def test_reserved_types_are_left_out() -> None:
    units, drops = run(*number(VPS, bytes((51 << 1, 1)) + b"x", IDR))
    assert payloads(units) == [(VPS, IDR)]
    assert drops == ["h265-reserved-type"]


# Packets of UNITS at 1000 bytes: AP, 4 fragments | 1 | 1, repeated.
PACKETS = packets_of(H265Packetizer(1000), UNITS)
FIRST = 7


@pytest.mark.parametrize(
    ("lost", "missing", "reasons"),
    [
        ([FIRST + 2], [3], ["h265-fu-loss"]),
        ([FIRST + 1], [3], ["h265-unit-loss"]),
        ([FIRST + 4], [3], ["h265-fu-loss"]),
        ([FIRST + 5], [4], ["h265-unit-loss"]),
        ([FIRST + 5, FIRST + 6], [4, 5], ["h265-unit-loss"]),
        ([FIRST + 6, FIRST + 7, FIRST + 8], [5, 6], ["h265-fu-loss"]),
    ],
)
def test_losses(lost: list[int], missing: list[int], reasons: list[str]) -> None:
    assert len(PACKETS) == 4 * FIRST
    units, drops = run(*without(PACKETS, *lost))
    assert payloads(units) == [unit for index, unit in enumerate(UNITS) if index not in missing]
    assert drops == reasons


@given(st.sets(st.integers(0, len(PACKETS) - 1)))
def test_only_whole_units_come_out(lost: set[int]) -> None:
    units, drops = run(*without(PACKETS, *lost))
    for unit in units:
        index = (unit.timestamp - PACKETS[0].timestamp) // 3000
        assert unit.payload in (UNITS[index], (IDR,))
    assert len(drops) <= len(lost)


def test_size_is_bounded() -> None:
    drops = Drops()
    machine = H265Depacketizer(drops)
    head, middle = fragments(IDR, 1000)[:2]
    machine.push(head, False, 0, 0)
    for index in range(MAX_UNIT_BYTES // 1000 + 50):
        assert not machine.push(middle, False, index + 1, 0)
    assert drops.reasons == ["h265-unit-too-large"]


# Decoding order numbers.


def with_don(unit: bytes, don: int) -> bytes:
    return unit[:2] + pack("!H", don) + unit[2:]


def test_decoding_order_numbers_are_taken_out() -> None:
    packed = b"\x60\x01" + pack("!HH", 65535, len(VPS)) + VPS + b"\0" + pack("!H", len(SPS)) + SPS
    packets = number(packed, with_don(PPS, 1), *fragments(IDR, 1000, pack("!H", 2)))
    units, drops = run(*packets, has_don=True)
    assert payloads(units) == [(VPS, SPS, PPS, IDR)]
    assert drops == []


def test_units_are_sorted_by_their_numbers() -> None:
    shuffled = (with_don(SECOND_SLICE, 65535), with_don(AUD, 65533), with_don(SLICE, 65534))
    packets = number(*shuffled, sequence=1, timestamp=9)
    units, drops = run(*number(with_don(SLICE, 65532)), *packets, has_don=True)
    assert payloads(units) == [(SLICE,), (AUD, SLICE, SECOND_SLICE)]
    assert drops == []


def test_the_order_goes_on_over_the_wrap() -> None:
    packets = [
        packet
        for index in range(6)
        for packet in number(
            with_don(SECOND_SLICE, (65531 + 2 * index) % 65536),
            with_don(SLICE, (65530 + 2 * index) % 65536),
            sequence=2 * index,
            timestamp=index,
        )
    ]
    # The first packet of all does not begin a unit: the first unit is not seen.
    units, drops = run(*packets, has_don=True)
    assert payloads(units) == [(SLICE, SECOND_SLICE)] * 5
    assert drops == []


def test_interleaving_over_access_units_is_refused_by_name() -> None:
    packets = [
        Packet(with_don(SLICE, 10), True, 0, 0),
        Packet(with_don(SLICE, 8), True, 1, 3000),
        Packet(with_don(SLICE, 11), True, 2, 6000),
    ]
    units, drops = run(*packets, has_don=True)
    assert [unit.timestamp for unit in units] == [0, 6000]
    assert drops == ["h265-interleaving-unsupported"]


@pytest.mark.parametrize("bad", [b"\x02\x01\x00", b"\x60\x01\x00\x01\x00", b"\x62\x01\x81\x00"])
def test_numbers_that_are_cut(bad: bytes) -> None:
    units, drops = run(*number(with_don(AUD, 1), bad), has_don=True)
    assert units == []
    assert drops == ["h265-malformed"]


PIECES = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([packet.payload for packet in PACKETS[:7]]),
    st.tuples(st.sampled_from([0x60, 0x62, 0x64, 0x40]), st.binary(max_size=9)).map(
        lambda pair: bytes((pair[0],)) + b"\1" + pair[1]
    ),
)


@given(
    st.lists(st.tuples(PIECES, st.booleans(), st.integers(-1, 3), st.integers(0, 1))),
    st.booleans(),
)
def test_any_packets_are_taken(packets: list[tuple[bytes, bool, int, int]], has_don: bool) -> None:
    drops = Drops()
    machine = H265Depacketizer(drops, has_don)
    sequence = timestamp = 0
    for payload, marker, step, later in packets:
        sequence += step
        timestamp += later
        for unit in machine.push(payload, marker, sequence, timestamp):
            assert unit.payload
            assert all(unit.payload)
    assert all(reason.startswith("h265-") for reason in drops.reasons)


# Descriptions.


def test_description_round_trip() -> None:
    clip = nal.read_clip("sample_h265.ts")
    vps, sps, pps = (
        [unit for unit in clip.units[0] if unit[0] >> 1 & 63 == kind] for kind in (32, 33, 34)
    )
    parameters = H265Parameters.build(vps, sps, pps)
    fmtp = fmtp_from_parameters(parameters)
    assert parameters_from_fmtp(fmtp) == parameters
    assert fmtp["profile-id"] == "1"
    assert fmtp["level-id"] == "90"


def test_all_sets_in_one_attribute() -> None:
    fmtp = fmtp_from_parameters(H265Parameters.build([VPS], [SPS], [PPS]))
    names = ("sprop-vps", "sprop-sps", "sprop-pps")
    packed = {"sprop-vps": ",".join(fmtp[name] for name in names)}
    assert parameters_from_fmtp(packed) == parameters_from_fmtp(fmtp)
    assert parameters_from_fmtp({"sprop-sps": fmtp["sprop-sps"]}) is None
    assert parameters_from_fmtp({}) is None


@pytest.mark.parametrize(
    ("value", "expected"), [("", False), ("0", False), ("00", False), ("3", True), ("x", False)]
)
def test_decoding_order_is_announced(value: str, expected: bool) -> None:
    assert has_decoding_order({"sprop-max-don-diff": value}) is expected
