"""A group in hls.js: its quality is changed up and down, and the picture goes on without a gap."""

import asyncio
from collections.abc import Iterator
from itertools import pairwise

import pytest
from playwright.async_api import Browser

from tests.support.browser import DESKTOP, Shot, Tab, tab
from tests.support.flux_process import FluxProcess

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="package"),
]

RATE = 25
STREAMS = {
    "cam/main": {"source": f"testcard:?size=640x360&rate={RATE}", "on_demand": True},
    "cam/sub": {"source": f"testcard:?size=320x180&rate={RATE}&bitrate=300k", "on_demand": True},
}
HIGH, LOW = "360p", "180p"
WIDTHS = {HIGH: 640, LOW: 320}
CHANGE = 12.0  # seconds in which a change has to be seen
SETTLING = 4.0  # seconds: the page jumps once to where it settles
STEP = 0.4  # seconds that the clock in the picture may leap; at a change pictures may come again
GAP = 0.6  # seconds between two pictures shown, on a machine that is busy
LOW_LATENCY = "low-latency"
LOOK = 0.3  # seconds more: with low latency the page has to see that the picture stands
LEAST_CHANGES = 6  # at other places in a GOP of two seconds
PAUSE = 1.3  # seconds between them


@pytest.fixture(
    scope="module",
    params=[
        "mpegts",
        pytest.param("fmp4", marks=pytest.mark.long),
        pytest.param(LOW_LATENCY, marks=pytest.mark.long),
    ],
)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FluxProcess]:
    hls: dict[str, object] = {"segment_duration": "2s"}
    if request.param == LOW_LATENCY:
        hls["low_latency"] = True
    else:
        hls["container"] = request.param
    settings: dict[str, dict[str, object] | str] = {
        "groups": {"cam": {"streams": ["cam/sub", "cam/main"]}},
        "hls": hls,
        "limits": {"loop_lag": "5s"},
    }
    with FluxProcess(tmp_path_factory.mktemp("flux"), STREAMS, settings) as process:
        yield process


async def choose(page: Tab, quality: str) -> None:
    """Choose a quality on the page and wait until the picture has it."""
    await page.page.select_option("#quality", quality)
    await page.page.wait_for_function(
        "width => document.querySelector('video').videoWidth === width",
        arg=WIDTHS[quality],
        timeout=CHANGE * 1000,
    )


def problems_of(shots: list[Shot], room: float = 0.0) -> list[str]:
    """Where pictures lack, come late, or go back by more than an overlap; `room` is seconds."""
    found = []
    for before, after in pairwise(shots):
        if before.shown - shots[0].shown < SETTLING:
            continue
        if after.number is None or before.number is None:
            continue
        leap = after.wall - before.wall
        skipped = after.presented - before.presented
        if not -STEP <= leap <= STEP + room + (skipped - 1) / RATE:
            found.append(f"the clock leaps by {leap:.3f} s at {after.wall:.2f}")
        if after.shown - before.shown > GAP + room:
            found.append(f"nothing for {after.shown - before.shown:.3f} s at {after.wall:.2f}")
    return found


@pytest.mark.parametrize(
    "seconds",
    [pytest.param(15.0, id="short"), pytest.param(60.0, id="minute", marks=pytest.mark.long)],
)
async def test_the_quality_changes_without_a_gap(
    browser: Browser, server: FluxProcess, seconds: float, request: pytest.FixtureRequest
) -> None:
    is_low = LOW_LATENCY in request.node.callspec.id
    async with tab(browser, DESKTOP, "dark") as page:
        await page.open(f"http://127.0.0.1:{server.http_port}/cam/")
        await page.until_shots(1, limit=40)
        await page.page.wait_for_selector("#quality-choice:not([hidden])")
        begun = asyncio.get_running_loop().time()
        changes = 0
        while changes < LEAST_CHANGES or asyncio.get_running_loop().time() - begun < seconds:
            await choose(page, (LOW, HIGH)[changes % 2])
            changes += 1
            await asyncio.sleep(PAUSE)
        await page.screenshot("group")
        shots = await page.shots()
        span = shots[-1].shown - shots[0].shown
        readable = [shot for shot in shots if shot.number is not None]
        assert problems_of(shots, LOOK if is_low else 0.0) == []
        assert shots[-1].presented >= (0.75 if is_low else 0.9) * RATE * span
        assert len(readable) >= 0.97 * len(shots)
        assert not [text for text in page.problems if "exception" in text]
        assert sum(server.stream("cam")["readers"].values()) == 1


async def test_the_page_of_a_group_offers_qualities_alone(
    browser: Browser, server: FluxProcess
) -> None:
    async with tab(browser, DESKTOP, "dark") as page:
        await page.open(f"http://127.0.0.1:{server.http_port}/cam/")
        await page.until_shots(1, limit=40)
        await page.page.wait_for_selector("#quality-choice:not([hidden])")
        options = await page.page.locator("#quality option").all_inner_texts()
        assert options[0].startswith("Auto")
        assert sorted(options[1:]) == sorted([HIGH, LOW])
        assert not await page.page.is_visible("#protocol")
