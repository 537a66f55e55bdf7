"""The server's states, cell by cell; publishers; times."""

import pytest

from flux.base.errors import StateError
from protocols.rtsp import server_events as ask
from protocols.rtsp.server_options import ServerOptions
from protocols.rtsp.server_requests import MAX_HELD_FRAMES
from protocols.rtsp.server_states import TRANSITIONS, SessionState, allowed
from protocols.rtsp.transport import PortPair, Transport
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

PUB = "rtsp://server/pub"
RECORD_01 = TCP_01 + ";mode=record"
RTP = b"\x80\x60" + bytes(20)

WAYS: dict[SessionState, list[str]] = {
    SessionState.ANNOUNCED: [],
    SessionState.RECORD_READY: ["SETUP"],
    SessionState.RECORDING: ["SETUP", "RECORD"],
    SessionState.READY: ["SETUP"],
    SessionState.PLAYING: ["SETUP", "PLAY"],
}
METHODS = ("SETUP", "PLAY", "PAUSE", "RECORD", "TEARDOWN", "ANNOUNCE")


def reach(state: SessionState) -> tuple[Bench, str, str]:
    """A bench with a session in this state, its id and URL."""
    bench = Bench()
    is_record = state in (
        SessionState.ANNOUNCED,
        SessionState.RECORD_READY,
        SessionState.RECORDING,
    )
    url, session = URL, ""
    if is_record:
        url, session = PUB, bench.announce()
    for method in WAYS[state]:
        if method == "SETUP" and not session:
            session = bench.set_up(TCP_01)
        elif method == "SETUP":
            bench.ask("SETUP", url + "/trackID=0", Transport=RECORD_01, Session=session)
        else:
            bench.ask(method, url, Session=session)
    return bench, session, url


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("state", list(WAYS))
def test_every_cell(state: SessionState, method: str) -> None:
    bench, session, url = reach(state)
    if method == "SETUP":
        reply = bench.ask(method, url + "/trackID=1", Transport=TCP_23, Session=session)
    elif method == "ANNOUNCE":
        reply = bench.ask(method, url, SDP, Session=session)
    else:
        reply = bench.ask(method, url, Session=session)
    following = TRANSITIONS[state].get(method)
    assert reply.status == (200 if following else 455)
    if following is None:
        assert reply["Allow"] == allowed(state)
        assert reply.session == session
    assert bench.machine.sessions == (() if following is SessionState.ENDED else (session,))
    assert bench.end == ""


def test_the_table_has_no_way_out_of_the_end() -> None:
    assert TRANSITIONS[SessionState.ENDED] == {}
    assert set(TRANSITIONS) == set(SessionState)


# Publishers.


def test_a_publisher_from_announce_to_teardown() -> None:
    bench = Bench()
    reply = bench.ask("ANNOUNCE", PUB, SDP, Content_Type="application/sdp")
    assert (reply.status, reply["Session"]) == (200, "token0001;timeout=60")
    event = bench.asked(ask.AnnounceAsked)
    assert (event.sdp, event.target.path, event.session_id) == (SDP, "pub", "token0001")
    reply = bench.ask("SETUP", PUB + "/trackID=0", Transport=RECORD_01, Session="token0001")
    assert reply["Transport"] == RECORD_01.replace(";mode", ";ssrc=CAFE0000;mode")
    setup = bench.asked(ask.SetupAsked)
    assert (setup.is_record, setup.is_new) == (True, False)
    bench.ask("SETUP", PUB + "/trackID=1", Transport=TCP_23, Session="token0001")
    reply = bench.ask("RECORD", PUB, Session="token0001", Range="npt=0.000-")
    assert reply.status == 200
    assert bench.asked(ask.RecordAsked).tracks == (0, 1)
    bench.feed(frame(0, RTP) + frame(1, b"sr") + frame(2, RTP))
    assert bench.packets == [(0, RTP), (1, b"sr"), (2, RTP)]
    assert bench.ask("RECORD", PUB, Session="token0001").status == 200  # still
    assert bench.ask("TEARDOWN", PUB, Session="token0001").status == 200
    assert bench.ended == [("token0001", "teardown")]


