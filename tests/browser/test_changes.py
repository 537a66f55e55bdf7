"""Changes of a picture's parameters in FLV: each picture is decoded with those it was made with."""

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from playwright.async_api import Browser

from tests.support.browser import DESKTOP, PlayerRig, tab
from tests.support.flux_process import FluxProcess
from tests.support.publishers import moving_picture

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]

TAKE_OVER = {"second_publisher": "take_over"}
SIZES = ("640x360", "320x180", "480x270", "640x360")
SHOWN = 20  # pictures of each
WIDTH = "width => document.querySelector('video').videoWidth === width"
WATCH = """
addEventListener("DOMContentLoaded", () => {
  window.players = 0;
  window.faults = [];
  const video = document.querySelector("video");
  video?.addEventListener("loadstart", () => { if (video.currentSrc) window.players += 1; });
  video?.addEventListener("error", () => window.faults.push(video.error?.message));
});
"""
# What mpegts.js does with pictures: each is held back until the next one has come, and a picture
# that comes alone stays in the queue. "#a" is a header; the others are pictures at these times.
SIMULATE = """
async ({ module, reads, isKnown }) => {
  const { mendChanges } = await import(module);
  const out = [];
  let held = null;
  const queue = { samples: [], length: 0 };
  const remuxer = {
    get _videoStashedLastSample() { return held; },
    set _videoStashedLastSample(value) { held = value; },
  };
  const demuxer = {
    onTrackMetadata: (type, metadata) => out.push(`${type} ${metadata.name}`),
    onDataAvailable: (audio, video) => {
      if (audio?.samples.length) out.push(`sound ${audio.samples.splice(0).length}`);
      if (!(video?.samples.length > 1)) return;
      const bytes = video.samples.reduce((sum, sample) => sum + sample.length, 0);
      if (bytes !== video.length) out.push(`${video.length} for ${bytes} bytes`);
      const next = video.samples.pop();
      const samples = held ? [held, ...video.samples] : video.samples;
      held = next;
      samples.forEach(({ name, dts }, at) => {
        out.push(`${name} ${(samples[at + 1] ?? next).dts - dts}`);
      });
      video.samples = [];
      video.length = 0;
    },
  };
  if (isKnown) demuxer._videoTrack = queue;
  const player = { _player_engine: { _transmuxer: { _controller: {
    _demuxer: demuxer, _remuxer: remuxer,
  } } } };
  mendChanges(player);
  mendChanges(player); // every onMetaData
  const metadata = {};
  let dts = 0;
  for (const read of reads) {
    const audio = { samples: [] };
    let isGiven = true; // mpegts.js keeps what came with a header until the next read
    for (const tag of read) {
      if (tag === "sound") {
        audio.samples.push(tag);
      } else if (tag.startsWith("#")) {
        if (isGiven) demuxer.onDataAvailable(audio, queue);
        isGiven = false;
        metadata.name = tag.slice(1);
        demuxer.onTrackMetadata("video", metadata);
      } else {
        isGiven = true;
        dts += 40;
        queue.samples.push({ name: tag, dts, length: dts + 7 });
        queue.length += dts + 7;
      }
    }
    if (isGiven) demuxer.onDataAvailable(audio, queue);
  }
  return out;
}
"""
SEQUENCES: dict[str, tuple[list[list[str]], list[str]]] = {
    "no-change": ([["#a", "a1"], ["a2"], ["a3", "a4"]], ["video a", "a1 40", "a2 40", "a3 40"]),
    "one-is-held": (
        [["#a", "a1", "a2"], ["#b", "b1"], ["b2", "b3"]],
        ["video a", "a1 40", "a2 40", "video b", "b1 40", "b2 40"],
    ),
    "one-is-held-one-waits": (
        [["#a", "a1", "a2"], ["a3"], ["#b", "b1"], ["b2", "b3"]],
        ["video a", "a1 40", "a2 40", "a3 40", "video b", "b1 40", "b2 40"],
    ),
    "the-only-one-waits": (
        [["#a", "a1"], ["#b", "b1", "b2", "b3"], ["b4"], ["b5"]],
        ["video a", "a1 40", "video b", "b1 40", "b2 40", "b3 40", "b4 40"],
    ),
    "in-the-middle-of-a-read": (
        [["#a", "a1", "a2", "a3", "#b", "b1", "b2"], ["b3", "b4"]],
        ["video a", "a1 40", "a2 40", "a3 40", "video b", "b1 40", "b2 40", "b3 40"],
    ),
    "two-changes-in-a-read": (
        [["#a", "a1", "a2"], ["#b", "b1", "#c", "c1", "c2"], ["c3"]],
        ["video a", "a1 40", "a2 40", "video b", "b1 40", "video c", "c1 40", "c2 40"],
    ),
    "two-headers-at-once": (
        [["#a", "a1", "a2"], ["#b", "#c", "c1"], ["c2", "c3"]],
        ["video a", "a1 40", "a2 40", "video c", "c1 40", "c2 40"],
    ),
    "sound-goes-on": (
        [["#a", "a1", "a2"], ["#b"], ["sound"], ["sound", "sound"], ["b1"], ["b2", "b3"]],
        ["video a", "a1 40", "sound 1", "sound 2", "a2 40", "video b", "b1 40", "b2 40"],
    ),
}


