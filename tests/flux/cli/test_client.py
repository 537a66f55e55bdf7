"""`flux streams`, `sessions`, `kick`, `healthcheck` against a server that answers as FLUX does."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flux.api.models import Session, Stream
from flux.cli import EXIT_FAILURE, EXIT_USAGE, app
from flux.telemetry.snapshot import (
    ReaderSnapshot,
    RtpSnapshot,
    ServerSnapshot,
    SessionSnapshot,
    SourceSnapshot,
    StreamSnapshot,
    TrackSnapshot,
)
from media.causes import Cause
from media.interruptions import Tally, no_tallies
from tests.support.ports import free_port
from tests.support.scripted_http import Answer, ScriptedHttp, as_json, page, problem

SERVER = ServerSnapshot(now=100.0, wall=1_800_000_000.0, started=0.0, version="1", phase="running")
VIDEO = TrackSnapshot(
    id=0, kind="video", codec="h264", clock_rate=90_000, codec_string="avc1.64001f", width=1280,
    height=720, bitrate_bps=4_000_000, frames_per_second=25.0,
)  # fmt: skip
AUDIO = TrackSnapshot(
    id=1, kind="audio", codec="aac", clock_rate=48_000, sample_rate=48_000, channels=2
)
STREAM = StreamSnapshot(
    name="live/cam",
    state="ready",
    source=SourceSnapshot(kind="rtsp", url="rtsp://cam/1", state="running"),
    tracks=(VIDEO, AUDIO),
    key_frame_interval=2.0,
    received_bps=4_100_000,
    readers={"hls": 2, "http-flv": 1},
    drops={"rtp-packet-lost": 7},
    interruptions=no_tallies() | {Cause.SOURCE: Tally(4, 2.5, 7)},
    rtp=RtpSnapshot(packets=990, lost=10),
)
READER = ReaderSnapshot(id="hls-1", protocol="hls", lag=1.5, sent_bytes=12_345_678, dropped=3)
WAITING = StreamSnapshot(
    name="cam2",
    state="starting",
    source=SourceSnapshot(kind="rtsp", state="waiting", reason="connection-refused"),
)
EVIL = "\x1b[31mred\x1b]0;title\x07"


def stream_json(stream: StreamSnapshot, *readers: ReaderSnapshot) -> dict[str, Any]:
    return Stream.of(stream, SERVER, readers=readers).model_dump(mode="json")


def session_json(**values: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"id": "x", "role": "reader", "protocol": "hls", "stream": "demo"}
    return Session.of(SessionSnapshot(**{**known, **values})).model_dump(mode="json")


SESSIONS = [
    session_json(id="hls-1", address="10.0.0.1", sent_bytes=12_345_678, lag=1.5),
    session_json(id="http-flv-2", protocol="http-flv", stream="live/cam", user_agent=EVIL),
    session_json(id="rtsp-publisher-1", role="publisher", protocol="rtsp", stream="live/cam"),
]


def answer(method: str, path: str) -> Answer:
    path = path.partition("?")[0]
    match method, path:
        case "GET", "/api/v1/streams":
            return page([stream_json(STREAM), stream_json(WAITING)])
        case "GET", "/api/v1/streams/live/cam":
            return as_json(stream_json(STREAM, READER))
        case "GET", "/api/v1/sessions":
            return page(SESSIONS)
        case "DELETE", "/api/v1/sessions/hls-1":
            return 204, "text/plain", b""
        case "GET", "/healthz":
            return as_json({"status": "ok"})
        case "GET", "/readyz":
            return problem(503, "not-ready", "phase: draining")
    return problem(404, "not-found", "There is no such thing.")


Run = Callable[..., Result]


@pytest.fixture
def run() -> Iterator[Run]:
    with ScriptedHttp(answer) as server:
        runner = CliRunner()
        yield lambda *arguments: runner.invoke(app, arguments, env={"FLUX_API": server.url})


def cells(line: str) -> list[str]:
    return [cell for cell in line.split("  ") if cell]


def test_the_streams(run: Run) -> None:
    result = run("streams")
    assert result.exit_code == 0
    head, first, second = (cells(line.strip()) for line in result.stdout.splitlines())
    assert [cell.strip() for cell in head][:3] == ["NAME", "STATE", "SOURCE"]
    assert [cell.strip() for cell in first] == [
        "live/cam", "ready", "rtsp", "h264 aac", "3", "4.1 Mbit/s", "2.0 s",
    ]  # fmt: skip
    assert second[-1].strip() == "connection-refused"


def test_one_stream(run: Run) -> None:
    result = run("streams", "live/cam")
    assert result.exit_code == 0
    for part in ("rtsp://cam/1", "1.00 % lost", "rtp-packet-lost", "1280x720", "48 kHz 2ch",
                 "hls-1", "12.3 MB", "avc1.64001f", "4 by source, 2.5 s"):  # fmt: skip
        assert part in result.stdout


def test_streams_as_json(run: Run) -> None:
    assert json.loads(run("streams", "--json").stdout) == [
        stream_json(STREAM),
        stream_json(WAITING),
    ]
    one = json.loads(run("streams", "live/cam", "--json").stdout)
    assert one["reader_list"][0]["id"] == "hls-1"


def test_the_sessions_and_their_filters(run: Run) -> None:
    assert [cells(line)[0].strip() for line in run("sessions").stdout.splitlines()] == [
        "ID", "hls-1", "http-flv-2", "rtsp-publisher-1",
    ]  # fmt: skip
    some = json.loads(
        run("sessions", "--stream", "live/cam", "--protocol", "rtsp", "--json").stdout
    )
    assert [item["id"] for item in some] == ["rtsp-publisher-1"]


def test_a_kick(run: Run) -> None:
    result = run("kick", "hls-1")
    assert (result.exit_code, result.stdout) == (0, "hls-1: kicked\n")
    result = run("kick", "nobody", "hls-1")
    assert result.exit_code == EXIT_FAILURE
    assert result.stdout == "hls-1: kicked\n"
    assert "nobody: There is no such thing." in result.stderr
    result = run("kick", "nobody", "hls-1", "--json")
    assert result.exit_code == EXIT_FAILURE
    assert json.loads(result.stdout) == {
        "kicked": ["hls-1"], "failed": [{"id": "nobody", "reason": "not-found"}],
    }  # fmt: skip


def test_health(run: Run) -> None:
    assert (run("healthcheck").exit_code, run("healthcheck").stdout) == (0, "ok\n")
    assert json.loads(run("healthcheck", "--json").stdout)["healthy"] is True
    result = run("healthcheck", "--ready")
    assert result.exit_code == EXIT_FAILURE
    assert "phase: draining" in result.stderr
    result = run("healthcheck", "--ready", "--json")
    assert result.exit_code == EXIT_FAILURE
    assert json.loads(result.stdout)["reason"] == "not-ready"


def test_an_unknown_stream(run: Run) -> None:
    result = run("streams", "none")
    assert (result.exit_code, result.stdout) == (EXIT_FAILURE, "")
    assert result.stderr == "There is no such thing.\n"


@pytest.mark.parametrize("command", [["streams"], ["sessions"], ["kick", "x"], ["healthcheck"]])
def test_no_server_and_no_url(command: list[str]) -> None:
    runner = CliRunner()
    result = runner.invoke(app, [*command, "--api", f"http://127.0.0.1:{free_port()}"])
    assert result.exit_code == EXIT_FAILURE
    assert "is FLUX running there?" in result.stderr
    result = runner.invoke(app, [*command, "--api", "ftp://u:hunter2@h"])
    assert result.exit_code == EXIT_USAGE
    assert "hunter2" not in result.output


def test_nothing_that_a_peer_says_reaches_the_terminal_as_a_command() -> None:
    evil = stream_json(StreamSnapshot(name=EVIL, state="[bold]ready[/bold]", reason=EVIL))

    def script(method: str, path: str) -> Answer:
        if method == "DELETE":
            return problem(404, "not-found", EVIL)
        return as_json(evil) if path.endswith("/x") else page([evil])

    with ScriptedHttp(script) as server:
        runner = CliRunner()
        for command in (["streams"], ["streams", "x"], ["kick", EVIL]):
            result = runner.invoke(app, command, env={"FLUX_API": server.url})
            assert "\x1b" not in result.output
            assert "\x07" not in result.output
            assert "red" in result.output
        listed = runner.invoke(app, ["streams"], env={"FLUX_API": server.url})
        assert "[bold]ready[/bold]" in listed.stdout
