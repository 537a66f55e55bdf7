"""FLV over HTTP as a source: FFmpeg and another FLUX serve, FLUX pulls, FFmpeg judges."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import pytest

from tests.support import clips, frames
from tests.support.camera import Camera
from tests.support.flux_process import FluxProcess
from tests.support.ports import free_port
from tests.support.program import Program

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]

FFMPEGS = {"ffmpeg-5.1": "ffmpeg", "ffmpeg-new": imageio_ffmpeg.get_ffmpeg_exe()}
SECONDS = 5
RATE = 24  # of the clip


def read(url: str, target: Path) -> str:
    """Keep some seconds with FFmpeg; what it complains of."""
    options = ["-v", "warning", "-nostdin", "-i", url, "-t", str(SECONDS), "-c", "copy", "-y"]
    done = subprocess.run(
        ["ffmpeg", *options, str(target)], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stderr


def assert_is_bunny(kept: Path) -> None:
    """Every picture kept is one of the clip, in its order."""
    wanted = [unit.pieces for unit in frames.read(clips.BUNNY)["video"].units]
    got = [unit.pieces for unit in frames.read(kept)["video"].units]
    assert len(got) > 0.8 * SECONDS * RATE
    at = wanted.index(got[0])
    for number, pieces in enumerate(got):
        assert pieces == wanted[(at + number) % len(wanted)]


@pytest.mark.parametrize("program", FFMPEGS)
def test_ffmpeg_serves_and_is_pulled(tmp_path: Path, program: str) -> None:
    port = free_port()
    source = ["-re", "-stream_loop", "-1", "-i", str(clips.BUNNY), "-c", "copy"]
    serve = ["-f", "flv", "-listen", "1", f"http://127.0.0.1:{port}/live.flv"]
    streams = {"in": {"source": f"http://127.0.0.1:{port}/live.flv"}}
    with (
        Program([FFMPEGS[program], "-v", "error", "-nostdin", *source, *serve]),
        FluxProcess(tmp_path, streams, {"sources": {"retry_first": "200ms"}}) as flux,
    ):
        flux.wait_until(lambda: flux.stream("in")["state"] == "ready", "it is pulled", 20)
        kept = tmp_path / "kept.mp4"
        complaints = read(flux.flv("in"), kept)
        tracks = {track["codec"] for track in flux.stream("in")["tracks"]}
    assert complaints == ""
    assert tracks == {"h264", "aac"}
    assert_is_bunny(kept)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FluxProcess]:
    """The FLUX that is pulled."""
    with Camera({"/bunny": clips.BUNNY}) as camera:
        streams = {"bunny": {"source": camera.url("/bunny")}}
        with FluxProcess(tmp_path_factory.mktemp("first"), streams) as flux:
            flux.wait_until(lambda: flux.stream("bunny")["state"] == "ready", "bunny is ready")
            yield flux


@pytest.mark.parametrize(("scheme", "query"), [("http", ""), ("ws", ""), ("ws", "?flv=enhanced")])
def test_a_second_flux_pulls_the_first(
    first: FluxProcess, tmp_path: Path, scheme: str, query: str
) -> None:
    url = first.flv("bunny", query).replace("http", scheme)
    with FluxProcess(tmp_path, {"in": {"source": url, "on_demand": True}}) as second:
        kept = tmp_path / "kept.mp4"
        assert read(second.flv("in"), kept) == ""
        sessions = first.stream("bunny")["readers"]
    assert_is_bunny(kept)
    assert "ws-flv" in sessions or scheme == "http"
    assert sum(sessions.values()) == 1


def test_probe_reads_over_websocket(first: FluxProcess) -> None:
    url = first.flv("bunny").replace("http", "ws")
    command = [".venv/bin/python", "-m", "flux", "probe", url, "--seconds", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=40, check=True)
    assert '"protocol": "ws-flv"' in done.stdout
    assert '"codec": "h264"' in done.stdout
