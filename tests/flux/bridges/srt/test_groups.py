"""Groups of links through the router: publishers, readers, sources and targets that lose one."""

import asyncio
import time

import pytest

from media.events import ReaderClosed, ReaderJoined
from media.stream import State
from media.track import Kind
from protocols.srt.endpoint import Endpoint
from protocols.srt.group_call import Place
from protocols.srt.group_link import GroupLink
from protocols.srt.options import GroupType, ListenerOptions, Options
from protocols.srt.reception import IncomingCall
from tests.support import clip, clips, frames, same_run, ts_check
from tests.support.datagrams import play, publish, target, until
from tests.support.frame_log import FrameLog
from tests.support.ports import free_port
from tests.support.srt_peers import Collector
from tests.support.srt_stage import LOCAL, SrtStage, pour, transport_stream
from tests.support.udp_proxy import Line, UdpProxy, proxied

KINDS = [GroupType.BROADCAST, GroupType.BACKUP]
FRESH = 1.5  # seconds of media


class Cut:
    """Whether a line has died: then nothing comes through, and nobody is told."""

    def __init__(self) -> None:
        self.is_dead = False

    def __call__(self, data: bytes) -> bool:
        del data
        return self.is_dead


class Decoder:
    """A listener that takes groups and keeps what comes."""

    def __init__(self, port: int = 0) -> None:
        self.endpoint = Endpoint.bind(LOCAL, port)
        self.handlers: list[Collector] = []
        self.endpoint.listen(ListenerOptions(is_group_allowed=True), self._called)

    def _called(self, call: IncomingCall) -> None:
        if call.group is not None:
            call.join()
        else:
            self.handlers.append(Collector())
            call.accept(Options(), self.handlers[-1])

    @property
    def link(self) -> GroupLink:
        link = self.handlers[0].link
        assert isinstance(link, GroupLink)
        return link


async def two_links(group: GroupLink) -> None:
    await until(lambda: len(group.links) == 2, "two links")


async def publish_through(stage: SrtStage, place: tuple[str, int], kind: GroupType) -> FrameLog:
    """Send a clip over two lines to `place`, of which the first is cut on the way."""
    log = FrameLog(stage.router, "cam", time.monotonic)
    datagrams = transport_stream(clips.PYRAMID)
    cut = Cut()
    async with proxied(place, Line(loses=cut)) as first, proxied(place, Line()) as second:
        places = [Place((LOCAL, first.port), 2), Place((LOCAL, second.port), 1)]
        options = Options(stream_id="publish:cam")
        group = stage.client.call_group(places, kind, options, Collector())
        await two_links(group)
        for at in range(0, len(datagrams), 4):
            if at == len(datagrams) // 2 // 4 * 4:
                cut.is_dead = True
            pour(group, datagrams[at : at + 4])
            await asyncio.sleep(0.01)
        await until(lambda: log.count(Kind.VIDEO) >= 118, "all pictures")
        group.close("done", time.monotonic())
    return log


def check(log: FrameLog) -> None:
    (sent,), (got,) = clip.units_of("pyramid").values(), log.units().values()
    assert len(got.units) >= 118 and same_run.place(sent, got) == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_a_publisher_that_loses_a_link_loses_no_picture(kind: GroupType) -> None:
    async with SrtStage() as stage:
        stage.declare("cam")
        check(await publish_through(stage, stage.place, kind))


async def test_a_source_that_listens_takes_groups() -> None:
    async with SrtStage() as stage:
        port = free_port()
        stage.declare("cam")
        source = stage.source("cam", f"srt://:{port}?mode=listener")
        await asyncio.sleep(0)
        check(await publish_through(stage, (LOCAL, port), GroupType.BROADCAST))
        source.stop("not-needed")
        await source.wait_stopped()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_source_that_calls_over_two_links_loses_no_picture(kind: GroupType) -> None:
    encoder, cut = Decoder(), Cut()
    place = LOCAL, encoder.endpoint.port
    async with (
        SrtStage() as stage,
        proxied(place, Line(loses=cut)) as first,
        proxied(place, Line()) as second,
    ):
        stage.declare("cam")
        name = "broadcast" if kind is GroupType.BROADCAST else "backup"
        url = f"srt://{LOCAL}:{first.port}?group={name}&nodes={LOCAL}:{second.port}"
        source = stage.source("cam", url)
        log = FrameLog(stage.router, "cam", time.monotonic)
        await until(lambda: bool(encoder.handlers and encoder.handlers[0].link), "called")
        await two_links(encoder.link)
        datagrams = transport_stream(clips.PYRAMID)
        for at in range(0, len(datagrams), 4):
            cut.is_dead = at > len(datagrams) // 2
            pour(encoder.link, datagrams[at : at + 4])
            await asyncio.sleep(0.01)
        await until(lambda: log.count(Kind.VIDEO) >= 118, "all pictures")
        check(log)
        source.stop("not-needed")
        await source.wait_stopped()
    encoder.endpoint.close()


