"""RTP payload format for MPEG audio."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.payloads.base import Unit
from media.payloads.mp3 import Mp3Depacketizer, Mp3Packetizer
from tests.support.payloads import Drops, Packet, deliver, number, packets_of, without

HEAD = bytes.fromhex("fffb9064")  # 417 bytes, 1152 samples at 44.1 kHz
LARGE = bytes.fromhex("fffbe404")  # 960 bytes at 48 kHz


def small(index: int = 0) -> bytes:
    return HEAD + bytes((index,)) * 413


def large(index: int = 0) -> bytes:
    return LARGE + bytes((index,)) * 956


def run(*packets: Packet) -> tuple[list[Unit], list[str]]:
    drops = Drops()
    return deliver(Mp3Depacketizer(drops), packets), drops.reasons


def mpa(offset: int, data: bytes) -> bytes:
    return b"\0\0" + offset.to_bytes(2, "big") + data


@pytest.mark.parametrize("limit", [64, 300, 500, 1400])
def test_round_trip(limit: int) -> None:
    units = [(small(index) if index % 2 else large(index),) for index in range(10)]
    packets = packets_of(Mp3Packetizer(limit), units)
    out, drops = run(*packets)
    assert [unit.payload for unit in out] == units
    assert [unit.timestamp for unit in out] == [5_000_000_000 + 3000 * n for n in range(10)]
    assert max(len(packet.payload) for packet in packets) <= limit
    assert not any(packet.marker for packet in packets)
    assert drops == []


def test_fragments_are_equal_and_say_where_they_belong() -> None:
    payloads = [payload for payload, _ in Mp3Packetizer(400).packetize((large(),))]
    assert [len(payload) for payload in payloads] == [324, 324, 324]
    assert [payload[:4].hex() for payload in payloads] == ["00000000", "00000140", "00000280"]
    assert Mp3Packetizer(400).packetize(()) == []


def test_several_frames_of_a_packet_follow_each_other() -> None:
    frames = [small(index) for index in range(4)]
    units, drops = run(*number(mpa(0, b"".join(frames)), timestamp=1000))
    assert [unit.payload for unit in units] == [(frame,) for frame in frames]
    assert [unit.timestamp - 1000 for unit in units] == [0, 2351, 4702, 7053]
    assert drops == []


def test_a_packet_that_ends_within_a_frame() -> None:
    units, drops = run(*number(mpa(0, small(1) + small(2)[:-1])))
    assert units == [Unit(0, (small(1),))]
    assert drops == ["mp3-malformed"]


def test_truncation() -> None:
    whole = mpa(0, small())
    for size in range(len(whole)):
        units, drops = run(
            Packet(whole[:size], False, 0, 0), Packet(mpa(0, small(1)), False, 1, 2351)
        )
        assert units == [Unit(2351, (small(1),))]
        assert len(drops) == (size > 0)


@pytest.mark.parametrize(
    ("lost", "heard", "drops"),
    [
        ((0,), 2, []),  # we joined in the middle of a frame
        ((1,), 2, ["mp3-fragment-loss"]),
        ((2,), 2, ["mp3-fragment-loss"]),
        ((3,), 2, ["mp3-unit-loss"]),
        ((5,), 2, ["mp3-fragment-loss"]),
        ((2, 3), 1, ["mp3-fragment-loss", "mp3-fragment-loss"]),
        ((3, 4, 5), 2, ["mp3-unit-loss"]),
        ((5, 6), 1, ["mp3-fragment-loss", "mp3-fragment-loss"]),
    ],
)
def test_losses(lost: tuple[int, ...], heard: int, drops: list[str]) -> None:
    """Three frames of three fragments each; the frame of a lost one is not passed on."""
    packets = packets_of(Mp3Packetizer(400), [(large(index),) for index in range(3)])
    units, reasons = run(*without(packets, *lost))
    assert len(units) == heard
    assert all(unit.payload[0] in (large(0), large(1), large(2)) for unit in units)
    assert reasons == drops


def test_fragments_that_do_not_fit() -> None:
    piece = large()[:300]
    cases = [
        [mpa(0, piece), mpa(301, large()[300:])],
        [mpa(0, piece), mpa(300, large()[300:] + b"x")],
        [mpa(0, b"no header here")],
        [mpa(0, b"")],
        [b"\0"],
    ]
    for payloads in cases:
        drops = Drops()
        made = Mp3Depacketizer(drops)
        assert deliver(made, number(*payloads)) == []
        assert drops.reasons == ["mp3-malformed"]
        later = Packet(mpa(0, small()), False, len(payloads), 9000)
        assert deliver(made, [later]) == [Unit(9000, (small(),))]
        assert len(drops.reasons) == 1


def test_a_frame_that_ends_with_the_next_one() -> None:
    first, *_ = packets_of(Mp3Packetizer(400), [(large(),)], sequence=0, timestamp=0)
    for timestamp in (0, 2160):
        units, drops = run(first, Packet(mpa(0, small()), False, 1, timestamp))
        assert units == [Unit(timestamp, (small(),))]
        assert drops == ["mp3-fragment-loss"]


def test_a_free_bit_rate_is_refused_by_name() -> None:
    units, drops = run(*number(mpa(0, bytes.fromhex("fffb0064") + b"x" * 400)))
    assert (units, drops) == ([], ["mp3-free-format-unsupported"])


PIECES = st.one_of(
    st.binary(max_size=10),
    st.sampled_from(
        [mpa(0, small()), mpa(0, large()[:300]), mpa(300, large()[300:]), mpa(0, HEAD)]
    ),
)


@given(st.lists(st.tuples(PIECES, st.integers(0, 3), st.integers(0, 1)), max_size=12))
def test_any_packets_are_taken(parts: list[tuple[bytes, int, int]]) -> None:
    sequence = timestamp = 0
    packets: list[Packet] = []
    for payload, step, later in parts:
        sequence += step
        timestamp += later * 2160
        packets.append(Packet(payload, False, sequence, timestamp))
    units, _ = run(*packets)
    assert all(unit.payload[0] in (small(), large()) for unit in units)
