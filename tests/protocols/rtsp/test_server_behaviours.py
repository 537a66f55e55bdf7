"""What real players depend on and naive servers get wrong, one named test each (RFC 2326)."""

from urllib.parse import urljoin

import pytest

from protocols.rtsp import server_events as ask
from protocols.rtsp.server_options import ServerOptions
from tests.support.rtsp_app import (
    SDP,
    TCP_01,
    TCP_23,
    UDP_OFFER,
    URL,
    App,
    Bench,
    frame,
    parse_replies,
    request,
)

ALL = (
    "OPTIONS, DESCRIBE, ANNOUNCE, SETUP, PLAY, PAUSE, RECORD, TEARDOWN, "
    "GET_PARAMETER, SET_PARAMETER"
)
RTCP = b"\x80\xc9\x00\x01\0\0\0\1"


@pytest.mark.parametrize("url", ["*", URL, "rtsp://server:8554", "rtsp://server/unknown"])
def test_options_needs_neither_session_nor_credentials(url: str) -> None:
    bench = Bench(App(passwords={"u": "p"}))
    reply = bench.ask("OPTIONS", url)
    assert (reply.status, reply["Public"]) == (200, ALL)
    assert bench.events == []  # nobody was asked


def test_public_lists_what_there_is() -> None:
    bench = Bench(options=ServerOptions(may_publish=False))
    assert "ANNOUNCE" not in bench.ask("OPTIONS")["Public"]
    reply = bench.ask("ANNOUNCE", body=SDP)
    assert (reply.status, reply["Allow"]) == (405, bench.ask("OPTIONS")["Public"])


@pytest.mark.parametrize("method", ["GET_PARAMETER", "SET_PARAMETER", "OPTIONS"])
@pytest.mark.parametrize("body", [b"", b"ping\r\n"])
def test_keepalives_in_a_session(method: str, body: bytes) -> None:
    bench = Bench()
    session = bench.play(UDP_OFFER)
    for _ in range(10):
        bench.run(bench.now + 40)
        reply = bench.ask(method, URL, body, Session=session)
        assert reply.status == 200
        assert reply["Session"] == f"{session};timeout=60"
    assert bench.ended == []


def test_a_keepalive_without_session_is_answered() -> None:
    bench = Bench()
    assert bench.ask("GET_PARAMETER").status == 200


def test_session_header_has_the_timeout() -> None:
    bench = Bench()
    reply = bench.ask("SETUP", f"{URL}/trackID=0", Transport=UDP_OFFER)
    assert reply["Session"] == "token0001;timeout=60"


def test_receiver_reports_by_udp_refresh_the_session() -> None:
    bench = Bench()
    session = bench.play(UDP_OFFER)
    for _ in range(20):
        bench.run(bench.now + 40)
        bench.machine.touch(session, bench.now)
    assert bench.ended == []
    bench.run(bench.now + 64)
    assert bench.ended == []
    bench.run(bench.now + 2)
    assert bench.ended == [(session, "session-timeout")]
    assert bench.ask("GET_PARAMETER", Session=session).status == 454


def test_a_session_that_only_was_set_up_times_out() -> None:
    bench = Bench()
    session = bench.set_up(TCP_01)
    bench.run(bench.now + 66)
    assert bench.ended == [(session, "session-timeout")]


def test_a_player_on_tcp_may_be_silent_for_hours() -> None:
    bench = Bench()
    bench.play(TCP_01)
    bench.run(bench.now + 24 * 3600)
    assert bench.ended == []
    assert bench.end == ""


@pytest.mark.parametrize("cseq", ["1", "007", "4294967297", "9 ", "-1", "abc", "1.5"])
def test_cseq_comes_back_exactly(cseq: str) -> None:
    assert Bench().ask("OPTIONS", CSeq=cseq)["CSeq"] == cseq.strip()


def test_a_request_without_cseq_is_answered_without() -> None:
    (reply,) = parse_replies(Bench().feed(request("OPTIONS")))
    assert reply.status == 200
    assert "cseq" not in reply


