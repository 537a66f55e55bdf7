"""Where one quality goes on behind another: no picture is lost between two streams' sounds."""

import asyncio
import base64
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Browser, Route

from media.fmp4.muxer import FragmentMuxer
from media.track import Kind
from tests.support import clips
from tests.support.browser import DESKTOP, PlayerRig, tab

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(60),
    pytest.mark.asyncio(loop_scope="package"),
]

CODECS = "avc1.42C01E,mp4a.40.2"
OFFSETS = (-30, 0, 30)  # milliseconds that one stream is later; a picture lasts 33, its sound 21
SOUND_AHEAD = 0.1  # seconds that sound comes before its pictures
STARTS = (0.0, 1.833, 5.7)  # seconds: the clip's key frames
END = 9.9
KINDS = {"mp4": "video/mp4", "m4s": "video/mp4", "m3u8": "application/vnd.apple.mpegurl"}

# The last segment of one stream, then the next one of another, in one buffer; where it ends.
JOIN = """
async ({ module, codecs, first, second }) => {
  const { mendJoins } = await import(module);
  const source = new MediaSource();
  const video = document.createElement("video");
  const opened = new Promise((go) => source.addEventListener("sourceopen", go, { once: true }));
  video.src = URL.createObjectURL(source);
  await opened;
  const buffer = source.addSourceBuffer(`video/mp4; codecs="${codecs}"`);
  mendJoins(buffer);
  const put = async (text) => {
    const done = new Promise((go) => buffer.addEventListener("updateend", go, { once: true }));
    buffer.appendBuffer(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)));
    await done;
  };
  const end = () => buffer.buffered.end(buffer.buffered.length - 1);
  for (const each of first) await put(each);
  const before = end();
  for (const each of second) await put(each);
  source.endOfStream();
  await put(second[0]);
  return { before, after: end(), state: source.readyState };
}
"""


def segments(offset: int) -> list[bytes]:
    """An initialization section and segments of a clip, each from a key frame on."""
    clip = clips.shifted(clips.read(clips.BUNNY), offset)
    muxer = FragmentMuxer(clips.tracks_of(clip))
    found = [muxer.initialization()]
    begun = False
    for frame in sorted(
        clip, key=lambda each: each.arrived - SOUND_AHEAD * (each.track.kind is Kind.AUDIO)
    ):
        muxer.add(frame)
        if frame.key and frame.track.kind is Kind.VIDEO:
            if begun:
                found.append(muxer.cut(frame, frame.pts))
            begun = True
    return [*found, muxer.finish()]


@pytest.mark.parametrize("offset", OFFSETS)
async def test_all_pictures_behind_a_join_are_kept(
    browser: Browser, rig: PlayerRig, offset: int
) -> None:
    first, second = segments(0), segments(offset)
    settings = {
        "module": rig.url(f"_/{rig.player.assets.digest}/joins.js"),
        "codecs": CODECS,
        "first": [base64.b64encode(each).decode() for each in first[:2]],
        "second": [base64.b64encode(second[place]).decode() for place in (0, 2)],
    }
    async with tab(browser, DESKTOP, "dark") as page:
        await page.open(rig.url("nothing"))
        result = await page.page.evaluate(JOIN, settings)
    length = STARTS[2] - STARTS[1] + offset / 1000
    assert result["after"] - result["before"] == pytest.approx(length, abs=0.03)
    assert result["state"] == "open"  # appending opens a stream again that has ended


