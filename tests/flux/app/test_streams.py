"""Streams that change at run time: create, change, delete, kick."""

import asyncio
import gc
import weakref
from types import MethodType
from typing import cast

import pytest

from config.schema import Config, StreamSection
from config.urls import SourceUrl
from flux.app.streams import StreamRegistry
from flux.base.errors import PeerError
from flux.bridges.rtsp.pull import RtspSource
from flux.bridges.srt.sessions import SrtSessions
from flux.core.bus import Bus
from flux.core.children import Children
from flux.core.forwarding import Forwards
from flux.core.looplag import LoopLag
from flux.telemetry.collect import Collector
from media.codecs.g711 import G711Parameters
from media.events import StreamChanged, StreamCreated, StreamDeleted
from media.router import Router
from media.stream import State, Stream
from media.track import PCMA, Kind, TrackDescription

SOUND = (TrackDescription(Kind.AUDIO, PCMA, 8000, G711Parameters(sample_rate=8000, channels=1)),)


def section(url: str, *, on_demand: bool = True) -> StreamSection:
    return StreamSection(source=SourceUrl.parse(url), on_demand=on_demand)


class Viewer:
    """A reader as the router sees one."""

    protocol = "test"
    address = "127.0.0.1"
    since = 0.0
    user_agent = ""
    sent_bytes = 0
    dropped = 0

    def __init__(self, stream: Stream, name: str) -> None:
        self.id = name
        self.ended = ""
        stream.readers[name] = self

    def lag(self) -> float:
        return 0.0

    def end(self, reason: str) -> None:
        self.ended = reason


class House:
    def __init__(self, **streams: StreamSection) -> None:
        self.events: list[object] = []
        bus = Bus()
        bus.subscribe(object, self.events.append)
        self.router = Router(bus.emit)
        self.collector = Collector(self.router, bus, LoopLag())
        self.registry = StreamRegistry(
            Config(streams=streams),
            self.router,
            Children(bus.emit),
            self.collector,
            bus.emit,
            Forwards(self.router, bus.emit, {}),
            SrtSessions(),
        )

    def is_at_rest(self, name: str) -> bool:
        source = cast(MethodType, self.collector.rtp_sources[name]).__self__
        return isinstance(source, RtspSource) and source.is_at_rest

    def stream(self, name: str) -> Stream:
        stream = self.router.find(name)
        assert stream is not None
        return stream

    def of(self, kind: type) -> list[object]:
        return [event for event in self.events if isinstance(event, kind)]


async def test_create_makes_a_stream_that_can_be_found_and_deleted() -> None:
    house = House()
    house.registry.create("live/new", section("rtsp://127.0.0.1:1/x"))
    assert house.stream("live/new").state is State.IDLE
    assert house.registry.version("live/new") == 1
    with pytest.raises(PeerError, match="name-taken"):
        house.registry.create("live/new", section("rtsp://127.0.0.1:1/x"))
    viewer = Viewer(house.stream("live/new"), "v")
    house.registry.delete("live/new")
    assert house.router.find("live/new") is None
    assert viewer.ended == "stream-deleted"
    assert house.registry.section("live/new") is None
    assert house.registry.version("live/new") == 2
    with pytest.raises(PeerError, match="stream-not-found"):
        house.registry.delete("live/new")
    assert house.of(StreamCreated) == [StreamCreated("live/new", "api")]
    assert house.of(StreamDeleted) == [StreamDeleted("live/new", "api")]


async def test_a_waiting_reader_is_refused_when_its_stream_is_deleted() -> None:
    house = House(cam=section("rtsp://127.0.0.1:1/x"))
    failed: list[tuple[str, int]] = []
    house.router.open("cam", lambda _: None, lambda *why: failed.append(why), 0.0)
    house.registry.delete("cam")
    assert failed == [("stream-deleted", 404)]
    await house.registry.wait_ended()


