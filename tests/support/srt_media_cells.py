"""One cell of the SRT matrix through the server: what a program publishes or reads is the clip.

The program calls the server, is called by a source or as the target of a forward, or meets one of
these in a rendezvous.
"""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av

from flux.bridges.srt.server import Passphrases
from tests.support import clip, clips, frames
from tests.support.datagrams import play, publish, target, until
from tests.support.frame_log import FrameLog
from tests.support.matrix import Cannot, Wrong
from tests.support.ports import free_port
from tests.support.srt_cells import (
    EXTRA,
    HERE,
    INTERVAL,
    OPPOSITE,
    SETTLE,
    refusal,
    taken,
)
from tests.support.srt_child import Child, child
from tests.support.srt_matrix import LINES, PUBLISH, Cell
from tests.support.srt_peers import PACKET, cut
from tests.support.srt_programs import (
    CALLER,
    FFMPEG_NEW,
    FFMPEGS,
    GSTREAMER,
    RENDEZVOUS,
    TRANSMIT,
    Way,
    bytes_out,
    media_in,
    media_out,
)
from tests.support.srt_stage import SrtStage
from tests.support.udp_proxy import proxied

CLIP = "bunny"  # H.264 and AAC, 10 s, key frames at 0, 1.8 and 5.7 s
CONNECT_LIMIT = 15.0
REST = 0.8  # seconds that are sent and not compared
TS_PACKET = 188
NULL_PACKET = b"G\x1f\xff\x10".ljust(TS_PACKET, b"\xff")
PADDING = NULL_PACKET * 7
TIMES = frames.Expectation(Fraction(2, 1000), Fraction(60, 1000), check_dts=False)
MOVED = replace(TIMES, tolerance=Fraction(1), offset_tolerance=Fraction(1))


@dataclass(frozen=True, slots=True)
class Place:
    """Where FLUX and a program find each other."""

    way: Way  # of the program
    url: str  # of the source, or of the forward; empty where the program calls


class Passage:
    """Does cells on a running stage. `seconds` of media each."""

    def __init__(self, stage: SrtStage, folder: Path, seconds: float) -> None:
        self._stage = stage
        self._folder = folder
        self._seconds = seconds
        self._file = folder / "clip.ts"
        _make(self._file, seconds + REST)
        end = seconds + REST
        self._played = [f for f in clips.read(clips.BUNNY) if f.dts < end * f.track.clock_rate]
        self._forwards = stage.forward()
        clip.units_of(CLIP)  # it takes a while, and is kept

    async def do(self, cell: Cell) -> None:
        """One cell; raises `Cannot` and `Wrong`."""
        name, stage = cell.name, self._stage
        folder = self._folder / f"through-{name}"
        folder.mkdir()
        folder.chmod(0o777)
        stage.declare(name)
        stage.passphrases[name] = Passphrases(cell.passphrase, cell.passphrase)
        action = "publish" if cell.direction == PUBLISH else "read"
        async with meeting(cell, stage.place, f"{action}:{name}") as place:
            if cell.direction == PUBLISH:
                await self._take(cell, place)
            else:
                await self._give(cell, place, folder)

    async def _take(self, cell: Cell, place: Place) -> None:
        """The program publishes."""
        stage, name, way = self._stage, cell.name, place.way
        is_fed = way.program == TRANSMIT
        command = bytes_out(way) if is_fed else media_out(way, self._file)
        source = stage.source(name, place.url) if place.url else None
        log = FrameLog(stage.router, name, time.monotonic)

        def is_heard() -> bool:
            if source is not None:
                return source.figures().packets > 0
            return any(request.stream == name for request in stage.requests)

        try:
            if cell.sign is not None:
                await refusal(command, cell.sign, is_heard)
            async with child(command) as program:
                feeding = asyncio.ensure_future(self._feed(program, is_heard, is_fed=is_fed))
                try:
                    limit = CONNECT_LIMIT + self._seconds + REST
                    await until(lambda: self._is_enough(log, program, name), "the clip", limit)
                finally:
                    feeding.cancel()
                got, stream = log.units(), stage.router.find(name)
                drops = dict(stream.drops) if stream is not None else {}
                if not got:
                    raise Cannot(program.said)
        finally:
            log.close("over")
            if source is not None:
                source.stop("over")
                await source.wait_stopped()
        problems = await asyncio.to_thread(compare, got, self._seconds, TIMES)
        if problems or drops:
            raise Wrong("\n".join([*problems, f"drops {drops}", program.said[-500:]]))

    def _is_enough(self, log: FrameLog, program: Child, name: str) -> bool:
        """Whether all is there that is compared; libsrt takes the rest along when it closes."""
        if not program.is_running and self._stage.router.publisher(name) is None:
            return True
        if not log.frames:
            return False
        ends = {frame.track.kind: frame for frame in log.frames[-50:]}
        return len(ends) > 1 and all(
            frame.dts > self._seconds * frame.track.clock_rate for frame in ends.values()
        )

    async def _feed(self, program: Child, is_heard: Callable[[], bool], *, is_fed: bool) -> None:
        """Give it the transport stream in the time that it lasts, and padding before."""
        if not is_fed:
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while not is_heard():
                await _write(program, [PADDING], INTERVAL)
            await _write(program, [PADDING] * EXTRA, INTERVAL)
            media = cut(self._file.read_bytes())
            await _write(program, media, (self._seconds + REST) / len(media))

    async def _give(self, cell: Cell, place: Place, folder: Path) -> None:
        """The program reads, or is forwarded to."""
        stage, name = self._stage, cell.name
        command, file = media_in(place.way, folder, self._seconds + REST / 2)
        if place.url:
            self._forwards.declare(name, [target(place.url)], passive=True)
        if cell.sign is not None:
            await refusal(command, cell.sign, lambda: bool(stage.router.leases(name)))

        try:
            async with child(command) as program:
                if place.url:
                    port = place.way.port if place.way.local is None else place.way.local[1]
                    await taken(HERE, port, lambda: not program.is_running)
                else:
                    await until(
                        lambda: stage.router.leases(name) > 0 or not program.is_running,
                        "it waits",
                        CONNECT_LIMIT,
                    )
                if not program.is_running:
                    raise Cannot(program.said)
                publisher = publish(stage.router, name, self._played)
                await play(publisher, self._played)
                await asyncio.sleep(cell.latency_ms / 1000 + SETTLE)
                await program.end(2.0)
                publisher.close("over", time.monotonic())
        finally:
            self._forwards.remove(name)
        try:
            got = await asyncio.to_thread(frames.read, file)
        except (av.error.FFmpegError, OSError) as error:
            raise Cannot(f"{program.said}\n{error}") from None
        # GStreamer's demuxer moves times by when packets come.
        rule = MOVED if cell.program == GSTREAMER else TIMES
        problems = await asyncio.to_thread(compare, got, self._seconds, rule)
        if problems:
            raise Wrong("\n".join([*problems, program.said[-500:]]))


