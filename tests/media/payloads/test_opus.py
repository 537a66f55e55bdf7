"""RTP payload format for Opus."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.payloads.base import Unit
from media.payloads.opus import (
    OpusDepacketizer,
    OpusPacketizer,
    fmtp_from_parameters,
    multistream_from_fmtp,
    parameters_from_fmtp,
)
from tests.support.payloads import Drops, Packet, deliver, packets_of, without

FRAMES = [(bytes((0xFC, index)),) for index in range(10)]


def test_round_trip() -> None:
    drops = Drops()
    packets = packets_of(OpusPacketizer(1200), FRAMES, step=960)
    units = deliver(OpusDepacketizer(drops), packets)
    assert [unit.payload for unit in units] == FRAMES
    assert units[3].timestamp == packets[3].timestamp
    assert not any(packet.marker for packet in packets)
    assert drops.reasons == []


def test_losses_are_counted_once_a_gap() -> None:
    drops = Drops()
    packets = packets_of(OpusPacketizer(1200), FRAMES)
    units = deliver(OpusDepacketizer(drops), without(packets, 2, 3, 7))
    assert len(units) == 7
    assert drops.reasons == ["opus-unit-loss"] * 2


def test_what_is_no_opus_is_dropped() -> None:
    drops = Drops()
    packets = [Packet(b"\xff", True, 0, 0), Packet(b"", True, 1, 0), Packet(b"\xfc", True, 2, 960)]
    assert deliver(OpusDepacketizer(drops), packets) == [Unit(960, (b"\xfc",))]
    assert drops.reasons == ["opus-malformed"]


@given(st.binary(max_size=10))
def test_any_packet_is_taken(payload: bytes) -> None:
    drops = Drops()
    units = OpusDepacketizer(drops).push(payload, True, 0, 0)
    assert len(units) + len(drops.reasons) == bool(payload)


@pytest.mark.parametrize(
    ("fmtp", "channels"), [({}, 2), ({"sprop-stereo": "1"}, 2), ({"sprop-stereo": "0"}, 1)]
)
def test_channels(fmtp: dict[str, str], channels: int) -> None:
    parameters = parameters_from_fmtp(fmtp)
    assert (parameters.sample_rate, parameters.channels) == (48000, channels)
    assert parameters_from_fmtp(fmtp_from_parameters(parameters)) == parameters


SIX = {"channel_mapping": "0,4,1,2,3,5", "num_streams": "4", "coupled_streams": "2"}


def test_more_than_two_channels() -> None:
    parameters = multistream_from_fmtp(SIX, 6)
    assert parameters is not None
    assert (parameters.channels, parameters.stream_count, parameters.coupled_count) == (6, 4, 2)
    assert fmtp_from_parameters(parameters) == SIX


@pytest.mark.parametrize(
    "broken",
    [
        {"channel_mapping": "0,1"},
        {"channel_mapping": "0,1,2,3,4,x"},
        {"channel_mapping": "0,1,2,3,4,300"},
        {"channel_mapping": "0,1,2,3,4,-1"},
        {"num_streams": ""},
        {"num_streams": "-1"},
        {"num_streams": "9" * 10_000},
        {"coupled_streams": "5"},
    ],
)
def test_a_mapping_that_does_not_fit(broken: dict[str, str]) -> None:
    assert multistream_from_fmtp(SIX | broken, 6) is None


@given(st.dictionaries(st.sampled_from(sorted(SIX)), st.text(max_size=20)), st.integers(0, 300))
def test_any_description_is_read_or_refused(fmtp: dict[str, str], channels: int) -> None:
    multistream_from_fmtp(fmtp, channels)