async def test_change_holds_the_readers_and_takes_the_new_source() -> None:
    house = House(cam=section("rtsp://127.0.0.1:1/old"))
    ready: list[Stream] = []
    house.router.open("cam", ready.append, lambda *why: None, 0.0)
    publisher = house.router.publish("cam", SOUND, now=1.0, origin="rtsp")
    publisher.write(publisher.tracks[0], 0, (bytes(160),), 1.0)
    viewer = Viewer(house.stream("cam"), "v")
    house.registry.change("cam", section("rtsp://127.0.0.1:1/new"))
    assert publisher.closed
    assert house.stream("cam").state is State.LOST
    assert viewer.ended == ""
    declared = house.router.declared("cam")
    assert declared is not None
    assert declared.status.url.endswith("/new")
    assert house.registry.version("cam") == 2
    house.registry.change("cam", section("rtsp://127.0.0.1:1/new"))
    assert house.registry.version("cam") == 2
    assert house.of(StreamChanged) == [StreamChanged("cam", "config")]
    house.router.close(2.0)
    await house.registry.wait_ended()


async def test_kick_ends_readers_and_publishers_by_their_id() -> None:
    house = House(cam=section("rtsp://127.0.0.1:1/x"))
    viewer = Viewer(house.stream("cam"), "http-flv-1")
    publisher = house.router.publish("cam", SOUND, now=1.0, origin="rtsp")
    assert house.registry.kick("http-flv-1")
    assert viewer.ended == "kicked"
    assert house.registry.kick(publisher.session)
    assert publisher.closed
    assert not house.registry.kick("nobody")


async def test_unknown_streams_cannot_be_changed() -> None:
    with pytest.raises(PeerError, match="stream-not-found"):
        House().registry.change("cam", section("rtsp://127.0.0.1:1/x"))


async def test_a_pattern_makes_a_stream_when_its_name_is_asked_for_and_forgets_it() -> None:
    house = House(
        **{
            "all": section("rtsp://127.0.0.1:1/rest/$1"),
            "nvr/*": section("rtsp://u:p@127.0.0.1:1/channel/$1"),
        }
    )
    assert house.router.find("nvr/7") is None
    assert house.router.lookup("nvr/7") is not None
    declared = house.router.declared("nvr/7")
    assert declared is not None
    assert (declared.origin, declared.on_demand) == ("pattern", True)
    assert declared.status.url == "rtsp://***@127.0.0.1:1/channel/7"
    lease = house.router.open("nvr/7", lambda _: None, lambda *why: None, 0.0)
    house.router.lookup("other/name")
    assert house.stream("other/name")
    house.registry.tick(100.0)
    house.registry.tick(111.0)
    assert house.router.find("other/name") is None
    assert house.stream("nvr/7")
    lease.close()
    house.router.tick(120.0, 0.0)
    house.router.tick(131.0, 0.0)
    house.registry.tick(131.0)
    house.registry.tick(142.0)
    assert house.router.find("nvr/7") is None
    await house.registry.wait_ended()


async def test_nothing_is_left_of_a_stream_that_a_pattern_made() -> None:
    house = House(all=section("rtsp://127.0.0.1:1/$1"))
    left: list[weakref.ref[object]] = []
    for name, is_read in (("read", True), ("asked-for-only", False)):
        assert house.router.lookup(name) is not None
        figures = house.collector.rtp_sources[name]
        left.append(weakref.ref(cast(MethodType, figures).__self__))
        del figures
        if is_read:
            house.router.open(name, lambda _: None, lambda *why: None, 0.0).close()
            house.router.tick(0.0, 0.0)
            house.router.tick(11.0, 0.0)
            async with asyncio.timeout(5):
                while not house.is_at_rest(name):  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0)
        house.registry.tick(100.0)
        house.registry.tick(111.0)
        assert house.router.find(name) is None
    gc.collect()
    assert [source() for source in left] == [None, None]
    assert house.registry.version("read") == 0


