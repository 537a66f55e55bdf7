"""What no client ought to send: the right status, or the end with a reason; never an exception."""

import pytest

from protocols.rtsp import server_events as ask
from protocols.rtsp.message import MAX_BODY_BYTES, MAX_HEAD_BYTES
from protocols.rtsp.reader import MAX_JUNK_BYTES
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


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"HELLO WORLD\r\n\r\n", "rtsp-not-rtsp"),
        (b"describe rtsp://h/ RTSP/1.0\r\n\r\n", "rtsp-not-rtsp"),
        (b"OPTIONS rtsp://h/ SIP/2.0\r\n\r\n", "rtsp-not-rtsp"),
        (b"\x00\x01\x02\x03", "rtsp-not-rtsp"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "rtsp-not-rtsp"),
    ],
)
def test_who_does_not_speak_rtsp_is_told_and_closed(data: bytes, reason: str) -> None:
    bench = Bench()
    (reply,) = parse_replies(bench.feed(data))
    assert (reply.status, reply["Connection"]) == (400, "close")
    assert bench.end == reason


def test_tls_on_the_plain_port_has_a_name() -> None:
    bench = Bench()
    assert bench.feed(b"\x16\x03\x01\x02\x00\x01") == b""
    assert bench.end == "rtsp-tls-on-plain-port"


def test_junk_between_requests_is_skipped() -> None:
    """A body longer than its Content-Length, as small encoders send."""
    bench = Bench()
    data = request("ANNOUNCE", "rtsp://server/pub", SDP, CSeq=1) + b"a=too-long\r\n\r\n\0\xff"
    replies = parse_replies(bench.feed(data + request("OPTIONS", "*", CSeq=2)))
    assert [reply["CSeq"] for reply in replies] == ["1", "2"]
    assert bench.machine.junk_bytes == 16


def test_junk_without_end() -> None:
    bench = Bench()
    bench.ask("OPTIONS")
    (reply,) = parse_replies(bench.feed(b"\xff" * (MAX_JUNK_BYTES + 100)))
    assert (reply.status, bench.end) == (400, "rtsp-no-sync")


def test_a_head_of_16_kib_passes_and_a_longer_one_does_not() -> None:
    bench = Bench()
    filler = MAX_HEAD_BYTES - len(request("OPTIONS", CSeq=1, X=""))
    assert parse_replies(bench.feed(request("OPTIONS", CSeq=1, X="x" * filler)))[0].status == 200
    (reply,) = parse_replies(bench.feed(request("OPTIONS", CSeq=1, X="x" * (filler + 1))))
    assert (reply.status, bench.end) == (400, "rtsp-headers-too-long")


def test_too_many_headers() -> None:
    bench = Bench()
    lines = "".join(f"X{number}: \r\n" for number in range(129))
    bench.feed(f"OPTIONS * RTSP/1.0\r\n{lines}\r\n".encode())
    assert bench.end == "rtsp-too-many-headers"


@pytest.mark.parametrize("length", ["-1", "1e3", "x", "99999999999999999"])
def test_a_length_that_is_none(length: str) -> None:
    bench = Bench()
    (reply,) = parse_replies(bench.feed(request("ANNOUNCE", CSeq=1, Content_Length=length)))
    assert (reply.status, bench.end) == (400, "rtsp-content-length")


def test_a_body_beyond_the_limit() -> None:
    bench = Bench()
    data = request("ANNOUNCE", CSeq=1, Content_Length=MAX_BODY_BYTES + 1)
    (reply,) = parse_replies(bench.feed(data))
    assert (reply.status, bench.end) == (413, "rtsp-body-too-long")


@pytest.mark.parametrize("sent", [1, 5, 30, 60])
def test_a_slow_head(sent: int) -> None:
    bench = Bench()
    for byte in request("DESCRIBE", CSeq=1, User_Agent="x" * 60)[:sent]:
        bench.feed(bytes([byte]))
        bench.run(bench.now + 0.01)
    bench.run(bench.now + 11)
    assert bench.end == "rtsp-slow-message"


def test_a_slow_body_or_frame_in_a_session() -> None:
    bench = Bench()
    session = bench.play(TCP_01)
    bench.feed(frame(1, bytes(60_000))[:50_000])
    bench.run(bench.now + 11)
    assert bench.ended == [(session, "rtsp-slow-message")]


