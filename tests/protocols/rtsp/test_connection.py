"""The pull machine against a scripted camera, in virtual time."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import StateError
from protocols.rtsp import events
from protocols.rtsp.auth import Authenticator
from protocols.rtsp.connection import MAX_EARLY_FRAMES, PullConnection
from protocols.rtsp.options import PullOptions
from protocols.rtsp.range import PlayRange
from protocols.rtsp.states import State
from protocols.rtsp.transport import PortPair, Way
from protocols.rtsp.url import Url
from tests.support.rtsp_peer import Camera, frame, rtp

URL = "rtsp://u:secret@cam/live?x=1"
CONTROLS = ("trackID=1", "trackID=2")
PORTS = (PortPair(5000, 5001), PortPair(5002, 5003))
RTP = rtp(1, 1, b"x")


def way_of(ports: tuple[PortPair, ...]) -> Way:
    return Way.UDP if ports else Way.TCP


def authenticator(url: str = URL) -> Authenticator:
    parsed = Url.parse(url)
    return Authenticator(parsed.username, parsed.password, "c0ffee")


@dataclass
class Pull:
    """A machine and a camera with virtual time between them."""

    camera: Camera
    ports: tuple[PortPair, ...] = ()
    url: str = URL
    now: float = 100.0
    cut: Callable[[bytes], list[bytes]] = lambda data: [data]
    heard: list[events.Event] = field(default_factory=list)
    packets: list[tuple[int, bytes]] = field(default_factory=list)
    auth: Authenticator = field(default_factory=authenticator)

    def __post_init__(self) -> None:
        self.machine = PullConnection(Url.parse(self.url), PullOptions(), self.auth)

    def start(self) -> "Pull":
        self.machine.connect(self.now)
        return self.pump()

    def pump(self) -> "Pull":
        """Exchange bytes and events until nobody has anything to say."""
        while True:
            while (event := self.machine.next_event()) is not None:
                self.heard.append(event)
                if isinstance(event, events.Described):
                    self.machine.set_up(CONTROLS, "*", self.now, way_of(self.ports), self.ports)
            self.packets += self.machine.take_packets()
            data = self.machine.data_to_send()
            if not data:
                return self
            for piece in self.cut(self.camera.receive(data)):
                self.machine.receive_data(piece, self.now)

    def feed(self, data: bytes) -> "Pull":
        self.machine.receive_data(data, self.now)
        return self.pump()

    def run(self, until: float) -> "Pull":
        """Move time on, timer by timer."""
        while (due := self.machine.get_timer()) is not None and due <= until:
            self.now = max(self.now, due)
            self.machine.handle_timer(self.now)
            self.pump()
        self.now = until
        return self

    def play(self, until: float, interval: float = 1.0) -> "Pull":
        """Time with a packet of media each `interval`."""
        while self.now < until and self.machine.state is State.PLAYING:
            self.run(min(self.now + interval, until)).feed(frame(0, RTP))
        return self

    @property
    def end(self) -> str:
        """Reason of the end, empty if there is none."""
        last = self.heard[-1] if self.heard else None
        return last.reason if isinstance(last, events.Closed) else ""


def test_a_whole_session() -> None:
    info = "url=rtsp://cam/live?x=1/trackID=2;seq=7;rtptime=9"
    camera = Camera(extra={"PLAY": [("RTP-Info", info)]}, after_play=lambda _: frame(0, RTP))
    pull = Pull(camera).start()
    assert camera.methods == ["OPTIONS", "DESCRIBE", "SETUP", "SETUP", "PLAY"]
    assert [asked.url for asked in camera.asked[:4]] == [
        "rtsp://cam/live?x=1",
        "rtsp://cam/live?x=1",
        "rtsp://cam/live?x=1/trackID=1",
        "rtsp://cam/live?x=1/trackID=2",
    ]
    assert camera.asked[3].headers["session"] == "12345678"
    assert camera.asked[3].headers["transport"] == "RTP/AVP/TCP;unicast;interleaved=2-3"
    described, ready, playing = pull.heard
    assert isinstance(described, events.Described)
    assert isinstance(ready, events.TracksReady)
    assert isinstance(playing, events.Playing)
    assert [info and (info.sequence, info.rtptime) for info in playing.infos] == [None, (7, 9)]
    assert pull.packets == [(0, RTP)]
    pull.machine.send_frame(3, b"report")
    pull.machine.close("not-wanted", pull.now)
    pull.pump()
    assert camera.received == [(3, b"report")]
    assert camera.methods[-1] == "TEARDOWN"
    assert pull.end == "not-wanted"
    assert pull.machine.get_timer() is None


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_cut_into_pieces_of_any_size_nothing_changes(size: int) -> None:
    def make() -> Camera:
        return Camera(after_play=lambda _: frame(0, RTP) + frame(3, b"\x80\xc8\0\0") * 3)

    whole = Pull(make()).start()
    pieces = Pull(make(), cut=lambda d: [d[i : i + size] for i in range(0, len(d), size)]).start()
    assert (pieces.heard, pieces.packets) == (whole.heard, whole.packets)


@pytest.mark.parametrize(
    ("algorithms", "scheme"),
    [
        (("MD5",), "MD5"),
        (("SHA-256",), "SHA-256"),
        (("Basic", "MD5", "SHA-256"), "SHA-256"),
        (("SHA-256", "MD5"), "SHA-256"),
    ],
)
def test_digest(algorithms: tuple[str, ...], scheme: str) -> None:
    camera = Camera(user="u", password="secret", algorithms=algorithms)
    pull = Pull(camera).start()
    assert pull.machine.state is State.PLAYING
    assert camera.methods == ["OPTIONS", "OPTIONS", "DESCRIBE", "SETUP", "SETUP", "PLAY"]
    assert f"algorithm={scheme}," in camera.asked[-1].headers["authorization"]
    assert not any("secret" in str(asked) for asked in camera.asked)


def test_a_stale_nonce_is_answered_again() -> None:
    camera = Camera(user="u", password="secret", stale_after=2)
    pull = Pull(camera).start().play(300.0)
    assert pull.end == ""
    assert camera.methods.count("GET_PARAMETER") >= 8


@pytest.mark.parametrize("url", ["rtsp://u:wrong@cam/", "rtsp://cam/"])
def test_wrong_credentials_are_tried_once(url: str) -> None:
    camera = Camera(user="u", password="secret")
    pull = Pull(camera, url=url, auth=authenticator(url)).start()
    assert pull.end == "rtsp-unauthorized"
    assert len(camera.asked) == (2 if "@" in url else 1)


def test_a_challenge_that_nobody_can_answer() -> None:
    camera = Camera(user="u", password="secret", algorithms=("SHA3-1",))
    assert Pull(camera).start().end == "rtsp-auth-unsupported"


def test_the_next_connection_need_not_ask_first() -> None:
    auth = authenticator()
    Pull(Camera(user="u", password="secret"), auth=auth).start()
    camera = Camera(user="u", password="secret")
    assert Pull(camera, auth=auth).start().machine.state is State.PLAYING
    assert camera.methods == ["OPTIONS", "DESCRIBE", "SETUP", "SETUP", "PLAY"]


@pytest.mark.parametrize(
    ("statuses", "reason"),
    [
        ({"DESCRIBE": [404]}, "rtsp-404"),
        ({"DESCRIBE": [403]}, "rtsp-403"),
        ({"DESCRIBE": [499]}, "rtsp-4xx"),
        ({"DESCRIBE": [999]}, "rtsp-status"),
        ({"DESCRIBE": [302]}, "rtsp-3xx"),
        ({"SETUP": [454]}, "rtsp-454"),
        ({"SETUP": [404, 404]}, "rtsp-404"),
        ({"PLAY": [455]}, "rtsp-455"),
        ({"PLAY": [454]}, "rtsp-454"),
        ({"GET_PARAMETER": [454]}, "rtsp-454"),
    ],
)
def test_refusals(statuses: dict[str, list[int]], reason: str) -> None:
    camera = Camera(statuses=statuses)
    pull = Pull(camera).start().play(200.0)
    assert pull.end == reason
    is_session = reason == "rtsp-455"
    assert (camera.methods[-1] == "TEARDOWN") == is_session


@pytest.mark.parametrize("status", [404, 501, 500, 454])
def test_options_may_be_refused(status: int) -> None:
    pull = Pull(Camera(statuses={"OPTIONS": [status]})).start()
    assert pull.machine.state is State.PLAYING


@pytest.mark.parametrize("status", [461, 400, 500])
def test_a_refused_transport_leaves_the_choice_to_the_owner(status: int) -> None:
    camera = Camera(statuses={"SETUP": [status]})
    pull = Pull(camera).start()
    assert pull.heard[-1] == events.TransportRefused(status, Way.TCP)
    assert pull.machine.state.value == "described"
    pull.machine.set_up(CONTROLS, "*", pull.now, Way.UDP, PORTS)
    pull.pump()
    assert pull.machine.state is State.PLAYING
    assert camera.client_ports == [(5000, 5001), (5002, 5003)]
    ready = next(event for event in pull.heard if isinstance(event, events.TracksReady))
    assert ready.way is Way.UDP
    assert [track.server_port for track in ready.tracks] == [PortPair(6970, 6971)] * 2


def test_a_server_that_chooses_another_transport_refuses_ours() -> None:
    pull = Pull(Camera())
    pull.cut = lambda data: [data.replace(b"RTP/AVP/TCP;", b"RTP/AVP;multicast;")]
    pull.start()
    assert pull.heard[-1] == events.TransportRefused(461, Way.TCP)


def test_one_track_that_is_refused_does_not_stop_the_other() -> None:
    pull = Pull(Camera(statuses={"SETUP": [404]}, after_play=lambda _: frame(2, RTP))).start()
    assert pull.heard[1] == events.TrackRefused(0, 404)
    playing = pull.heard[-1]
    assert isinstance(playing, events.Playing)
    assert len(playing.infos) == 2
    assert pull.packets == [(2, RTP)]


def test_channels_that_the_server_chose_are_ours_again() -> None:
    camera = Camera(channel_offset=4, after_play=lambda _: frame(4, RTP) + frame(7, b"\x80\xc8"))
    pull = Pull(camera).start()
    assert pull.packets == [(0, RTP), (3, b"\x80\xc8")]
    pull.machine.send_frame(1, b"r")
    pull.pump()
    assert camera.received == [(5, b"r")]


@pytest.mark.parametrize(
    ("public", "method"),
    [
        ("OPTIONS, get_parameter,PLAY", "GET_PARAMETER"),
        ("OPTIONS, PLAY", "OPTIONS"),
        ("", "OPTIONS"),
    ],
)
@pytest.mark.parametrize(("session", "interval"), [("1", 30.0), ("1;timeout=20", 10.0)])
def test_keepalive(public: str, method: str, session: str, interval: float) -> None:
    camera = Camera(public=public, session=session)
    pull = Pull(camera).start()
    before = len(camera.asked)
    pull.play(pull.now + 4 * interval + 1)
    assert [asked.method for asked in camera.asked[before:]] == [method] * 4
    assert camera.asked[-1].headers["session"] == "1"


def test_keepalive_falls_back_to_options() -> None:
    camera = Camera(statuses={"GET_PARAMETER": [405]})
    pull = Pull(camera).start().play(200.0)
    assert camera.methods[5:] == ["GET_PARAMETER", "OPTIONS", "OPTIONS"]
    assert pull.end == ""


def test_an_unanswered_keepalive_is_no_fault_while_media_flows() -> None:
    camera = Camera(silent={"GET_PARAMETER"})
    pull = Pull(camera).start().play(250.0)
    assert pull.end == ""
    assert pull.machine.drops["rtsp-keepalive-unanswered"] >= 3


def test_without_media_the_session_ends_with_a_teardown() -> None:
    camera = Camera()
    pull = Pull(camera).start().play(120.0)
    pull.run(200.0)
    assert pull.end == "media-timeout"
    assert camera.methods[-1] == "TEARDOWN"


def test_rtcp_alone_is_no_media() -> None:
    pull = Pull(Camera()).start()
    while pull.now < 130.0 and not pull.end:
        pull.run(pull.now + 1).feed(frame(1, b"\x80\xc8"))
    assert pull.end == "media-timeout"


def test_media_by_udp_keeps_the_session_alive() -> None:
    pull = Pull(Camera(), ports=PORTS).start()
    for _ in range(50):
        pull.run(pull.now + 5)
        pull.machine.media_received(pull.now)
    assert pull.end == ""
    assert pull.run(pull.now + 20).end == "media-timeout"


@pytest.mark.parametrize("method", ["OPTIONS", "DESCRIBE", "SETUP", "PLAY"])
def test_a_request_without_answer_times_out(method: str) -> None:
    pull = Pull(Camera(silent={method})).start().run(200.0)
    assert pull.end == "request-timeout"


def test_teardown_without_answer_ends_all_the_same() -> None:
    pull = Pull(Camera(silent={"TEARDOWN"})).start()
    pull.machine.close("stop", pull.now)
    pull.pump()
    assert pull.end == ""
    assert pull.run(pull.now + 1.0).end == "stop"


@pytest.mark.parametrize("state", ["before", "asking", "playing"])
def test_close_at_any_time(state: str) -> None:
    pull = Pull(Camera(silent={"DESCRIBE"} if state == "asking" else set()))
    if state != "before":
        pull.start()
    pull.machine.close("stop", pull.now)
    pull.machine.close("again", pull.now)
    assert pull.pump().end == "stop"
    pull.machine.receive_eof(pull.now)
    pull.feed(frame(0, RTP))
    assert pull.heard.count(events.Closed("stop")) == 1


def test_the_peer_closes() -> None:
    pull = Pull(Camera()).start()
    pull.machine.receive_eof(pull.now)
    assert pull.pump().end == "peer-closed"


def test_requests_of_the_camera_are_answered() -> None:
    pull = Pull(Camera()).start()
    for number, (method, status) in enumerate(
        [("OPTIONS", 200), ("GET_PARAMETER", 200), ("SET_PARAMETER", 200), ("RECORD", 501)]
    ):
        pull.feed(f"{method} rtsp://x/ RTSP/1.0\r\nCSeq: {number}\r\n\r\n".encode())
        answer = pull.camera.asked[-1]
        assert (answer.method, answer.url.split()[1]) == ("answer", str(status))
    pull.feed(b"ANNOUNCE * RTSP/1.0\r\nCSeq: 9\r\nContent-Length: 3\r\n\r\nv=0")
    assert pull.heard[-1] == events.Announced(b"v=0")
    assert pull.machine.state is State.PLAYING
    pull.feed(b"TEARDOWN * RTSP/1.0\r\nCSeq: 10\r\n\r\n")
    assert pull.end == "peer-teardown"


def test_a_flood_of_requests_ends_the_connection() -> None:
    pull = Pull(Camera()).start()
    pull.feed(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n" * 1000)
    assert pull.end == "rtsp-request-flood"
    assert pull.camera.methods.count("answer") <= 50


def test_redirects() -> None:
    extra = {"DESCRIBE": [("Location", "rtsp://other/x")]}
    pull = Pull(Camera(statuses={"DESCRIBE": [302]}, extra=extra)).start()
    assert pull.heard == [
        events.Redirected("rtsp://other/x"),
        events.Closed("rtsp-redirected", 302),
    ]
    pull = Pull(Camera()).start()
    pull.feed(b"REDIRECT * RTSP/1.0\r\nLocation: rtsp://other/y\r\n\r\n")
    assert pull.heard[-2] == events.Redirected("rtsp://other/y")
    assert pull.end == "rtsp-redirected"


def test_answers_without_cseq_and_with_line_ends_between() -> None:
    pull = Pull(Camera(has_cseq=False, before_answer=b"\r\n")).start()
    assert pull.machine.state is State.PLAYING


def test_late_and_interim_answers_are_not_taken_for_the_next_one() -> None:
    stray = b"RTSP/1.0 404 No\r\nCSeq: 99\r\n\r\n"
    interim = b"RTSP/1.0 100 Continue\r\n\r\n"
    pull = Pull(Camera(before_answer=stray + interim)).start()
    assert pull.machine.state is State.PLAYING


def test_a_description_that_is_empty() -> None:
    assert Pull(Camera(sdp=b"")).start().end == "rtsp-no-sdp"


def test_early_media_waits_for_the_answer_to_play_and_is_bounded() -> None:
    flood = frame(0, RTP) * (MAX_EARLY_FRAMES + 10)
    camera = Camera(silent={"PLAY"})
    pull = Pull(camera).start().feed(flood)
    assert pull.packets == []
    cseq = camera.asked[-1].headers["cseq"]
    pull.feed(f"RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\n\r\n".encode())
    assert len(pull.packets) == MAX_EARLY_FRAMES
    pull.feed(flood)
    assert len(pull.packets) == 2 * MAX_EARLY_FRAMES + 10


@pytest.mark.parametrize("ports", [(), PORTS])
def test_frames_that_nobody_asked_for_are_counted(ports: tuple[PortPair, ...]) -> None:
    pull = Pull(Camera(silent={"DESCRIBE"} if not ports else set()), ports=ports).start()
    pull.feed(frame(0, RTP))
    assert pull.packets == []
    assert pull.machine.drops["rtsp-unexpected-frame"] == 1


def test_rubbish_ends_the_connection_by_name() -> None:
    chance = random.Random(1)
    pull = Pull(Camera()).start()
    pull.feed(bytes(chance.choice(b"\0\1xyz") for _ in range(300_000)))
    assert pull.end == "rtsp-no-sync"


def test_verbs_out_of_turn_are_our_own_fault() -> None:
    pull = Pull(Camera(silent={"OPTIONS"})).start()
    with pytest.raises(StateError):
        pull.machine.set_up(CONTROLS, "*", pull.now)
    with pytest.raises(StateError):
        pull.machine.set_up((), "*", pull.now)


@given(st.data())
def test_no_peer_makes_the_machine_raise(data: st.DataObject) -> None:
    """Answers of a real session, broken at a random place by random bytes."""

    def spoil(answer: bytes) -> list[bytes]:
        if not answer or data.draw(st.integers(0, 2)):
            return [answer]
        place = data.draw(st.integers(0, len(answer)))
        gone = data.draw(st.integers(0, 8))
        return [answer[:place] + data.draw(st.binary(max_size=8)) + answer[place + gone :]]

    pull = Pull(Camera(user="u", password="secret"), cut=spoil).start().run(115.0)
    pull.machine.receive_eof(pull.now)
    assert pull.pump().end


@pytest.mark.parametrize(
    "notice",
    [
        "PLAY_NOTIFY * RTSP/1.0\r\nNotify-Reason: end-of-stream\r\n",
        'ANNOUNCE * RTSP/1.0\r\nx-notice: 2101 "End-of-Stream Reached"\r\n',
        "SET_PARAMETER * RTSP/1.0\r\nx-notice: 2104\r\n",
        "ANNOUNCE * RTSP/1.0\r\nEvent-Type: 2101 Playlist Item Changed\r\n",
    ],
)
def test_the_end_of_a_recording(notice: str) -> None:
    pull = Pull(Camera()).start()
    pull.feed(f"{notice}CSeq: 1\r\n\r\n".encode())
    assert pull.end == "source-ended"
    assert pull.camera.methods[-1] == "TEARDOWN"


def test_other_notices_end_nothing() -> None:
    pull = Pull(Camera()).start()
    pull.feed(b"PLAY_NOTIFY * RTSP/1.0\r\nNotify-Reason: media-properties-update\r\n\r\n")
    pull.feed(b"SET_PARAMETER * RTSP/1.0\r\nx-notice: 5502\r\n\r\n")
    assert pull.machine.state is State.PLAYING


@pytest.mark.parametrize(
    ("part", "header"),
    [(None, "npt=0.000-"), (PlayRange("clock", "20261121T080000Z"), "clock=20261121T080000Z-")],
)
def test_what_is_asked_for(part: PlayRange | None, header: str) -> None:
    camera = Camera(extra={"PLAY": [("Range", "npt=0-7.5")]})
    pull = Pull(camera)
    options = PullOptions(range=part)
    pull.machine = PullConnection(Url.parse(URL), options, authenticator())
    pull.start()
    assert camera.asked[-1].headers["range"] == header
    playing = pull.heard[-1]
    assert isinstance(playing, events.Playing)
    assert playing.range == "npt=0-7.5"


def test_the_first_packet_may_be_waited_for_otherwise() -> None:
    pull = Pull(Camera())
    options = PullOptions(first_media_timeout=3.0)
    pull.machine = PullConnection(Url.parse(URL), options, authenticator())
    assert pull.start().run(102.9).end == ""
    assert pull.run(103.1).end == "media-timeout"


def test_media_that_came_before_the_end_is_not_lost_with_it() -> None:
    pull = Pull(Camera()).start()
    pull.feed(frame(0, RTP) * 3 + b"TEARDOWN * RTSP/1.0\r\nCSeq: 10\r\n\r\n")
    assert pull.end == "peer-teardown"
    assert pull.packets == [(0, RTP)] * 3