async def test_names_that_are_none_make_no_streams_and_their_number_is_bounded() -> None:
    config = Config.model_validate(
        {"streams": {"all": {"source": "testcard:"}}, "limits": {"undeclared_streams": 3}}
    )
    events: list[object] = []
    bus = Bus()
    router = Router(events.append)
    StreamRegistry(
        config,
        router,
        Children(events.append),
        Collector(router, bus, LoopLag()),
        events.append,
        Forwards(router, events.append, {}),
        SrtSessions(),
    )
    assert [router.lookup(name) for name in ("", "../x", "a//b", "_/x")] == [None] * 4
    assert [router.lookup(f"n{n}") is not None for n in range(5)] == [True] * 3 + [False] * 2


async def test_without_a_source_a_name_waits_for_a_publisher_that_may_be_taken_over() -> None:
    house = House(refuse=StreamSection(), takes=StreamSection(second_publisher="take_over"))
    for name in ("refuse", "takes"):
        first = house.router.publish(name, SOUND, now=1.0, origin="rtmp")
        first.write(first.tracks[0], 0, (bytes(160),), 1.0)
        Viewer(house.stream(name), "v")
    with pytest.raises(PeerError, match="name-taken"):
        house.router.publish("refuse", SOUND, now=2.0, origin="rtmp")
    second = house.router.publish("takes", SOUND, now=2.0, origin="rtmp")
    assert not second.closed
    assert house.stream("takes").state is State.READY


async def test_a_name_that_makes_no_url_is_no_stream() -> None:
    house = House(**{"cam/*": section("rtsp://127.0.0.1:1/" + "$name/" * 8)})
    assert house.router.lookup("cam/x") is not None
    assert house.router.lookup("cam/" + "\u00e9" * 95) is None  # too long once it is escaped


async def test_a_change_of_who_may_publish_holds_from_then_on() -> None:
    house = House(live=StreamSection())
    first = house.router.publish("live", SOUND, now=1.0, origin="rtmp")
    house.registry.change("live", StreamSection(second_publisher="take_over"))
    house.router.publish("live", SOUND, now=2.0, origin="rtmp")
    house.router.publish("live", SOUND, now=3.0, origin="rtmp")
    assert first.closed


async def test_a_fallback_makes_several_sources() -> None:
    urls = {"source": "rtsp://127.0.0.1:1/a", "fallback": ["rtsp://127.0.0.1:1/b", "testcard:"]}
    house = House(cam=StreamSection.model_validate({**urls, "on_demand": True}))
    onair = house.router.onair("cam")
    assert onair is not None and onair.priority is not None
    assert [seat.status.kind for seat in onair.priority.seats] == ["rtsp", "rtsp", "testcard"]
    house.registry.switch("cam", 1)
    assert onair.priority.chosen == 1
    with pytest.raises(PeerError, match="source-not-found"):
        house.registry.switch("cam", 3)
    house.registry.change("cam", section("rtsp://127.0.0.1:1/a"))
    changed = house.router.onair("cam")
    assert changed is not None and changed.priority is None
    with pytest.raises(PeerError, match="one-source-only"):
        house.registry.switch("cam", 0)
    with pytest.raises(PeerError, match="stream-not-found"):
        house.registry.switch("nobody", 0)
    await house.registry.wait_ended()


async def test_a_pattern_fills_in_its_fallbacks() -> None:
    pattern = {"source": "rtsp://127.0.0.1:1/$1", "fallback": "rtsp://127.0.0.1:2/$1"}
    config = {"streams": {"nvr/*": StreamSection.model_validate(pattern)}}
    house = House(**config["streams"])
    assert house.router.lookup("nvr/7") is not None
    onair = house.router.onair("nvr/7")
    assert onair is not None and onair.priority is not None
    shown = [seat.status.url for seat in onair.priority.seats]
    assert shown == ["rtsp://127.0.0.1:1/7", "rtsp://127.0.0.1:2/7"]
    await house.registry.wait_ended()
