"""A router with a clip in it, for what sends and receives datagrams in the test's own process."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Self

from flux.bridges.udp.rtp_forward import RtpForward
from flux.bridges.udp.ts_forward import TsForward
from flux.core.forward import ForwardFactory, Target
from flux.core.forwarding import Forwards
from media.frame import Frame
from media.publisher import Publisher
from media.router import Router
from media.source import Source
from media.stream import Stream, StreamOptions
from media.track import TrackDescription
from tests.support import clips

TICK = 0.05


class DatagramRig:
    """One router, driven by the loop's time. `events` is everything that went over the bus."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.states: list[tuple[str, str]] = []  # of sources, in the order in which they came
        self.router = Router(self.events.append)
        self.forwards: Forwards | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.get_running_loop().create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.forwards is not None:
            self.forwards.close()
            await self.forwards.wait_closed()
        self.router.close(time.monotonic())
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def declare(self, name: str, **settings: object) -> Stream:
        """Make a name known."""
        declared = self.router.declare(name, StreamOptions(), **settings)  # type: ignore[arg-type]
        return declared.stream

    def says(self, name: str) -> Callable[[str, str], None]:
        """What a source of this name is given as `on_state`."""

        def say(state: str, reason: str) -> None:
            self.states.append((state, reason))
            self.router.source_state(name, state, reason, time.monotonic())

        return say

    def begin(self, name: str, source: Source) -> None:
        """Give a declared name its source and start it."""
        self.router.set_source(name, source)
        self.router.start(time.monotonic(), name)

    def forward(self) -> Forwards:
        """Begin to forward; the retries are quick."""
        emit = self.events.append
        factories: dict[str, ForwardFactory] = {
            "rtp": lambda name, url, say: RtpForward(name, url, say, emit),
            "udp": TsForward,
        }
        self.forwards = Forwards(self.router, emit, factories, retry_first=0.1, retry_longest=0.2)
        return self.forwards

    async def _tick(self) -> None:
        while True:
            now = time.monotonic()
            self.router.tick(now, time.time() - now)
            if self.forwards is not None:
                self.forwards.tick(now)
            await asyncio.sleep(TICK)


def target(url: str) -> Target:
    """A target without credentials."""
    return Target(url.partition(":")[0], url, url.partition("?")[0])


def publish(router: Router, name: str, clip: list[Frame]) -> Publisher:
    """Begin a run with the tracks of a clip."""
    descriptions = [
        TrackDescription(track.kind, track.codec, track.clock_rate, track.parameters)
        for track in clips.tracks_of(clip)
    ]
    return router.publish(name, descriptions, now=time.monotonic(), origin="test")


async def play(publisher: Publisher, clip: list[Frame], speed: float = 1.0) -> None:
    """Write a clip as fast as a camera would."""
    first = clip[0].dts / clip[0].track.clock_rate
    began = time.monotonic()
    anchored = False
    for frame in clip:
        due = began + (frame.dts / frame.track.clock_rate - first) / speed
        delay = due - time.monotonic()
        if delay > 0:
            await asyncio.sleep(delay)
        if not anchored:
            publisher.anchor(dict.fromkeys(publisher.tracks, 0))
            anchored = True
        track = publisher.tracks[frame.track.id]
        publisher.write(track, frame.pts, frame.payload, time.monotonic(), frame.dts)


async def until(condition: Callable[[], bool], what: str, limit: float = 10.0) -> None:
    """Wait for something; AssertionError if it does not come."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"not within {limit} s: {what}"
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def program(*command: str | Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A child process, ended by its id when the block is left."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        await end(process)


async def end(process: asyncio.subprocess.Process) -> str:
    """End a program so that it finishes its file; answers what it said."""
    for _ in range(2):  # ffmpeg that waits for a packet hears the second signal only
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await process.wait()
    if process.returncode is None:
        process.kill()
    assert process.stderr is not None
    said = (await process.stderr.read()).decode(errors="replace")
    await process.wait()
    return said
