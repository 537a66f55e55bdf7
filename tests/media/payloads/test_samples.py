"""RTP payload formats whose bytes are samples: G.722, G.726, L16."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.payloads import g722, g726, l16
from media.payloads.base import Depacketizer, Unit
from media.payloads.formats import packetizer_for, payload_format
from media.payloads.samples import SampleDepacketizer, SamplePacketizer
from tests.support.payloads import Drops, deliver, packets_of, without

FORMATS = [
    ("G722", 8000, 1, 160),
    ("L16", 48000, 2, 960),
    ("L16", 44100, 1, 700),
    ("G726-16", 8000, 1, 40),
    ("G726-24", 8000, 1, 60),
    ("AAL2-G726-32", 8000, 1, 80),
    ("g726-40", 8000, 1, 100),
]


def depacketizer_for(encoding: str, rate: int, channels: int, drops: Drops) -> Depacketizer:
    return payload_format(encoding, rate, channels, {}).depacketizer(drops)


@pytest.mark.parametrize(("encoding", "rate", "channels", "size"), FORMATS)
def test_round_trip(encoding: str, rate: int, channels: int, size: int) -> None:
    found = payload_format(encoding, rate, channels, {})
    drops = Drops()
    units = [(bytes((index,)) * size,) for index in range(10)]
    packets = packets_of(packetizer_for(found.codec, 1200), units)
    out = deliver(found.depacketizer(drops), packets)
    assert [unit.payload for unit in out] == units
    assert [unit.timestamp for unit in out] == [packet.timestamp for packet in packets]
    assert not any(packet.marker for packet in packets)
    assert drops.reasons == []


@pytest.mark.parametrize(
    ("encoding", "rate", "channels", "size", "ticks"),
    [
        ("G722", 8000, 1, 960, 960),
        ("G722", 8000, 2, 1400, 700),
        ("G722", 16000, 1, 480, 960),
        ("L16", 48000, 2, 1400, 350),
        ("L16", 48000, 6, 1392, 116),
        ("G726-16", 8000, 1, 240, 960),
        ("G726-24", 8000, 1, 360, 960),
        ("G726-40", 8000, 1, 600, 960),
    ],
)
def test_long_packets_are_cut_in_time(
    encoding: str, rate: int, channels: int, size: int, ticks: int
) -> None:
    payload = bytes(range(240)) * 30
    units = depacketizer_for(encoding, rate, channels, Drops()).push(payload, False, 0, 1000)
    assert b"".join(unit.payload[0] for unit in units) == payload
    assert (len(units[0].payload[0]), units[1].timestamp) == (size, 1000 + ticks)
    assert len(units) == -(-len(payload) // size)


def test_a_clock_of_16_khz() -> None:
    found = payload_format("G722", 16000, 1, {})
    assert (found.clock_rate, found.codec) == (16000, "g722")
    assert g722.parameters_from_fmtp({}, 16000).sample_rate == 16000


def test_losses_are_counted_once_a_gap() -> None:
    drops = Drops()
    packets = packets_of(SamplePacketizer(1200), [(b"x" * 160,)] * 10)
    assert len(deliver(SampleDepacketizer(drops, "x", 1), without(packets, 1, 4, 5))) == 7
    assert drops.reasons == ["x-unit-loss"] * 2


@pytest.mark.parametrize(
    ("encoding", "channels", "size"),
    [("L16", 1, 3), ("L16", 2, 6), ("G722", 2, 3), ("G726-24", 1, 4), ("G726-40", 1, 8)],
)
def test_half_samples_are_refused(encoding: str, channels: int, size: int) -> None:
    drops = Drops()
    made = depacketizer_for(encoding, 8000, channels, drops)
    assert list(made.push(b"x" * size, False, 0, 0)) == []
    assert list(made.push(b"", False, 1, 0)) == []
    good = b"x" * 30 * channels
    assert list(made.push(good, False, 2, 9)) == [Unit(9, (good,))]
    assert [reason.split("-")[1] for reason in drops.reasons] == ["malformed"]


@pytest.mark.parametrize("name", g726.ENCODINGS)
def test_g726_names_come_back(name: str) -> None:
    parameters = g726.parameters_from_encoding(name)
    assert g726.encoding_name(parameters).lower() == name
    assert parameters.bit_rate == 1000 * int(name[-2:])
    assert parameters.is_aal2 == name.startswith("aal2")
    assert g726.fmtp_from_parameters(parameters) == {}


def test_descriptions() -> None:
    sound = l16.parameters_from_fmtp({}, 48000, 2)
    assert (sound.sample_rate, sound.channels) == (48000, 2)
    assert l16.fmtp_from_parameters(sound) == {}
    wide = g722.parameters_from_fmtp({}, 8000, 0)
    assert (wide.sample_rate, wide.channels) == (16000, 1)
    assert g722.fmtp_from_parameters(wide) == {}


@given(st.sampled_from(FORMATS), st.binary(max_size=4000), st.integers(0, 300))
def test_any_packet_is_taken(
    form: tuple[str, int, int, int], payload: bytes, channels: int
) -> None:
    drops = Drops()
    units = depacketizer_for(form[0], form[1], channels, drops).push(payload, True, 0, 0)
    assert drops.reasons or b"".join(unit.payload[0] for unit in units) == payload
