"""The SRT server among strangers: who says nothing, or nonsense, or vanishes; what becomes of the
names that they hold, and of the good publisher and the good reader beside them."""

import asyncio
import gc
import socket
import time
from random import Random

import pytest

from flux.base.errors import PeerError
from flux.bridges.srt.server import Passphrases
from flux.net.resolve import Address, resolve
from media.events import ReaderClosed
from media.router import Router
from media.stream import State
from media.track import Kind
from protocols.srt.control import serialize_empty
from protocols.srt.options import Options
from protocols.srt.packet import ControlType, DataPacket
from protocols.srt.reject import Reject
from tests.support import clips, frames, ts_check
from tests.support.datagrams import play, publish, until
from tests.support.frame_log import FrameLog
from tests.support.srt_peers import Collector
from tests.support.srt_stage import SrtStage, pour, transport_stream
from tests.support.srt_stub import StubCaller

SECRET = "a-secret-of-one"


def is_ready(router: Router, name: str) -> bool:
    stream = router.find(name)
    return stream is not None and stream.state is State.READY


async def fed(stage: SrtStage, name: str = "cam") -> None:
    """A stream that somebody publishes without SRT."""
    stage.declare(name)
    clip = [f for f in clips.read(clips.BUNNY) if f.dts / f.track.clock_rate < 1.5]
    publisher = publish(stage.router, name, clip)
    await play(publisher, clip, speed=50.0)
    await until(lambda: is_ready(stage.router, name), "ready")


async def test_a_good_publisher_and_a_good_reader_among_strangers() -> None:
    """Noise, half-open callers, wrong secrets and silent publishers, all at once."""
    random = Random(1)
    async with SrtStage() as stage:
        stage.passphrases["vault"] = Passphrases(publish=SECRET)
        good = await stage.connect("publish:live/cam1")
        ts = transport_stream(clips.BUNNY)
        log = FrameLog(stage.router, "live/cam1", time.monotonic)
        pour(good, ts[:100])
        await until(lambda: is_ready(stage.router, "live/cam1"), "ready")
        reader = await stage.connect("read:live/cam1")
        handler = reader.attachment
        assert isinstance(handler, Collector)
        stubs = [StubCaller(stage.place, Options(stream_id=f"publish:s{n}")) for n in range(10)]
        for stub in stubs:
            await stub.connected()  # and not a word after that
        wrong = [stage.call("publish:vault", "another-secret") for _ in range(10)]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for at in range(100, len(ts), 20):
                for _ in range(20):
                    stranger.sendto(random.randbytes(random.randrange(1400)), stage.place)
                pour(good, ts[at : at + 20])
                await asyncio.sleep(0.005)
        wanted = frames.read(clips.BUNNY)
        pictures = len(wanted["video"].units)
        await until(lambda: log.count(Kind.VIDEO) >= pictures - 1, "all pictures")
        got = log.units()["video"].units
        assert [u.pieces for u in got] == [u.pieces for u in wanted["video"].units][: len(got)]
        await until(lambda: all(each.end for each in wrong), "all were refused")
        assert {each.end for each in wrong} == {("srt-bad-secret", Reject.BAD_SECRET)}
        figures = stage.bridge.refusals()
        assert figures["srt-bad-secret"] == 10
        assert figures["srt-no-connection"] + figures["handshake-truncated"] > 100
        assert ts_check.check(b"".join(handler.payloads)).problems == []
        assert handler.lost == 0 and handler.end is None
        for stub in stubs:
            stub.vanish()


async def test_who_does_not_know_the_passphrase_keeps_nobody_out() -> None:
    """Off (a name is taken from the call on) the good one hears that somebody else publishes."""
    async with SrtStage() as stage:
        stage.passphrases["vault"] = Passphrases(publish=SECRET)
        for _ in range(5):
            wrong = [stage.call("publish:vault", "another-secret") for _ in range(10)]
            good = await stage.connect("publish:vault", SECRET)
            await until(lambda: all(each.end for each in wrong), "refused")  # noqa: B023
            assert {each.end for each in wrong} <= {
                ("srt-bad-secret", Reject.BAD_SECRET),
                ("srt-conflict", Reject.CONFLICT),
            }
            good.close("done", time.monotonic())
            await until(lambda: not stage.bridge.connections, "gone")


