"""Endless bodies that a browser plays by itself: fragmented MP4 and Opus, without any script."""

import asyncio

import pytest
from playwright.async_api import Browser

from tests.support.flux_process import FluxProcess

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]

SECONDS = 6.0
RATE = 25  # frames a second of the test card

FIGURES = """(() => {
  const video = document.getElementById("v");
  const quality = video.getVideoPlaybackQuality();
  return [window.shown, video.currentTime, quality.totalVideoFrames, quality.droppedVideoFrames];
})()"""
COUNT = """
<video id="v" muted autoplay src="{url}"></video>
<script>
  const video = document.getElementById("v");
  window.shown = 0;
  const next = () => {{ window.shown += 1; video.requestVideoFrameCallback(next); }};
  video.requestVideoFrameCallback(next);
</script>
"""


async def test_video_plays_fragmented_mp4(browser: Browser, flux: FluxProcess) -> None:
    page = await browser.new_page()
    try:
        await page.goto(f"http://127.0.0.1:{flux.http_port}/_/nothing")  # for the origin
        await page.set_content(COUNT.format(url=f"http://127.0.0.1:{flux.http_port}/demo.mp4"))
        # It shows the first picture, and plays once it believes that what has come will do.
        await page.wait_for_function("window.shown > 10", timeout=40_000)
        before = await page.evaluate(FIGURES)
        await asyncio.sleep(SECONDS)
        after = await page.evaluate(FIGURES)
        state = await page.evaluate(
            "(() => { const v = document.getElementById('v');"
            " return [v.videoWidth, v.error, v.webkitAudioDecodedByteCount]; })()"
        )
    finally:
        await page.close()
    assert after[0] - before[0] >= 0.5 * RATE * SECONDS
    assert after[1] - before[1] >= 0.5 * SECONDS
    assert state[0] == 1280
    assert state[1] is None
    assert state[2] > 0


async def test_audio_plays_aac(browser: Browser, flux: FluxProcess) -> None:
    page = await browser.new_page()
    try:
        url = f"http://127.0.0.1:{flux.http_port}/demo.aac"
        await page.goto(f"http://127.0.0.1:{flux.http_port}/_/nothing")
        await page.set_content(f'<audio id="a" muted autoplay src="{url}"></audio>')
        await page.wait_for_function("document.getElementById('a').currentTime > 2", timeout=40_000)
        assert await page.evaluate("document.getElementById('a').error") is None
    finally:
        await page.close()
