"""What a viewer meets besides the picture: texts, buttons, frames, small screens, the list."""

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Route

from flux.bridges.player.bridge import PlayerOptions
from flux.core.children import ChildStarted
from media.track import TrackDescription
from tests.support import clips
from tests.support.browser import DESKTOP, PHONE, PlayerRig, player_rig, tab

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]

HOSTILE = "<img src=x onerror=alert(1)>"
PAST = 30.0  # seconds that clips have been published for when a test begins
PICTURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="480" height="270">'
    '<rect width="480" height="270" fill="teal"/></svg>'
)
START_TIMEOUT = 0.5  # seconds that a reader of a stream without a source is held


class Silent:
    """A source that never comes."""

    def start(self) -> None:
        pass

    def stop(self, reason: str) -> None:
        del reason


@pytest_asyncio.fixture(loop_scope="package")
async def other() -> AsyncIterator[PlayerRig]:
    """A server of one's own, with streams of every kind."""
    made = PlayerRig(PlayerOptions())
    made.testcard("demo")
    made.declare("live/empty", timeout=START_TIMEOUT)
    made.declare("live/asleep", on_demand=True)
    made.router.set_source("live/asleep", Silent())
    made.declare(HOSTILE)
    async with player_rig(made) as serving:
        yield serving


class Published:
    """A clip, repeated, that a test publishes by and by as if it had come in the past."""

    def __init__(self, rig: PlayerRig, name: str, clip: Path) -> None:
        frames = clips.looped(clips.read(clip), 10, 10_000)
        descriptions = [
            TrackDescription(t.kind, t.codec, t.clock_rate, t.parameters)
            for t in clips.tracks_of(frames)
        ]
        self._start = time.monotonic() - PAST - frames[0].arrived
        self._frames = iter(frames)
        self._publisher = rig.router.publish(
            name, descriptions, now=time.monotonic() - PAST, origin="test"
        )

    def send(self, seconds: float) -> None:
        """The next frames."""
        end = None
        for frame in self._frames:
            end = frame.arrived + seconds if end is None else end
            if frame.arrived >= end:
                return
            track = self._publisher.tracks[frame.track.id]
            self._publisher.write(track, frame.pts, frame.payload, self._start + frame.arrived)


# -- texts ---------------------------------------------------------------------------------------


async def test_an_offline_stream_says_so_and_begins_by_itself(
    browser: Browser, other: PlayerRig
) -> None:
    async with tab(browser, DESKTOP, "dark") as page:
        await page.open(other.url("live/empty/"))
        await page.wait_for_text("#notice-title", "This stream is offline")
        await page.wait_for_text("#notice-text", "Next try in")
        await page.screenshot("offline")
        assert await page.text("#pill") == "offline"
        Published(other, "live/empty", clips.BUNNY).send(8.0)
        await page.page.click("#again")
        await page.page.locator("#notice").wait_for(state="hidden")
        assert await page.text("#pill") == "live"
        assert all("503" in problem for problem in page.problems)


async def test_a_server_that_takes_nobody_says_so(browser: Browser, rig: PlayerRig) -> None:
    async with tab(browser, DESKTOP, "dark") as page, tab(browser, DESKTOP, "dark") as viewer:
        await viewer.open(rig.url("demo/"))
        await viewer.until_shots(5)
        await page.page.route("**/*.flv", lambda route: route.fulfill(status=503))
        await page.open(rig.url("demo/"))
        await page.wait_for_text("#notice-title", "The server is busy")
        await page.page.unroute("**/*.flv")
        await page.until_shots(5)


async def test_a_codec_that_the_browser_lacks_is_named(browser: Browser, other: PlayerRig) -> None:
    published = Published(other, "live/empty", clips.HDR)
    published.send(5.0)
    stream = other.router.find("live/empty")
    assert stream is not None
    async with tab(browser, DESKTOP, "dark") as page:
        await page.open(other.url("live/empty/"))
        async with asyncio.timeout(10):
            while "hls" not in stream.outputs:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        published.send(12.0)
        await page.wait_for_text("#notice-title", "This browser cannot play the stream")
        await page.wait_for_text("#notice-text", "It cannot decode H.265")
        await page.screenshot("codec")