async def test_a_publisher_that_sends_no_transport_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes come, but no program: its name is free again, and there is a reason."""
    monkeypatch.setattr("flux.bridges.mpegts.receiver.PROGRAM_TIMEOUT", 0.4)
    random = Random(1)
    async with SrtStage() as stage:
        link = await stage.connect("publish:cam")
        while not link.end:
            link.send([random.randbytes(1316)], time.monotonic())
            await asyncio.sleep(0.01)
        assert link.end == "srt-peer-closed"
        await until(lambda: not stage.bridge.connections, "gone")
        assert stage.router.publisher("cam") is None
        good = await stage.connect("publish:cam")
        pour(good, transport_stream(clips.BUNNY)[:100])
        await until(lambda: is_ready(stage.router, "cam"), "the next one is heard")


async def test_a_publisher_that_only_lives_on() -> None:
    """Keepalives are no media."""
    async with SrtStage(media_timeout=0.5) as stage:
        stub = StubCaller(stage.place, Options(stream_id="publish:cam"))
        result = await stub.connected()
        while stage.bridge.connections:
            stub.send(serialize_empty(ControlType.KEEPALIVE, 0, result.peer_socket_id))
            await asyncio.sleep(0.02)
        assert not (await stage.connect("publish:cam")).end
        stub.vanish()


async def test_a_publisher_that_vanishes_frees_its_name() -> None:
    async with SrtStage(idle_timeout=0.5) as stage:
        stub = StubCaller(stage.place, Options(stream_id="publish:cam"))
        result = await stub.connected()
        ts = transport_stream(clips.BUNNY)[:100]
        for number, payload in enumerate(ts):
            sequence = result.send_sequence + number
            packet = DataPacket(sequence, number + 1, number * 100, result.peer_socket_id, payload)
            stub.send(packet.serialize())
        await until(lambda: is_ready(stage.router, "cam"), "heard")
        assert await stage.refusal("publish:cam") == Reject.CONFLICT
        stub.vanish()
        await until(lambda: not stage.bridge.connections, "gone")
        assert not (await stage.connect("publish:cam")).end


async def test_a_reader_that_vanishes_is_told_of_by_the_network() -> None:
    """Long before `idle_timeout`, and its reason is told."""
    async with SrtStage() as stage:
        source = await stage.connect("publish:cam")
        ts = transport_stream(clips.BUNNY)
        pour(source, ts[:100])
        await until(lambda: is_ready(stage.router, "cam"), "ready")
        stub = StubCaller(stage.place, Options(stream_id="read:cam"))
        await stub.connected()
        stream = stage.router.find("cam")
        assert stream is not None
        await until(lambda: bool(stream.readers), "joined")
        stub.vanish()
        began = time.monotonic()
        for at in range(100, len(ts)):
            if not stream.readers:
                break
            pour(source, ts[at : at + 1])
            await asyncio.sleep(0.01)
        assert time.monotonic() - began < 4.5
        reasons = [event.reason for event in stage.events if isinstance(event, ReaderClosed)]
        assert reasons == ["srt-peer-unreachable"]


def udp_places() -> set[object]:
    """What open UDP sockets are bound to."""
    sockets = [each for each in gc.get_objects() if isinstance(each, socket.socket)]
    found = [each for each in sockets if each.type == socket.SOCK_DGRAM and each.fileno() >= 0]
    return {each.getsockname() for each in found}


async def test_a_source_whose_second_place_has_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again, and nothing of the attempt that failed is left."""
    failures = 2

    async def sometimes(host: str, port: int, *, timeout: float) -> tuple[int, Address]:
        nonlocal failures
        if host == "second.invalid":
            if failures:
                failures -= 1
                raise PeerError("dns-failure", detail=host)
            host = "127.0.0.1"
        return await resolve(host, port, timeout=timeout)

    monkeypatch.setattr("flux.bridges.srt.dial.resolve", sometimes)
    async with SrtStage() as stage:
        await fed(stage)
        stage.declare("copy")
        port = stage.place[1]
        url = f"srt://127.0.0.1:{port}?streamid=read:cam&group=broadcast"
        gc.collect()
        before = udp_places()
        source = stage.source("copy", f"{url}&nodes=second.invalid:{port}")
        await until(lambda: is_ready(stage.router, "copy"), "running")
        assert len(udp_places()) == len(before) + 1  # that of the attempt that works
        source.stop("done")
        await source.wait_stopped()


async def test_sessions_leave_nothing_for_the_collector() -> None:
    """Off, each closed publisher leaves five hundred objects that hold on to each other."""
    async with SrtStage() as stage:
        await fed(stage)
        ts = transport_stream(clips.BUNNY)[:100]
        stream = stage.router.find("cam")
        assert stream is not None

        async def lives() -> None:
            link = await stage.connect("publish:mine")
            pour(link, ts)
            await until(lambda: stage.router.publisher("mine") is not None, "published")
            reader = await stage.connect("read:cam")
            handler = reader.attachment
            assert isinstance(handler, Collector)
            await until(lambda: len(handler.payloads) > 3, "media")
            for each in (link, reader):
                each.attachment = None
                each.close("done", time.monotonic())
            await until(lambda: stage.router.publisher("mine") is None, "over")
            await until(lambda: not stream.readers, "over")
            assert await stage.refusal("read:nobody") == Reject.NOT_FOUND

        await lives()
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                await lives()
            began = time.monotonic()  # timers of what is closed, the last one in 1.5 s
            await until(lambda: time.monotonic() - began > 1.7, "timers are over")
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            wanted = ("protocols.srt", "flux.bridges.srt", "flux.bridges.mpegts", "media.mpegts")
            names = [(type(each).__module__, type(each).__qualname__) for each in gc.garbage]
            found = [name for module, name in names if module.startswith(wanted)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        assert found == []


async def test_one_address_has_no_more_than_its_share() -> None:
    async with SrtStage(connections_per_address=3) as stage:
        links = [await stage.connect(f"publish:cam{number}") for number in range(3)]
        assert await stage.refusal("publish:cam4") == Reject.OVERLOAD
        assert stage.bridge.refusals()["srt-overload"] == 1
        links[0].close("done", time.monotonic())
        await until(lambda: stage.bridge.connections == 2, "gone")
        assert not (await stage.connect("publish:cam4")).end
