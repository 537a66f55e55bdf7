"""Which ports a description opens, and who is heard there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.datagram_url import DatagramUrl
from flux.base.errors import WireError
from flux.bridges.udp.plan import Senders, SessionPlan, connection_address, plan_session
from protocols.sdp import SessionDescription

VIDEO = "m=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n"
AUDIO = "m=audio {port} RTP/AVP 0\n"


def plan(url: str, *lines: str) -> SessionPlan:
    text = "v=0\n" + "".join(lines)
    return plan_session(DatagramUrl.parse_source(url), SessionDescription.parse(text.encode()))


def places(found: SessionPlan) -> list[tuple[str, int, int]]:
    return [(media.host, media.port, media.rtcp_port) for media in found.media]


def test_ports_stand_in_the_description() -> None:
    found = plan("rtp://127.0.0.1", VIDEO.format(port=5004), AUDIO.format(port=5010))
    assert places(found) == [("127.0.0.1", 5004, 5005), ("127.0.0.1", 5010, 5011)]
    assert found.refused == ()
    assert found.transport_stream is None


def test_sections_without_port_get_those_of_the_url() -> None:
    found = plan("rtp://:6000", VIDEO.format(port=0), AUDIO.format(port=0))
    assert places(found) == [("", 6000, 6001), ("", 6002, 6003)]


def test_without_any_port_there_is_no_track() -> None:
    with pytest.raises(WireError) as failed:
        plan("rtp://", VIDEO.format(port=0))
    assert failed.value.reason == "no-usable-track"
    assert "sdp-no-port" in failed.value.detail


@pytest.mark.parametrize(
    ("url", "session", "section", "host"),
    [
        ("rtp://", "", "c=IN IP4 239.1.2.3/16\n", "239.1.2.3"),
        ("rtp://", "c=IN IP4 239.1.2.3/16/2\n", "", "239.1.2.3"),
        ("rtp://", "c=IN IP4 239.9.9.9\n", "c=IN IP4 239.1.2.3\n", "239.1.2.3"),
        ("rtp://", "c=IN IP6 ff15::1/3\n", "", "ff15::1"),
        ("rtp://@239.4.4.4:5004", "", "", "239.4.4.4"),
        ("rtp://@239.4.4.4:5004", "c=IN IP4 127.0.0.1\n", "", "239.4.4.4"),
        ("rtp://0.0.0.0:5004", "c=IN IP4 10.0.0.9\n", "", "0.0.0.0"),
        ("rtp://", "c=IN IP4 10.0.0.9\n", "", ""),
        ("rtp://", "c=IN IP4 camera.example\n", "", ""),
        ("rtp://", "c=nonsense\n", "", ""),
    ],
)
def test_groups(url: str, session: str, section: str, host: str) -> None:
    found = plan(url, session, VIDEO.format(port=5004), section)
    assert places(found) == [(host, 5004, 5005)]


@pytest.mark.parametrize(
    ("session", "section", "rtcp"),
    [
        ("", "a=rtcp:6001\n", 6001),
        ("", "a=rtcp:6001 IN IP4 10.0.0.1\n", 6001),
        ("", "a=rtcp:0\n", 5005),
        ("", "a=rtcp:99999\n", 5005),
        ("", "a=rtcp:x\n", 5005),
        ("", "a=rtcp-mux\n", 5004),
        ("a=rtcp-mux\n", "", 5004),
        ("", "a=rtcp:6001\na=rtcp-mux\n", 5004),
    ],
)
def test_ports_of_rtcp(session: str, section: str, rtcp: int) -> None:
    assert places(plan("rtp://", session, VIDEO.format(port=5004), section))[0][2] == rtcp


def test_ports_that_meet() -> None:
    found = plan(
        "rtp://", VIDEO.format(port=5004), AUDIO.format(port=5005), VIDEO.format(port=5004)
    )
    assert places(found) == [("", 5004, 0), ("", 5005, 5006)]
    assert [refused.reason for refused in found.refused] == ["sdp-port-taken"]
    assert places(plan("rtp://", VIDEO.format(port=65535))) == [("", 65535, 0)]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("", "a=source-filter: incl IN IP4 232.1.2.3 10.0.0.5\n"), Senders(("10.0.0.5",))),
        (("", "a=source-filter:incl IN IP4 * 10.0.0.5 10.0.0.6\n"),
         Senders(("10.0.0.5", "10.0.0.6"))),
        (("", "a=source-filter: excl IN * * 10.0.0.5\n"), Senders((), ("10.0.0.5",))),
        (("a=source-filter: incl IN IP4 * 10.0.0.7\n", ""), Senders(("10.0.0.7",))),
        (("a=source-filter: incl IN IP4 * 10.0.0.7\n",
          "a=source-filter: incl IN IP4 * 10.0.0.5\n"), Senders(("10.0.0.5",))),
        (("", "a=source-filter: incl IN IP4 239.9.9.9 10.0.0.5\n"), Senders()),
        (("", "a=source-filter: incl IN IP4 * camera.example\n"), Senders()),
        (("", "a=source-filter: incl\na=source-filter\n"), Senders()),
    ],
)  # fmt: skip
def test_source_filters(lines: tuple[str, str], expected: Senders) -> None:
    session, section = lines
    group = "c=IN IP4 232.1.2.3/32\n"
    found = plan("rtp://", group, session, VIDEO.format(port=5004), section)
    assert found.media[0].senders == expected
    fixed = plan("rtp://?source=10.9.9.9", group, session, VIDEO.format(port=5004), section)
    assert fixed.media[0].senders == Senders(("10.9.9.9",))


def test_who_is_heard() -> None:
    assert Senders().has("10.0.0.1")
    assert Senders(("10.0.0.1",)).has("10.0.0.1")
    assert not Senders(("10.0.0.1",)).has("10.0.0.2")
    assert not Senders((), ("10.0.0.2",)).has("10.0.0.2")


@pytest.mark.parametrize("text", ["2001:DB8:0:0:0::5", "2001:db8::5%eth0", "2001:db8::0.0.0.5"])
def test_senders_are_known_however_they_are_written(text: str) -> None:
    assert Senders((text,)).has("2001:db8::5")
    assert not Senders((), (text,)).has("2001:db8::5")
    assert not Senders((text,)).has("2001:db8::6")


def test_destinations_of_filters_are_known_however_they_are_written() -> None:
    section = "a=source-filter: incl IN IP6 FF35:0::5 2001:db8::5\n"
    found = plan("rtp://", "c=IN IP6 ff35::5\n", VIDEO.format(port=5004), section)
    assert found.media[0].senders == Senders(("2001:db8::5",))


def test_a_transport_stream_in_rtp() -> None:
    found = plan("rtp://", VIDEO.format(port=5004), "m=video 5010 RTP/AVP 33\n")
    assert found.transport_stream is found.media[1]


def test_too_many_tracks() -> None:
    found = plan("rtp://", *(VIDEO.format(port=5004 + 2 * n) for n in range(18)))
    assert len(found.media) == 16
    assert [refused.reason for refused in found.refused] == ["sdp-too-many-tracks"] * 2


@given(st.lists(st.sampled_from(
    ["c=IN IP4 239.1.1.1/1", "c=IN", "a=rtcp:1", "a=rtcp-mux", "a=source-filter: incl IN IP4 * x",
     "m=video 0 RTP/AVP 96", "m=audio 65535 RTP/AVP 0", "a=rtpmap:96 H264/90000", "m=x", "a="]
)))  # fmt: skip
def test_any_description_makes_a_plan_or_a_wire_error(lines: list[str]) -> None:
    try:
        found = plan("rtp://:65535", *(f"{line}\n" for line in lines))
    except WireError:
        return
    assert all(0 < media.port <= 65_535 and media.rtcp_port <= 65_535 for media in found.media)
    assert len({(media.host, media.port) for media in found.media}) == len(found.media)


@given(st.text(max_size=40))
def test_any_connection_is_an_address_or_nothing(text: str) -> None:
    assert isinstance(connection_address(text), str)
