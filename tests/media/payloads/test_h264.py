"""RTP payload format for H.264."""

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.codecs.h264 import H264Parameters
from media.payloads.base import MAX_UNIT_BYTES, Unit
from media.payloads.h264 import (
    H264Depacketizer,
    H264Packetizer,
    fmtp_from_parameters,
    parameters_from_fmtp,
)
from tests.support import nal
from tests.support.payloads import Drops, Packet, deliver, number, packets_of, without

SPS, PPS, SEI = nal.h264_sps(), nal.h264_pps(), b"\x06\x05\x01\x00\x80"
IDR = nal.h264_slice(5, 7, size_bytes=3000)
SLICE = nal.h264_slice(1, 5, size_bytes=300)
SECOND_SLICE = nal.h264_slice(1, 5, first_mb=20, size_bytes=300)
H264_CLIPS = [
    "video_big_buck_bunny.mp4",
    "bbb_800x640_768kbps_30fps_avc_pyramid_3b.mp4",
    "sample_h264.ts",
]
UNITS = [(SPS, PPS, SEI, IDR), (SLICE, SECOND_SLICE), (nal.h264_slice(1, 5, size_bytes=900),)] * 4


def stap(*nals: bytes) -> bytes:
    return b"\x78" + b"".join(pack("!H", len(unit)) + unit for unit in nals)


def fragments(unit: bytes, size: int) -> list[bytes]:
    pieces = [unit[at : at + size] for at in range(1, len(unit), size)]
    head = bytes((unit[0] & 0xE0 | 28,))
    last = len(pieces) - 1
    return [
        head + bytes((unit[0] & 31 | (index == 0) << 7 | (index == last) << 6,)) + piece
        for index, piece in enumerate(pieces)
    ]


def run(*packets: Packet) -> tuple[list[Unit], list[str]]:
    drops = Drops()
    return deliver(H264Depacketizer(drops), packets), drops.reasons


def payloads(units: list[Unit]) -> list[tuple[bytes, ...]]:
    return [unit.payload for unit in units]


@pytest.mark.parametrize("name", H264_CLIPS)
@pytest.mark.parametrize("limit", [100, 1188, 1452])
def test_round_trip_of_a_real_clip(name: str, limit: int) -> None:
    clip = nal.read_clip(name)
    packets = packets_of(H264Packetizer(limit), clip.units)
    units, drops = run(*packets)
    assert payloads(units) == clip.units
    assert [unit.timestamp for unit in units] == [
        5_000_000_000 + 3000 * index for index in range(len(units))
    ]
    assert max(len(packet.payload) for packet in packets) <= limit
    assert drops == []


@given(st.integers(64, 1500), st.integers(1, 20_000))
def test_fragments_are_equal_but_for_the_last(limit: int, size: int) -> None:
    unit = b"\x65" + b"x" * size
    packets = H264Packetizer(limit).packetize((unit,))
    sizes = [len(payload) for payload, _ in packets]
    assert len(set(sizes[:-1])) <= 1
    assert sizes[-1] <= sizes[0] <= limit
    assert [marker for _, marker in packets] == [False] * (len(packets) - 1) + [True]


def test_small_units_are_aggregated() -> None:
    packets = H264Packetizer(1200).packetize((b"\x09\xf0", SPS, PPS, SEI, IDR))
    assert packets[0] == (b"\x78" + stap(b"\x09\xf0", SPS, PPS, SEI)[1:], False)
    assert packets[1][0][:2] == b"\x7c\x85"
    assert H264Packetizer(1200).packetize(()) == []
    assert H264Packetizer(1200).packetize((b"", SLICE)) == [(SLICE, True)]


def test_truncated_packets_lose_their_unit_only() -> None:
    for payload in (stap(SPS, PPS, SLICE), fragments(IDR, 1000)[0], SLICE):
        for size in range(len(payload)):
            good = number(SLICE, timestamp=1, sequence=1)
            units, drops = run(*number(payload[:size]), *good)
            assert units[-1] == Unit(1, (SLICE,))
            assert len(units) + len(drops) <= 2


