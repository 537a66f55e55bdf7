"""`flux probe`: its time, its end, and what it prints; the probes here read nothing."""

import asyncio
import json
import os
import signal
import time
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flux.cli import EXIT_FAILURE, EXIT_USAGE, app
from flux.cli.probe import engine
from flux.cli.probe.command import watch
from flux.cli.probe.engine import ProbeFailed, ProbeOptions
from flux.cli.probe.figures import Board, TrackMeter
from flux.cli.probe.view import headline, render
from media.track import Kind


class ScriptedProbe:
    """Delivers some frames, then waits, ends or fails."""

    def __init__(
        self, frames: int = 0, end: str = "", failure: str = "", *, kill: bool = False
    ) -> None:
        self.frames = frames
        self.end = end
        self.failure = failure
        self.kill = kill
        self.refreshed = 0
        self.was_cancelled = False

    async def run(self, board: Board) -> str:
        board.protocol = "script"
        meter = TrackMeter(Kind.VIDEO, "h264", width=640, height=360)
        for index in range(self.frames):
            board.media(time.monotonic())
            meter.add(index / 25, 500, key=index % 10 == 0)
        if self.frames:
            board.tracks.append(meter)
        board.notes["some-\x1b[31mreason"] += 1
        if self.failure:
            raise ProbeFailed(self.failure, "in detail")
        if self.end:
            return self.end
        if self.kill:
            os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        raise AssertionError

    def refresh(self, board: Board) -> None:
        self.refreshed += 1


def invoke(monkeypatch: pytest.MonkeyPatch, probe: ScriptedProbe, *arguments: str) -> Result:
    def make(url: str, options: ProbeOptions) -> ScriptedProbe:
        assert options.transport in ("auto", "udp")
        return probe

    monkeypatch.setitem(engine.PROBES, "script", make)
    return CliRunner().invoke(app, ["probe", "script://me:hunter2@h/x", *arguments])


def test_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = ScriptedProbe(frames=50)
    result = invoke(monkeypatch, probe, "--seconds", "0.1")
    assert result.exit_code == 0, result.output
    assert probe.was_cancelled
    assert probe.refreshed > 0
    for part in ("640x360", "25.00/s", "100 kbit/s", "0.40 s", "h264"):
        assert part in result.stdout
    assert "hunter2" not in result.output
    assert "\x1b" not in result.output


def test_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke(
        monkeypatch, ScriptedProbe(frames=50), "--seconds", "0.1", "--json", "--transport", "udp"
    )
    answer: dict[str, Any] = json.loads(result.stdout)
    assert (answer["ended"], answer["protocol"]) == ("time", "script")
    assert answer["url"] == "script://***@h/x"
    assert answer["tracks"][0]["frame_rate"] == 25.0


def test_the_stream_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke(monkeypatch, ScriptedProbe(frames=3, end="source-ended"), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["ended"] == "source-ended"


def test_ctrl_c_ends_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = ScriptedProbe(frames=50, kill=True)
    result = invoke(monkeypatch, probe, "--seconds", "1000")
    assert (result.exit_code, probe.was_cancelled) == (0, True)
    assert "640x360" in result.stdout
    without = invoke(monkeypatch, ScriptedProbe(kill=True), "--seconds", "1000", "--json")
    assert without.exit_code == EXIT_FAILURE
    assert json.loads(without.stdout)["ended"] == "interrupted"


def test_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke(monkeypatch, ScriptedProbe(failure="rtsp-404"))
    assert result.exit_code == EXIT_FAILURE
    assert "script://***@h/x: rtsp-404: in detail" in result.stderr
    assert result.stdout == ""
    as_json = invoke(monkeypatch, ScriptedProbe(failure="rtsp-404"), "--json")
    assert as_json.exit_code == EXIT_FAILURE
    assert json.loads(as_json.stdout)["ended"] == "rtsp-404"


@pytest.mark.parametrize(
    "arguments",
    [
        ["ftp://me:hunter2@h/x"],
        ["nothing"],
        ["rtsp://h/x", "--seconds", "0"],
        ["rtsp://h/x", "--seconds", "nan"],
        ["rtsp://h/x", "--transport", "carrier-pigeon"],
        [],
    ],
)
def test_wrong_use(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["probe", *arguments])
    assert result.exit_code == EXIT_USAGE
    assert "hunter2" not in result.output


async def test_no_media_for_too_long() -> None:
    board, probe = Board("script://h"), ScriptedProbe()
    await watch(probe, board, 10.0, lambda: None, patience=0.0)
    assert (board.ended, probe.was_cancelled) == ("no-media", True)


def test_the_headline() -> None:
    board = Board("rtsp://h/\x1b", "rtsp", "udp", started=1.0, now=3.5)
    assert headline(board) == "rtsp://h/\ufffd  rtsp over udp  waiting for media, 2.5 s"
    board.media(2.0)
    assert "first frame after 1.00 s  measured 1.5 s" in headline(board)


def test_many_notes_are_cut() -> None:
    from rich.console import Console

    board = Board("rtsp://h")
    board.notes.update({f"reason-{number}": number + 1 for number in range(20)})
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.file:
        console.print(render(board, is_terminal=False))
    text = console.export_text()
    assert "reason-19: 20" in text
    assert "reason-3:" not in text
    assert "and 12 more" in text
