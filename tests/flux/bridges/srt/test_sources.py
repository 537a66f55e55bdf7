"""`srt://` as a source and as a target: calling, being called, meeting, failing by name."""

import asyncio
import time

import pytest

from flux.base.errors import WireError
from flux.bridges.srt.dial import options_of, parse_url
from flux.bridges.srt.source import SrtSource
from flux.core.forward import ForwardStateChanged
from media.events import PublisherStarted
from media.stream import State
from protocols.srt.endpoint import Endpoint
from protocols.srt.group_call import Place
from protocols.srt.group_link import GroupLink
from protocols.srt.link import Channel
from protocols.srt.options import GroupType, ListenerOptions, Options, SecurityOptions
from protocols.srt.reception import IncomingCall
from protocols.srt.reject import Reject
from tests.support import clips
from tests.support.datagrams import play, publish, target, until
from tests.support.ports import free_port
from tests.support.srt_peers import Collector
from tests.support.srt_stage import LOCAL, SrtStage, pour, transport_stream
from tests.support.udp_proxy import Line, proxied

SECRET = "a-secret-of-one"
FRESH = 1.5  # seconds of media


def udp_port() -> int:
    return free_port()


def is_ready(stage: SrtStage, name: str) -> bool:
    stream = stage.router.find(name)
    return stream is not None and stream.state is State.READY


async def published(stage: SrtStage, name: str = "cam") -> None:
    stage.declare(name)
    clip = [f for f in clips.read(clips.BUNNY) if f.dts / f.track.clock_rate < FRESH]
    await play(publish(stage.router, name, clip), clip, speed=50.0)
    await until(lambda: is_ready(stage, name), "ready")


class Encoder:
    """A listener that sends a transport stream to whoever calls."""

    def __init__(self, options: Options | None = None, port: int = 0) -> None:
        self.endpoint = Endpoint.bind(LOCAL, port)
        self.calls: list[str] = []
        self.handlers: list[Collector] = []
        self._options = options or Options()
        self.endpoint.listen(ListenerOptions(), self._called)

    def _called(self, call: IncomingCall) -> None:
        self.calls.append(call.request.stream_id)
        self.handlers.append(Collector())
        call.accept(self._options, self.handlers[-1])

    async def link(self) -> Channel:
        count = len(self.handlers)
        await until(lambda: any(h.link and not h.end for h in self.handlers), f"caller {count}")
        return next(h.link for h in self.handlers if h.link and not h.end)


# -- sources -------------------------------------------------------------------------------


async def test_a_source_that_calls_comes_back_after_a_failure() -> None:
    async with SrtStage() as stage:
        encoder = Encoder()
        stage.declare("cam")
        port = encoder.endpoint.port
        source = stage.source("cam", f"srt://{LOCAL}:{port}?streamid=#!::r=x,m=request&latency=80")
        link = await encoder.link()
        assert encoder.calls == ["#!::r=x,m=request"]
        assert link.result is not None and link.result.receive_latency_ms == 120
        pour(link, transport_stream(clips.BUNNY)[:300])
        await until(lambda: is_ready(stage, "cam"), "ready")
        publisher = stage.router.publisher("cam")
        assert publisher is not None and publisher.origin == "srt"
        assert stage.sessions.statistics(publisher.session) is not None
        assert source.figures().packets > 0
        link.close("done", time.monotonic())
        again = await encoder.link()
        assert again is not link
        pour(again, transport_stream(clips.BUNNY)[:300])
        started = [event for event in stage.events if isinstance(event, PublisherStarted)]
        await until(
            lambda: (
                len([e for e in stage.events if isinstance(e, PublisherStarted)]) > len(started) - 1
            ),
            "published again",
        )
        await until(lambda: stage.states[-1] == ("running", ""), "running")
        source.stop("not-needed")
        await source.wait_stopped()
        assert ("waiting", "srt-peer-closed") in stage.states
        assert stage.states[-1] == ("stopped", "not-needed")
        assert source.is_at_rest
        encoder.endpoint.close()