@pytest.mark.parametrize("marker", [True, False])
def test_units_end_by_marker_or_by_time(marker: bool) -> None:
    packets = packets_of(H264Packetizer(500), UNITS)
    for packet in packets:
        packet.marker &= marker
    units, drops = run(*packets)
    assert payloads(units) == (UNITS if marker else UNITS[:-1])
    assert drops == []


def test_a_marker_on_each_slice() -> None:
    """The first picture shows what the camera does; from the second on pictures are whole."""
    drops = Drops()
    it = H264Depacketizer(drops)
    units: list[Unit] = []
    for number_, timestamp in (
        (0, 0),
        (1, 0),
        (2, 3000),
        (3, 3000),
        (4, 6000),
        (5, 6000),
        (6, 9000),
    ):
        payload = SECOND_SLICE if number_ & 1 else SLICE
        units += it.push(payload, True, number_, timestamp)
    assert [(unit.timestamp, unit.payload) for unit in units] == [
        (0, (SLICE,)),
        (0, (SECOND_SLICE,)),
        (3000, (SLICE, SECOND_SLICE)),
        (6000, (SLICE, SECOND_SLICE)),
    ]
    assert drops.reasons == []


def test_one_packet_can_end_two_units() -> None:
    units, drops = run(Packet(SLICE, False, 5, 0), Packet(IDR, True, 6, 3000))
    assert units == [Unit(0, (SLICE,)), Unit(3000, (IDR,))]
    assert drops == []


@pytest.mark.parametrize(
    ("packets", "expected"),
    [
        # quirk: FU-A with both start and end bit; RFC 6184 section 5.8 forbids it
        (number(bytes((0x7C, 0xC5)) + IDR[1:]), (IDR,)),
        # quirk: STAP-A padded with zeros behind its last unit
        (number(stap(SPS, PPS) + b"\0" * 9, IDR), (SPS, PPS, IDR)),
        (number(stap(SPS, PPS) + b"\0", IDR), (SPS, PPS, IDR)),
        # quirk: a whole Annex-B access unit in one packet, with and without a first start code
        (number(SPS + b"\0\0\0\1" + PPS + b"\0\0\1" + IDR), (SPS, PPS, IDR)),
        (number(b"\0\0\0\1" + SPS + b"\0\0\0\1" + IDR + b"\0\0"), (SPS, IDR)),
        (number(*fragments(b"\0\0\0\1" + SPS + b"\0\0\1" + IDR, 700)), (SPS, IDR)),
        (number(*fragments(b"\0\0\1" + SPS + b"\0\0\1" + IDR, 700)), (SPS, IDR)),
        # quirk: the same in fragments
        (number(*fragments(SPS + b"\0\0\0\1" + PPS + b"\0\0\1" + IDR, 700)), (SPS, PPS, IDR)),
        (number(*fragments(SLICE + b"\0\0\1" + SECOND_SLICE, 70)), (SLICE, SECOND_SLICE)),
        # quirk: fragments without end bit, before another unit and at the end
        (number(*fragments(SLICE, 100)[:3], SECOND_SLICE), (SLICE[:301], SECOND_SLICE)),
        (number(*fragments(IDR, 1500)[:1]), (IDR[:1501],)),
        # filler and AUD are for the tracker
        (number(b"\x09\xf0", SLICE, b"\x0c\xff\x80"), (b"\x09\xf0", SLICE, b"\x0c\xff\x80")),
        # an end of sequence has no payload
        (number(SLICE, b"\x0a"), (SLICE, b"\x0a")),
        # an empty payload is padding
        (number(SLICE, b""), (SLICE,)),
    ],
)
def test_what_cameras_send(packets: list[Packet], expected: tuple[bytes, ...]) -> None:
    units, drops = run(*packets)
    assert payloads(units) == [expected]
    assert drops == []


