"""Readers that cannot keep up: they get what they can take, and nobody else notices."""

import asyncio
import signal
import time
from dataclasses import replace

import pytest

from media.events import ReaderClosed, ReaderSkipped, WriteResumed
from media.stream import Stream
from tests.interop.test_srt_server import slt_in
from tests.support import clip, clips, frames, same_run, ts_check
from tests.support.datagrams import play, publish, until
from tests.support.srt_peers import Collector, Output, running
from tests.support.srt_stage import LOCAL, SrtStage
from tests.support.udp_proxy import Line, proxied

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

GOP = 30  # pictures, of one second


class Policer:
    """A line that drops what is above its rate: bytes per second, bytes at once."""

    def __init__(self, rate: float, depth: float) -> None:
        self.rate, self.depth, self.tokens = rate, depth, depth
        self.at = time.monotonic()
        self.bytes = 0  # that came to it

    def __call__(self, data: bytes) -> bool:
        now = time.monotonic()
        self.tokens = min(self.tokens + (now - self.at) * self.rate, self.depth)
        self.at = now
        self.bytes += len(data)
        if self.tokens < len(data):
            return True
        self.tokens -= len(data)
        return False


async def begin(stage: SrtStage) -> tuple[Stream, asyncio.Task[None]]:
    """A stream of four seconds and four key frames."""
    stage.declare("cam")
    row = clips.read(clips.PYRAMID)
    task = asyncio.create_task(play(publish(stage.router, "cam", row), row))
    stream = stage.router.find("cam")
    assert stream is not None
    return stream, task


def check_whole(reader: Collector) -> None:
    """A reader got the stream as if nobody else were there."""
    data = b"".join(reader.payloads)
    assert reader.lost == 0
    assert ts_check.check(data).problems == []
    (sent,), (got,) = clip.units_of("pyramid").values(), frames.read(data, "mpegts").values()
    assert len(got.units) >= 3.5 * GOP and same_run.place(sent, got) == 0


async def test_a_reader_that_sleeps_goes_on_at_a_key_frame() -> None:
    """libsrt, stopped for two seconds: its link gives up after one, then nothing is sent."""
    async with SrtStage(idle_timeout=20.0) as stage:
        stream, playing = await begin(stage)
        good = stage.call("read:cam")
        await until(lambda: good.link is not None, "let in")
        async with running(slt_in(f"srt://{LOCAL}:{stage.place[1]}?streamid=read:cam")) as slow:
            output = Output(slow)
            await until(lambda: len(stream.readers) == 2, "two readers")
            session = next(each for each in stream.readers if each != next(iter(stream.readers)))
            await until(lambda: len(output.data) > 20_000, "media")
            slow.send_signal(signal.SIGSTOP)

            def skipped() -> list[ReaderSkipped]:
                return [each for each in stage.events if isinstance(each, ReaderSkipped)]

            await until(lambda: bool(skipped()), "it skips")
            sent = stream.readers[session].sent_bytes
            await asyncio.sleep(0.5)
            assert stream.readers[session].sent_bytes == sent
            slow.send_signal(signal.SIGCONT)
            await until(
                lambda: any(isinstance(each, WriteResumed) for each in stage.events), "it goes on"
            )
            assert {each.reader for each in skipped()} == {session}
            assert {each.cause for each in skipped()} == {"network"}
            assert stream.readers[session].dropped > 0
            await playing
            await asyncio.sleep(0.3)
            output.stop()
        check_whole(good)
        (sent_units,) = clip.units_of("pyramid").values()
        (got,) = frames.read(output.data, "mpegts").values()
        last = replace(got, units=got.units[-GOP // 2 : -1])  # it was cut off
        assert same_run.place(sent_units, last) is not None


async def test_a_reader_on_a_narrow_line_hurts_nobody_else() -> None:
    """The line drops what is above half of the stream's rate; what is sent again has its bound."""
    async with SrtStage() as stage:
        row = clips.read(clips.PYRAMID)
        size = sum(frame.size_bytes for frame in row)
        policer = Policer(size / 4 / 2, 20_000)
        stream, playing = await begin(stage)
        good = stage.call("read:cam")
        await until(lambda: good.link is not None, "let in")
        async with proxied(stage.place, Line(), Line(loses=policer)) as proxy:
            slow = stage.call_at((LOCAL, proxy.port), "read:cam")
            await until(lambda: len(stream.readers) == 2, "two readers")
            await playing
            await asyncio.sleep(0.3)
        check_whole(good)
        assert 0.1 * size < sum(map(len, slow.payloads)) < 0.9 * size
        assert slow.lost > 0
        assert policer.bytes < 3.0 * size
        assert not any(isinstance(each, ReaderClosed) for each in stage.events[:-4])
