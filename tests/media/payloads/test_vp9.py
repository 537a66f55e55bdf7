"""RTP payload format for VP9."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.codecs.vp9 import Vp9Parameters, split_superframe
from media.payloads.base import MAX_UNIT_BYTES
from media.payloads.vp9 import (
    ScalabilityStructure,
    Vp9Depacketizer,
    Vp9Packetizer,
    fmtp_from_parameters,
)
from tests.support.coded import packets_of_clip
from tests.support.payload_checks import Format
from tests.support.payloads import Drops, number, packets_of

VP9 = Format(Vp9Depacketizer, Vp9Packetizer)
# Profile 0, 8 bits, unknown colours, 642x642: frame marker, key frame, sync code, size.
KEY = bytes.fromhex("82498342002810281000") + b"k" * 2500
INTER = b"\x86\x00" + b"i" * 90
UNITS = [(KEY,), (INTER,), (INTER * 8,), (INTER,)] * 3
CLIP = "bbb_642x642_768kbps_30fps_vp9.webm"


@pytest.mark.parametrize("limit", [64, 500, 1400])
def test_round_trip(limit: int) -> None:
    VP9.check_round_trip(UNITS, limit)


def test_round_trip_of_a_clip() -> None:
    units = [(data,) for data, _ in packets_of_clip(CLIP)]
    packets = VP9.check_round_trip(units, 1400)
    keys = {i for i, (_, is_key) in enumerate(packets_of_clip(CLIP)) if is_key}
    with_structure = [p for p in packets if p.payload[0] & 0x02]
    assert {(p.timestamp - 5_000_000_000) // 3000 for p in with_structure} == keys
    drops = Drops()
    machine = Vp9Depacketizer(drops)
    for packet in packets:
        machine.push(packet.payload, packet.marker, packet.sequence, packet.timestamp)
    assert machine.structure == ScalabilityStructure(1, ((642, 642),), ((1,),))


def test_packets_of_pictures() -> None:
    made = Vp9Packetizer(1000)
    packets = made.packetize((KEY,))
    structure = bytes.fromhex("1802820282010401")
    assert packets[0][0].startswith(b"\x8b\x80\x00" + structure + KEY[:800])
    assert [data[0] for data, _ in packets] == [0x8B, 0x81, 0x85]  # I, Z and B with V, -, E
    assert len({len(data) for data, _ in packets[:-1]}) == 1
    assert made.packetize((INTER,)) == [(b"\xcd\x80\x01" + INTER, True)]  # I P B E Z
    assert made.packetize(()) == made.packetize((b"",)) == []


def test_a_key_frame_whose_size_cannot_be_read_has_no_structure() -> None:
    ((data, _),) = Vp9Packetizer(1000).packetize((b"\x82\x00\x00",))
    assert data == b"\x8d\x80\x00\x82\x00\x00"


@pytest.mark.parametrize(
    "descriptor",
    [
        "0c",  # B and E
        "8c05",  # a picture number of 7 bits
        "8c8501",  # of 15 bits
        "ac0502ff",  # layers in non-flexible mode: with TL0PICIDX
        "bc0502",  # layers in flexible mode
        "dc0502",  # flexible mode: one reference
        "dc050304",  # two
        "dc05030504",  # three
        "0e00",  # a structure of one layer, without size and group
        "0e 18 02820282 01 0401",  # with both
        "0e 38 02820282 00100010 02 0401 080102",  # two layers, a group of two pictures
        "8e05 18 02820282 01 0401",
    ],
)
def test_descriptors(descriptor: str) -> None:
    found, drops = VP9.run(number(bytes.fromhex(descriptor) + KEY))
    assert [payload for _, payload in found] == [(KEY,)]
    assert drops == []


def test_structures_are_kept() -> None:
    data = bytes.fromhex("38 02820282 05040a08 02 0401 080102")
    structure, end = ScalabilityStructure.parse(data, 0)
    assert structure == ScalabilityStructure(2, ((642, 642), (1284, 2568)), ((1,), (1, 2)))
    assert end == len(data)


@pytest.mark.parametrize(
    "descriptor",
    [
        "8c",  # no picture number
        "dc05030505",  # a fourth reference
        "dc0503",  # references that do not end
        "0e",  # no structure
        "0e18",  # without its size
        "0e 08 02 04",  # without its group
    ],
)
def test_malformed_packets_drop_their_picture(descriptor: str) -> None:
    packets = number(bytes.fromhex(descriptor))
    good = number(b"\x0c" + INTER, sequence=1, timestamp=9)
    found, drops = VP9.run([*packets, *good])
    assert found == [(9, (INTER,))]
    assert drops == ["vp9-malformed"]


def layer(spatial: int, data: bytes, flags: int = 0x0C) -> bytes:
    """A packet of a spatial layer in flexible mode."""
    return bytes((0xB0 | flags, 5, spatial << 1 | (spatial > 0))) + data


def test_spatial_layers_become_a_superframe() -> None:
    low, high = KEY[:300], INTER * 3
    found, drops = VP9.run(
        number(layer(0, low), layer(1, high[:100], 0x08), layer(1, high[100:], 0x04))
    )
    ((_, (frame,)),) = found
    assert split_superframe(frame) == [low, high]
    assert Vp9Parameters.read(frame)
    assert drops == []


def test_a_layer_without_its_end_bit_ends_with_the_next() -> None:
    found, drops = VP9.run(number(layer(0, KEY, 0x08), layer(1, INTER, 0x08)))
    assert split_superframe(found[0][1][0]) == [KEY, INTER]
    assert drops == []


def test_a_picture_of_more_frames_than_a_superframe_holds_is_dropped() -> None:
    found, drops = VP9.run(number(*[layer(0, INTER)] * 9))
    assert found == []
    assert drops == ["vp9-too-many-frames"]


@pytest.mark.parametrize(
    ("first", "units"),
    [
        (layer(0, INTER), 1),
        (layer(1, INTER), 0),  # the lower layer it needs is gone
        (bytes((0xBC, 5, 2)) + INTER, 1),  # D is 0: it needs no lower one
        (layer(0, INTER, 0x04), 0),  # no beginning
        (b"\xac", 0),
    ],
)
def test_what_begins_a_picture_after_a_gap(first: bytes, units: int) -> None:
    before = number(b"\x0c" + INTER)
    found, drops = VP9.run([*before, *number(first, sequence=5, timestamp=9)])
    assert len(found) == 1 + units
    assert len(drops) == 1


@given(st.sets(st.integers(0, 1000)))
def test_losses(lost: set[int]) -> None:
    VP9.check_losses(UNITS, 400, lost)


def test_truncation() -> None:
    VP9.check_truncation(packets_of(Vp9Packetizer(400), UNITS[:2]), (INTER,))
    structure = bytes.fromhex("0e 38 02820282 00100010 02 0401 080102")
    for size in range(len(structure)):
        VP9.run(number(structure[:size], structure[:size] + b"x"))


def test_size_is_bounded() -> None:
    drops = Drops()
    machine = Vp9Depacketizer(drops)
    machine.push(b"\x08" + KEY, False, 0, 0)
    for index in range(MAX_UNIT_BYTES // 60000 + 10):
        assert not machine.push(b"\x00" + b"x" * 60000, False, index + 1, 0)
    assert drops.reasons == ["vp9-unit-too-large"]


PIECES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([packet.payload for packet in packets_of(Vp9Packetizer(400), UNITS[:2])]),
    st.sampled_from([layer(0, KEY), layer(1, INTER), layer(1, INTER, 0)]),
)


@given(st.lists(st.tuples(PIECES, st.booleans(), st.integers(-1, 3), st.integers(0, 1))))
def test_any_packets_are_taken(packets: list[tuple[bytes, bool, int, int]]) -> None:
    VP9.check_any(packets, "vp9")


def test_description() -> None:
    parameters = Vp9Parameters.read(KEY)
    assert parameters
    assert fmtp_from_parameters(parameters) == {"profile-id": "0"}
