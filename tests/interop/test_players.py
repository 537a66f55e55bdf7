"""What people play with: ffprobe, ffplay and VLC take both outputs."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.support import frames
from tests.support.flux_process import FluxProcess
from tests.support.nobody import NOBODY
from tests.support.program import Program

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

FFMPEG_ENV = {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"}


@pytest.fixture(params=["flv", "hls", "ts", "mp4"])
def url(request: pytest.FixtureRequest, live: FluxProcess) -> str:
    """The stream in each output."""
    ways = {"flv": live.flv, "hls": live.hls, "ts": live.ts, "mp4": live.mp4}
    return ways[request.param]("bunny")


def run(command: list[str], folder: Path, limit: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run a player without a terminal and without a screen."""
    env = {**os.environ, **FFMPEG_ENV, "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=limit,
        env=env,
        check=False,
    )


def test_ffprobe_sees_the_tracks(url: str, tmp_path: Path) -> None:
    entries = "stream=codec_name,width,height,sample_rate,channels"
    options = ["-v", "error", "-of", "csv=p=0", "-show_entries", entries]
    done = run(["ffprobe", *options, url], tmp_path)
    assert done.returncode == 0
    assert {"h264,480,360", "aac,44100,2"} <= set(done.stdout.split())
    assert done.stderr == ""


def test_ffmpeg_decodes_without_complaint(url: str, tmp_path: Path) -> None:
    options = ["-v", "warning", "-nostdin", "-xerror", "-i", url, "-t", "5", "-f", "null", "-"]
    done = run(["ffmpeg", *options], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_ffplay_plays(url: str, tmp_path: Path) -> None:
    """It plays until it is told to stop; its status line has the time of the picture."""
    options = ["-v", "error", "-stats", "-x", "64", "-y", "64"]
    env = FFMPEG_ENV | {"HOME": str(tmp_path)}
    with Program(["ffplay", *options, url], env=env) as player:
        player.wait_for(" A-V:")
        begun = clock_of(player.output)
        end = time.monotonic() + 30
        while clock_of(player.output) < begun + 3:
            assert player.is_running, player.output
            assert time.monotonic() < end, player.output
            time.sleep(0.2)
        player.stop()
    complaints = [line for line in player.lines if line.strip() and "-V:" not in line]
    assert [line for line in complaints if "nan" not in line] == []


def clock_of(output: str) -> float:
    """The time in ffplay's last status line."""
    times = re.findall(r"([\d.]+) A-V:", output)
    return float(times[-1]) if times else 0.0


def test_vlc_plays(url: str, public_folder: Path) -> None:
    """VLC decodes for some seconds (dummy outputs) and keeps what it got; frames are counted."""
    kept = public_folder / "kept.ts"
    keep = f"#duplicate{{dst=display,dst=std{{access=file,mux=ts,dst={kept}}}}}"
    command = [*NOBODY, "cvlc", "-I", "dummy", "--vout", "dummy", "--aout", "dummy"]
    command += ["--no-sout-all", "--run-time", "15", "--play-and-exit", "--sout", keep]
    done = run([*command, url, "vlc://quit"], public_folder)
    assert done.returncode == 0, done.stderr
    tracks = frames.read(kept)
    assert len(tracks["video"].units) > 3 * 24, done.stderr
    assert len(tracks["audio"].units) > 3 * 43, done.stderr