async def reader_of_two(stage: SrtStage, first: UdpProxy, second: UdpProxy) -> Collector:
    handler = Collector()
    places = [Place((LOCAL, first.port), 2), Place((LOCAL, second.port), 1)]
    options = Options(stream_id="read:cam")
    group = stage.client.call_group(places, GroupType.BROADCAST, options, handler)
    await two_links(group)
    return handler


async def test_links_of_one_reader_that_come_before_the_stream_are_one_reader() -> None:
    """Off (each asked for by itself) there would be two readers, and two groups."""
    cut = Cut()
    async with (
        SrtStage() as stage,
        proxied(stage.place, Line(loses=cut)) as first,
        proxied(stage.place, Line()) as second,
    ):
        stage.declare("cam")
        handler = await reader_of_two(stage, first, second)
        row = clips.read(clips.PYRAMID)
        playing = asyncio.create_task(play(publish(stage.router, "cam", row), row, speed=4.0))
        await until(lambda: len(handler.payloads) > 50, "media")
        cut.is_dead = True
        await playing
        await asyncio.sleep(0.3)
        assert sum(isinstance(each, ReaderJoined) for each in stage.events) == 1
        assert not any(isinstance(each, ReaderClosed) for each in stage.events)
        assert handler.lost == 0
        data = b"".join(handler.payloads)
        assert ts_check.check(data).problems == []
        (got,) = frames.read(data, "mpegts").values()
        assert len(got.units) >= 118


@pytest.mark.parametrize("kind", KINDS)
async def test_a_target_over_two_links_gets_everything(kind: GroupType) -> None:
    decoder = Decoder()
    place, cut = (LOCAL, decoder.endpoint.port), Cut()
    async with (
        SrtStage() as stage,
        proxied(place, Line(loses=cut)) as first,
        proxied(place, Line()) as second,
    ):
        stage.declare("cam")
        name = "broadcast" if kind is GroupType.BROADCAST else "backup"
        url = f"srt://{LOCAL}:{first.port}?group={name}&nodes={LOCAL}:{second.port}"
        forwards = stage.forward()
        forwards.declare("cam", [target(url)], passive=False)
        row = clips.read(clips.PYRAMID)
        # Over a second of the dead link: what it gives up is no sign of life.
        pace = 4.0 if kind is GroupType.BROADCAST else 2.0
        playing = asyncio.create_task(play(publish(stage.router, "cam", row), row, speed=pace))
        await until(lambda: bool(decoder.handlers and decoder.handlers[0].link), "called")
        await two_links(decoder.link)
        await until(lambda: len(decoder.handlers[0].payloads) > 50, "media")
        cut.is_dead = True
        await playing
        await asyncio.sleep(0.3)
        (handler,) = decoder.handlers
        assert handler.lost == 0
        assert ts_check.check(b"".join(handler.payloads)).problems == []
        (got,) = frames.read(b"".join(handler.payloads), "mpegts").values()
        assert len(got.units) >= 110
    decoder.endpoint.close()


async def test_a_target_that_meets_gets_the_stream() -> None:
    async with SrtStage() as stage:
        stage.declare("cam")
        row = [f for f in clips.read(clips.BUNNY) if f.dts / f.track.clock_rate < FRESH]
        await play(publish(stage.router, "cam", row), row, speed=50.0)
        stream = stage.router.find("cam")
        assert stream is not None
        await until(lambda: stream.state is State.READY, "ready")
        port = free_port()
        other, handler = Endpoint.bind("127.0.0.2", port), Collector()
        other.meet((LOCAL, port), Options(), handler)
        forwards = stage.forward()
        url = f"srt://127.0.0.2:{port}?mode=rendezvous&localaddress={LOCAL}"
        forwards.declare("cam", [target(url)], passive=False)
        await until(lambda: len(handler.payloads) > 20, "media")
        faults = ts_check.check(b"".join(handler.payloads)).problems
        assert set(faults) <= {"pes-length", "adts"}  # it goes on
        forwards.remove("cam")
        await until(lambda: handler.end is not None, "closed")
        other.close()
