"""Players with the habits of VLC and ffplay against the server's machine, in virtual time."""

import pytest

from protocols.rtsp import server_events as ask
from protocols.rtsp.server_options import ServerOptions
from tests.support.rtsp_app import App, Bench, frame
from tests.support.rtsp_players import FFPLAY, FFPLAY_TCP, VLC, Habits, Player

SDP = (
    b"v=0\r\ns=live\r\nt=0 0\r\n"
    b"m=video 0 RTP/AVP 96\r\na=control:trackID=0\r\n"
    b"m=audio 0 RTP/AVP 0\r\na=control:trackID=1\r\n"
)


class Room:
    """A player and a bench with a wire between them."""

    def __init__(
        self, habits: Habits, app: App, url: str = "rtsp://h/live/cam", **options: bool
    ) -> None:
        app.sdps = {"live/cam": SDP}
        self.bench = Bench(app, ServerOptions(**options))  # type: ignore[arg-type]  # flags alone
        self.player = Player(url, habits, "u", "p")
        self.player.start(self.bench.now)
        self.exchange()

    def exchange(self) -> None:
        while data := self.player.data_to_send():
            self.player.receive(self.bench.feed(data), self.bench.now)

    def run(self, seconds: float, *, media: bool = False) -> None:
        """Time in steps of a second, with media by UDP or without."""
        for _ in range(int(seconds)):
            self.bench.run(self.bench.now + 1)
            if media:
                self.player.media(self.bench.now)
            self.player.tick(self.bench.now)
            self.exchange()


@pytest.mark.parametrize("habits", [VLC, FFPLAY, FFPLAY_TCP])
@pytest.mark.parametrize("query", ["", "?user=a&b=/c"])
def test_playing(habits: Habits, query: str) -> None:
    points = {0: ask.PlayPoint(1, 2), 1: ask.PlayPoint(3, 4)}
    room = Room(habits, App(points=points), "rtsp://h/live/cam" + query)
    player = room.player
    assert player.is_playing
    assert player.statuses == [200] * 5
    assert [method for method, _ in player.asked] == [
        "OPTIONS",
        "DESCRIBE",
        "SETUP",
        "SETUP",
        "PLAY",
    ]
    base = "rtsp://h/live/cam/" + (query and query + "/")
    assert player.asked[3][1] == base + "trackID=1"
    assert player.range == "npt=now-"
    assert player.rtp_info.count("seq=") == 2
    player.stop()
    room.exchange()
    assert [reason for _, reason in room.bench.ended] == ["teardown"]


def test_keepalive_is_chosen_from_public_and_keeps_the_session() -> None:
    room = Room(VLC, App())
    room.run(600, media=True)
    methods = [method for method, _ in room.player.asked][5:]
    assert set(methods) == {"GET_PARAMETER"}
    assert len(methods) == 20  # each 30 s
    assert room.bench.ended == []
    assert room.player.failed == 0


def test_a_player_that_falls_silent_is_forgotten() -> None:
    room = Room(VLC, App())
    room.bench.run(room.bench.now + 66)
    assert [reason for _, reason in room.bench.ended] == ["session-timeout"]
    room.player.media(room.bench.now)
    room.player.tick(room.bench.now)  # back too late
    room.exchange()
    assert room.player.failed in (0, 454)


@pytest.mark.parametrize("habits", [VLC, FFPLAY])
def test_ten_seconds_without_udp_and_then_tcp(habits: Habits) -> None:
    room = Room(habits, App())
    room.run(9)
    assert room.player.fallbacks == 0
    room.run(2)
    assert room.player.fallbacks == 1
    assert room.player.is_playing
    assert all("interleaved" in transport for transport in room.player.transports)
    assert len(room.bench.machine.sessions) == (2 if habits.pauses_before_fallback else 1)
    room.player.receive(frame(0, b"rtp"), room.bench.now)
    assert room.player.frames == [(0, b"rtp")]
    room.run(90)
    assert len(room.bench.machine.sessions) == 1  # the one that was left is over


@pytest.mark.parametrize("habits", [VLC, FFPLAY])
def test_461_and_then_tcp_on_the_same_connection(habits: Habits) -> None:
    room = Room(habits, App(transports=("TCP",)))
    assert room.player.is_playing
    assert room.player.statuses == [200, 200, 461, 200, 200, 200]
    assert room.player.transports[1].startswith("RTP/AVP/TCP;unicast;interleaved=2-3")


def test_both_transports_in_one_header() -> None:
    room = Room(Habits("x", lists_both=True), App(transports=("TCP",)))
    assert room.player.is_playing
    assert room.player.fallbacks == 0


@pytest.mark.parametrize("has_qop", [False, True])
def test_a_digest_of_the_old_form(has_qop: bool) -> None:
    """live555 reads realm and nonce only and answers with MD5, without qop, whatever is offered."""
    room = Room(VLC, App(passwords={"u": "p"}), has_qop=has_qop)
    assert room.player.is_playing
    assert room.player.statuses.count(401) == 1


def test_a_wrong_password() -> None:
    room = Room(VLC, App(passwords={"u": "other"}))
    assert not room.player.is_playing
    assert room.player.failed == 401


def test_an_unknown_stream() -> None:
    room = Room(VLC, App(), "rtsp://h/live/none")
    assert room.player.failed == 404
