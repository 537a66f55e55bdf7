"""What makes sound anew, with real processes: the worker, and some that misbehave."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from flux.bridges.recoder import COMMAND, Recoders
from flux.core.children import ChildEnded, ChildOptions, Children, ChildStarted
from media.codecs.g711 import G711Parameters
from media.frame import NO_TIME, Frame
from media.output import LEISURE
from media.stream import Stream, StreamOptions
from media.track import AAC, PCMA, Kind, Track, TrackDescription

G711 = G711Parameters(sample_rate=8000, channels=1)
QUICK = ChildOptions(stop_timeout=0.5, first_delay=0.01, longest_delay=0.02)
DEAF = (sys.executable, "-c", "import time; time.sleep(60)")
LIAR = (
    sys.executable,
    "-c",
    "import os, socket\n"
    "socket.socket(fileno=int(os.environ['FLUX_WORKER_FD'])).sendall(b'\\xff' * 20)",
)
UNIT = bytes([0xD5]) * 160  # 20 ms of silence


class Listener:
    """An output that carries AAC only."""

    name = "listener"
    size_bytes = 0
    leisure = LEISURE

    def __init__(self, stream: Stream) -> None:
        self.units: list[Frame] = []
        self._stream = stream
        self.tracks = stream.choose(self.name, stream.tracks, lambda track: track.codec == AAC)
        stream.outputs[self.name] = self

    def frame(self, frame: Frame) -> None:
        if frame.track in self.tracks:
            self.units.append(frame)

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        del tracks

    def close(self, reason: str) -> None:
        del reason
        self._stream.outputs.pop(self.name, None)


class Stage:
    """A stream with G.711, and who makes AAC of it."""

    def __init__(self, command: Sequence[str]) -> None:
        self.events: list[object] = []
        self.children = Children(self.events.append)
        self.recoders = Recoders(self.children, QUICK, command)
        self.stream = Stream("cam", StreamOptions(audio="aac"), self.events.append)
        self.stream.on_recoding = self.recoders.use
        (self.track,) = self.stream.begin([TrackDescription(Kind.AUDIO, PCMA, 8000, G711)], 0.0)
        self._count = 0
        self.speak(1)

    def speak(self, count: int) -> None:
        for _ in range(count):
            at = self._count / 50
            self.stream.publish(self.track, 160 * self._count, (UNIT,), at, NO_TIME)
            self._count += 1

    def ended(self) -> list[str]:
        return [event.reason for event in self.events if isinstance(event, ChildEnded)]

    def started(self) -> int:
        return sum(isinstance(event, ChildStarted) for event in self.events)


@asynccontextmanager
async def stage(command: Sequence[str] = COMMAND) -> AsyncIterator[Stage]:
    it = Stage(command)
    try:
        yield it
    finally:
        it.recoders.close("over")
        await it.children.stop()
        assert len(it.recoders) == 0


async def until(condition: Callable[[], object], speak: Callable[[], None]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        speak()
        await asyncio.sleep(0.005)


async def test_what_was_made_reaches_the_output_in_the_source_s_times() -> None:
    async with stage() as it:
        assert len(it.recoders) == 0  # nobody uses it
        listener = Listener(it.stream)
        await until(lambda: len(listener.units) > 10, lambda: it.speak(1))
        first = listener.units[0]
        assert [unit.pts - first.pts for unit in listener.units[:10]] == [
            1024 * place for place in range(10)
        ]
        source = next(frame for frame in it.stream.gop.frames() if frame.track is it.track)
        shift = (first.ntp - source.ntp) / (1 << 32)
        assert shift == pytest.approx(first.pts / 16000 - source.pts / 8000, abs=1e-3)


async def test_it_ends_some_time_after_its_last_user() -> None:
    async with stage() as it:
        listener = Listener(it.stream)
        await until(lambda: listener.units, lambda: it.speak(1))
        listener.close("no-readers")
        it.recoders.tick(100.0)
        it.recoders.tick(109.0)
        assert len(it.recoders) == 1
        other = Listener(it.stream)  # somebody came meanwhile
        it.recoders.tick(111.0)
        other.close("no-readers")
        it.recoders.tick(112.0)
        it.recoders.tick(121.0)
        assert len(it.recoders) == 1
        it.recoders.tick(122.0)
        assert len(it.recoders) == 0
        await until(it.ended, lambda: it.speak(1))
        third = Listener(it.stream)  # and again
        await until(lambda: third.units, lambda: it.speak(1))


async def test_it_ends_with_the_stream_s_run() -> None:
    async with stage() as it:
        Listener(it.stream)
        assert len(it.recoders) == 1
        it.stream.release("source-lost", 1.0)
        assert len(it.recoders) == 0


async def test_a_worker_that_does_not_keep_up_loses_frames() -> None:
    async with stage(DEAF) as it:
        Listener(it.stream)
        await until(lambda: it.stream.drops["recoder-slow"] > 5, lambda: it.speak(200))


@pytest.mark.parametrize("command", [LIAR, (sys.executable, "-c", "raise SystemExit(3)")])
async def test_a_worker_that_fails_is_started_again(command: Sequence[str]) -> None:
    async with stage(command) as it:
        listener = Listener(it.stream)
        await until(lambda: it.started() >= 3, lambda: it.speak(1))
        assert listener.units == []