class Recorded:
    """Two qualities of a clip in hls.js, the second of them 30 ms earlier than the first."""

    def __init__(self) -> None:
        self.segments = {"v1": segments(0), "v2": segments(-30)}
        self.asked: list[str] = []

    async def answer(self, route: Route) -> None:
        """Whatever is asked for."""
        name = route.request.url.rpartition("/")[2]
        self.asked.append(name)
        stem, _, kind = name.partition(".")
        variant, _, number = stem.partition("-")
        if name == "index.m3u8":
            body = self.multivariant()
        elif kind == "m3u8":
            body = self.playlist(variant)
        else:
            body = self.segments[variant][int(number)]
        await route.fulfill(body=body, content_type=KINDS[kind])

    def multivariant(self) -> bytes:
        """hls.js begins with the first, and takes the second when it knows the line."""
        lines = ["#EXTM3U"]
        for name, rate in (("v1", 400_000), ("v2", 1_400_000)):
            lines.append(f'#EXT-X-STREAM-INF:BANDWIDTH={rate},RESOLUTION=640x360,CODECS="{CODECS}"')
            lines.append(f"{name}.m3u8")
        return "\n".join(lines).encode()

    def playlist(self, variant: str) -> bytes:
        """What is on demand: the page steers nothing."""
        lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-TARGETDURATION:5"]
        lines += ["#EXT-X-PLAYLIST-TYPE:VOD", f'#EXT-X-MAP:URI="{variant}-0.mp4"']
        for number, (start, end) in enumerate(pairwise((*STARTS, END)), 1):
            lines += [f"#EXTINF:{end - start:.3f},", f"{variant}-{number}.m4s"]
        return "\n".join([*lines, "#EXT-X-ENDLIST"]).encode()


async def test_the_picture_goes_on_over_a_join(browser: Browser, rig: PlayerRig) -> None:
    recorded = Recorded()
    async with tab(browser, DESKTOP, "dark") as page:
        await page.page.route("**/demo/*.m*", recorded.answer)
        await page.open(rig.url("demo/?protocol=hls"))
        await page.page.wait_for_function(
            "end => document.querySelector('video').currentTime > end",
            arg=STARTS[2],
            timeout=20_000,
        )
        shots = await page.shots()
    assert {"v1-1.m4s", "v2-2.m4s"} <= set(recorded.asked)
    assert max(after.shown - before.shown for before, after in pairwise(shots)) < 0.5


def low_latency_playlist(name: str, other: str, parts: int) -> bytes:
    """Segments 3 and 4, and so many parts of 5; of the other quality there is one part of 5."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:9", "#EXT-X-TARGETDURATION:2"]
    lines += ["#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.6"]
    lines += ["#EXT-X-PART-INF:PART-TARGET=0.2", "#EXT-X-MEDIA-SEQUENCE:3"]
    lines += [f'#EXT-X-MAP:URI="{name}-0.mp4"', "#EXTINF:2,", f"{name}-3.m4s"]
    lines += ["#EXTINF:2,", f"{name}-4.m4s"]
    for part in range(parts):
        key = "" if part else ",INDEPENDENT=YES"
        lines.append(f'#EXT-X-PART:DURATION=0.2,URI="{name}-p{part}.m4s"{key}')
    lines.append(f'#EXT-X-RENDITION-REPORT:URI="{other}.m3u8",LAST-MSN=5,LAST-PART=0')
    return "\n".join([*lines, ""]).encode()


async def test_a_change_asks_for_no_part_that_is_still_to_come(
    browser: Browser, rig: PlayerRig
) -> None:
    asked: asyncio.Queue[str] = asyncio.Queue()

    async def answer(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        stem, _, kind = name.partition(".")
        if stem == "index":
            lines = ["#EXTM3U"]
            for each, height in (("v1", 180), ("v2", 360)):
                lines.append(f"#EXT-X-STREAM-INF:BANDWIDTH=400000,RESOLUTION=640x{height}")
                lines.append(f"{each}.m3u8")
            await route.fulfill(body="\n".join(lines), content_type=KINDS["m3u8"])
        elif kind == "m3u8":
            other = "v1" if stem == "v2" else "v2"
            body = low_latency_playlist(stem, other, 7)
            await route.fulfill(body=body, content_type=KINDS["m3u8"])
        elif "_HLS_" in name:
            asked.put_nowait(name)  # and never answered, nor is any media

    async with tab(browser, DESKTOP, "dark") as page:
        await page.page.route("**/demo/*.m*", answer)
        await page.open(rig.url("demo/?protocol=hls"))
        await page.page.wait_for_selector("#quality-choice:not([hidden])")
        playing = await asyncio.wait_for(asked.get(), 10)
        assert "_HLS_msn=5&_HLS_part=7" in playing
        await page.page.select_option("#quality", "180p" if playing.startswith("v2") else "360p")
        other = await asyncio.wait_for(asked.get(), 10)
    assert other[:2] != playing[:2]
    query = parse_qs(urlsplit(other).query)
    assert (int(query["_HLS_msn"][0]), int(query["_HLS_part"][0])) <= (5, 0)