def test_a_repeated_cseq_is_a_request_of_its_own() -> None:
    bench = Bench()
    for _ in range(2):
        assert bench.ask("DESCRIBE", CSeq=3).status == 200
    assert len(bench.events) == 2


def test_header_names_have_no_case() -> None:
    data = b"SETUP rtsp://h/live/cam/trackID=0 RTSP/1.0\r\ncseq:1\r\ntRANSPORT:" + TCP_01.encode()
    (reply,) = parse_replies(Bench().feed(data + b"\r\n\r\n"))
    assert (reply.status, reply["CSeq"]) == (200, "1")


def test_a_body_ends_where_content_length_says() -> None:
    bench = Bench()
    data = request("GET_PARAMETER", URL, b"OPTIONS rtsp://x RTSP/1.0\r\n\r\n", CSeq=1)
    replies = parse_replies(bench.feed(data + request("OPTIONS", CSeq=2)))
    assert [reply["CSeq"] for reply in replies] == ["1", "2"]


def test_pipelined_requests_are_answered_in_order() -> None:
    bench = Bench()
    session = "token0001"
    data = (
        request("OPTIONS", CSeq=1)
        + request("DESCRIBE", CSeq=2)
        + request("SETUP", f"{URL}/trackID=0", CSeq=3, Transport=TCP_01)
        + request("SETUP", f"{URL}/trackID=1", CSeq=4, Transport=TCP_23, Session=session)
        + request("PLAY", CSeq=5, Session=session)
    )
    replies = parse_replies(bench.feed(data))
    assert [(reply.status, reply["CSeq"]) for reply in replies] == [
        (200, str(number)) for number in range(1, 6)
    ]


@pytest.mark.parametrize(
    ("url", "base"),
    [
        (URL, URL + "/"),
        (URL + "/", URL + "/"),
        (URL + "?x=1", URL + "/?x=1/"),
        (URL + "/?x=1", URL + "/?x=1/"),
        (URL + "/?x=1/", URL + "/?x=1/"),
        ("rtsp://u:p@server/live/cam", "rtsp://server/live/cam/"),
    ],
)
def test_content_base_ends_in_a_slash(url: str, base: str) -> None:
    reply = Bench().ask("DESCRIBE", url, Accept="application/sdp")
    assert reply["Content-Base"] == base
    assert reply["Content-Type"] == "application/sdp"
    assert reply.body == SDP


def test_the_application_may_choose_the_base() -> None:
    bench = Bench(App(held={ask.DescribeAsked}))
    bench.feed(request("DESCRIBE", CSeq=1))
    _, (reply,) = bench.later(ask.Description(SDP, base="rtsp://other/cam"))
    assert reply["Content-Base"] == "rtsp://other/cam/"


@pytest.mark.parametrize(
    ("url", "query"),
    [
        ("rtsp://server:8554/live/cam/trackID=1", ""),
        ("rtsp://server/live/cam/trackID=1/", ""),
        ("rtsp://elsewhere:1/live/cam/trackID=1", ""),
        ("rtsp://u:p@server/live/cam/trackID=1", ""),
        ("/live/cam/trackID=1", ""),
        ("rtsp://server/live/cam?x=1&y=/trackID=1", "x=1&y="),
        ("rtsp://server/live/cam?x=1/trackID=1", "x=1"),
        ("rtsp://server/live/cam/?x=1/trackID=1", "x=1"),
        ("rtsp://server/live/cam/trackID=1?x=1", "x=1"),
        ("rtsp://server/live%2Fcam/TrackID=1", ""),
    ],
)
def test_a_track_wherever_its_control_stands(url: str, query: str) -> None:
    """live555 and ffmpeg put the track behind the query, GStreamer before it."""
    bench = Bench()
    reply = bench.ask("SETUP", url, Transport=TCP_01)
    assert reply.status == 200
    event = bench.asked(ask.SetupAsked)
    assert (event.target.path, event.target.query) == ("live/cam", query)
    assert event.target.control.lower() == "trackid=1"


