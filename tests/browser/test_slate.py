"""A viewer's picture while sources come and go: it never stops, and the page is never reloaded."""

import asyncio
import json
import signal
from collections.abc import Iterator
from itertools import pairwise

import pytest
from playwright.async_api import Browser, Route

from tests.support.browser import DESKTOP, SCREENSHOTS, Tab, tab
from tests.support.flux_process import FluxProcess
from tests.support.publishers import moving_picture

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]

PATIENCE = 15.0  # seconds
WAYS: dict[str, tuple[str, dict[str, object]]] = {  # the page's protocol, the stream's settings
    "flv": ("flv", {}),
    "ws": ("ws", {}),
    "hls": ("hls", {}),
    "fmp4": ("hls", {"hls": {"container": "fmp4"}}),
    "low-latency": ("hls", {"hls": {"low_latency": True}}),
    "late": ("hls", {"hls": {"low_latency": True}}),
}
LATE = 0.15  # seconds that each part takes longer: the playlist says first that its segment is over
SIZE = "() => { const v = document.querySelector('video'); return [v.videoWidth, v.videoHeight]; }"


@pytest.fixture(scope="module")
def slate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FluxProcess]:
    """A server where everything that is published has a slate."""
    settings: dict[str, dict[str, object]] = {
        "limits": {"loop_lag": "5s"},
        "sources": {"slate": "builtin"},
    }
    streams = {f"cam-{way}": settings for way, (_, settings) in WAYS.items()}
    with FluxProcess(tmp_path_factory.mktemp("slate"), streams, settings) as process:
        yield process


async def until(flux: FluxProcess, name: str, state: str) -> None:
    """Wait for a state of a stream."""
    async with asyncio.timeout(PATIENCE):
        while (await asyncio.to_thread(flux.stream, name))["state"] != state:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.05)


async def come_late(route: Route) -> None:
    """A line whose round trips take time."""
    await asyncio.sleep(LATE)
    await route.continue_()


async def until_size(page: Tab, width: int) -> None:
    """Wait until pictures of this width are shown."""
    async with asyncio.timeout(PATIENCE):
        while (await page.page.evaluate(SIZE))[0] != width:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "way",
    [
        "flv",
        pytest.param("ws", marks=pytest.mark.long),
        "hls",
        pytest.param("fmp4", marks=pytest.mark.long),
        "low-latency",
        "late",
    ],
)
async def test_the_picture_goes_on_through_loss_and_return(
    browser: Browser, slate: FluxProcess, way: str
) -> None:
    name, (protocol, _) = f"cam-{way}", WAYS[way]
    first = moving_picture(slate.rtsp(name))
    second = None
    try:
        await until(slate, name, "ready")
        async with tab(browser, DESKTOP, "dark") as page:
            if way == "late":
                await page.page.route("**/*.m4s?*", come_late)
            await page.open(f"http://127.0.0.1:{slate.http_port}/{name}/?protocol={protocol}")
            await page.until_shots(50)
            loads: list[str] = []
            page.page.on("load", lambda _page: loads.append("load"))
            first.interrupt(signal.SIGKILL)
            await until(slate, name, "slate")
            before = len(await page.shots())
            await page.until_shots(before + 75)  # three seconds of the slate
            await page.screenshot(f"slate-{way}")
            second = moving_picture(slate.rtsp(name), "1280x720")
            await until(slate, name, "ready")
            await until_size(page, 1280)
            before = len(await page.shots())
            shots = await page.until_shots(before + 75)
            gaps = [b.shown - a.shown for a, b in pairwise(shots)]
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            figures = {"pictures": len(shots), "longest_gap": round(max(gaps), 3)}
            (SCREENSHOTS / f"slate-{way}.json").write_text(json.dumps(figures))
            assert max(gaps) < 2.0, (max(gaps), gaps.index(max(gaps)), len(gaps))
            assert all(a.presented < b.presented for a, b in pairwise(shots))  # one player
            assert loads == []
            assert not await page.page.locator("#notice").is_visible()
            assert page.problems == []
            sessions = (await asyncio.to_thread(slate.stream, name))["reader_list"]
            assert len(sessions) == 1
    finally:
        first.stop()
        if second is not None:
            second.stop()