def test_start_codes_are_found_for_ever_once_one_was_found() -> None:
    packed = SLICE + b"\0\0\1" + SECOND_SLICE
    packets = packets_of(H264Packetizer(1400), [(packed,)] * 200)
    units, _ = run(*packets)
    assert payloads(units) == [(SLICE, SECOND_SLICE)] * 200


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (25, "h264-stap-b-unsupported"),
        (26, "h264-mtap16-unsupported"),
        (27, "h264-mtap24-unsupported"),
        (29, "h264-fu-b-unsupported"),
    ],
)
def test_interleaved_packets_are_refused_by_name(kind: int, reason: str) -> None:
    refused = bytes((0x60 | kind,)) + b"x" * 20
    units, drops = run(*number(SPS, refused, IDR), *number(SLICE, sequence=3, timestamp=9))
    assert payloads(units) == [(SLICE,)]
    assert drops == [reason]


@pytest.mark.parametrize("first", [0x60, 0x7E, 0x7F])
def test_reserved_types_are_left_out(first: int) -> None:
    units, drops = run(*number(SPS, bytes((first,)) + b"xyz", IDR))
    assert payloads(units) == [(SPS, IDR)]
    assert drops == ["h264-reserved-type"]


@pytest.mark.parametrize(
    "bad",
    [
        b"\x78\x00\x05abc",  # STAP-A cut in a unit
        b"\x78\x00\x02\x67a\x01",  # STAP-A with half a size
        b"\x7c",  # FU-A without FU header
        b"\x7c\x80x",  # FU-A of type 0
        b"\x7c\x9cx",  # FU-A of FU-A
    ],
)
def test_malformed_packets_drop_their_unit(bad: bytes) -> None:
    units, drops = run(*number(SPS, bad, IDR), *number(SLICE, sequence=3, timestamp=9))
    assert payloads(units) == [(SLICE,)]
    assert drops == ["h264-malformed"]


# Packets of UNITS at 1000 bytes: STAP-A, 4 fragments | 1 | 1, repeated.
PACKETS = packets_of(H264Packetizer(1000), UNITS)
FIRST = 7  # of the second group


@pytest.mark.parametrize(
    ("lost", "missing", "reasons"),
    [
        ([FIRST + 2], [3], ["h264-fu-loss"]),  # a fragment in the middle
        ([FIRST + 1], [3], ["h264-unit-loss"]),  # the first fragment, after whole units
        ([FIRST + 4], [3], ["h264-fu-loss"]),  # the last fragment, with the marker
        ([FIRST + 2, FIRST + 4], [3], ["h264-fu-loss"]),  # two gaps in one unit
        ([FIRST + 5], [4], ["h264-unit-loss"]),  # a whole unit
        ([FIRST + 5, FIRST + 6], [4, 5], ["h264-unit-loss"]),  # two whole units: one gap
        ([FIRST + 4, FIRST + 5, FIRST + 6], [3, 4, 5], ["h264-fu-loss"]),
        ([FIRST + 6, FIRST + 7, FIRST + 8], [5, 6], ["h264-fu-loss"]),
    ],
)
def test_losses(lost: list[int], missing: list[int], reasons: list[str]) -> None:
    assert len(PACKETS) == 4 * FIRST
    units, drops = run(*without(PACKETS, *lost))
    assert payloads(units) == [unit for index, unit in enumerate(UNITS) if index not in missing]
    assert drops == reasons


def test_a_unit_whose_end_may_be_lost_is_not_shown() -> None:
    """Without markers nobody can tell whether a unit before a gap was whole."""
    packets = [
        Packet(SLICE, False, 0, 0),
        Packet(SLICE, False, 2, 3000),
        Packet(SLICE, True, 3, 6000),
    ]
    units, drops = run(*packets)
    assert [unit.timestamp for unit in units] == [3000, 6000]
    assert drops == ["h264-unit-loss"]


def test_parameter_sets_that_are_lost_do_not_cost_the_picture() -> None:
    units, drops = run(*without(PACKETS, FIRST))
    assert payloads(units) == [*UNITS[:3], (IDR,), *UNITS[4:]]
    assert drops == ["h264-unit-loss"]


def test_joining_in_the_middle_of_a_unit_is_no_loss() -> None:
    for start in range(2, 5):
        units, drops = run(*PACKETS[start:FIRST])
        assert payloads(units) == UNITS[1:3]
        assert drops == []