def test_a_query_that_gstreamer_loses() -> None:
    """It joins the control attribute to the path of Content-Base, RFC 3986."""
    bench = Bench()
    base = bench.ask("DESCRIBE", URL + "?token=1")["Content-Base"]
    joined = urljoin(base.replace("rtsp:", "http:"), "trackID=0").replace("http:", "rtsp:")
    assert joined == URL + "/trackID=0"
    assert bench.ask("SETUP", joined, Transport=TCP_01).status == 200
    assert bench.asked(ask.SetupAsked).target.query == "token=1"
    bench.ask("PLAY")
    assert bench.asked(ask.PlayAsked).target.query == "token=1"


def test_no_credentials_is_a_question_and_not_an_attack() -> None:
    bench = Bench(App(passwords={"u": "p"}))
    reply = bench.ask("DESCRIBE")
    assert reply.status == 401
    assert 'Digest realm="FLUX", nonce="token0001", algorithm=SHA-256' in reply["WWW-Authenticate"]
    assert 'Basic realm="FLUX"' in reply["WWW-Authenticate"]
    assert bench.ask("DESCRIBE", Authorization="Basic dTpw").status == 200  # same connection


def test_setup_echoes_the_channels_that_the_client_chose() -> None:
    bench = Bench()
    reply = bench.ask(
        "SETUP", f"{URL}/trackID=0", Transport="RTP/AVP/TCP;unicast;interleaved=14-15"
    )
    assert reply["Transport"] == "RTP/AVP/TCP;unicast;interleaved=14-15;ssrc=CAFE0000"


def test_setup_echoes_client_ports_and_adds_its_own() -> None:
    reply = Bench().ask("SETUP", f"{URL}/trackID=0", Transport=UDP_OFFER + ";mode=play")
    assert reply["Transport"] == (
        "RTP/AVP;unicast;client_port=5000-5001;server_port=8000-8001;ssrc=CAFE0000;mode=play"
    )


def test_unsupported_transport_gets_461_and_the_connection_goes_on() -> None:
    """ffplay repeats SETUP on the same connection."""
    bench = Bench(App(transports=("TCP",)))
    assert bench.ask("SETUP", f"{URL}/trackID=0", Transport=UDP_OFFER).status == 461
    assert bench.ask("SETUP", f"{URL}/trackID=0", Transport="RAW/RAW/UDP;unicast").status == 461
    assert bench.ask("SETUP", f"{URL}/trackID=0", Transport=TCP_01).status == 200
    assert len(bench.machine.sessions) == 1


def test_the_client_s_order_of_transports_is_kept() -> None:
    bench = Bench()
    bench.ask("SETUP", f"{URL}/trackID=0", Transport=f"{TCP_01},{UDP_OFFER},RTP/AVP;multicast")
    offers = bench.asked(ask.SetupAsked).offers
    assert [(offer.lower, offer.is_multicast) for offer in offers] == [
        ("TCP", False),
        ("UDP", False),
        ("UDP", True),
    ]


def test_frames_and_requests_on_one_socket_after_play() -> None:
    bench = Bench()
    session = bench.play(TCP_01)
    data = (
        frame(1, RTCP)
        + request("GET_PARAMETER", CSeq=1, Session=session)
        + frame(1, RTCP + RTCP)
        + request("OPTIONS", CSeq=2, Session=session)
    )
    replies = parse_replies(bench.feed(data))
    assert [reply.status for reply in replies] == [200, 200]
    assert bench.packets == [(1, RTCP), (1, RTCP + RTCP)]


def test_rtp_info_has_one_entry_for_each_track() -> None:
    points = {0: ask.PlayPoint(70_000, 1 << 33), 1: ask.PlayPoint(7, 8)}
    bench = Bench(App(points=points))
    session = bench.set_up(TCP_01, TCP_23)
    reply = bench.ask("PLAY", Session=session)
    assert reply["RTP-Info"] == (
        f"url={URL}/trackID=0;seq={70_000 - 65_536};rtptime=0,url={URL}/trackID=1;seq=7;rtptime=8"
    )


@pytest.mark.parametrize("points", [{}, {0: ask.PlayPoint(1, 2)}])
def test_rtp_info_is_left_out_when_unknown(points: dict[int, ask.PlayPoint]) -> None:
    bench = Bench(App(points=points))
    session = bench.set_up(TCP_01, TCP_23)
    assert "RTP-Info" not in bench.ask("PLAY", Session=session)


