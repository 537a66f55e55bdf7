"""Pages of others: mpegts.js with a transport stream, and a script that feeds MSE itself."""

import asyncio
import re
from itertools import pairwise

import pytest
from playwright.async_api import Browser, Route

from tests.support.browser import DESKTOP, Shot, tab
from tests.support.flux_process import FluxProcess

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]

RATE = 25  # frames a second of the test card
SETTLING = 5.0  # seconds from the first picture, after which latency counts
LIMIT = 3.0  # seconds behind: these pages have no more than what mpegts.js does by itself
MPEGTS = """
<video muted autoplay></video><script src="{base}vendor/mpegts.js"></script>
<script>
  window.faults = [];
  mpegts.LoggingControl.enableAll = false;
  const player = mpegts.createPlayer(
    {{ type: "mpegts", isLive: true, url: "{url}" }},
    {{ enableStashBuffer: false, liveBufferLatencyChasing: true }},
  );
  player.on(mpegts.Events.ERROR, (...what) => window.faults.push(what.join(" ")));
  player.attachMediaElement(document.querySelector("video"));
  player.load();
</script>
"""
MSE = """
<video muted autoplay></video>
<script>
  window.faults = [];
  const video = document.querySelector("video");
  const source = new MediaSource();
  video.src = URL.createObjectURL(source);
  source.onsourceopen = async () => {{
    const answer = await fetch("{url}");
    const reader = answer.body.getReader();
    const buffer = source.addSourceBuffer('video/mp4; codecs="avc1.64001f,mp4a.40.2"');
    for (;;) {{
      const {{ value }} = await reader.read();
      const done = new Promise((resolve) => {{ buffer.onupdateend = resolve; }});
      buffer.appendBuffer(value);
      await done;
      if (buffer.buffered.length && video.currentTime < buffer.buffered.start(0)) {{
        video.currentTime = buffer.buffered.end(0) - 0.5;
      }}
    }}
  }};
  onunhandledrejection = (event) => window.faults.push(String(event.reason));
</script>
"""
PLAYERS = {
    "ts": (MPEGTS, "demo.ts"),
    "mse": (MSE, "demo.mp4"),
}


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(10.0, id="short"),
        pytest.param(60.0, id="minute", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("player", list(PLAYERS))
async def test_every_picture_is_shown(
    browser: Browser, flux: FluxProcess, player: str, seconds: float
) -> None:
    page_of, path = PLAYERS[player]
    origin = f"127.0.0.1:{flux.http_port}"
    async with tab(browser, DESKTOP, "dark") as page:
        await page.open(f"http://{origin}/demo/?protocol=none")
        base = re.search(r"/_/[0-9a-f]+/", await page.page.content())
        assert base is not None
        body = page_of.format(base=base.group(), url=f"http://{origin}/{path}")

        async def answer(route: Route) -> None:
            await route.fulfill(body=body, content_type="text/html")

        await page.page.route("**/_/bare", answer)
        page.problems.clear()
        await page.open(f"http://{origin}/_/bare")
        await page.until_shots(1)
        await asyncio.sleep(seconds)
        shots = await page.shots()
        assert await page.page.evaluate("window.faults") == []
        assert page.problems == []
    assert all(shot.number is not None for shot in shots)
    assert all(a.presented < b.presented for a, b in pairwise(shots))
    assert len(shots) >= 0.9 * RATE * seconds
    settled = [shot for shot in shots if shot.shown - shots[0].shown >= SETTLING]
    assert max(b.shown - a.shown for a, b in pairwise(settled)) < 0.5
    assert max(map(latency, settled)) < LIMIT


def latency(shot: Shot) -> float:
    """Seconds from the drawing to the viewer."""
    return shot.latency