# The first packet is there: who joins in the middle of a unit counts nothing of it.
@given(st.sets(st.integers(1, len(PACKETS) - 1)))
def test_only_whole_units_come_out_and_losses_are_counted(lost: set[int]) -> None:
    units, drops = run(*without(PACKETS, *lost))
    for unit in units:
        index = (unit.timestamp - PACKETS[0].timestamp) // 3000
        assert unit.payload in (UNITS[index], (IDR,))
    inner = lost - {len(PACKETS) - 1}
    has_gap = any(
        index - 1 not in lost and any(later not in lost for later in range(index, len(PACKETS)))
        for index in inner
    )
    assert bool(drops) == has_gap


def test_size_is_bounded() -> None:
    drops = Drops()
    machine = H264Depacketizer(drops)
    middle = b"\x7c\x05" + b"x" * 60000
    machine.push(b"\x7c\x85\x88", False, 0, 0)
    for index in range(MAX_UNIT_BYTES // 60000 + 50):
        assert not machine.push(middle, False, index + 1, 0)
    assert drops.reasons == ["h264-unit-too-large"]
    assert deliver(machine, number(SLICE, sequence=index + 2, timestamp=1)) == [Unit(1, (SLICE,))]


def test_the_number_of_units_is_bounded() -> None:
    drops = Drops()
    machine = H264Depacketizer(drops)
    for index in range(20):
        assert not machine.push(stap(*[b"\x06x"] * 100), False, index, 0)
    assert drops.reasons == ["h264-unit-too-large"]


PIECES = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([*(packet.payload for packet in PACKETS[:7]), stap(SPS, PPS) + b"\0\0"]),
    st.tuples(st.sampled_from([0x7C, 0x78, 0x79]), st.binary(max_size=9)).map(
        lambda pair: bytes((pair[0],)) + pair[1]
    ),
)


@given(st.lists(st.tuples(PIECES, st.booleans(), st.integers(-1, 3), st.integers(0, 1))))
def test_any_packets_are_taken(packets: list[tuple[bytes, bool, int, int]]) -> None:
    drops = Drops()
    machine = H264Depacketizer(drops)
    sequence = timestamp = 0
    for payload, marker, step, later in packets:
        sequence += step
        timestamp += later
        for unit in machine.push(payload, marker, sequence, timestamp):
            assert unit.payload
            assert all(unit.payload)
    assert all(reason.startswith("h264-") for reason in drops.reasons)


# Descriptions.


def test_description_round_trip() -> None:
    parameters = H264Parameters.build([SPS, nal.h264_sps(set_id=1)], [PPS])
    fmtp = fmtp_from_parameters(parameters)
    assert fmtp["profile-level-id"] == "64001F"
    assert fmtp["packetization-mode"] == "1"
    assert parameters_from_fmtp(fmtp) == parameters


@pytest.mark.parametrize(
    "value",
    [
        "Z0LgHtoCgL/lcA==,aM4wpIA=",
        "Z0LgHtoCgL/lcA,aM4wpIA",  # quirk: no padding
        " Z0LgHtoCgL/lcA== , aM4wpIA= ,",  # quirk: spaces, an empty item
        "AAAAAWdC4B7aAoC/5XA=,AAAAAWjOMKSA",  # quirk: start codes
        "AAAAAWdC4B7aAoC/5XAAAAABaM4wpIA=",  # quirk: both in one
        "aM4wpIA=,Z0LgHtoCgL/lcA==",  # the wrong order
    ],
)
def test_descriptions_of_cameras(value: str) -> None:
    parameters = parameters_from_fmtp({"sprop-parameter-sets": value})
    assert parameters is not None
    assert parameters.sps == (bytes.fromhex("6742e01eda0280bfe570"),)
    assert parameters.pps == (bytes.fromhex("68ce30a480"),)
    assert (parameters.width, parameters.height) == (640, 360)


@pytest.mark.parametrize("value", ["", ",", "!!", "Z0I=", "Z0LgHtoCgL/lcA==", "\u00e9"])
def test_descriptions_without_usable_sets(value: str) -> None:
    assert parameters_from_fmtp({"sprop-parameter-sets": value}) is None
    assert parameters_from_fmtp({}) is None
