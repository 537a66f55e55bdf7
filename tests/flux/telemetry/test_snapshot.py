"""What a snapshot derives."""

from flux.telemetry.snapshot import DroppedTrack, ListenerSnapshot
from tests.support.snapshots import make_server, make_stream


def test_a_server_is_ready_when_it_runs_and_its_listeners_are_up() -> None:
    http = ListenerSnapshot(name="http", address=":8888")
    down = ListenerSnapshot(name="http", address=":8888", is_up=False, reason="address in use")
    assert make_server(listeners=(http,)).not_ready() == ()
    assert make_server(phase="draining").not_ready() == ("phase: draining",)
    assert make_server(phase="starting", listeners=(down,)).not_ready() == (
        "phase: starting",
        "listener http is not up: address in use",
    )


def test_sessions_are_counted_by_protocol_and_role() -> None:
    sessions = make_server(make_stream("a"), make_stream("b")).sessions()
    assert sessions == {("http-flv", "reader"): 2, ("hls", "reader"): 2, ("rtsp", "publisher"): 2}


def test_a_dropped_track_is_named() -> None:
    dropped = DroppedTrack(track=1, kind="audio", codec="pcma", output="hls-ts")
    assert str(dropped) == "audio dropped: pcma not in hls-ts"


def test_instants_become_wall_time() -> None:
    server = make_server()
    assert server.wall_time(server.now - 5) == server.wall - 5
