"""The command line against real servers: GStreamer's camera and a running FLUX."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support import clip
from tests.support.camera import Camera
from tests.support.flux_process import FluxProcess
from tests.support.ports import free_port
from tests.support.program import ROOT, Program
from tests.support.rig import TRANSPORTS, Rig

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

FLUX = (sys.executable, "-m", "flux")
CODECS = {"h264": "h264", "hevc": "h265", "aac": "aac"}
SIZES = {"bunny": (480, 360), "pyramid": (800, 640), "hdr": (1920, 1080)}


def flux(
    *arguments: str, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*FLUX, *arguments],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )


def probe(url: str, *arguments: str, seconds: float = 4) -> dict[str, Any]:
    done = flux("probe", url, "--json", "--seconds", str(seconds), *arguments)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def check(measured: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """Compare with what the clip holds; answers the tracks by kind."""
    tracks = {track["kind"]: track for track in measured["tracks"]}
    known = clip.units_of(name)
    assert set(tracks) == set(known)
    for kind, raw in known.items():
        units = raw.units
        steps = len(units) - 1
        span = raw.seconds(max(unit.pts for unit in units) - min(unit.pts for unit in units))
        assert tracks[kind]["codec"] == CODECS[raw.codec]
        assert tracks[kind]["frame_rate"] == pytest.approx(steps / float(span), rel=0.12)
    video = tracks["video"]
    assert (video["width"], video["height"]) == SIZES[name]
    assert video["bitrate_bps"] > 100_000
    return tracks


@pytest.fixture(scope="module")
def probed(rig: Rig) -> Iterator[dict[tuple[str, str], Future[dict[str, Any]]]]:
    """Every clip by the way it was read; some at a time, since most of a probe is waiting."""
    with ThreadPoolExecutor(5) as pool:
        found = {}
        for name in SIZES:
            stream = f"{name}-auto"  # the other ones are first read by the frame checks
            for transport in TRANSPORTS:
                url = rig.camera.url(f"/{name}")
                found[name, transport] = pool.submit(probe, url, "--transport", transport)
            found[name, "flv"] = pool.submit(probe, rig.flux.flv(stream))
            found[name, "hls"] = pool.submit(probe, rig.flux.hls(stream), seconds=6)
        yield found


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", SIZES)
def test_a_camera(
    name: str, transport: str, probed: dict[tuple[str, str], Future[dict[str, Any]]]
) -> None:
    measured = probed[name, transport].result()
    tracks = check(measured, name)
    assert (measured["protocol"], measured["transport"]) == ("rtsp", transport)
    assert measured["ended"] == "time"
    assert 3.9 < measured["measured"] < 6.0
    for track in tracks.values():
        assert track["packets"] > 50
        assert track["loss"] < 0.05
        assert track["jitter"] is not None
    if name == "pyramid":
        assert tracks["video"]["key_frame_interval"] == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("name", SIZES)
def test_what_flux_gives_out(
    name: str, probed: dict[tuple[str, str], Future[dict[str, Any]]]
) -> None:
    flv, hls = probed[name, "flv"].result(), probed[name, "hls"].result()
    assert (flv["protocol"], hls["protocol"]) == ("http-flv", "hls")
    assert all(track["jitter"] is not None for track in check(flv, name).values())
    assert all(track["lost"] == 0 for track in check(hls, name).values())


def test_the_state_of_a_server(live: FluxProcess) -> None:
    api = {"FLUX_API": f"http://127.0.0.1:{live.api_port}"}
    (stream,) = json.loads(flux("streams", "--json", environment=api).stdout)
    assert (stream["name"], stream["state"]) == ("bunny", "ready")
    table = flux("streams", environment=api).stdout.splitlines()
    assert table[0].split()[:2] == ["NAME", "STATE"]
    assert table[1].split()[:3] == ["bunny", "ready", "rtsp"]
    assert "480x360" in flux("streams", "bunny", environment=api).stdout
    assert flux("streams", "other", environment=api).returncode == 1
    assert flux("healthcheck", "--ready", environment=api).returncode == 0


def test_a_reader_is_listed_and_kicked(live: FluxProcess) -> None:
    api = {"FLUX_API": f"http://127.0.0.1:{live.api_port}"}

    def readers() -> list[str]:
        found = json.loads(
            flux("sessions", "--protocol", "http-flv", "--json", environment=api).stdout
        )
        return [session["id"] for session in found if session["user_agent"] == "flux-probe"]

    with Program([*FLUX, "probe", live.flv("bunny"), "--seconds", "60", "--json"]) as player:
        live.wait_until(lambda: bool(readers()), "the reader is listed")
        (session,) = readers()
        assert flux("kick", session, environment=api).returncode == 0
        assert player.wait(20) == 0
        assert '"ended": "source-ended"' in player.output
    again = flux("kick", session, "--json", environment=api)
    assert again.returncode == 1
    assert json.loads(again.stdout)["failed"][0]["id"] == session


def test_no_server_there() -> None:
    done = flux("streams", "--api", f"http://127.0.0.1:{free_port()}")
    assert (done.returncode, done.stdout) == (1, "")
    assert "is FLUX running there?" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_shell_completes_names_of_streams(live: FluxProcess) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from flux.cli import app; app(prog_name='flux')"],
        cwd=ROOT,
        env={
            **os.environ,
            "FLUX_API": f"http://127.0.0.1:{live.api_port}",
            "_FLUX_COMPLETE": "complete_bash",
            "COMP_WORDS": "flux streams bu",
            "COMP_CWORD": "2",
        },
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout.split() == ["bunny"]


@pytest.mark.parametrize("colour", [True, False])
def test_the_live_display_and_ctrl_c(colour: bool, tmp_path: Path) -> None:
    """In a terminal of its own: pictures while it runs, a table at the end, status 0."""
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "140", "LINES": "40"}
    environment.pop("NO_COLOR", None)
    if not colour:
        environment["NO_COLOR"] = "1"
    with Camera({"/a": clip.path_of("bunny")}) as camera:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*FLUX, "probe", camera.url("/a"), "--seconds", "60"],
            cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        seen = b""
        end = time.monotonic() + 30
        while seen.count(b"480x360") < 3:
            assert time.monotonic() < end, seen
            seen += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        rest = b""
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:  # the terminal is closed
                break
            if not data:
                break
            rest += data
        assert process.wait(10) == 0
        os.close(ours)
    assert b"\x1b[?25l" in seen  # the cursor is hidden while it redraws
    assert b"\x1b[?25h" in rest  # and is there again
    assert b"480x360" in rest
    assert b"Traceback" not in rest
    colours = re.findall(rb"\x1b\[(?:3[0-7]|9[0-7]|38;)", seen + rest)
    assert colour or not colours