def test_rtp_info_has_the_url_of_the_client_s_setup() -> None:
    bench = Bench(App(points={0: ask.PlayPoint(1, 2)}))
    url = "rtsp://u:p@server/live/cam?a=1,2;b/trackID=0"
    session = bench.ask("SETUP", url, Transport=TCP_01).session
    reply = bench.ask("PLAY", "rtsp://server/live/cam?a=1,2;b/", Session=session)
    assert reply["RTP-Info"] == ("url=rtsp://server/live/cam?a=1%2C2%3Bb/trackID=0;seq=1;rtptime=2")


def test_a_live_play_says_now() -> None:
    bench = Bench()
    session = bench.set_up(TCP_01)
    reply = bench.ask("PLAY", Session=session, Range="npt=30-", Scale="2.0", Speed="1.5")
    assert (reply["Range"], reply["Scale"], reply["Speed"]) == ("npt=now-", "1", "1")
    event = bench.asked(ask.PlayAsked)
    assert (event.range, event.scale, event.speed) == ("npt=30-", "2.0", "1.5")
    assert "Scale" not in bench.ask("PLAY", Session=session)


@pytest.mark.parametrize("url", [URL, URL + "/", URL + "?token=1", "*"])
def test_play_and_teardown_on_the_aggregate(url: str) -> None:
    bench = Bench()
    session = bench.set_up(TCP_01, TCP_23)
    assert bench.ask("PLAY", url, Session=session).status == 200
    assert bench.asked(ask.PlayAsked).tracks == (0, 1)
    assert bench.ask("TEARDOWN", url, Session=session).status == 200
    assert bench.ended == [(session, "teardown")]


def test_play_and_teardown_on_one_track_after_the_other() -> None:
    bench = Bench()
    session = bench.set_up(TCP_01, TCP_23)
    for index in (0, 1):
        assert bench.ask("PLAY", f"{URL}/trackID={index}", Session=session).status == 200
        assert bench.asked(ask.PlayAsked).tracks == (index,)
        assert not bench.asked(ask.PlayAsked).was_playing
    assert bench.ask("PLAY", f"{URL}/trackID=7", Session=session).status == 404
    assert bench.ask("TEARDOWN", f"{URL}/trackID=0", Session=session).session == session
    assert bench.asked(ask.TrackEnded) == ask.TrackEnded(session, 0)
    assert bench.ended == []
    assert bench.ask("TEARDOWN", f"{URL}/trackID=0", Session=session).status == 404
    assert bench.ask("TEARDOWN", f"{URL}/trackID=1", Session=session).status == 200
    assert bench.ended == [(session, "teardown")]


def test_the_connection_can_be_used_again_after_teardown() -> None:
    bench = Bench()
    first = bench.play(TCP_01)
    bench.ask("TEARDOWN", Session=first)
    assert bench.ask("PLAY", Session=first).status == 454
    assert bench.ask("DESCRIBE").status == 200
    second = bench.play(TCP_01)  # the same channels
    assert second != first
    bench.feed(frame(1, RTCP))
    assert bench.packets == [(1, RTCP)]


def test_a_second_play_says_that_it_is_one() -> None:
    bench = Bench()
    session = bench.set_up(TCP_01)
    seen = []
    for method in ("PLAY", "PLAY", "PAUSE", "PLAY"):
        assert bench.ask(method, Session=session).status == 200
        if method == "PLAY":
            event = bench.asked(ask.PlayAsked)
            seen.append((event.was_playing, event.was_paused))
    assert seen == [(False, False), (True, False), (False, True)]


def test_pause_before_play_is_no_error() -> None:
    bench = Bench()
    session = bench.set_up(TCP_01)
    assert bench.ask("PAUSE", Session=session).status == 200
    assert not any(isinstance(event, ask.PauseAsked) for event in bench.events)


