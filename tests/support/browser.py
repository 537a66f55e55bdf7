"""Chromium, driven by Playwright, and a small server with the player page for it to look at.

`BLOCK_CLOCK` reads the row of blocks of the test card (see tests/support/testcard.py) from the
picture that the page shows, at the moment a frame is presented.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

from flux.bridges.hls.bridge import HlsBridge
from flux.bridges.hls.options import HlsBridgeOptions
from flux.bridges.http.feeds import FeedBridgeOptions
from flux.bridges.http.server import HttpLimits, HttpServer
from flux.bridges.httpflv import http_flv
from flux.bridges.player.bridge import PlayerBridge, PlayerOptions
from flux.bridges.worker import WorkerSource, command_for
from flux.core.admission import Admission
from flux.core.children import Children
from media.router import Router
from media.stream import Stream, StreamOptions

EXECUTABLES = ("chromium", "chromium-browser", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--autoplay-policy=no-user-gesture-required",
    "--mute-audio",
)
TICK = 0.1
SCREENSHOTS = Path(__file__).parents[2] / ".cache" / "screenshots"
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 860}}

BLOCK_CLOCK = """
(() => {
  const FIELDS = 80, EPOCH_MS = 1577836800000;
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const shots = window.shots = [];

  function crc16(bytes) {
    let crc = 0xffff;
    for (const byte of bytes) {
      crc ^= byte << 8;
      for (let bit = 0; bit < 8; bit += 1) crc = (crc << 1) ^ (crc & 0x8000 ? 0x11021 : 0);
    }
    return crc;
  }

  function read(video) {
    const width = video.videoWidth, height = Math.floor(video.videoHeight / 15);
    if (canvas.width !== width) [canvas.width, canvas.height] = [width, height];
    context.drawImage(video, 0, 0, width, height, 0, 0, width, height);
    const row = context.getImageData(0, Math.floor(video.videoHeight / 30), width, 1).data;
    const bytes = new Uint8Array(FIELDS / 8);
    for (let place = 0; place < FIELDS; place += 1) {
      const x = Math.floor((2 * place + 1) * width / (2 * FIELDS));
      if (row[4 * x + 1] > 127) bytes[place >> 3] |= 0x80 >> (place & 7);
    }
    if (crc16(bytes.subarray(0, 8)) !== (bytes[8] << 8 | bytes[9])) return null;
    const number = bytes.subarray(0, 3).reduce((sum, byte) => sum * 256 + byte, 0);
    const wall = bytes.subarray(3, 8).reduce((sum, byte) => sum * 256 + byte, 0) + EPOCH_MS;
    return { number, wall };
  }

  function presented(now, metadata) {
    const video = document.querySelector("video");
    const shown = performance.timeOrigin + performance.now();
    const row = read(video);
    shots.push({ shown, count: metadata.presentedFrames, ...row });
    video.requestVideoFrameCallback(presented);
  }

  addEventListener("DOMContentLoaded", () => {
    document.querySelector("video")?.requestVideoFrameCallback(presented);
  });
})();
"""


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture that the page presented."""

    shown: float  # Unix seconds
    presented: int  # how many the browser has presented by then
    number: int | None  # of the test card's frame; None where the row cannot be read
    wall: float = 0.0  # Unix seconds when the frame was drawn

    @property
    def latency(self) -> float:
        """Seconds from the drawing to the viewer."""
        return self.shown - self.wall