def test_an_encoder_that_leaves_out_the_session_of_announce() -> None:
    bench = Bench()
    session = bench.announce()
    reply = bench.ask("SETUP", PUB + "/trackID=0", Transport=RECORD_01)
    assert (reply.status, reply.session) == (200, session)
    assert bench.ask("RECORD", PUB).status == 200


@pytest.mark.parametrize("control", ["audio", "stream=0", "rtsp://server/pub/streamid=0", "a/b"])
def test_control_attributes_of_the_publisher_s_own(control: str) -> None:
    bench = Bench(App(controls=(control, "other")))
    session = bench.announce()
    url = control if "://" in control else f"{PUB}/{control}"
    reply = bench.ask("SETUP", url, Transport=RECORD_01, Session=session)
    assert reply.status == 200
    assert bench.ask("RECORD", PUB, Session=session).status == 200
    assert bench.ask("TEARDOWN", url, Session=session).status == 200
    assert bench.ended == [(session, "teardown")]


def test_media_that_overtakes_the_answer_to_record_waits() -> None:
    bench = Bench(App(held={ask.RecordAsked}))
    session = bench.announce(RECORD_01)
    bench.feed(request("RECORD", PUB, CSeq=9, Session=session) + frame(0, RTP) + frame(1, b"x"))
    assert bench.packets == []
    done, (reply,) = bench.later(ask.Done())
    assert (done, reply.status) == (True, 200)
    bench.feed(frame(0, b"next"))
    assert bench.packets == [(0, RTP), (1, b"x"), (0, b"next")]


def test_what_waits_is_bounded() -> None:
    bench = Bench(App(held={ask.RecordAsked}))
    session = bench.announce(RECORD_01)
    bench.feed(request("RECORD", PUB, CSeq=9, Session=session))
    for _ in range(MAX_HELD_FRAMES + 10):
        bench.feed(frame(0, RTP))
    bench.later(ask.Done())
    assert len(bench.packets) == MAX_HELD_FRAMES
    assert bench.machine.drops["rtsp-early-frame"] == 10


def test_a_question_does_not_hold_up_what_flows() -> None:
    bench = Bench(App(held={ask.DescribeAsked}))
    session = bench.announce(RECORD_01)
    bench.ask("RECORD", PUB, Session=session)
    bench.feed(request("DESCRIBE", CSeq=9) + frame(0, RTP))
    assert bench.packets == [(0, RTP)]
    bench.feed(frame(9, b"of nobody") + frame(0, b"second"))
    bench.feed(frame(0, b"third"))  # behind the one that waits, for the order's sake
    assert bench.packets == [(0, RTP)]
    bench.later(ask.Description(SDP))
    assert bench.packets == [(0, RTP), (0, b"second"), (0, b"third")]
    assert bench.machine.drops["rtsp-unexpected-frame"] == 1


def test_a_paused_publisher_s_packets_are_dropped() -> None:
    bench = Bench()
    session = bench.announce(RECORD_01)
    bench.ask("RECORD", PUB, Session=session)
    bench.ask("PAUSE", PUB, Session=session)
    bench.feed(frame(0, RTP))
    bench.ask("RECORD", PUB, Session=session)
    assert bench.packets == []
    assert bench.machine.drops["rtsp-frame-while-paused"] == 1


def test_a_publisher_that_stops_is_closed() -> None:
    bench = Bench()
    session = bench.announce(RECORD_01)
    bench.ask("RECORD", PUB, Session=session)
    for _ in range(5):
        bench.run(bench.now + 9)
        bench.feed(frame(0, RTP))
    bench.run(bench.now + 5)
    bench.ask("GET_PARAMETER", PUB, Session=session)  # words are no media
    bench.feed(frame(1, b"rtcp"))
    bench.run(bench.now + 6)
    assert bench.ended == [(session, "media-timeout")]
    assert bench.end == "media-timeout"


def test_a_publisher_by_udp_lives_by_what_the_application_sees() -> None:
    bench = Bench()
    session = bench.announce(UDP_OFFER)
    bench.ask("RECORD", PUB, Session=session)
    for _ in range(5):
        bench.run(bench.now + 9)
        bench.machine.media_received(session, bench.now)
    assert bench.ended == []
    bench.run(bench.now + 11)
    assert bench.ended == [(session, "media-timeout")]


