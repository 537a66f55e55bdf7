"""What answers to SETUP mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.rtsp.message import Headers, Response
from protocols.rtsp.setup import DEFAULT_TTL, Secured, TrackSetup
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


SAVP = {0: Secured("RTP/SAVP", lambda url: f"key of {url}")}


@pytest.mark.parametrize(
    ("way", "transport"),
    [
        (Way.TCP, "RTP/SAVP/TCP;unicast;interleaved=0-1"),
        (Way.UDP, "RTP/SAVP;unicast;client_port=5000-5001"),
        (Way.MULTICAST, "RTP/SAVP;multicast"),
    ],
)
def test_srtp(way: Way, transport: str) -> None:
    """RFC 4567 section 4.1: the profile in Transport, the key in KeyMgmt."""
    it = TrackSetup(["rtsp://cam/1"], way, [PortPair(5000, 5001)], [TOLD], secured=SAVP)
    assert it.headers() == (("Transport", transport), ("KeyMgmt", "key of rtsp://cam/1"))
    keys = [("KeyMgmt", "a"), ("KeyMgmt", "b")]
    assert it.accept(Response(200, Headers([("Transport", transport), *keys])))
    assert it.tracks[0].keys == "a,b"


def test_srtp_with_the_servers_key_alone() -> None:
    it = TrackSetup(["rtsp://cam/1"], Way.TCP, secured={0: Secured("RTP/SAVPF")})
    assert it.headers() == (("Transport", "RTP/SAVPF/TCP;unicast;interleaved=0-1"),)
    assert it.accept(answer(""))
    assert it.tracks[0].keys == ""


@pytest.mark.parametrize("secured", [SAVP, {}])
def test_another_profile_than_was_asked_for(secured: dict[int, Secured]) -> None:
    """Media in the clear, or that nobody has a key for."""
    it = TrackSetup(["rtsp://cam/1"], Way.TCP, secured=secured)
    assert not it.accept(answer(f"RTP/{'AVP' if secured else 'SAVP'}/TCP;interleaved=0-1"))
    assert it.accept(answer(f"RTP/{'SAVPF' if secured else 'AVPF'}/TCP;interleaved=0-1"))


WORDS = st.text('RTP/AVP;TCPmulticasdenor=0123456789-.:,"', max_size=120)


@given(st.text(max_size=80) | WORDS, st.sampled_from(Way))
def test_any_answer_is_taken_or_not(text: str, way: Way) -> None:
    it = setup(way, TOLD)
    assert it.accept(answer(text)) == bool(it.tracks)
