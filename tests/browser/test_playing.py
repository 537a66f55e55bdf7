"""A viewer's picture: it moves, it is recent, and the page says so. Measured by the block clock."""

import asyncio
import json
from itertools import pairwise
from statistics import median

import pytest
from playwright.async_api import Browser

from tests.support.browser import DESKTOP, PHONE, SCREENSHOTS, PlayerRig, Shot, Tab, tab
from tests.support.flux_process import FluxProcess

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="package"),
]

RATE = 25  # frames a second of the test card
SEGMENT = 2.0  # seconds: its key frames
SETTLING = 5.0  # seconds from the first picture, after which latency counts
LIMITS = {"flv": 0.7, "ws": 0.7, "hls": 3 * SEGMENT}  # seconds
LOW_LATENCY_LIMIT = 1.5  # seconds
SHORT, LONG = 12.0, 60.0

DURATIONS = [
    pytest.param(SHORT, id="short"),
    pytest.param(LONG, id="minute", marks=pytest.mark.long),
]


async def watch(page: Tab, seconds: float) -> list[Shot]:
    """All pictures from the first one on, for so long."""
    await page.until_shots(1)
    await asyncio.sleep(seconds)
    return await page.shots()


def figures(shots: list[Shot]) -> dict[str, float]:
    """What the run was like."""
    settled = [shot for shot in shots if shot.shown - shots[0].shown >= SETTLING]
    latencies = [shot.latency for shot in settled]
    return {
        "pictures": len(shots),
        "seconds": round(shots[-1].shown - shots[0].shown, 2),
        "latency_median": round(median(latencies), 3),
        "latency_worst": round(max(latencies), 3),
        "longest_gap": round(max(b.shown - a.shown for a, b in pairwise(settled)), 3),
    }


def number_on_page(text: str) -> float:
    return float(text.split()[0])


@pytest.mark.parametrize("seconds", DURATIONS)
@pytest.mark.parametrize("protocol", ["flv", "ws", "hls"])
async def test_the_picture_moves_and_is_recent(
    browser: Browser, flux: FluxProcess, protocol: str, seconds: float
) -> None:
    async with tab(browser, DESKTOP, "dark") as page:
        await page.open(f"http://127.0.0.1:{flux.http_port}/demo/?protocol={protocol}")
        shots = await watch(page, seconds)
        shown = {name: await page.text(f"#{name}") for name in ("latency", "buffer", "resolution")}
        dropped = int(await page.text("#dropped"))
        page_latency = number_on_page(shown["latency"])
        result = figures(shots) | {"page_latency": page_latency, "dropped": dropped}
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        (SCREENSHOTS / f"{protocol}-{seconds:.0f}s.json").write_text(json.dumps(result))
        await page.screenshot(f"{protocol}-{seconds:.0f}s")

        assert all(shot.number is not None for shot in shots), "a picture could not be read"
        assert all(a.presented < b.presented for a, b in pairwise(shots))
        assert len(shots) >= 0.9 * RATE * seconds
        assert result["latency_worst"] < LIMITS[protocol]
        assert result["longest_gap"] < 0.5
        assert shown["resolution"] == "1280\u00d7720"
        if protocol == "hls":  # told by the playlist's date; FLV tells what the network adds
            assert abs(page_latency - shots[-1].latency) < 0.3
        else:
            assert 0 < page_latency < shots[-1].latency + 0.1
        assert dropped <= 0.02 * len(shots)
        assert not await page.page.locator("#notice").is_visible()
        assert page.problems == []


@pytest.mark.parametrize(
    ("hls", "limit"),
    [
        pytest.param({"container": "fmp4"}, LIMITS["hls"], id="fmp4"),
        pytest.param({"low_latency": True}, LOW_LATENCY_LIMIT, id="low-latency"),
    ],
)
@pytest.mark.parametrize("seconds", DURATIONS)
async def test_other_kinds_of_hls(
    browser: Browser,
    tmp_path_factory: pytest.TempPathFactory,
    hls: dict[str, object],
    limit: float,
    seconds: float,
) -> None:
    streams = {"demo": {"source": "testcard:", "on_demand": True}}
    settings: dict[str, dict[str, object]] = {"limits": {"loop_lag": "5s"}, "hls": hls}
    with FluxProcess(tmp_path_factory.mktemp("hls"), streams, settings) as flux:
        async with tab(browser, DESKTOP, "dark") as page:
            await page.open(f"http://127.0.0.1:{flux.http_port}/demo/?protocol=hls")
            shots = await watch(page, seconds)
            assert len(shots) >= 0.9 * RATE * seconds
            assert figures(shots)["latency_worst"] < limit, figures(shots)
            assert not await page.page.locator("#notice").is_visible()
            assert page.problems == []


async def test_the_page_chooses_flv_and_one_may_choose_otherwise(
    browser: Browser, rig: PlayerRig
) -> None:
    async with tab(browser, DESKTOP, "light") as page:
        await page.open(rig.url("demo/"))
        await page.until_shots(10)
        assert await page.page.locator("#protocol option").first.inner_text() == "Auto: HTTP-FLV"
        await page.page.select_option("#protocol", "hls")
        seen = len(await page.shots())
        await page.until_shots(seen + 10)
        stream = rig.router.find("demo")
        assert stream is not None
        assert {reader.protocol for reader in stream.readers.values()} == {"hls"}
        assert page.problems == []


async def test_without_flv_it_falls_back_to_hls(browser: Browser, rig: PlayerRig) -> None:
    async with tab(browser, DESKTOP, "dark") as page:
        await page.page.route("**/*.flv", lambda route: route.abort())
        await page.open(rig.url("demo/"))
        await page.until_shots(10)
        assert await page.page.locator("#protocol option").first.inner_text() == "Auto: HLS"
        assert all("ERR_FAILED" in problem for problem in page.problems)


async def test_a_forced_protocol_does_not_fall_back(browser: Browser, rig: PlayerRig) -> None:
    async with tab(browser, DESKTOP, "dark") as page:
        await page.page.route("**/*.flv", lambda route: route.abort())
        await page.open(rig.url("demo/?protocol=flv"))
        await page.wait_for_text("#notice-title", "No connection to the server")
        await page.wait_for_text("#notice-text", "Next try in")
        await page.page.unroute("**/*.flv")
        await page.until_shots(10)  # it tried again by itself
        await page.page.locator("#notice").wait_for(state="hidden", timeout=2000)


async def test_the_list_shows_a_picture_of_what_is_live(
    browser: Browser, flux: FluxProcess
) -> None:
    async with tab(browser, DESKTOP, "dark") as page, tab(browser, PHONE, "dark") as viewer:
        await viewer.open(f"http://127.0.0.1:{flux.http_port}/demo/")
        await viewer.until_shots(5)
        await page.open(f"http://127.0.0.1:{flux.http_port}/")
        image = page.page.locator(".card[data-state=live] .picture img")
        await image.wait_for(state="visible", timeout=20_000)
        assert await image.evaluate("image => image.naturalWidth") == 480
        await page.screenshot("streams-real")
        assert page.problems == []
