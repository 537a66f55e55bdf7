"""What answers to SETUP mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.rtsp.message import Headers, Response
from protocols.rtsp.setup import DEFAULT_TTL, TrackSetup
from protocols.rtsp.transport import Group, PortPair, Way

TOLD = Group("239.9.9.9", PortPair(7000, 7001), 5, "10.0.0.9")
BLANK = Group("", PortPair(0, 1), 16)


def setup(way: Way, told: Group | None = None) -> TrackSetup:
    ports = [PortPair(5000, 5001)] if way is Way.UDP else []
    return TrackSetup(["rtsp://cam/1"], way, ports, [told])


def answer(transport: str) -> Response:
    return Response(200, Headers([("Transport", transport)] if transport else []))


@pytest.mark.parametrize(
    ("transport", "told", "group"),
    [
        (
            'RTP/AVP;multicast;destination=239.1.1.1;port=5000-5001;ttl=4;mode="PLAY"',
            TOLD,
            Group("239.1.1.1", PortPair(5000, 5001), 4, "10.0.0.9"),
        ),
        (
            "RTP/AVP/UDP;multicast;destination=232.1.1.1;source=10.0.0.1;port=5000",
            None,
            Group("232.1.1.1", PortPair(5000, 5001), DEFAULT_TTL, "10.0.0.1"),
        ),
        (
            "RTP/AVP;multicast;destination=ff15::1;client_port=5000-5001",
            BLANK,
            Group("ff15::1", PortPair(5000, 5001), 16),
        ),
        (
            "RTP/AVP;multicast;destination=239.1.1.1;server_port=5000-5001;ttl=0",
            None,
            Group("239.1.1.1", PortPair(5000, 5001), DEFAULT_TTL),
        ),
        ("RTP/AVP;multicast", TOLD, TOLD),
        ("", TOLD, TOLD),
        ("RTP/AVP;multicast;destination=239.1.1.1", BLANK, None),
        ("RTP/AVP;multicast;destination=10.1.1.1;port=5000", None, None),
        ("RTP/AVP;multicast;destination=cam;port=5000", TOLD, None),
        ("RTP/AVP;multicast", None, None),
        ("RTP/AVP;unicast;client_port=5000-5001", TOLD, None),
    ],
)
def test_multicast_answers(transport: str, told: Group | None, group: Group | None) -> None:
    it = setup(Way.MULTICAST, told)
    assert it.transport().serialize() == "RTP/AVP;multicast"
    assert it.accept(answer(transport)) == (group is not None)
    assert [track.group for track in it.tracks] == ([group] if group else [])


@pytest.mark.parametrize("way", [Way.TCP, Way.UDP])
def test_answers_without_a_transport_header(way: Way) -> None:
    it = setup(way)
    assert it.accept(answer(""))
    assert it.tracks[0].channels == PortPair(0, 1)


@pytest.mark.parametrize(
    ("way", "transport"),
    [
        (Way.TCP, "RTP/AVP;unicast;client_port=1-2"),
        (Way.UDP, "RTP/AVP/TCP;interleaved=0-1"),
        (Way.UDP, "RTP/AVP;multicast;destination=239.1.1.1;port=5000"),
    ],
)
def test_another_transport_than_was_asked_for(way: Way, transport: str) -> None:
    assert not setup(way).accept(answer(transport))


WORDS = st.text('RTP/AVP;TCPmulticasdenor=0123456789-.:,"', max_size=120)


@given(st.text(max_size=80) | WORDS, st.sampled_from(Way))
def test_any_answer_is_taken_or_not(text: str, way: Way) -> None:
    it = setup(way, TOLD)
    assert it.accept(answer(text)) == bool(it.tracks)
