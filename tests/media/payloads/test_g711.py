"""RTP payload format for G.711."""

from hypothesis import given
from hypothesis import strategies as st

from media.payloads.base import Unit
from media.payloads.g711 import (
    G711Depacketizer,
    G711Packetizer,
    fmtp_from_parameters,
    parameters_from_fmtp,
)
from tests.support.payloads import Drops, deliver, packets_of, without

FRAMES = [(bytes((index,)) * 160,) for index in range(10)]


def test_round_trip() -> None:
    drops = Drops()
    units = deliver(G711Depacketizer(drops), packets_of(G711Packetizer(1200), FRAMES, step=160))
    assert [unit.payload for unit in units] == FRAMES
    assert drops.reasons == []


def test_losses_are_counted_once_a_gap() -> None:
    drops = Drops()
    packets = packets_of(G711Packetizer(1200), FRAMES)
    assert len(deliver(G711Depacketizer(drops), without(packets, 1, 4, 5))) == 7
    assert drops.reasons == ["g711-unit-loss"] * 2


def test_long_packets_are_cut_in_time() -> None:
    payload = bytes(range(250)) * 10
    assert list(G711Depacketizer(Drops()).push(payload, False, 0, 1000)) == [
        Unit(1000, (payload[:960],)),
        Unit(1960, (payload[960:1920],)),
        Unit(2920, (payload[1920:],)),
    ]
    stereo = list(G711Depacketizer(Drops(), channels=2).push(payload, False, 0, 0))
    assert [unit.timestamp for unit in stereo] == [0, 700]  # what fits into a packet


@given(st.binary(max_size=3000), st.integers(0, 3))
def test_any_packet_is_taken(payload: bytes, channels: int) -> None:
    drops = Drops()
    units = G711Depacketizer(drops, channels).push(payload, True, 0, 0)
    assert drops.reasons or b"".join(unit.payload[0] for unit in units) == payload


def test_description() -> None:
    parameters = parameters_from_fmtp({}, 8000, 1)
    assert (parameters.sample_rate, parameters.channels) == (8000, 1)
    assert fmtp_from_parameters(parameters) == {}
    assert G711Packetizer(100).packetize(()) == []