def test_two_publishers_on_one_connection() -> None:
    bench = Bench()
    one = bench.announce(TCP_01)
    two = bench.announce(TCP_23, url="rtsp://server/other")
    bench.ask("RECORD", PUB, Session=one)
    bench.ask("RECORD", "rtsp://server/other", Session=two)
    bench.feed(frame(0, b"a") + frame(2, b"b"))
    assert bench.packets == [(0, b"a"), (2, b"b")]
    bench.ask("TEARDOWN", PUB, Session=one)
    bench.feed(frame(0, b"a") + frame(2, b"b"))
    assert bench.packets == [(0, b"a"), (2, b"b"), (2, b"b")]


def test_record_without_announce() -> None:
    reply = Bench().ask("SETUP", PUB + "/trackID=0", Transport=RECORD_01)
    assert reply.status == 455


def test_announce_of_something_else() -> None:
    bench = Bench()
    assert bench.ask("ANNOUNCE", PUB, b"x", Content_Type="text/plain").status == 415
    assert bench.ask("ANNOUNCE", PUB).status == 400


# Answers.


def test_each_question_is_answered_once() -> None:
    bench = Bench(App(held={ask.DescribeAsked}))
    bench.feed(request("DESCRIBE", CSeq=1))
    event = bench.asked(ask.DescribeAsked)
    assert bench.later(ask.Description(SDP))[0]
    sent = bench.sent
    assert not bench.answer(event, ask.Description(SDP))
    bench.pump()
    assert bench.sent == sent


def test_the_next_request_is_taken_after_the_answer_was_sent() -> None:
    """So that media begun in between is never behind the reply of a later TEARDOWN."""
    bench = Bench(App(held={ask.PlayAsked}))
    session = bench.set_up(TCP_01)
    bench.feed(request("PLAY", CSeq=5, Session=session) + request("TEARDOWN", CSeq=6))
    before = len(bench.sent)
    assert bench.answer(bench.asked(ask.PlayAsked), ask.Started())
    assert [reply["CSeq"] for reply in parse_replies(bench.sent[before:])] == ["5"]
    assert bench.ended == []
    bench.pump()
    assert bench.ended == [(session, "teardown")]


def test_a_wrong_kind_of_answer_is_our_fault_and_the_question_waits_on() -> None:
    bench = Bench(App(held={ask.DescribeAsked}))
    bench.feed(request("DESCRIBE", CSeq=1))
    event = bench.asked(ask.DescribeAsked)
    for wrong in (ask.Done(), ask.Started(), ask.Chosen(0, Transport())):
        with pytest.raises(StateError):
            bench.answer(event, wrong)
    assert bench.answer(event, ask.Description(SDP))


@pytest.mark.parametrize(
    "transport",
    [
        Transport(client_port=PortPair(1, 2), destination="198.51.100.1"),
        Transport(lower="TCP"),
        Transport(lower="TCP", interleaved=PortPair(0, 1)),
    ],
)
def test_an_answer_that_leads_elsewhere_or_takes_used_channels(transport: Transport) -> None:
    bench = Bench(App(held=set()))
    bench.set_up(TCP_01)
    bench.app.held.add(ask.SetupAsked)
    bench.feed(request("SETUP", f"{URL}/trackID=1", CSeq=1, Transport=UDP_OFFER))
    with pytest.raises(StateError):
        bench.answer(bench.asked(ask.SetupAsked), ask.Chosen(1, transport))


def test_an_application_that_never_answers() -> None:
    bench = Bench(App(held={ask.DescribeAsked}))
    bench.feed(request("DESCRIBE", CSeq=1) + request("OPTIONS", CSeq=2))
    before = len(bench.sent)
    bench.run(bench.now + 31)
    replies = parse_replies(bench.sent[before:])
    assert [(reply.status, reply["CSeq"]) for reply in replies] == [(503, "1"), (200, "2")]
    assert not bench.answer(bench.asked(ask.DescribeAsked), ask.Description(SDP))


def test_an_answer_after_the_session_has_gone() -> None:
    bench = Bench(App(held={ask.PlayAsked}))
    session = bench.set_up(TCP_01)
    bench.feed(request("PLAY", CSeq=5, Session=session))
    bench.machine.end_session(session, "kicked", bench.now)
    bench.pump()
    assert bench.ended == [(session, "kicked")]
    done, (reply,) = bench.later(ask.Started())
    assert (done, reply.status) == (False, 454)


