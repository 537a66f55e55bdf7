"""RTP payload format for AAC in LATM."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from media.codecs.aac import AacParameters
from media.codecs.latm import StreamMuxConfig
from media.codecs.tracker import tracker_for
from media.payloads.base import Unit
from media.payloads.formats import payload_format
from media.payloads.latm import (
    LatmDepacketizer,
    LatmPacketizer,
    fmtp_from_parameters,
    mux_from_fmtp,
    parameters_from_fmtp,
)
from media.track import AAC, Kind, Track
from tests.support.latm import ASC, SBR, element, mux_config
from tests.support.payloads import Drops, Packet, deliver, number, packets_of, without

PLAIN = StreamMuxConfig(ASC)
FRAMES = [bytes((index,)) * (50 + 150 * (index % 5)) for index in range(20)]


def run(
    *packets: Packet, config: StreamMuxConfig | None = PLAIN, in_band: bool = False
) -> tuple[list[Unit], list[str]]:
    drops = Drops()
    return deliver(LatmDepacketizer(drops, 48000, config, in_band), packets), drops.reasons


@pytest.mark.parametrize("limit", [64, 100, 1400])
def test_round_trip(limit: int) -> None:
    units = [(frame,) for frame in FRAMES]
    packets = packets_of(LatmPacketizer(limit), units, step=1024)
    out, drops = run(*packets)
    assert [unit.payload for unit in out] == units
    assert [unit.timestamp for unit in out] == [5_000_000_000 + 1024 * n for n in range(20)]
    assert max(len(packet.payload) for packet in packets) <= limit
    assert drops == []


def test_fragments_are_equal_but_for_the_last() -> None:
    packets = LatmPacketizer(1000).packetize((b"x" * 5001,))
    assert [len(payload) for payload, _ in packets] == [837] * 5 + [836]
    assert [marker for _, marker in packets] == [False] * 5 + [True]
    assert LatmPacketizer(1000).packetize(()) == []


def test_several_frames_of_an_element_follow_each_other() -> None:
    frames = [b"a", b"", b"c" * 300, b"d"]
    units, drops = run(*number(element(frames), timestamp=7), config=StreamMuxConfig(ASC, 4))
    assert units == [Unit(7, (b"a",)), Unit(2055, (b"c" * 300,)), Unit(3079, (b"d",))]
    assert drops == []


def test_no_marker() -> None:
    packets = packets_of(LatmPacketizer(100), [(frame,) for frame in FRAMES], step=1024)
    for packet in packets:
        packet.marker = False
    units, drops = run(*packets)
    assert [unit.payload[0] for unit in units] == FRAMES[:-1]  # the last may go on
    assert units[3].timestamp == 5_000_000_000 + 3 * 1024
    assert drops == []


def test_the_configuration_in_band() -> None:
    """It comes with the first frame and where it changes; the tracker takes it out."""
    mono = bytes.fromhex("1188")
    configs = [mux_config(ASC), mux_config(ASC), None, mux_config(mono), mux_config(ASC)]
    packets = [
        Packet(element([bytes((65 + n,))], config.hex() if config else ""), True, n, 1024 * n)
        for n, config in enumerate(configs)
    ]
    units, drops = run(*packets, config=None, in_band=True)
    expected = [(ASC, b"A"), (b"B",), (b"C",), (mono, b"D"), (ASC, b"E")]
    assert [unit.payload for unit in units] == expected
    assert drops == []
    tracker = tracker_for(Track(0, Kind.AUDIO, AAC, 48000))
    found = [tracker.inspect(unit.payload) for unit in units]
    assert [each.payload for each in found] == [(bytes((65 + n,)),) for n in range(5)]
    assert [each.changed for each in found] == [True, False, False, True, True]
    assert tracker.parameters is not None
    assert tracker.parameters.version == 2


def test_nothing_is_known_before_the_configuration() -> None:
    packets = [
        Packet(element([b"a"], ""), True, 0, 0),
        Packet(element([b"b"], mux_config(SBR).hex()), True, 1, 2048),
        Packet(element([b"c"], ""), True, 2, 4096),
    ]
    units, drops = run(*packets, config=None, in_band=True)
    assert units == [Unit(2048, (SBR, b"b")), Unit(4096, (b"c",))]
    assert drops == ["latm-config-missing"]


def test_truncation() -> None:
    whole = element([b"abc", b"d" * 300])
    config = StreamMuxConfig(ASC, 2)
    for size in range(len(whole)):
        units, drops = run(
            Packet(element([b"x", b"y"]), True, 0, 0),
            Packet(whole[:size], True, 1, 2048),
            Packet(element([b"x", b"y"]), True, 2, 4096),
            config=config,
        )
        assert [unit.payload for unit in units] == [(b"x",), (b"y",)] * 2
        assert drops == ["latm-malformed"] * (size > 0)


@pytest.mark.parametrize(
    ("lost", "heard", "drops"),
    [
        ((0,), [1, 2, 3], []),  # we joined in the middle of an element
        ((1,), [0, 2, 3], ["latm-unit-loss"]),
        ((2,), [0, 2, 3], ["latm-fragment-loss"]),
        ((3,), [0, 2, 3], ["latm-fragment-loss"]),
        ((4,), [0, 1, 3], ["latm-unit-loss"]),
        ((3, 4), [0, 3], ["latm-fragment-loss", "latm-unit-loss"]),
        # More packets than elements in time: the next one may lack its head, and is dropped too.
        ((1, 2, 3), [0, 3], ["latm-unit-loss"]),
        ((4, 5, 6), [0, 1], ["latm-unit-loss"]),
        ((6,), [0, 1, 3], ["latm-fragment-loss"]),
        ((7,), [0, 1, 2], []),
    ],
)
def test_losses(lost: tuple[int, ...], heard: list[int], drops: list[str]) -> None:
    """Elements of one, three, three and one packets; 1-3 are those of the second one."""
    frames = [b"0" * 40, b"1" * 250, b"2" * 250, b"3" * 40]
    packets = packets_of(LatmPacketizer(100), [(frame,) for frame in frames], step=1024)
    assert [packet.marker for packet in packets] == [n in (0, 3, 6, 7) for n in range(8)]
    units, reasons = run(*without(packets, *lost))
    assert [frames.index(unit.payload[0]) for unit in units] == heard
    assert reasons == drops


def test_whole_elements_after_a_gap_are_kept() -> None:
    packets = packets_of(LatmPacketizer(1400), [(frame,) for frame in FRAMES], step=1024)
    units, drops = run(*without(packets, 4, 9, 10, 11))
    assert [unit.payload[0] for unit in units] == FRAMES[:4] + FRAMES[5:9] + FRAMES[12:]
    assert drops == ["latm-unit-loss"] * 2


def test_the_rest_of_an_element_is_never_taken_for_one() -> None:
    """Its bytes would be lengths and frames that fit."""
    frames = [b"0" * 40, b"\x20" + b"\x1f" + b"z" * 31 + b"\x3f" + b"y" * 63, b"2" * 40]
    packets = packets_of(LatmPacketizer(64), [(frame,) for frame in frames], step=1024)
    assert [packet.marker for packet in packets] == [True, False, True, True]
    tail = packets[2]
    tail.payload = bytes((len(tail.payload) - 1,)) + tail.payload[1:]
    units, drops = run(*without(packets, 1))
    assert [unit.payload[0] for unit in units] == [frames[0], frames[2]]
    assert drops == ["latm-unit-loss"]


def test_an_element_that_never_ends() -> None:
    drops = Drops()
    made = LatmDepacketizer(drops, 48000, PLAIN, False)
    for sequence in range(200):
        assert not made.push(b"x" * 1400, False, sequence, 0)
    assert drops.reasons == ["latm-element-too-large"]
    assert made.push(element([b"a"]), True, 200, 1024) == [Unit(1024, (b"a",))]


def test_description() -> None:
    parameters = AacParameters.build(ASC, 48000)
    fmtp = fmtp_from_parameters(parameters)
    assert fmtp["config"] == "400023203FC0"
    assert parameters_from_fmtp(fmtp, 48000) == parameters
    assert mux_from_fmtp(fmtp) == (PLAIN, False)
    assert parameters_from_fmtp({}, 48000) is None
    assert mux_from_fmtp({}) == (None, True)
    assert mux_from_fmtp({"cpresent": "1", "config": "400023203fc0"}) == (PLAIN, True)
    assert parameters_from_fmtp({"config": "40"}, 48000) is None


def test_config_alone() -> None:
    assert mux_from_fmtp({"config": "400023203fc0"}) == (PLAIN, False)
    found = payload_format("MP4A-LATM", 48000, 2, {"config": "400023203fc0"})
    units = deliver(found.depacketizer(Drops()), number(element([b"abc"])))
    assert units == [Unit(0, (b"abc",))]


@pytest.mark.parametrize(
    "fmtp", [{"cpresent": "0"}, {"config": "xyz"}, {"config": "4"}, {"config": "40010000"}]
)
def test_descriptions_that_cannot_be_used(fmtp: dict[str, str]) -> None:
    with pytest.raises(WireError):
        mux_from_fmtp(fmtp)


PIECES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([element([b"abc"]), element([b"abc"], ""), element([b"x" * 300])[:100]]),
    st.sampled_from([element([b"abc"], mux_config(ASC).hex()), b""]),
)


@given(
    st.booleans(),
    st.lists(st.tuples(PIECES, st.booleans(), st.integers(0, 3), st.integers(-1, 2)), max_size=12),
)
def test_any_packets_are_taken(in_band: bool, parts: list[tuple[bytes, bool, int, int]]) -> None:
    sequence = timestamp = 0
    packets: list[Packet] = []
    for payload, marker, step, later in parts:
        sequence += step
        timestamp += 1024 * later
        packets.append(Packet(payload, marker, sequence, timestamp))
    units, _ = run(*packets, config=None if in_band else PLAIN, in_band=in_band)
    sent = sum(len(packet.payload) for packet in packets)
    assert sum(len(unit.payload[-1]) for unit in units) <= sent
