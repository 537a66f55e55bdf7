"""Streams that change at run time: create, change, delete, kick."""

import pytest

from config.schema import Config, StreamSection
from config.urls import SourceUrl
from flux.app.streams import StreamRegistry
from flux.base.errors import PeerError
from flux.core.bus import Bus
from flux.core.children import Children
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
        collector = Collector(self.router, bus, LoopLag())
        self.registry = StreamRegistry(
            Config(streams=streams), self.router, Children(bus.emit), collector, bus.emit
        )

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