def test_pause_of_one_track_leaves_the_other() -> None:
    bench = Bench()
    session = bench.play(TCP_01, TCP_23)
    assert bench.ask("PAUSE", f"{URL}/trackID=0", Session=session).status == 200
    assert bench.asked(ask.PauseAsked).tracks == (0,)
    assert bench.ask("SETUP", f"{URL}/trackID=1", Transport=TCP_23, Session=session).status == 455
    assert bench.ask("PAUSE", f"{URL}/trackID=1", Session=session).status == 200
    assert bench.ask("SETUP", f"{URL}/trackID=1", Transport=TCP_23, Session=session).status == 200


def test_setup_after_play_is_refused_and_says_what_may_be() -> None:
    bench = Bench()
    session = bench.play(TCP_01)
    reply = bench.ask("SETUP", f"{URL}/trackID=1", Transport=TCP_23, Session=session)
    assert reply.status == 455
    assert "PAUSE" in reply["Allow"]
    assert "SETUP" not in reply["Allow"]


def test_unknown_things_have_codes_and_not_a_closed_socket() -> None:
    bench = Bench()
    assert bench.ask("DESCRIBE", "rtsp://server/nothing").status == 404
    assert bench.ask("SETUP", "rtsp://server/nothing/trackID=0", Transport=TCP_01).status == 404
    for method in ("PLAY", "PAUSE", "RECORD", "TEARDOWN", "GET_PARAMETER", "SETUP", "OPTIONS"):
        assert bench.ask(method, Session="nobody", Transport=TCP_01).status == 454
    for method in ("PLAY", "PAUSE", "RECORD", "TEARDOWN"):
        assert bench.ask(method).status == 454
    assert bench.ask("HELLO").status == 501
    assert bench.ask("REDIRECT").status == 405
    assert bench.ask("DESCRIBE", Accept="application/rtsl").status == 406
    assert bench.end == ""


def test_required_options_are_refused_by_name() -> None:
    """ONVIF backchannel asks for www.onvif.org/ver20/backchannel and goes on without."""
    reply = Bench().ask("DESCRIBE", Require="www.onvif.org/ver20/backchannel")
    assert (reply.status, reply["Unsupported"]) == (551, "www.onvif.org/ver20/backchannel")


def test_another_version_of_rtsp() -> None:
    bench = Bench()
    data = request("OPTIONS", CSeq=1).replace(b"RTSP/1.0", b"RTSP/2.0")
    (reply,) = parse_replies(bench.feed(data))
    assert (reply.status, reply["CSeq"]) == (505, "1")


def test_a_stream_that_is_elsewhere() -> None:
    bench = Bench(App(held={ask.DescribeAsked}))
    bench.feed(request("DESCRIBE", CSeq=1))
    _, (reply,) = bench.later(ask.Moved("rtsp://other/live"))
    assert (reply.status, reply["Location"]) == (302, "rtsp://other/live")


def test_describe_may_be_held_until_the_stream_is_there() -> None:
    bench = Bench(App(held={ask.DescribeAsked}))
    assert bench.feed(request("DESCRIBE", CSeq=1) + request("OPTIONS", CSeq=2)) == b""
    bench.run(bench.now + 9)
    done, replies = bench.later(ask.Description(SDP))
    assert done
    assert [reply["CSeq"] for reply in replies] == ["1", "2"]


def test_two_sessions_on_one_connection() -> None:
    """ffmpeg pauses what gave nothing by UDP, forgets it, and sets up a second one by TCP."""
    bench = Bench()
    first = bench.play(UDP_OFFER)
    assert bench.ask("PAUSE", Session=first).status == 200
    second = bench.play(TCP_01)
    assert bench.machine.sessions == (first, second)
    bench.run(bench.now + 66)
    assert bench.ended == [(first, "session-timeout")]


def test_a_client_that_forgets_the_session_header() -> None:
    bench = Bench()
    bench.set_up(TCP_01)
    assert bench.ask("PLAY").status == 200
    bench.set_up(TCP_23)
    assert bench.ask("PLAY").status == 454  # which one?


def test_date_and_server() -> None:
    reply = Bench().ask("OPTIONS")
    assert reply["Server"] == "FLUX"
    assert "Date" not in reply  # of a machine without a clock