def compare(
    got: dict[str, frames.TrackUnits], seconds: float, rule: frames.Expectation
) -> list[str]:
    """How it differs from the clip, of which so much must be there."""
    sent = clip.units_of(CLIP)
    minimum = {
        kind: sum(track.seconds(unit.pts) < seconds for unit in track.units)
        for kind, track in sent.items()
    }
    return frames.compare(sent, got, replace(rule, minimum=minimum))


@contextlib.asynccontextmanager
async def meeting(cell: Cell, server: tuple[str, int], stream_id: str) -> AsyncIterator[Place]:
    """Where FLUX and the program find each other, with the line of the cell in between."""
    line = LINES[cell.line]
    async with contextlib.AsyncExitStack() as stack:
        if cell.mode == CALLER:
            host, port = server
            if line is not None:
                port = (await stack.enter_async_context(proxied(server, line, seed=cell.seed))).port
            yield Place(cell.way(host, port, stream_id=stream_id), "")
            return
        port = free_port()
        words = [f"latency={cell.latency_ms}"]
        if cell.key_bytes:
            words += [f"passphrase={cell.passphrase}", f"pbkeylen={cell.key_bytes}"]
        if cell.mode == RENDEZVOUS:
            words += ["mode=rendezvous", f"localaddress={OPPOSITE}", f"localport={port}"]
            ours, theirs = (OPPOSITE, port), (HERE, port)  # where each finds the other
            if line is not None:
                proxy = await stack.enter_async_context(
                    proxied(ours, line, seed=cell.seed, client=theirs)
                )
                ours, theirs = (HERE, proxy.port), (HERE, proxy.rear_port)
            way = cell.way(*ours, local=(HERE, port))
        else:
            way, theirs = cell.way(HERE, port), (HERE, port)
            if line is not None:
                theirs = (
                    HERE,
                    (await stack.enter_async_context(proxied(theirs, line, seed=cell.seed))).port,
                )
        yield Place(way, f"srt://{theirs[0]}:{theirs[1]}?{'&'.join(words)}")


async def _write(program: Child, payloads: Sequence[bytes], interval: float) -> None:
    assert program.process.stdin is not None
    began = time.monotonic()
    for number, payload in enumerate(payloads, 1):
        program.process.stdin.write(payload)
        await program.process.stdin.drain()
        await asyncio.sleep(max(began + number * interval - time.monotonic(), 0))


def _make(file: Path, seconds: float) -> None:
    """The clip as another program muxes it, whole datagrams of it."""
    command = [FFMPEGS[FFMPEG_NEW], "-v", "error", "-nostdin", "-i", str(clip.path_of(CLIP))]
    command += ["-t", str(seconds), "-c", "copy", "-f", "mpegts", str(file)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    data = file.read_bytes()
    file.write_bytes(data + NULL_PACKET * (-len(data) % PACKET // TS_PACKET))
    file.chmod(0o644)