def test_an_answer_after_the_connection_has_gone() -> None:
    bench = Bench(App(held={ask.SetupAsked}))
    bench.feed(request("SETUP", f"{URL}/trackID=0", CSeq=5, Transport=TCP_01))
    bench.machine.receive_eof(bench.now)
    bench.pump()
    assert bench.end == "peer-closed"
    chosen = ask.Chosen(0, bench.asked(ask.SetupAsked).offers[0])
    assert not bench.answer(bench.asked(ask.SetupAsked), chosen)
    assert bench.ended == []  # it never began


def test_a_refused_setup_begins_no_session() -> None:
    bench = Bench(App(held={ask.SetupAsked}))
    bench.feed(request("SETUP", f"{URL}/trackID=0", CSeq=5, Transport=TCP_01))
    bench.later(ask.Refusal(403, "not-you"))
    assert bench.machine.sessions == ()
    bench.machine.close("bye", bench.now)
    bench.pump()
    assert bench.ended == []


def test_a_refusal_has_its_reason_in_the_phrase() -> None:
    bench = Bench(App(held={ask.DescribeAsked}))
    bench.feed(request("DESCRIBE", CSeq=5))
    _, (reply,) = bench.later(ask.Refusal(453, "too-many-readers", (("Retry-After", "5"),)))
    assert reply.phrase == "Not Enough Bandwidth (too-many-readers)"
    assert reply["Retry-After"] == "5"


def test_only_errors_are_refusals() -> None:
    bench = Bench(App(held={ask.DescribeAsked}))
    bench.feed(request("DESCRIBE", CSeq=5))
    with pytest.raises(StateError):
        bench.answer(bench.asked(ask.DescribeAsked), ask.Refusal(200))


def test_extra_headers_of_answers() -> None:
    bench = Bench(App(held={ask.SetupAsked}))
    bench.feed(request("SETUP", f"{URL}/trackID=0", CSeq=5, Transport=UDP_OFFER, KeyMgmt="k"))
    event = bench.asked(ask.SetupAsked)
    assert event.headers.get("KeyMgmt") == "k"
    _, (reply,) = bench.later(ask.Chosen(0, event.offers[0], (("KeyMgmt", "prot=mikey"),)))
    assert reply["KeyMgmt"] == "prot=mikey"


def test_every_session_ends_before_the_connection() -> None:
    bench = Bench()
    first, second = bench.play(TCP_01), bench.play(TCP_23)
    bench.machine.close("server-stopping", bench.now)
    bench.pump()
    assert bench.events[-3:] == [
        ask.SessionEnded(first, "server-stopping"),
        ask.SessionEnded(second, "server-stopping"),
        ask.ConnectionEnded("server-stopping"),
    ]
    assert bench.machine.get_timer() is None
    assert bench.feed(request("OPTIONS", CSeq=1)) == b""


def test_packets_before_the_end_are_given_out() -> None:
    bench = Bench()
    session = bench.announce(RECORD_01)
    bench.ask("RECORD", PUB, Session=session)
    bench.machine.receive_data(frame(0, b"last") + request("TEARDOWN", PUB, CSeq=9), bench.now)
    bench.pump()
    assert bench.packets == [(0, b"last")]
    assert bench.ended == [(session, "teardown")]


def test_an_idle_connection_ends() -> None:
    bench = Bench()
    bench.ask("OPTIONS")
    bench.run(bench.now + 61)
    assert bench.end == "idle-timeout"


def test_a_connection_is_not_idle_while_it_waits_or_has_a_session() -> None:
    options = ServerOptions(answer_timeout=500)
    bench = Bench(App(held={ask.DescribeAsked}), options)
    bench.feed(request("DESCRIBE", CSeq=1))
    bench.run(bench.now + 400)
    assert bench.end == ""
    bench.later(ask.Description(SDP))
    bench.play(TCP_01)
    bench.run(bench.now + 400)
    assert bench.end == ""


def test_a_client_that_asks_for_the_end() -> None:
    bench = Bench()
    session = bench.play(TCP_01)
    assert bench.ask("GET_PARAMETER", Connection="close").status == 200
    assert bench.end == ""  # it plays
    assert bench.ask("TEARDOWN", Session=session, Connection="close").status == 200
    assert bench.end == "peer-asked-close"
