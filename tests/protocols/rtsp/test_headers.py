"""Transport, Session and RTP-Info headers, and URLs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from protocols.rtsp.rtp_info import RtpInfo, match_tracks, parse_rtp_info
from protocols.rtsp.session import SessionHeader
from protocols.rtsp.transport import PortPair, Transport, parse_transports
from protocols.rtsp.url import Url, base_url, resolve_control, strip_credentials


@pytest.mark.parametrize(
    "transport",
    [
        Transport(lower="TCP", interleaved=PortPair(0, 1), ssrc=0xDEADBEEF, mode="play"),
        Transport(client_port=PortPair(5000, 5001), server_port=PortPair(6970, 6971)),
        Transport(is_multicast=True, destination="224.2.0.1", source="10.0.0.1"),
    ],
)
def test_transport_round_trip(transport: Transport) -> None:
    assert Transport.parse(transport.serialize()) == transport


def test_transport_as_servers_write_it() -> None:
    text = 'RTP/AVP/TCP; unicast; interleaved=4; SSRC= 0x1f ; mode="PLAY"; odd, RTP/AVP/UDP;x, Q/R'
    first, second = parse_transports(text)
    assert first == Transport(lower="TCP", interleaved=PortPair(4, 5), ssrc=31, mode="play")
    assert (second.lower, second.client_port) == ("UDP", None)
    assert Transport.parse("RTP/AVP;unicast;client_port=70000-70001").client_port is None


@given(st.text(max_size=100) | st.text("RTP/AVC;=-,interleaved0123456789", max_size=80))
def test_any_transport_parses_or_raises_wire_error(text: str) -> None:
    parse_transports(text)
    try:
        transport = Transport.parse(text)
    except WireError:
        return
    assert Transport.parse(transport.serialize()).lower == transport.lower


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12345678", SessionHeader("12345678", 60.0)),
        (" ab;timeout=30 ", SessionHeader("ab", 30.0)),
        ("ab ; Timeout = 5;x=y", SessionHeader("ab", 5.0)),
        ("ab;timeout=0", SessionHeader("ab", 60.0)),
        ("ab;timeout=-7", SessionHeader("ab", 60.0)),
        ("ab;timeout=1", SessionHeader("ab", 2.0)),
        ("ab;timeout=999999999", SessionHeader("ab", 60.0)),
    ],
)
def test_session(text: str, expected: SessionHeader) -> None:
    assert SessionHeader.parse(text) == expected
    assert SessionHeader.parse(expected.serialize()) == expected


@given(st.text(max_size=40))
def test_any_session_parses_or_raises_wire_error(text: str) -> None:
    try:
        assert SessionHeader.parse(text).id
    except WireError as error:
        assert error.reason == "rtsp-session-header"


TRACKS = ["rtsp://h/s?a=1,2/trackID=1", "rtsp://h/s?a=1,2/trackID=2"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"url={TRACKS[0]};seq=1;rtptime=2,url={TRACKS[1]};rtptime=4;seq=3",
            [(1, 2), (3, 4)],
        ),
        (f"url={TRACKS[1]};seq=1", [None, (1, None)]),
        ("url=trackID=2;seq=5;rtptime=6, url=trackID=1;seq=7;rtptime=8", [(7, 8), (5, 6)]),
        ("url=rtsp://10.0.0.9:554/s?a=1,2/trackID=1;seq=1;rtptime=2", [(1, 2), None]),
        ("url=video;seq=1;rtptime=2,url=audio;seq=3;rtptime=4", [(1, 2), (3, 4)]),
        ("url=other;seq=1;rtptime=2", [None, None]),
        (f'url="{TRACKS[0]}";seq=65536;rtptime=4294967296', [(None, None), None]),
        ("nonsense", [None, None]),
        ("", [None, None]),
    ],
)
def test_rtp_info(text: str, expected: list[tuple[int | None, int | None] | None]) -> None:
    found = match_tracks(parse_rtp_info(text), TRACKS)
    assert [info and (info.sequence, info.rtptime) for info in found] == expected


@given(st.text(max_size=120) | st.text("url=;seq,rtptime0123 ", max_size=80))
def test_any_rtp_info_is_no_fault(text: str) -> None:
    entries = parse_rtp_info(text)
    assert all(isinstance(entry, RtpInfo) for entry in entries)
    assert len(match_tracks(entries, TRACKS)) == 2


@pytest.mark.parametrize(
    ("text", "request_url", "host", "port", "credentials"),
    [
        ("rtsp://cam/a?b=c&d=/e#f", "rtsp://cam/a?b=c&d=/e", "cam", 554, ("", "")),
        ("RTSP://u:p@cam:8554", "rtsp://cam:8554", "cam", 8554, ("u", "p")),
        ("rtsp://u:p@ss:w%2F%C3%A4@cam/x@y", "rtsp://cam/x@y", "cam", 554, ("u", "p@ss:w/ä")),
        ("rtsp://u@[fe80::1]:99/", "rtsp://[fe80::1]:99/", "fe80::1", 99, ("u", "")),
        ("rtsp://[::1]?q", "rtsp://[::1]?q", "::1", 554, ("", "")),
    ],
)
def test_url(
    text: str, request_url: str, host: str, port: int, credentials: tuple[str, str]
) -> None:
    url = Url.parse(text)
    assert (url.request, url.host, url.effective_port) == (request_url, host, port)
    assert (url.username, url.password) == credentials
    assert "password" not in repr(url)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cam/a",
        "http://cam/",
        "rtsp:///a",
        "rtsp://cam:0/",
        "rtsp://cam:99999/",
        "rtsp://cam:x/",
        "rtsp://c m/",
        "rtsp://cam/a\r\nX: y",
        "rtsp://[::1/",
        "rtsp://cam/" + "a" * 5000,
    ],
)
def test_bad_urls(text: str) -> None:
    with pytest.raises(WireError):
        Url.parse(text)


@given(st.text(max_size=60).map(lambda text: "rtsp://" + text) | st.text(max_size=60))
def test_any_url_parses_or_raises_wire_error(text: str) -> None:
    strip_credentials(text)
    resolve_control("rtsp://h/a", text)
    base_url("rtsp://h/a", text)
    try:
        url = Url.parse(text)
    except WireError:
        return
    assert Url.parse(url.request).request == url.request


@pytest.mark.parametrize(
    ("base", "control", "expected"),
    [
        ("rtsp://h/a", "*", "rtsp://h/a"),
        ("rtsp://h/a", "", "rtsp://h/a"),
        ("rtsp://h/a", "trackID=1", "rtsp://h/a/trackID=1"),
        ("rtsp://h/a/", "trackID=1", "rtsp://h/a/trackID=1"),
        ("rtsp://h/a/", "/trackID=1", "rtsp://h/a/trackID=1"),
        ("rtsp://h/a?x=y", "trackID=1", "rtsp://h/a?x=y/trackID=1"),
        ("rtsp://h/a", "?ctype=video", "rtsp://h/a?ctype=video"),
        ("rtsp://h/a?x=y", "?ctype=video", "rtsp://h/a?x=y&ctype=video"),
        ("rtsp://h/a", "rtsp://u:p@o/b?c", "rtsp://o/b?c"),
        ("rtsp://h/a", "bad\r\nX: y", "rtsp://h/a"),
    ],
)
def test_control(base: str, control: str, expected: str) -> None:
    assert resolve_control(base, control) == expected


@pytest.mark.parametrize(
    ("content_base", "location", "expected"),
    [
        ("", "", "rtsp://h:1/a"),
        ("rtsp://u:p@h:1/a/", "", "rtsp://h:1/a/"),
        ("/b/", "", "rtsp://h:1/b/"),
        ("rtsp://0.0.0.0/a/", "", "rtsp://h:1/a"),
        ("nonsense", "rtsp://h:1/c", "rtsp://h:1/c"),
    ],
)
def test_base(content_base: str, location: str, expected: str) -> None:
    assert base_url("rtsp://h:1/a", content_base, location) == expected
