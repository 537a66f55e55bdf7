"""AV1 in a browser: by mpegts.js in FLV with a FourCC, and as an MP4 that it plays itself."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path

import imageio_ffmpeg
import pytest
from playwright.async_api import Browser

from tests.support import clips
from tests.support.browser import DESKTOP, tab
from tests.support.coded import AV1_CLIP
from tests.support.flux_process import FluxProcess
from tests.support.program import Program

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]

GOPS = 4  # of thirty pictures; mpegts.js begins anew with each
NATIVE = """
(url) => {
  const video = document.createElement("video");
  video.muted = true;
  video.src = url;
  document.body.append(video);
  window.shots = [];
  const shown = (now, metadata) => {
    window.shots.push({ shown: now, count: metadata.presentedFrames });
    video.requestVideoFrameCallback(shown);
  };
  video.requestVideoFrameCallback(shown);
  return video.play();
}
"""
# What it played, without what it jumped over, and how many pictures it decoded for that, shown or
# not: a busy browser leaves out pictures, and tells of two together.
PLAYED = """
() => {
  const video = document.querySelector("video");
  const { played } = video;
  let seconds = 0;
  for (let i = 0; i < played.length; i += 1) seconds += played.end(i) - played.start(i);
  return [seconds, video.getVideoPlaybackQuality().totalVideoFrames];
}
"""
RATE = 30000 / 1001  # pictures a second in the clip

FFMPEG = (imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error")


@pytest.fixture(scope="module")
def hinted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with order hints, as nearly all encoders make them; the clip has none."""
    made = tmp_path_factory.mktemp("hinted") / "clip.mp4"
    command = [
        *FFMPEG, "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=4",
        "-c:v", "libsvtav1", "-preset", "10", "-g", "50", "-svtav1-params", "pred-struct=1",
        str(made),
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    return made


@pytest.fixture(scope="module")
def av1(tmp_path_factory: pytest.TempPathFactory, hinted: Path) -> Iterator[FluxProcess]:
    """A server to which clips are sent over and over."""
    settings = {"limits": {"loop_lag": "5s"}}
    folder = tmp_path_factory.mktemp("av1")
    with FluxProcess(folder, {"cam": {}, "svt": {}}, settings) as process, ExitStack() as stack:
        for name, clip in (("cam", clips.FOLDER / AV1_CLIP.name), ("svt", hinted)):
            command = [
                *FFMPEG, "-re", "-stream_loop", "-1", "-i", str(clip),
                "-an", "-c", "copy", "-strict", "experimental",
                "-f", "rtsp", "-rtsp_transport", "tcp", process.rtsp(name),
            ]  # fmt: skip
            stack.enter_context(Program(command))
        for name in ("cam", "svt"):
            process.wait_until(partial(is_ready, process, name), "AV1 comes")
        yield process


def is_ready(process: FluxProcess, name: str) -> bool:
    return bool(process.stream(name)["state"] == "ready")


@pytest.mark.parametrize("way", ["flv", "mp4"])
async def test_every_picture_is_played(browser: Browser, av1: FluxProcess, way: str) -> None:
    origin = f"http://127.0.0.1:{av1.http_port}"
    async with tab(browser, DESKTOP, "dark") as page:
        if way == "flv":
            await page.open(f"{origin}/cam/?protocol=flv")
        else:
            await page.open(f"{origin}/nothing")
            page.problems.clear()
            await page.page.evaluate(NATIVE, f"{origin}/cam.mp4")
        await page.until_shots(30)  # it has begun, and jumped to where it wants to be
        begun, decoded_by_then = await page.page.evaluate(PLAYED)
        shots = await page.until_shots(30 * (1 + GOPS))
        assert all(a.presented < b.presented for a, b in pairwise(shots))  # one player
        seconds, decoded = await page.page.evaluate(PLAYED)
        assert seconds - begun >= 0.8 * 30 * GOPS / RATE
        assert decoded - decoded_by_then >= 0.95 * RATE * (seconds - begun)
        assert page.problems == []


async def test_the_page_plays_what_its_flv_player_cannot_read(
    browser: Browser, av1: FluxProcess
) -> None:
    async with tab(browser, DESKTOP, "dark") as page:
        await page.open(f"http://127.0.0.1:{av1.http_port}/svt/")
        shots = await page.until_shots(100)
        assert all(a.presented < b.presented for a, b in pairwise(shots))  # one player
        assert await page.page.evaluate("document.querySelector('#video').videoWidth") == 320
        assert "HLS" in await page.page.locator("#protocol option").first.inner_text()
        assert page.problems == []
