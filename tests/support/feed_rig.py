"""A router with one stream `live/cam` and the media listener with FLV and MPEG-TS."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from flux.bridges.http.feeds import FeedBridgeOptions
from flux.bridges.http.server import HttpLimits, HttpServer
from flux.bridges.httpflv import http_flv
from flux.bridges.httpts import http_ts
from flux.core.admission import Admission
from media.flv.forms import Form
from media.frame import Frame
from media.publisher import Publisher
from media.router import Router
from media.stream import Stream, StreamOptions
from media.track import Kind, TrackDescription
from tests.support import clips
from tests.support.scripted_source import ScriptedSource

STREAM = "live/cam"


class Response:
    """A response, or its head."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = dict(line.split(": ", 1) for line in lines)
        self.reason = self.body.decode("utf-8", "replace").rpartition(": ")[2].strip()


class FeedRig:
    """What is published goes out as fast as the loop goes."""

    def __init__(self, *, on_demand: bool, form: Form) -> None:
        self.events: list[object] = []
        self.now = 1000.0
        self.router = Router(self.events.append)
        self.router.declare(STREAM, StreamOptions(), on_demand=on_demand, close_after=5.0)
        self.source = ScriptedSource()
        self.router.set_source(STREAM, self.source)
        self.admission = Admission(self.events.append)
        options = FeedBridgeOptions()
        flv = http_flv(self.router, self.admission, self.events.append, options, form)
        ts = http_ts(self.router, self.admission, self.events.append, options)
        self.server = HttpServer([flv, ts], HttpLimits(), lambda: self.now)
        self.port = 0
        self.publisher: Publisher | None = None

    @property
    def stream(self) -> Stream:
        """The stream."""
        stream = self.router.find(STREAM)
        assert stream is not None
        return stream

    def begin(self, clip: list[Frame], *more: TrackDescription) -> Publisher:
        """Publish a clip's tracks, and perhaps others."""
        descriptions = [
            TrackDescription(t.kind, t.codec, t.clock_rate, t.parameters)
            for t in clips.tracks_of(clip)
        ]
        self.publisher = self.router.publish(
            STREAM, [*descriptions, *more], now=self.now, origin="config"
        )
        return self.publisher

    async def send(self, frames: Sequence[Frame]) -> None:
        """Publish frames; their arrival times are those of the media."""
        assert self.publisher is not None
        start = self.now - frames[0].arrived
        for frame in frames:
            track = self.publisher.tracks[frame.track.id]
            self.now = max(self.now, start + frame.arrived)
            self.publisher.write(track, frame.pts, frame.payload, start + frame.arrived)
            if frame.key and frame.track.kind is Kind.VIDEO:
                await asyncio.sleep(0)

    async def open(self, target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection with a request on it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        return reader, writer

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that happens on the loop."""
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.001)

    async def until_leased(self, leases: int) -> None:
        """Wait until so many read the stream or wait for it."""
        await self.until(lambda: self.router.leases(STREAM) == leases)


@asynccontextmanager
async def running(*, on_demand: bool = False, form: Form = Form.AUTO) -> AsyncIterator[FeedRig]:
    """A rig whose listener is up."""
    rig = FeedRig(on_demand=on_demand, form=form)
    _, rig.port = await rig.server.start("127.0.0.1", 0)
    rig.router.start(rig.now)
    try:
        yield rig
    finally:
        rig.router.close(rig.now)
        await rig.server.stop(timeout=0.2)
