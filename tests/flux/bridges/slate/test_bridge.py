"""The slate bridge: real workers make slates of a real router's streams."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from flux.bridges.slate.bridge import SlateBridge
from flux.bridges.slate.order import wish_for
from flux.bridges.slate.studio import StudioOptions
from flux.core.bus import Bus
from flux.core.children import ChildEnded, ChildOptions, Children, ChildStarted
from media.codecs.aac import AacParameters
from media.codecs.h264 import H264Parameters
from media.events import SlateFailed, SlateReady
from media.router import Router
from media.slate import SlateLoop
from media.stream import State, StreamOptions
from media.track import AAC, H264, KLV, Kind, TrackDescription
from tests.support.h264_sets import PPS, SPS
from tests.support.scripted_source import ScriptedSource
from tests.support.slate_house import ASC, BOTH, IDR

QUICK = StudioOptions(
    idle_after=0.05, child=ChildOptions(stop_timeout=0.5, first_delay=0.01, longest_delay=0.02)
)


class Stage:
    def __init__(self) -> None:
        self.events: list[object] = []
        self.bus = Bus()
        for kind in (SlateReady, SlateFailed, ChildStarted, ChildEnded):
            self.bus.subscribe(kind, self.events.append)
        self.router = Router(self.bus.emit)
        self.children = Children(self.bus.emit)
        self.bridge = SlateBridge(self.router, self.children, self.bus.emit, QUICK)
        self.bridge.listen(self.bus)

    def publish(self, name: str, *descriptions: TrackDescription) -> None:
        if self.router.find(name) is None:
            self.router.declare(name, StreamOptions())
        publisher = self.router.publish(name, descriptions or BOTH, now=1.0, origin="test")
        for track in publisher.tracks:
            payload = IDR if track.kind is Kind.VIDEO else b"sound"
            publisher.write(track, 0, (payload,), 1.0)

    def loop(self, name: str) -> SlateLoop | None:
        onair = self.router.onair(name)
        return onair.loop if onair is not None else None

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)

    def all_of(self, kind: type) -> list[object]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    yield made
    made.bridge.close()
    await made.children.stop()


async def test_a_stream_that_is_ready_gets_its_slate_and_the_worker_goes(stage: Stage) -> None:
    stage.publish("cam")
    stage.bridge.choose("cam", "builtin")
    assert stage.bridge.state("cam")[:2] == ("builtin", "making")
    await stage.until(lambda: stage.loop("cam"))
    assert stage.bridge.state("cam")[:2] == ("builtin", "ready")
    assert len(stage.all_of(SlateReady)) == 1
    loop = stage.loop("cam")
    assert loop is not None
    assert 0 < loop.size_bytes < 100_000
    # The sound is configured as the stream's own is: nobody has to be told.
    assert [each.description.parameters is None for each in loop.tracks] == [False, True]
    await stage.until(lambda: stage.all_of(ChildEnded))
    stage.bridge.choose("cam", "off")
    assert stage.loop("cam") is None and stage.bridge.state("cam") == ("off", "off", "", 0)


async def test_streams_of_one_format_share_a_film_and_wait_in_one_queue(stage: Stage) -> None:
    for name in ("a", "b", "c"):
        stage.publish(name)
        stage.bridge.choose(name, "builtin")
    await stage.until(lambda: all(map(stage.loop, "abc")))
    assert len(stage.all_of(ChildStarted)) == 1


async def test_a_slate_that_cannot_be_made_is_told_once(stage: Stage) -> None:
    stage.publish("cam")
    stage.bridge.choose("cam", "/no/such/film.mp4")
    await stage.until(lambda: stage.all_of(SlateFailed))
    assert stage.all_of(SlateFailed) == [SlateFailed("cam", "/no/such/film.mp4", "slate-file")]
    assert stage.bridge.state("cam")[1:3] == ("failed", "slate-file")
    stage.publish("data", TrackDescription(Kind.DATA, KLV, 90_000))
    stage.bridge.choose("data", "builtin")
    assert stage.bridge.state("data")[1:3] == ("failed", "slate-codec")


async def test_the_name_of_a_stream_that_is_not_there_waits(stage: Stage) -> None:
    stage.router.declare("cam", StreamOptions())
    stage.bridge.choose("cam", "builtin")
    assert stage.bridge.state("cam")[1] == "waiting"
    stage.publish("cam")
    await stage.until(lambda: stage.loop("cam"))


async def test_the_worker_starts_with_the_source_and_not_for_a_slate_that_is_there(
    stage: Stage,
) -> None:
    stage.router.declare("cam", StreamOptions(grace=0.0))
    stage.router.set_source("cam", ScriptedSource())
    stage.bridge.choose("cam", "builtin")
    assert not stage.children.alive
    stage.router.start(0.5)  # the source is on its way
    await stage.until(lambda: stage.all_of(ChildStarted))
    assert stage.bridge.state("cam")[1] == "waiting"
    await stage.until(lambda: stage.all_of(ChildEnded))  # nothing was ordered
    stage.publish("cam")
    await stage.until(lambda: stage.loop("cam") and not stage.children.alive)
    started = len(stage.all_of(ChildStarted))
    publisher = stage.router.publisher("cam")
    assert publisher is not None
    publisher.finish("peer-gone", 2.0)
    stage.publish("cam")
    assert not stage.children.alive and len(stage.all_of(ChildStarted)) == started


async def test_it_plays_in_the_loop_while_somebody_watches(stage: Stage) -> None:
    stage.publish("cam")
    stage.bridge.choose("cam", "builtin")
    await stage.until(lambda: stage.loop("cam"))
    stage.router.open("cam", lambda _: None, lambda *_: None, 0.0)
    publisher = stage.router.publisher("cam")
    assert publisher is not None
    publisher.finish("peer-gone", 2.0)
    stream = stage.router.find("cam")
    assert stream is not None and stream.state is State.SLATE
    assert stage.bridge.state("cam")[1:3] == ("shown", "peer-gone")
    before = sum(each.frames for each in stream.inputs.values())
    await stage.until(lambda: sum(each.frames for each in stream.inputs.values()) > before + 10)


def test_wishes() -> None:
    router = Router(lambda _: None)
    router.declare("cam", StreamOptions())
    h264 = H264Parameters.build((SPS,), (PPS,))
    fast = replace(h264, frame_rate_num=60, frame_rate_den=1)
    aac = AacParameters.build(ASC)
    publisher = router.publish(
        "cam",
        (TrackDescription(Kind.VIDEO, H264, 90_000, fast),
         TrackDescription(Kind.AUDIO, AAC, 48_000, aac)),
        now=1.0, origin="test",
    )  # fmt: skip
    for track in publisher.tracks:
        publisher.write(track, 0, (IDR if track.kind is Kind.VIDEO else b"sound",), 1.0)
    stream = router.find("cam")
    assert stream is not None
    wish = wish_for(stream, "builtin")
    assert wish is not None and wish.video is not None and wish.audio is not None
    assert wish.video.rate == "30"  # half of 60
    assert (wish.video.width, wish.video.height) == (h264.width, h264.height)
    assert (wish.audio.sample_rate, wish.audio.channels) == (48_000, 2)
    assert wish_for(stream, "builtin") == wish
