"""Fragmented MP4 and sound alone as endless bodies: every frame, and programs that read them."""

import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import imageio_ffmpeg
import pytest

from tests.support import clip, frames
from tests.support.camera import Camera
from tests.support.conform.fmp4 import Fmp4Limits, read_fmp4
from tests.support.conform.problem import told
from tests.support.flux_process import FluxProcess

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

OPUS = clip.MEDIA / clip.OPUS
FFMPEGS = {"old": "ffmpeg", "new": imageio_ffmpeg.get_ffmpeg_exe()}
LIMITS = Fmp4Limits(starts_with_sync=False)


@pytest.fixture(scope="module")
def camera() -> Iterator[Camera]:
    with Camera({"/bunny": str(clip.path_of("bunny")), "/opus": str(OPUS)}) as camera:
        yield camera


@pytest.fixture(scope="module")
def flux(camera: Camera, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FluxProcess]:
    streams = {
        "bunny": {"source": camera.url("/bunny"), "on_demand": True},
        "opus": {"source": camera.url("/opus"), "on_demand": True},
        "wanted": {"source": camera.url("/bunny"), "on_demand": True, "audio": "opus"},
    }
    with FluxProcess(tmp_path_factory.mktemp("bodies"), streams) as process:
        yield process


PATHS = {
    "bunny.mp4": {"h264", "aac"},
    "bunny.aac": {"aac"},
    "opus.opus": {"opus"},
    "wanted.opus": {"opus"},
    "opus.mp4": {"opus"},
}


@pytest.fixture(scope="module")
def bodies(flux: FluxProcess) -> dict[str, tuple[str, bytes]]:
    """All of them, read at the same time."""
    with ThreadPoolExecutor() as pool:
        jobs = {path: pool.submit(body, flux, path, 12) for path in PATHS}
        return {path: job.result() for path, job in jobs.items()}


def body(flux: FluxProcess, path: str, seconds: float) -> tuple[str, bytes]:
    """Content type, and what comes within `seconds` of the first byte."""
    with urlopen(f"http://127.0.0.1:{flux.http_port}/{path}", timeout=20) as answer:
        data = answer.read(1)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            data += answer.read1(1 << 16)
        return answer.headers["Content-Type"], data


def whole_boxes(data: bytes) -> bytes:
    """Without the fragment that was cut in the middle."""
    at = end = 0
    while at + 8 <= len(data):
        kind = data[at + 4 : at + 8]
        at += int.from_bytes(data[at : at + 4], "big")
        if at <= len(data) and kind in (b"moov", b"mdat"):
            end = at
    return data[:end]


def test_every_frame_is_in_the_mp4(camera: Camera, bodies: dict[str, tuple[str, bytes]]) -> None:
    content_type, data = bodies["bunny.mp4"]
    assert content_type == "video/mp4"
    data = whole_boxes(data)
    content = read_fmp4(data, LIMITS)
    assert content.problems == [], told(content.problems)
    frames.assert_same(
        clip.units_of("bunny"),
        frames.read(data, "mp4"),
        replace(frames.HLS, period=camera.mounts["/bunny"].period),
    )


@pytest.mark.parametrize("version", FFMPEGS)
@pytest.mark.parametrize("path", PATHS)
def test_ffmpeg_reads_it_without_a_word(
    bodies: dict[str, tuple[str, bytes]], tmp_path: Path, version: str, path: str
) -> None:
    _, data = bodies[path]
    file = tmp_path / path
    file.write_bytes(whole_boxes(data) if path.endswith(".mp4") else data)
    result = subprocess.run(
        [FFMPEGS[version], "-nostdin", "-hide_banner", "-i", file, "-f", "null", "-"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    found = set(re.findall(r": (?:Video|Audio): (\w+)", result.stderr.partition("Output #0")[0]))
    assert found == PATHS[path], result.stderr


def test_gstreamer_plays_the_mp4(flux: FluxProcess) -> None:
    url = f"http://127.0.0.1:{flux.http_port}/bunny.mp4"
    result = subprocess.run(
        [
            *("gst-launch-1.0", "-q", "souphttpsrc", f"location={url}", "num-buffers=60"),
            *("!", "qtdemux", "name=d", "d.video_0", "!", "queue", "!", "avdec_h264", "!"),
            *("fakesink", "d.audio_0", "!", "queue", "!", "avdec_aac", "!", "fakesink"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert "ERROR" not in result.stderr


def test_what_has_no_place_is_refused(flux: FluxProcess) -> None:
    with pytest.raises(HTTPError) as refusal:
        body(flux, "bunny.mp3", 1)
    with refusal.value as answer:
        assert answer.code == 415
        assert b"no-playable-track" in answer.read()
