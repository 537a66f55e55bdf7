"""RTP payload format for VP8."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.payloads.base import MAX_UNIT_BYTES
from media.payloads.vp8 import Vp8Depacketizer, Vp8Packetizer
from tests.support.coded import encoded
from tests.support.payload_checks import Format
from tests.support.payloads import Drops, Packet, number, packets_of

VP8 = Format(Vp8Depacketizer, Vp8Packetizer)
KEY, INTER = b"\x10\x02\x00\x9d\x01\x2a\x40\x01\xf0\x00" + b"k" * 2500, b"\x31\x02\x00" + b"i" * 90
UNITS = [(KEY,), (INTER,), (INTER * 8,), (INTER,)] * 3


@pytest.mark.parametrize("limit", [64, 500, 1400])
def test_round_trip(limit: int) -> None:
    VP8.check_round_trip(UNITS, limit)


def test_round_trip_of_an_encoder() -> None:
    units = [(data,) for data, _ in encoded("libvpx")]
    assert max(len(unit[0]) for unit in units) > 65536
    VP8.check_round_trip(units, 1400)


def test_packets_of_a_frame() -> None:
    made = Vp8Packetizer(1000)
    first, second, third = made.packetize((KEY,))
    assert first[0].startswith(b"\x90\x80\x80\x00" + KEY[:800])
    assert second[0][:4] == third[0][:4] == b"\x80\x80\x80\x00"
    assert [len(data) for data, _ in (first, second)] == [841, 841]
    assert [marker for _, marker in (first, second, third)] == [False, False, True]
    assert made.packetize((INTER,)) == [(b"\x90\x80\x80\x01" + INTER, True)]
    assert made.packetize(()) == made.packetize((b"",)) == []


def test_picture_numbers_wrap() -> None:
    made = Vp8Packetizer(1000)
    heads = [made.packetize((INTER,))[0][0][:4] for _ in range(0x8001)]
    assert heads[0x7FFF] == b"\x90\x80\xff\xff"
    assert heads[0x8000] == b"\x90\x80\x80\x00"


@pytest.mark.parametrize(
    "descriptor",
    [
        b"\x10",  # nothing but S
        b"\x30",  # N: a frame that no other needs
        b"\x90\x00",  # X without any extension
        b"\x90\x80\x05",  # a picture number of 7 bits
        b"\x90\x80\x85\x01",  # of 15 bits
        b"\x90\x40\x07",  # TL0PICIDX
        b"\x90\x20\x60",  # TID
        b"\x90\x10\x03",  # KEYIDX
        b"\x90\xf0\x85\x01\x07\x63",  # all of it
    ],
)
def test_descriptors(descriptor: bytes) -> None:
    found, drops = VP8.run(number(descriptor + KEY))
    assert [payload for _, payload in found] == [(KEY,)]
    assert drops == []


def test_partitions_in_packets_of_their_own_are_one_frame() -> None:
    # S is set for each partition, PID counts them (section 4.2): GStreamer sends this.
    found, drops = VP8.run(
        number(b"\x10" + KEY[:900], b"\x11" + KEY[900:1800], b"\x01" + KEY[1800:])
    )
    assert [payload for _, payload in found] == [(KEY,)]
    assert drops == []


@pytest.mark.parametrize(
    ("payloads", "reason"),
    [
        ((b"\x90\x80",), "vp8-malformed"),  # no picture number, no data
        ((b"\x10",), "vp8-malformed"),
        ((b"\x10" + KEY, b"\x10" + KEY), "vp8-malformed"),  # two frames of one time, no marker
    ],
)
def test_malformed_packets_drop_their_frame(payloads: tuple[bytes, ...], reason: str) -> None:
    packets = number(*payloads)
    good = number(b"\x10" + INTER, sequence=len(packets), timestamp=9)
    found, drops = VP8.run([*packets, *good])
    assert found == [(9, (INTER,))]
    assert drops == [reason]


def test_joining_in_the_middle_of_a_frame_is_no_loss() -> None:
    packets = packets_of(Vp8Packetizer(1000), UNITS)
    found, drops = VP8.run(packets[1:])
    assert [payload for _, payload in found] == UNITS[1:]
    assert drops == []


@given(st.sets(st.integers(0, 1000)))
def test_losses(lost: set[int]) -> None:
    VP8.check_losses(UNITS, 400, lost)


def test_truncation() -> None:
    VP8.check_truncation(packets_of(Vp8Packetizer(400), UNITS[:2]), (INTER,))


def test_size_is_bounded() -> None:
    drops = Drops()
    machine = Vp8Depacketizer(drops)
    machine.push(b"\x10" + KEY, False, 0, 0)
    for index in range(MAX_UNIT_BYTES // 60000 + 10):
        assert not machine.push(b"\x00" + b"x" * 60000, False, index + 1, 0)
    assert drops.reasons == ["vp8-unit-too-large"]


PIECES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([packet.payload for packet in packets_of(Vp8Packetizer(400), UNITS[:2])]),
)


@given(st.lists(st.tuples(PIECES, st.booleans(), st.integers(-1, 3), st.integers(0, 1))))
def test_any_packets_are_taken(packets: list[tuple[bytes, bool, int, int]]) -> None:
    VP8.check_any(packets, "vp8")


def test_input_is_not_kept_open_by_padding() -> None:
    found, drops = VP8.run([Packet(b"\x10" + INTER, False, 0, 0), Packet(b"", True, 1, 0)])
    assert found == [(0, (INTER,))]
    assert drops == []
