"""A group as FFmpeg reads it: every variant alone, and what the playlists promise together."""

import re
import subprocess
import urllib.request
from collections.abc import Iterator

import imageio_ffmpeg
import pytest

from tests.support.conform.hls import check_multivariant
from tests.support.conform.hls_group import check_group
from tests.support.conform.problem import told
from tests.support.flux_process import FluxProcess

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

STREAMS = {
    "cam/main": {"source": "testcard:?size=640x360&rate=25", "on_demand": True},
    "cam/sub": {"source": "testcard:?size=320x180&rate=15&bitrate=200k", "on_demand": True},
}
SIZES = {"640x360": 25, "320x180": 15}
SECONDS = 4
PROGRAMS = ["ffmpeg", imageio_ffmpeg.get_ffmpeg_exe()]


@pytest.fixture(
    scope="module",
    params=["mpegts", "fmp4", pytest.param("low-latency", marks=pytest.mark.long)],
)
def flux(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FluxProcess]:
    hls = {"low_latency": True} if request.param == "low-latency" else {"container": request.param}
    settings: dict[str, dict[str, object] | str] = {
        "groups": {"cam": {"streams": ["cam/sub", "cam/main"]}},
        "hls": {"segment_duration": "2s", **hls},
        "limits": {"loop_lag": "5s"},
    }
    with FluxProcess(tmp_path_factory.mktemp("flux"), STREAMS, settings) as process:
        yield process


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=40) as answer:
        body: bytes = answer.read()
    return body.decode()


def test_every_variant_is_read(flux: FluxProcess) -> None:
    text = get(flux.hls("cam"))
    problems = check_multivariant(text)
    assert problems == [], told(problems)
    sizes = re.findall(r"RESOLUTION=(\d+x\d+)", text)
    assert sizes == list(SIZES)  # best first
    base = flux.hls("cam").rpartition("/")[0]
    uris = [f"{base}/{uri}" for uri in re.findall(r"^[^#\s].*$", text, re.M)]
    for n, (uri, size) in enumerate(zip(uris, sizes, strict=True)):
        command = [PROGRAMS[n], "-v", "error", "-i", uri, "-t", str(SECONDS), "-map", "0"]
        command += ["-f", "framemd5", "-"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert done.stderr == ""
        frames = re.findall(r"^0,", done.stdout, re.M)
        assert f"#dimensions 0: {size}" in done.stdout
        assert abs(len(frames) - SIZES[size] * SECONDS) <= 3
        assert re.search(r"^1,", done.stdout, re.M)  # sound
    problems = check_group({uri: get(uri) for uri in uris}, 2.1)
    assert problems == [], told(problems)
    stream = flux.stream("cam")
    assert stream["members"] == ["cam/sub", "cam/main"]
    assert (stream["source"]["kind"], stream["source"]["state"]) == ("group", "running")
