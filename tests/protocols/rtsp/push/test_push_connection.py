"""The push machine against a scripted server, in virtual time."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import StateError
from protocols.rtsp import events
from protocols.rtsp.auth import Authenticator
from protocols.rtsp.options import PushOptions
from protocols.rtsp.push.connection import MAX_REPORTS, PushConnection
from protocols.rtsp.states import State
from protocols.rtsp.transport import PortPair, Way
from protocols.rtsp.url import Url
from tests.support.rtsp_peer import SDP, Camera, frame

URL = "rtsp://u:secret@server/live"
CONTROLS = ("trackID=0", "trackID=1")
PORTS = (PortPair(5000, 5001), PortPair(5002, 5003))
REPORT = b"\x80\xc9\0\1\0\0\0\7"


@dataclass
class Push:
    """A machine and a server with virtual time between them."""

    server: Camera
    ways: list[Way] = field(default_factory=lambda: [Way.TCP])
    url: str = URL
    now: float = 100.0
    cut: Callable[[bytes], list[bytes]] = lambda data: [data]
    heard: list[events.Event] = field(default_factory=list)
    reports: list[tuple[int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        url = Url.parse(self.url)
        auth = Authenticator(url.username, url.password, "c0ffee")
        self.machine = PushConnection(url, PushOptions(), auth, SDP, CONTROLS)

    def start(self) -> "Push":
        self.machine.connect(self.now)
        return self.pump()

    def pump(self) -> "Push":
        while True:
            while (event := self.machine.next_event()) is not None:
                self.heard.append(event)
                is_asked = isinstance(event, events.AnnounceAccepted | events.TransportRefused)
                if is_asked and self.ways:
                    way = self.ways.pop(0)
                    self.machine.set_up(self.now, way, PORTS if way is Way.UDP else ())
            self.reports += self.machine.take_reports()
            data = self.machine.data_to_send()
            if not data:
                return self
            for piece in self.cut(self.server.receive(data)):
                self.machine.receive_data(piece, self.now)

    def feed(self, data: bytes) -> "Push":
        self.machine.receive_data(data, self.now)
        return self.pump()

    def run(self, until: float) -> "Push":
        while (due := self.machine.get_timer()) is not None and due <= until:
            self.now = max(self.now, due)
            self.machine.handle_timer(self.now)
            self.pump()
        self.now = until
        return self

    @property
    def end(self) -> str:
        last = self.heard[-1] if self.heard else None
        return last.reason if isinstance(last, events.Closed) else ""


WHOLE = ["OPTIONS", "ANNOUNCE", "SETUP", "SETUP", "RECORD"]


def test_a_whole_session() -> None:
    server = Camera()
    push = Push(server).start()
    assert server.methods == WHOLE
    announce, first, second, record = server.asked[1:]
    assert announce.body == SDP
    assert announce.headers["content-type"] == "application/sdp"
    assert [first.url, second.url] == [f"rtsp://server/live/{each}" for each in CONTROLS]
    assert first.headers["transport"] == "RTP/AVP/TCP;unicast;interleaved=0-1;mode=record"
    assert (record.url, record.headers["session"]) == ("rtsp://server/live", "12345678")
    assert [type(event).__name__ for event in push.heard] == [
        "AnnounceAccepted",
        "TracksReady",
        "Recording",
    ]
    push.feed(frame(1, REPORT) + frame(3, REPORT))
    assert push.reports == [(0, REPORT), (1, REPORT)]
    push.machine.send_frame(3, b"sr")
    push.machine.close("done", push.now)
    push.pump()
    assert server.received == [(3, b"sr")]
    assert server.methods[-1] == "TEARDOWN"
    assert push.end == "done"


@pytest.mark.parametrize("size", [1, 2, 5, 40])
def test_cut_into_pieces_of_any_size_nothing_changes(size: int) -> None:
    cut = lambda d: [d[i : i + size] for i in range(0, len(d), size)]  # noqa: E731 - as a value
    pieces = Push(Camera(), cut=cut).start()
    assert pieces.heard == Push(Camera()).start().heard


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_digest_covers_the_announce_with_its_body(algorithm: str) -> None:
    server = Camera(user="u", password="secret", algorithms=(algorithm,))
    push = Push(server).start()
    assert push.machine.state is State.RECORDING
    assert [asked.body for asked in server.asked if asked.method == "ANNOUNCE"] == [SDP]


def test_a_nonce_that_gets_stale_at_the_announce_sends_it_again() -> None:
    server = Camera(user="u", password="secret", stale_after=1)
    assert Push(server).start().machine.state is State.RECORDING
    bodies = [asked.body for asked in server.asked if asked.method == "ANNOUNCE"]
    assert bodies == [SDP, SDP]


@pytest.mark.parametrize(
    ("statuses", "reason"),
    [
        ({"ANNOUNCE": [403]}, "rtsp-403"),
        ({"ANNOUNCE": [405]}, "rtsp-405"),
        ({"ANNOUNCE": [415]}, "rtsp-4xx"),
        ({"ANNOUNCE": [453]}, "rtsp-453"),
        ({"SETUP": [404, 404]}, "rtsp-404"),
        ({"SETUP": [200, 404]}, "rtsp-404"),
        ({"RECORD": [455]}, "rtsp-455"),
        ({"OPTIONS": [501], "ANNOUNCE": [501]}, "rtsp-501"),
    ],
)
def test_refusals(statuses: dict[str, list[int]], reason: str) -> None:
    assert Push(Camera(statuses=statuses)).start().end == reason


def test_a_refused_transport_leaves_the_choice_to_the_owner() -> None:
    server = Camera(transports=("UDP",))
    push = Push(server, ways=[Way.TCP, Way.UDP])
    push.server.extra = {"ANNOUNCE": [("Session", "5")]}  # it begins the session early
    push.start()
    assert push.machine.state is not State.CLOSED
    assert events.TransportRefused(461, Way.TCP) in push.heard


def test_wrong_credentials() -> None:
    server = Camera(user="u", password="other")
    assert Push(server).start().end == "rtsp-unauthorized"


def test_the_session_is_kept_alive() -> None:
    server = Camera(session="1;timeout=20")
    push = Push(server).start().run(145.0)
    assert push.end == ""
    assert server.methods[5:] == ["GET_PARAMETER"] * 4


@pytest.mark.parametrize("method", ["OPTIONS", "ANNOUNCE", "SETUP", "RECORD"])
def test_a_request_without_answer_times_out(method: str) -> None:
    assert Push(Camera(silent={method})).start().run(200.0).end == "request-timeout"


def test_the_server_ends_it() -> None:
    push = Push(Camera()).start()
    push.feed(b"TEARDOWN * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
    assert push.end == "peer-teardown"
    push = Push(Camera()).start()
    push.machine.receive_eof(push.now)
    assert push.pump().end == "peer-closed"


def test_a_redirect() -> None:
    extra = {"ANNOUNCE": [("Location", "rtsp://other/x")]}
    push = Push(Camera(statuses={"ANNOUNCE": [302]}, extra=extra)).start()
    assert push.heard[-2:] == [
        events.Redirected("rtsp://other/x"),
        events.Closed("rtsp-redirected", 302),
    ]


def test_frames_that_are_no_reports_are_counted_and_reports_bounded() -> None:
    push = Push(Camera()).start()
    push.machine.receive_data(frame(0, b"media") + frame(9, REPORT), push.now)
    assert push.machine.drops["rtsp-unexpected-frame"] == 2
    push.machine.receive_data(frame(1, REPORT) * (MAX_REPORTS + 3), push.now)
    assert len(push.machine.take_reports()) == MAX_REPORTS


def test_the_servers_own_channels() -> None:
    push = Push(Camera(channel_offset=4)).start()
    ready = next(event for event in push.heard if isinstance(event, events.TracksReady))
    assert [track.channels for track in ready.tracks] == [PortPair(4, 5), PortPair(6, 7)]
    push.machine.send_frame(1, b"sr")
    push.feed(frame(7, REPORT))
    assert push.server.received == [(5, b"sr")]
    assert push.reports == [(1, REPORT)]


def test_verbs_out_of_turn_are_our_own_fault() -> None:
    push = Push(Camera(silent={"OPTIONS"})).start()
    with pytest.raises(StateError):
        push.machine.set_up(push.now)
    with pytest.raises(StateError):
        PushConnection(Url.parse(URL), PushOptions(), Authenticator("", "", ""), SDP, ())


@given(st.data())
def test_no_peer_makes_the_machine_raise(data: st.DataObject) -> None:
    """Answers of a real session, broken at a random place by random bytes."""

    def spoil(answer: bytes) -> list[bytes]:
        if not answer or data.draw(st.integers(0, 2)):
            return [answer]
        place = data.draw(st.integers(0, len(answer)))
        gone = data.draw(st.integers(0, 8))
        return [answer[:place] + data.draw(st.binary(max_size=8)) + answer[place + gone :]]

    push = Push(Camera(user="u", password="secret"), cut=spoil).start().run(115.0)
    push.machine.receive_eof(push.now)
    assert push.pump().end
