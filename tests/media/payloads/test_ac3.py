"""RTP payload formats for AC-3 and E-AC-3."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.payloads.ac3 import Ac3Depacketizer, Ac3Packetizer
from media.payloads.base import Depacketizer, Packetizer, Unit
from media.payloads.eac3 import Eac3Depacketizer, Eac3Packetizer
from tests.support.dolby import ac3_frame, eac3_frame
from tests.support.payloads import Drops, Packet, deliver, number, packets_of, without

FORMATS: dict[str, tuple[Callable[[Drops], Depacketizer], Callable[[int], Packetizer]]] = {
    "ac3": (Ac3Depacketizer, Ac3Packetizer),
    "eac3": (Eac3Depacketizer, Eac3Packetizer),
}


def frame(name: str, index: int = 0) -> bytes:
    """768 bytes; with other content for another index."""
    made = ac3_frame(code=20) if name == "ac3" else eac3_frame(size=768)
    return made[:20] + bytes((index,)) * 748


def run(name: str, *packets: Packet) -> tuple[list[Unit], list[str]]:
    drops = Drops()
    return deliver(FORMATS[name][0](drops), packets), drops.reasons


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("limit", [64, 300, 500, 1400])
def test_round_trip(name: str, limit: int) -> None:
    units = [(frame(name, index),) for index in range(10)]
    packets = packets_of(FORMATS[name][1](limit), units, step=1536)
    out, drops = run(name, *packets)
    assert [unit.payload for unit in out] == units
    assert [unit.timestamp for unit in out] == [5_000_000_000 + 1536 * n for n in range(10)]
    assert max(len(packet.payload) for packet in packets) <= limit
    assert [packet.marker for packet in packets].count(True) == 10
    assert drops == []


def test_headers_of_ac3() -> None:
    packetizer = Ac3Packetizer(500)
    assert [data[:2].hex() for data, _ in packetizer.packetize((frame("ac3"),))] == ["0202", "0302"]
    assert Ac3Packetizer(1400).packetize((frame("ac3"),))[0][0][:2].hex() == "0001"
    assert Ac3Packetizer(1400).packetize(()) == []


def test_headers_of_eac3() -> None:
    unit = frame("eac3") + eac3_frame(kind=1)
    assert [data[:2].hex() for data, _ in Eac3Packetizer(500).packetize((unit,))] == [
        "0102",
        "0102",
    ]
    assert Eac3Packetizer(1400).packetize((unit,))[0][0][:2].hex() == "0002"
    assert Eac3Packetizer(1400).packetize(()) == []


@pytest.mark.parametrize("name", FORMATS)
def test_several_frames_of_a_packet_follow_each_other(name: str) -> None:
    frames = [frame(name, index) for index in range(3)]
    units, drops = run(name, *number(b"\0\3" + b"".join(frames), timestamp=7))
    assert units == [Unit(7 + 1536 * index, (data,)) for index, data in enumerate(frames)]
    assert drops == []


def test_substreams_stay_together() -> None:
    first, second = frame("eac3") + eac3_frame(kind=1), frame("eac3", 1) + eac3_frame(substream=1)
    units, drops = run("eac3", *number(b"\0\4" + first + second))
    assert units == [Unit(0, (first,)), Unit(1536, (second,))]
    units, drops = run("eac3", *number(b"\0\1" + eac3_frame(kind=1)))
    assert (units, drops) == ([], ["eac3-substreams-apart-unsupported"])
    packets = packets_of(Eac3Packetizer(300), [(first,), (second,)], step=1536)
    units, drops = run("eac3", *packets)
    assert [unit.payload[0] for unit in units] == [first, second]
    assert drops == []


@pytest.mark.parametrize("name", FORMATS)
def test_truncation(name: str) -> None:
    whole = b"\0\1" + frame(name)
    for size in range(len(whole)):
        units, drops = run(
            name,
            Packet(whole[:size], True, 0, 0),
            Packet(b"\0\1" + frame(name, 1), True, 1, 1536),
        )
        assert units == [Unit(1536, (frame(name, 1),))]
        assert len(drops) == (size > 0)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("lost", "heard", "drops"),
    [
        ((0,), 2, []),  # we joined in the middle of a frame
        ((1,), 2, ["fragment-loss"]),
        ((2,), 2, ["fragment-loss"]),
        ((3,), 2, ["unit-loss"]),
        ((2, 3), 1, ["fragment-loss", "fragment-loss"]),
        ((3, 4, 5), 2, ["unit-loss"]),
    ],
)
def test_losses(name: str, lost: tuple[int, ...], heard: int, drops: list[str]) -> None:
    """Three frames of three fragments each; the frame of a lost one is not passed on."""
    sent = [frame(name, index) for index in range(3)]
    packets = packets_of(FORMATS[name][1](300), [(data,) for data in sent])
    units, reasons = run(name, *without(packets, *lost))
    assert len(units) == heard
    assert all(unit.payload[0] in sent for unit in units)
    assert reasons == [f"{name}-{reason}" for reason in drops]


@pytest.mark.parametrize("name", FORMATS)
def test_the_number_of_fragments_ends_a_frame(name: str) -> None:
    packets = packets_of(FORMATS[name][1](300), [(frame(name),)], timestamp=0)
    for packet in packets:
        packet.marker = False
    assert run(name, *packets) == ([Unit(0, (frame(name),))], [])


@pytest.mark.parametrize("name", FORMATS)
def test_fragments_that_do_not_fit(name: str) -> None:
    packets = packets_of(FORMATS[name][1](300), [(frame(name),)], sequence=0, timestamp=0)
    packets[1].payload += b"x"
    drops = Drops()
    made = FORMATS[name][0](drops)
    assert deliver(made, packets) == []
    assert drops.reasons == [f"{name}-malformed"]
    after = Packet(b"\0\1" + frame(name), True, 3, 1536)
    assert deliver(made, [after]) == [Unit(1536, (frame(name),))]


def test_a_frame_that_ends_with_the_next_one() -> None:
    for name in FORMATS:
        first, *_ = packets_of(FORMATS[name][1](300), [(frame(name),)], sequence=0, timestamp=0)
        for timestamp in (0, 1536):
            after = Packet(b"\0\1" + frame(name, 1), True, 1, timestamp)
            units, drops = run(name, first, after)
            assert units == [Unit(timestamp, (frame(name, 1),))]
            assert drops == [f"{name}-fragment-loss"]


def test_a_flood_of_fragments_is_bounded() -> None:
    drops = Drops()
    made = Ac3Depacketizer(drops)
    made.push(b"\1\0" + frame("ac3"), False, 0, 0)
    for sequence in range(1, 100):
        assert not made.push(b"\3\0" + b"x" * 1400, False, sequence, 0)
    assert drops.reasons == ["ac3-unit-too-large"]


HEADS = st.sampled_from([b"\0\1", b"\1\2", b"\2\2", b"\3\2", b"\1\3", b"\0\0"])
BODIES = st.one_of(
    st.binary(max_size=10),
    st.sampled_from([frame("ac3"), frame("eac3"), frame("ac3")[:300], frame("ac3")[300:]]),
    st.sampled_from([frame("eac3")[:300], frame("eac3")[300:], b""]),
)


@given(
    st.sampled_from(sorted(FORMATS)),
    st.lists(st.tuples(HEADS, BODIES, st.integers(0, 3), st.booleans()), max_size=12),
)
def test_any_packets_are_taken(name: str, parts: list[tuple[bytes, bytes, int, bool]]) -> None:
    sequence = 0
    packets: list[Packet] = []
    for head, body, step, marker in parts:
        sequence += step
        packets.append(Packet(head + body, marker, sequence, sequence // 3))
    units, _ = run(name, *packets)
    assert all(unit.payload[0][:2] == b"\x0b\x77" for unit in units)