async def test_a_source_whose_peer_refuses_says_so() -> None:
    async with SrtStage() as stage:
        encoder = Encoder(Options(security=SecurityOptions(SECRET)))
        stage.declare("cam")
        source = stage.source("cam", f"srt://{LOCAL}:{encoder.endpoint.port}")
        await until(lambda: ("waiting", "srt-unsecure") in stage.states, "refused")
        source.stop("not-needed")
        await source.wait_stopped()
        encoder.endpoint.close()


async def test_a_source_that_listens_takes_one_caller_at_a_time() -> None:
    async with SrtStage() as stage:
        port = udp_port()
        stage.declare("cam")
        source = stage.source(
            "cam", f"srt://:{port}?mode=listener&streamid=door&passphrase={SECRET}"
        )
        await asyncio.sleep(0)

        def knock(stream_id: str, passphrase: str) -> Collector:
            handler = Collector()
            options = Options(stream_id=stream_id, security=SecurityOptions(passphrase))
            stage.client.call((LOCAL, port), options, handler)
            return handler

        wrong, open_ = knock("window", SECRET), knock("door", "")
        await until(lambda: bool(wrong.end and open_.end), "refused")
        assert wrong.end == ("srt-not-found", Reject.NOT_FOUND)
        assert open_.end == ("srt-unsecure", Reject.UNSECURE)
        first = knock("door", SECRET)
        await until(lambda: first.link is not None, "let in")
        second = knock("door", SECRET)
        await until(lambda: second.end is not None, "refused")
        assert second.end == ("srt-conflict", Reject.CONFLICT)
        assert first.link is not None
        pour(first.link, transport_stream(clips.BUNNY)[:300])
        await until(lambda: is_ready(stage, "cam"), "ready")
        first.link.close("done", time.monotonic())
        await until(lambda: ("waiting", "srt-peer-closed") in stage.states, "left")
        third = knock("door", SECRET)
        await until(lambda: third.link is not None, "let in")
        source.stop("not-needed")
        await until(lambda: third.end is not None, "closed")
        await source.wait_stopped()


async def test_a_source_that_meets() -> None:
    async with SrtStage() as stage:
        port = udp_port()
        stage.declare("cam")
        other = Endpoint.bind("127.0.0.2", port)
        handler = Collector()
        other.meet((LOCAL, port), Options(), handler)
        source = stage.source("cam", f"srt://127.0.0.2:{port}?mode=rendezvous&localaddress={LOCAL}")
        await until(lambda: handler.link is not None, "met")
        assert handler.link is not None
        pour(handler.link, transport_stream(clips.BUNNY)[:300])
        await until(lambda: is_ready(stage, "cam"), "ready")
        source.stop("not-needed")
        await source.wait_stopped()
        other.close()


async def test_a_source_that_calls_over_two_links() -> None:
    async with SrtStage() as stage:
        encoder = Endpoint.bind(LOCAL, 0)
        handlers: list[Collector] = []

        def called(call: IncomingCall) -> None:
            if call.group is not None:
                call.join()
            else:
                handlers.append(Collector())
                call.accept(Options(), handlers[-1])

        encoder.listen(ListenerOptions(is_group_allowed=True), called)
        stage.declare("cam")
        port = encoder.port
        async with proxied((LOCAL, port), Line()) as other:
            url = f"srt://{LOCAL}:{port}?group=broadcast&nodes={LOCAL}:{other.port}"
            source = stage.source("cam", url)
            await until(lambda: bool(handlers and handlers[0].link), "called")
            link = handlers[0].link
            assert isinstance(link, GroupLink)
            await until(lambda: len(link.links) == 2, "two links")
            pour(link, transport_stream(clips.BUNNY)[:300])
            await until(lambda: is_ready(stage, "cam"), "ready")
            source.stop("not-needed")
            await source.wait_stopped()
            await until(lambda: handlers[0].end is not None, "closed")
        encoder.close()


