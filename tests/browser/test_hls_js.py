"""hls.js by itself in Chromium: tracks of sound to choose from, and a window to seek back in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.support.browser import DESKTOP, tab
from tests.support.flux_process import FluxProcess
from tests.support.two_voices import TONES, two_voices

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]

HLS_JS = Path(__file__).parents[2] / "flux/bridges/player/static/vendor/hls.min.js"
KINDS: dict[str, dict[str, object]] = {
    "ts": {"container": "mpegts"},
    "fmp4": {"container": "fmp4"},
    "low": {"low_latency": True},
    "shared": {"low_latency": True, "shared": True},
}
UNEVEN = "select='if(lt(mod(t,4),2),1,not(mod(n,25)))'"
PAGE = "<!doctype html><video muted playsinline></video>"
START = """
url => {
  const video = window.video = document.querySelector("video");
  const hls = window.hls = new Hls({ enableWorker: false });
  window.problems = [];
  hls.on(Hls.Events.ERROR, (_, data) => {
    // These it tells of itself: a busy machine, and a switch that appends what it has had.
    const own = ["bufferStalledError", "bufferNudgeOnStall", "bufferAppendNoProgress", "aborted"];
    const isStart = data.details === "bufferSeekOverHole" && video.currentTime < 1;
    if (data.fatal || !(own.includes(data.details) || isStart)) {
      problems.push(`${data.details} at ${video.currentTime.toFixed(2)}`);
    }
  });
  hls.loadSource(url);
  hls.attachMedia(video);
  video.play();
  const context = new AudioContext();
  const analyser = window.analyser = context.createAnalyser();
  analyser.fftSize = 8192;
  context.createMediaElementSource(video).connect(analyser);
  video.muted = false;
  video.volume = 1;
  context.resume();
}
"""
TONE = """
() => {
  const bins = new Uint8Array(analyser.frequencyBinCount);
  analyser.getByteFrequencyData(bins);
  const best = bins.indexOf(Math.max(...bins));
  return bins[best] > 60 ? best * analyser.context.sampleRate / analyser.fftSize : 0;
}
"""
STATE = """
() => ({
  time: video.currentTime,
  frames: video.getVideoPlaybackQuality().totalVideoFrames,
  start: video.seekable.length ? video.seekable.start(0) : 0,
  end: video.seekable.length ? video.seekable.end(0) : 0,
  behind: hls.playingDate ? (Date.now() - hls.playingDate) / 1000 : -1,
  problems,
})
"""


@asynccontextmanager
async def player(browser: Browser, url: str) -> AsyncIterator[Page]:
    """A page of another origin in which hls.js plays."""
    async with tab(browser, DESKTOP, "dark") as opened:
        page = opened.page
        await page.set_content(PAGE)
        await page.add_script_tag(path=HLS_JS)
        await page.evaluate(START, url)
        await page.wait_for_function("() => video.currentTime > 0 && !video.paused", timeout=30_000)
        yield page


async def state(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = await page.evaluate(STATE)
    return found


async def hears(page: Page, tone: int, limit: float = 10.0) -> bool:
    """Whether this tone is what can be heard before long."""
    for _ in range(int(limit / 0.25)):
        heard = await page.evaluate(TONE)
        if abs(heard - tone) < 30:
            return True
        await asyncio.sleep(0.25)
    return False


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Any:
    streams: dict[str, dict[str, object]] = {name: {"hls": hls} for name, hls in KINDS.items()}
    streams["dvr"] = {"hls": {"mode": "always", "window": "60s"}}
    streams |= {"uneven": {"hls": KINDS["low"]}, "dolby": {}, "mp3": {}}
    settings = {"limits": {"loop_lag": "5s"}}
    folder = tmp_path_factory.mktemp("voices")
    names = [*KINDS, "dvr"]
    with FluxProcess(folder, streams, settings) as process, two_voices(process, names):
        yield process


@pytest.mark.parametrize("kind", list(KINDS))
async def test_another_track_of_sound_is_chosen(
    browser: Browser, flux: FluxProcess, kind: str
) -> None:
    async with player(browser, flux.hls(kind)) as page:
        tracks = await page.evaluate("() => hls.audioTracks.map(track => [track.lang, track.name])")
        assert tracks == [["en", "English"], ["de", "Deutsch"]]
        assert await hears(page, TONES["en"])
        before = await state(page)
        await page.evaluate("() => { hls.audioTrack = 1; }")
        assert await hears(page, TONES["de"])
        await page.wait_for_function(
            "frames => video.getVideoPlaybackQuality().totalVideoFrames > frames",
            arg=before["frames"] + 50,
        )
        assert (await state(page))["problems"] == []


async def test_a_viewer_seeks_back(browser: Browser, flux: FluxProcess) -> None:
    async with player(browser, flux.hls("dvr")) as page:
        await page.wait_for_function(
            "() => video.seekable.length && video.seekable.end(0) - video.seekable.start(0) > 14",
            timeout=40_000,
        )
        live = await state(page)
        assert live["behind"] < 8
        await page.evaluate("() => { video.currentTime = video.seekable.start(0) + 1; }")
        await page.wait_for_function(
            "start => video.currentTime > start + 1.5 && !video.seeking", arg=live["start"]
        )
        back = await state(page)
        assert back["behind"] > live["behind"] + 5
        assert back["time"] < live["time"] - 5
        assert await hears(page, TONES["en"])
        await page.wait_for_function("time => video.currentTime > time + 1", arg=back["time"])
        later = await state(page)
        assert later["frames"] > back["frames"] + 10
        assert later["behind"] == pytest.approx(back["behind"], abs=1.0)
        assert later["problems"] == []


async def test_a_browser_leaves_out_the_variant_with_dolby(
    browser: Browser, flux: FluxProcess
) -> None:
    with two_voices(flux, ["dolby"], ("aac", "ac3"), ("eng", "eng")):
        async with player(browser, flux.hls("dolby")) as page:
            codecs = await page.evaluate("() => hls.levels.map(level => level.audioCodec)")
            assert codecs == ["mp4a.40.2"]
            assert await hears(page, TONES["en"])
            assert (await state(page))["problems"] == []


async def test_mp3_is_heard(browser: Browser, flux: FluxProcess) -> None:
    """In transport streams, with the pictures: Chromium's MSE has no MP3 in MP4."""
    with two_voices(flux, ["mp3"], ("libmp3lame",)):
        async with player(browser, flux.hls("mp3")) as page:
            assert await hears(page, TONES["en"])
            assert (await state(page))["problems"] == []


async def test_pictures_that_last_longer_than_parts(browser: Browser, flux: FluxProcess) -> None:
    """Two seconds with 25 pictures each, then two with one: parts without a picture, no stall."""
    with two_voices(flux, ["uneven"], ("aac",), filters=UNEVEN):
        async with player(browser, flux.hls("uneven")) as page:
            await page.wait_for_function("() => video.currentTime > 4", timeout=30_000)
            before = await state(page)
            started = asyncio.get_running_loop().time()
            await page.wait_for_function(
                "time => video.currentTime > time + 5", arg=before["time"], timeout=30_000
            )
            assert asyncio.get_running_loop().time() - started < 6.5
            after = await state(page)
            assert after["behind"] < before["behind"] + 0.5
            # Playlists come as late as the pictures do, for which hls.js asks once more.
            assert [each for each in after["problems"] if "LoadTimeOut" not in each] == []