@pytest.fixture(scope="module")
def taken_over(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FluxProcess]:
    """A server where the second publisher takes the name."""
    streams = {"cam-flv": TAKE_OVER, "cam-ws": TAKE_OVER}
    settings = {"limits": {"loop_lag": "5s"}}
    with FluxProcess(tmp_path_factory.mktemp("changes"), streams, settings) as process:
        yield process


@pytest.mark.parametrize("protocol", ["flv", pytest.param("ws", marks=pytest.mark.long, id="ws")])
async def test_a_key_frame_may_be_the_last_picture_before_a_change(
    browser: Browser, taken_over: FluxProcess, protocol: str
) -> None:
    name = f"cam-{protocol}"
    publishers = [moving_picture(taken_over.rtsp(name), SIZES[0], gop=1)]
    try:
        async with tab(browser, DESKTOP, "dark") as page:
            await page.page.add_init_script(WATCH)
            await page.open(f"http://127.0.0.1:{taken_over.http_port}/{name}/?protocol={protocol}")
            await page.until_shots(SHOWN)
            for size in SIZES[1:]:
                publishers.append(moving_picture(taken_over.rtsp(name), size, gop=1))
                width = int(size.partition("x")[0])
                await page.page.wait_for_function(WIDTH, arg=width, timeout=15_000)
                await page.until_shots(len(await page.shots()) + SHOWN)
            shots = await page.shots()
            assert await page.page.evaluate("window.faults") == []
            assert await page.page.evaluate("window.players") == 1
            assert all(a.presented < b.presented for a, b in pairwise(shots))
            assert max(b.shown - a.shown for a, b in pairwise(shots)) < 2.0
            assert page.problems == []
            readers = (await asyncio.to_thread(taken_over.stream, name))["reader_list"]
            assert len(readers) == 1
    finally:
        for publisher in publishers:
            publisher.stop()


async def simulate(
    browser: Browser, rig: PlayerRig, reads: list[list[str]], *, is_known: bool = True
) -> Any:
    async with tab(browser, DESKTOP, "dark") as page:
        await page.open(rig.url("nothing"))
        module = rig.url(f"_/{rig.player.assets.digest}/changes.js")
        settings = {"module": module, "reads": reads, "isKnown": is_known}
        return await page.page.evaluate(SIMULATE, settings)


@pytest.mark.parametrize("sequence", list(SEQUENCES))
async def test_a_header_comes_between_the_pictures_that_it_parts(
    browser: Browser, rig: PlayerRig, sequence: str
) -> None:
    reads, expected = SEQUENCES[sequence]
    assert await simulate(browser, rig, reads) == expected


async def test_a_player_with_another_inside_is_let_alone(browser: Browser, rig: PlayerRig) -> None:
    reads, expected = SEQUENCES["one-is-held"]
    found = await simulate(browser, rig, reads, is_known=False)
    assert sorted(found) == sorted(expected)
    assert found.index("video b") < found.index("a2 40")  # as the library does by itself