def test_a_steady_flow_that_is_cut_in_frames_is_not_slow() -> None:
    bench = Bench()
    session = bench.announce(TCP_01)
    bench.ask("RECORD", "rtsp://server/pub", Session=session)
    stream = frame(0, bytes(100)) * 100
    step = 70
    for position in range(0, len(stream), step):
        bench.feed(stream[position : position + step])
        bench.run(bench.now + 1)
    assert bench.end == ""
    assert len(bench.packets) == 100


def test_a_pipelined_flood_behind_a_question() -> None:
    bench = Bench(App(held={ask.DescribeAsked}))
    bench.feed(request("DESCRIBE", CSeq=1))
    for number in range(16):
        bench.feed(request("OPTIONS", CSeq=number))
    assert bench.end == ""
    bench.feed(request("OPTIONS", CSeq=99))
    assert bench.end == "rtsp-pipeline-flood"


def test_a_flood_of_requests() -> None:
    bench = Bench()
    bench.feed(request("OPTIONS", CSeq=1) * 101)
    assert bench.end == "rtsp-request-flood"
    assert len(parse_replies(bench.sent)) == 100


def test_many_requests_over_time_are_no_flood() -> None:
    bench = Bench()
    for _ in range(50):
        bench.feed(request("OPTIONS", CSeq=1) * 90)
        bench.run(bench.now + 1)
    assert bench.end == ""


@pytest.mark.parametrize(
    "url", ["http://server/live", "rtsp:/live", "live", "rtsp://h/" + "x" * 4090, "\xa0://x"]
)
def test_a_url_that_is_none(url: str) -> None:
    assert Bench().ask("DESCRIBE", url).status == 400


def test_a_star_is_no_stream() -> None:
    bench = Bench()
    assert bench.ask("DESCRIBE", "*").status == 400
    assert bench.ask("SETUP", "*", Transport=TCP_01).status == 400


def test_setup_without_transport() -> None:
    assert Bench().ask("SETUP", f"{URL}/trackID=0").status == 400


@pytest.mark.parametrize(
    "transport",
    [
        "nonsense",
        ";;;",
        "RTP/AVP;unicast",
        "RTP/AVP;unicast;client_port=0-1",
        "RTP/AVP;unicast;client_port=70000-70001",
        "RTP/AVP/TCP;multicast",
        "RTP/AVP;multicast;client_port=1-2;mode=record",
        ",".join(["RTP/AVP;unicast"] * 40),
    ],
)
def test_a_transport_that_cannot_be(transport: str) -> None:
    bench = Bench()
    assert bench.ask("SETUP", f"{URL}/trackID=0", Transport=transport).status in (455, 461)
    session = bench.announce()
    url = "rtsp://server/pub/trackID=0"
    assert bench.ask("SETUP", url, Transport=transport, Session=session).status == 461


@pytest.mark.parametrize("host", ["198.51.100.9", "victim.example", "2001:db8::1", "0.0.0.0"])
def test_no_media_to_another_host(host: str) -> None:
    bench = Bench()
    offer = f"RTP/AVP;unicast;destination={host};client_port=5000-5001"
    reply = bench.ask("SETUP", f"{URL}/trackID=0", Transport=offer)
    assert reply.status == 461
    assert "foreign-destination" in reply.phrase
    assert bench.machine.drops["rtsp-foreign-destination"] == 1
    reply = bench.ask("SETUP", f"{URL}/trackID=0", Transport=f"{offer},{TCP_01}")
    assert reply["Transport"].startswith(TCP_01)