@dataclass(slots=True)
class Tab:
    """A page, and everything in it that ought not to be."""

    page: Page
    problems: list[str] = field(default_factory=list)

    async def open(self, url: str) -> None:
        """Load a page."""
        await self.page.goto(url, wait_until="domcontentloaded")

    async def shots(self) -> list[Shot]:
        """Every picture since the page was loaded."""
        rows = await self.page.evaluate("window.shots")
        return [
            Shot(row["shown"] / 1000, row["count"], row.get("number"), row.get("wall", 0) / 1000)
            for row in rows
        ]

    async def until_shots(self, number: int, limit: float = 20.0) -> list[Shot]:
        """Wait until so many pictures have been presented."""
        await self.page.wait_for_function(
            "number => window.shots.length >= number", arg=number, timeout=limit * 1000
        )
        return await self.shots()

    async def text(self, selector: str) -> str:
        """What an element says."""
        return (await self.page.locator(selector).inner_text()).strip()

    async def wait_for_text(self, selector: str, text: str, limit: float = 15.0) -> None:
        """Wait until an element says this."""
        locator = self.page.locator(selector, has_text=text)
        await locator.wait_for(state="visible", timeout=limit * 1000)

    async def screenshot(self, name: str) -> None:
        """Keep a picture of the page, for people."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=SCREENSHOTS / f"{name}.png")


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A headless browser of this machine."""
    found = next(filter(None, map(shutil.which, EXECUTABLES)), None)
    assert found, f"none of {', '.join(EXECUTABLES)} is installed"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def tab(browser: Browser, device: Mapping[str, Any], scheme: str) -> AsyncIterator[Tab]:
    """A page in a fresh context that reads the block clock."""
    context = await browser.new_context(**device, color_scheme=scheme)  # type: ignore[arg-type]
    await context.add_init_script(BLOCK_CLOCK)
    page = await context.new_page()
    result = Tab(page)
    page.on(
        "console",
        lambda message: (
            result.problems.append(f"{message.type}: {message.text}")
            if message.type in ("error", "warning")
            else None
        ),
    )
    page.on("pageerror", lambda error: result.problems.append(f"exception: {error}"))
    try:
        yield result
    finally:
        await context.close()


class PlayerRig:
    """Router, media listener and bridges, with test cards as sources."""

    def __init__(self, options: PlayerOptions) -> None:
        self.events: list[object] = []
        emit = self.events.append
        self.router = Router(emit)
        self.children = Children(emit)
        admission = Admission(emit)
        tokens = count(1)
        self.hls = HlsBridge(
            self.router, admission, emit, HlsBridgeOptions(), lambda: f"token{next(tokens)}"
        )
        self.player = PlayerBridge(self.router, options)
        flv = http_flv(self.router, admission, emit, FeedBridgeOptions())
        self.server = HttpServer([flv, self.hls, self.player], HttpLimits())
        self.port = 0

    def declare(self, name: str, *, on_demand: bool = False, timeout: float = 10.0) -> Stream:
        """A stream without a source yet."""
        declared = self.router.declare(
            name, StreamOptions(), on_demand=on_demand, start_timeout=timeout
        )
        return declared.stream

    def testcard(self, name: str, url: str = "testcard:", *, on_demand: bool = False) -> None:
        """A stream that a test card publishes."""
        self.declare(name, on_demand=on_demand)

        def on_state(state: str, reason: str) -> None:
            self.router.source_state(name, state, reason, time.monotonic())

        source = WorkerSource(name, command_for(url), self.router, self.children, on_state)
        self.router.set_source(name, source)

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"http://127.0.0.1:{self.port}/{path}"

    async def tick(self) -> None:
        """Give router and HLS their time, for ever."""
        while True:
            now = time.monotonic()
            self.router.tick(now, time.time() - now)
            self.hls.tick(now)
            await asyncio.sleep(TICK)


@asynccontextmanager
async def player_rig(rig: PlayerRig) -> AsyncIterator[PlayerRig]:
    """The rig while it serves."""
    _, rig.port = await rig.server.start("127.0.0.1", 0)
    await rig.children.start()
    rig.router.start(time.monotonic())
    ticking = asyncio.create_task(rig.tick())
    try:
        yield rig
    finally:
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking
        rig.hls.close()
        rig.router.close(time.monotonic())
        await rig.server.stop(timeout=0.5)
        await rig.children.stop()