async def test_a_publisher_may_bring_a_second_link() -> None:
    async with SrtStage() as stage, proxied(stage.place, Line()) as other:
        ours = Collector()
        places = [Place(stage.place, 2), Place((LOCAL, other.port), 1)]
        options = Options(stream_id="publish:cam")
        group = stage.client.call_group(places, GroupType.BACKUP, options, ours)
        await until(lambda: len(group.links) == 2, "two links")
        pour(group, transport_stream(clips.BUNNY)[:300])
        await until(lambda: is_ready(stage, "cam"), "ready")
        assert len(stage.requests) == 2  # each link is asked for


async def test_a_port_that_is_taken_is_named() -> None:
    async with SrtStage() as stage:
        stage.declare("cam")
        source = stage.source("cam", f"srt://{LOCAL}:{stage.place[1]}?mode=listener")
        await until(lambda: ("waiting", "address-in-use") in stage.states, "said so")
        source.stop("not-needed")
        await source.wait_stopped()


def test_urls_become_options() -> None:
    options = options_of(
        parse_url(
            "srt://h:1?latency=200&peerlatency=300&passphrase=0123456789&pbkeylen=24&maxbw=1000"
            "&oheadbw=50&packetfilter=fec,cols:5&conntimeo=500&enforcedencryption=0&streamid=x"
        )
    )
    assert (options.receive_latency_ms, options.peer_latency_ms) == (200, 300)
    assert options.security == SecurityOptions("0123456789", 24, is_enforced=False)
    assert (options.rate.max_rate, options.rate.overhead_percent) == (1000, 50)
    assert (options.filter, options.connect_timeout, options.stream_id) == ("fec,cols:5", 0.5, "x")
    with pytest.raises(WireError, match="url-invalid"):
        SrtSource("cam", "srt://nowhere", None, lambda _s, _r: None)  # type: ignore[arg-type]


# -- targets -------------------------------------------------------------------------------


async def test_a_target_that_is_called_gets_the_stream() -> None:
    async with SrtStage() as stage:
        await published(stage)
        decoder = Encoder(Options(security=SecurityOptions(SECRET)))
        url = f"srt://{LOCAL}:{decoder.endpoint.port}?streamid=publish:cam&passphrase={SECRET}"
        forwards = stage.forward()
        forwards.declare("cam", [target(url)], passive=False)
        link = await decoder.link()
        handler = next(h for h in decoder.handlers if h.link is link)
        await until(lambda: len(handler.payloads) > 20, "media")
        assert handler.payloads[0][1:3] == b"\x40\x00"
        (figures,) = forwards.snapshot("cam")
        assert figures.sent_bytes > 20 * 1316
        link.close("done", time.monotonic())
        await decoder.link()
        states = [e.reason for e in stage.events if isinstance(e, ForwardStateChanged)]
        assert "srt-peer-closed" in states
        forwards.remove("cam")
        await until(lambda: all(h.end for h in decoder.handlers), "closed")
        decoder.endpoint.close()


async def test_a_target_that_calls_us_gets_the_stream() -> None:
    async with SrtStage() as stage:
        await published(stage)
        port = udp_port()
        forwards = stage.forward()
        forwards.declare("cam", [target(f"srt://:{port}")], passive=False)
        handlers = [Collector(), Collector()]
        for handler in handlers:
            stage.client.call((LOCAL, port), Options(), handler)
        for handler in handlers:
            await until(lambda: len(handler.payloads) > 20, "media")  # noqa: B023
        assert handlers[0].link is not None
        handlers[0].link.close("done", time.monotonic())
        forwards.remove("cam")
        await until(lambda: handlers[1].end is not None, "closed")


async def test_a_target_that_refuses_is_told() -> None:
    async with SrtStage() as stage:
        await published(stage)
        forwards = stage.forward()
        url = f"srt://{LOCAL}:{stage.place[1]}?streamid=publish:cam"  # ourselves, where it is taken
        forwards.declare("cam", [target(url)], passive=False)
        await until(
            lambda: any(
                isinstance(each, ForwardStateChanged) and each.reason == "srt-conflict"
                for each in stage.events
            ),
            "refused",
        )