@pytest.mark.parametrize(
    ("address", "destination"),
    [("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("fe80::1%eth0", "fe80::1")],
)
def test_the_client_s_own_address_is_no_other_host(address: str, destination: str) -> None:
    bench = Bench(address=address)
    offer = f"RTP/AVP;unicast;destination={destination};client_port=5000-5001"
    assert bench.ask("SETUP", f"{URL}/trackID=0", Transport=offer).status == 200


def test_a_client_chooses_no_multicast_group() -> None:
    bench = Bench()
    offer = "RTP/AVP;multicast;destination=239.9.9.9;port=1-2;ttl=255;source=198.51.100.9"
    reply = bench.ask("SETUP", f"{URL}/trackID=0", Transport=offer)
    offered = bench.asked(ask.SetupAsked).offers[0]
    assert (offered.destination, offered.port, offered.ttl, offered.source) == ("", None, None, "")
    assert reply["Transport"] == ("RTP/AVP;multicast;destination=239.1.1.1;port=7000-7001;ttl=16")


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        ("RTP/AVP/TCP;unicast", "interleaved=2-3"),
        ("RTP/AVP/TCP;unicast;interleaved=0-1", "interleaved=2-3"),
        ("RTP/AVP/TCP;unicast;interleaved=1-2", "interleaved=2-3"),
        ("RTP/AVP/TCP;unicast;interleaved=8-20", "interleaved=2-3"),
        ("RTP/AVP/TCP;unicast;interleaved=255", "interleaved=2-3"),
        ("RTP/AVP/TCP;unicast;interleaved=6", "interleaved=6-7"),
        ("RTP/AVP/TCP;unicast;interleaved=254-255", "interleaved=254-255"),
    ],
)
def test_channels_absent_or_taken_are_assigned(wanted: str, given: str) -> None:
    bench = Bench()
    session = bench.set_up(TCP_01)
    reply = bench.ask("SETUP", f"{URL}/trackID=1", Transport=wanted, Session=session)
    assert given in reply["Transport"].split(";")


def test_a_track_that_is_set_up_again_keeps_its_channels() -> None:
    bench = Bench()
    session = bench.set_up(TCP_01)
    reply = bench.ask("SETUP", f"{URL}/trackID=0", Transport=TCP_01, Session=session)
    assert "interleaved=0-1" in reply["Transport"]
    reply = bench.ask("SETUP", f"{URL}/trackID=0", Transport=UDP_OFFER, Session=session)
    assert "server_port" in reply["Transport"]
    assert bench.play(TCP_01) != session  # the channels are free


def test_frames_of_nobody_are_dropped_and_bounded() -> None:
    bench = Bench(options=ServerOptions(max_unexpected_bytes=10_000))
    session = bench.play(TCP_01)
    bench.feed(frame(2, bytes(96)) * 100)
    assert bench.machine.drops["rtsp-unexpected-frame"] == 100
    assert (bench.packets, bench.end) == ([], "")
    bench.feed(frame(2, b""))
    assert bench.ended == [(session, "rtsp-unexpected-frames")]


def test_responses_are_nobody_s() -> None:
    bench = Bench()
    assert bench.feed(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n") == b""
    assert bench.machine.drops["rtsp-unexpected-response"] == 1


def test_one_session_has_one_stream() -> None:
    bench = Bench(App(sdps={"live/cam": SDP, "other": SDP}))
    session = bench.set_up(TCP_01)
    url = "rtsp://server/other"
    reply = bench.ask("SETUP", f"{url}/trackID=0", Transport=TCP_23, Session=session)
    assert reply.status == 459
    for method in ("PLAY", "PAUSE", "TEARDOWN"):
        assert bench.ask(method, url, Session=session).status == 404


def test_sessions_of_one_connection_are_bounded() -> None:
    bench = Bench(options=ServerOptions(max_sessions=2))
    bench.set_up(UDP_OFFER)
    bench.announce()
    assert bench.ask("SETUP", f"{URL}/trackID=0", Transport=UDP_OFFER).status == 503
    assert bench.ask("ANNOUNCE", URL, SDP).status == 503


def test_a_session_header_that_is_none() -> None:
    bench = Bench()
    bench.set_up(UDP_OFFER)
    assert bench.ask("PLAY", Session=" ;timeout=1").status == 454
    assert bench.ask("PLAY", Session="x" * 300).status == 454


def test_a_broken_stream_still_answers_what_came_before() -> None:
    bench = Bench(App(held={ask.DescribeAsked}))
    data = request("DESCRIBE", CSeq=1) + request("OPTIONS", CSeq=2)
    bench.feed(data + request("ANNOUNCE", Content_Length="x") + request("OPTIONS", CSeq=3))
    assert bench.end == ""
    _, replies = bench.later(ask.Description(SDP))
    assert [reply.status for reply in replies] == [200, 200, 400]
    assert bench.end == "rtsp-content-length"


def test_control_characters_do_not_come_back() -> None:
    bench = Bench()
    reply = bench.feed(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\x002\r\nRequire: a\x07b\r\n\r\n")
    assert b"\x00" not in reply
    assert parse_replies(reply)[0].status == 200  # such headers are none


def test_a_long_cseq_is_cut() -> None:
    assert len(Bench().ask("OPTIONS", CSeq="1" * 5000)["CSeq"]) == 64