async def test_a_picture_that_stops_is_said_and_goes_on(browser: Browser, other: PlayerRig) -> None:
    async with tab(browser, DESKTOP, "dark") as page:
        await page.open(other.url("demo/"))
        await page.until_shots(10)
        started = next(event for event in other.events if isinstance(event, ChildStarted))
        os.kill(started.pid, signal.SIGSTOP)
        try:
            await page.wait_for_text("#notice-title", "The picture has stopped")
            await page.screenshot("stopped")
        finally:
            os.kill(started.pid, signal.SIGCONT)
        await page.page.locator("#notice").wait_for(state="hidden")
        await page.until_shots(len(await page.shots()) + 10)
        assert page.problems == []


async def test_a_connection_that_ends_is_made_anew_unseen(
    browser: Browser, other: PlayerRig
) -> None:
    async with tab(browser, DESKTOP, "dark") as page:
        await page.open(other.url("demo/?protocol=flv"))
        await page.until_shots(10)
        stream = other.router.find("demo")
        assert stream is not None
        stream.end_outputs("test-over")
        await page.until_shots(len(await page.shots()) + 25)
        assert not await page.page.locator("#notice").is_visible()
        assert page.problems == []


async def test_a_server_that_goes_is_named_as_the_network(
    browser: Browser, other: PlayerRig
) -> None:
    async with tab(browser, DESKTOP, "dark") as page:
        await page.open(other.url("demo/"))
        await page.until_shots(10)
        await other.server.stop(timeout=0.1)
        await page.wait_for_text("#notice-title", "No connection to the server")
        assert await page.text("#pill") == "offline"


async def test_an_unknown_stream_gets_a_page(browser: Browser, rig: PlayerRig) -> None:
    async with tab(browser, PHONE, "light") as page:
        await page.open(rig.url("nothing/here"))
        await page.wait_for_text("h1", "There is no stream here")
        await page.screenshot("missing-phone-light")
        await page.page.click("text=See all streams")
        await page.wait_for_text(".card", "demo")


# -- controls ------------------------------------------------------------------------------------


async def test_the_controls_do_what_they_say(browser: Browser, rig: PlayerRig) -> None:
    async with tab(browser, DESKTOP, "dark") as page:
        await page.open(rig.url("demo/"))
        await page.until_shots(5)

        async def media(field: str) -> Any:
            return await page.page.evaluate(f"document.querySelector('video').{field}")

        assert await media("muted") is True
        await page.page.click("#mute")
        assert await media("muted") is False
        await page.page.keyboard.press("m")
        assert await media("muted") is True
        await page.page.click("#play")
        assert await media("paused") is True
        await page.page.click("#play")
        await page.page.wait_for_function("() => !document.querySelector('video').paused")
        await page.page.click("#fullscreen")
        await page.page.wait_for_function("() => document.fullscreenElement?.id === 'stage'")
        await page.page.keyboard.press("f")
        await page.page.wait_for_function("() => !document.fullscreenElement")
        assert page.problems == []


async def test_a_pause_ends_at_the_newest_picture(browser: Browser, rig: PlayerRig) -> None:
    async with tab(browser, DESKTOP, "dark") as page:
        await page.open(rig.url("demo/?protocol=flv"))
        await page.until_shots(5)
        await page.page.click("#play")
        await page.page.wait_for_function(
            "() => { const v = document.querySelector('video');"
            " return v.buffered.end(v.buffered.length - 1) - v.currentTime > 2.5 }"
        )
        seen = len(await page.shots())
        await page.page.click("#play")
        shots = await page.until_shots(seen + 30)
        assert shots[-1].latency < 0.7


