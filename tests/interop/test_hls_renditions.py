"""Tracks of sound and a window to seek back in, before players that know no FLUX."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import imageio_ffmpeg
import pytest

from tests.support.flux_process import FluxProcess
from tests.support.two_voices import two_voices

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

KINDS: dict[str, dict[str, object]] = {
    "ts": {"container": "mpegts"},
    "fmp4": {"container": "fmp4"},
    "low": {"low_latency": True},
    "dvr": {"mode": "always", "window": "30s"},
}
SECONDS = "4"


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FluxProcess]:
    streams = {name: {"hls": hls} for name, hls in KINDS.items()}
    settings = {"limits": {"loop_lag": "5s"}}
    folder = tmp_path_factory.mktemp("voices")
    with FluxProcess(folder, streams, settings) as process, two_voices(process, list(streams)):
        yield process


def ffmpeg(program: str, url: str) -> str:
    """What it complains of while it decodes all tracks."""
    command = [program, "-nostdin", "-v", "error", "-t", SECONDS, "-i", url, "-map", "0"]
    done = subprocess.run(
        [*command, "-f", "null", "-"], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stderr + ("" if done.returncode == 0 else f"exit {done.returncode}")


def test_ffmpeg_of_two_versions_decodes_all_tracks_without_complaint(flux: FluxProcess) -> None:
    programs = ("ffmpeg", imageio_ffmpeg.get_ffmpeg_exe())
    jobs = [(program, flux.hls(kind)) for kind in KINDS for program in programs]
    with ThreadPoolExecutor(4) as pool:
        complaints = list(pool.map(lambda job: ffmpeg(*job), jobs))
    assert [(job, text) for job, text in zip(jobs, complaints, strict=True) if text] == []


@pytest.mark.parametrize("kind", list(KINDS))
def test_ffprobe_sees_the_languages(flux: FluxProcess, kind: str) -> None:
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_streams", flux.hls(kind)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    streams = json.loads(done.stdout)["streams"]
    kinds = sorted((s["codec_name"], s.get("tags", {}).get("language", "")) for s in streams)
    assert kinds == [("aac", "de"), ("aac", "en"), ("h264", "")]


def test_gstreamer_plays(flux: FluxProcess) -> None:
    sinks = [f"{kind}-sink=fakesink sync=false num-buffers=80" for kind in ("video", "audio")]
    command = ["gst-launch-1.0", "-q", "playbin3", f"uri={flux.hls('fmp4')}", *sinks]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