async def test_embedded_it_is_bare_and_fills_its_frame(browser: Browser, rig: PlayerRig) -> None:
    async with tab(browser, {"viewport": {"width": 640, "height": 360}}, "light") as page:
        await page.open(rig.url("demo/?embed=1"))
        await page.until_shots(5)
        for part in (".top", ".figures", ".addresses"):
            assert not await page.page.locator(part).is_visible()
        box = await page.page.locator("#video").bounding_box()
        assert box == {"x": 0, "y": 0, "width": 640, "height": 360}
        await page.screenshot("embed")
        assert page.problems == []


async def test_other_parameters_go_to_the_server(browser: Browser, rig: PlayerRig) -> None:
    async with tab(browser, DESKTOP, "dark") as page:
        asked: list[str] = []
        page.page.on("request", lambda request: asked.append(request.url))
        await page.open(rig.url("demo?protocol=flv&token=a%20b"))  # through the redirect
        await page.until_shots(1)
        (media,) = [url for url in asked if ".flv" in url]
        assert media == rig.url("demo.flv?token=a+b")


# -- looks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize(("device", "name"), [(PHONE, "phone"), (DESKTOP, "desktop")])
async def test_it_fits_the_screen(
    browser: Browser, rig: PlayerRig, device: dict[str, Any], name: str, scheme: str
) -> None:
    async with tab(browser, device, scheme) as page:
        await page.open(rig.url("demo/"))
        await page.until_shots(75)
        await page.screenshot(f"player-{name}-{scheme}")
        width = device["viewport"]["width"]
        assert await page.page.evaluate("document.documentElement.scrollWidth") <= width
        cut = await page.page.evaluate(
            "[...document.querySelectorAll('dd, h1')]"
            ".filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.textContent)"
        )
        assert cut == []
        for part in ("#video", "#fullscreen", "#mute", "#protocol", "#dropped"):
            box = await page.page.locator(part).bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
            assert box["y"] + box["height"] <= device["viewport"]["height"]


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize(("device", "name"), [(PHONE, "phone"), (DESKTOP, "desktop")])
async def test_the_list_shows_every_stream_and_leads_there(
    browser: Browser, other: PlayerRig, device: dict[str, Any], name: str, scheme: str
) -> None:
    async with tab(browser, device, scheme) as page:
        await page.open(other.url(""))
        await page.wait_for_text(".card", "live/asleep")
        await page.wait_for_text(".card[data-state=live]", "1280")
        await page.screenshot(f"streams-{name}-{scheme}")
        texts = await page.page.locator(".card").all_inner_texts()
        lines = [re.split(r"\n+", text.strip()) for text in texts]
        assert [line[:2] for line in lines] == [
            ["demo", "live"],
            ["live/empty", "offline"],
            ["live/asleep", "on demand"],
            [HOSTILE, "offline"],
        ]
        await page.page.click("text=demo")
        await page.until_shots(1)
        assert page.page.url == other.url("demo/")
        assert page.problems == []


async def test_a_live_stream_shows_its_picture(browser: Browser) -> None:
    made = PlayerRig(PlayerOptions(thumbnails=True))
    made.testcard("demo", "testcard:?size=320x180&rate=5")
    made.declare("live/empty")
    async with player_rig(made) as server, tab(browser, DESKTOP, "dark") as page:
        asked: list[str] = []

        async def answer(route: Route) -> None:
            asked.append(route.request.url.partition("&")[0])
            await route.fulfill(content_type="image/svg+xml", body=PICTURE)

        await page.page.route("**/*.jpg*", answer)
        await page.open(server.url(""))
        await page.page.locator(".card[data-state=live] img").wait_for(state="visible")
        assert await page.page.locator("img[alt='']").count() == 2  # and the sign in the head
        assert asked == [server.url("demo.jpg?w=480")]
        await page.screenshot("streams-thumbnail")
        assert page.problems == []
