"""What the matrix of SRT has no columns for: key refresh, stream ids of any length, IPv6."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from itertools import product
from pathlib import Path

import pytest

from protocols.srt.endpoint import Endpoint
from protocols.srt.options import ListenerOptions, Options, SecurityOptions
from protocols.srt.packet import is_control, unpack_header
from protocols.srt.reception import IncomingCall
from tests.support import clip
from tests.support.datagrams import target, until
from tests.support.matrix import Cannot
from tests.support.nobody import NOBODY
from tests.support.ports import free_port, is_bound
from tests.support.srt_cells import connected, give, take
from tests.support.srt_child import child
from tests.support.srt_matrix import LINES, LOSSY, PASSPHRASE
from tests.support.srt_peers import Collector
from tests.support.srt_programs import (
    CALLER,
    FFMPEG_NEW,
    FFMPEG_OLD,
    FFMPEGS,
    GSTREAMER,
    LISTENER,
    PROGRAMS,
    TRANSMIT,
    VLC,
    Way,
    bytes_in,
    media_out,
)
from tests.support.srt_stage import SrtStage
from tests.support.udp_proxy import Line, proxied

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]

HERE = "127.0.0.1"
COUNT = 300
AT_ONCE = 6
LATENCY_MS = 1000


async def every(tasks: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Do all, some at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(do: Callable[[], Awaitable[None]]) -> None:
        async with gate:
            await do()

    results = await asyncio.gather(*map(one, tasks), return_exceptions=True)
    for error in (each for each in results if each is not None):
        raise error


# -- keys ----------------------------------------------------------------------------------

REFRESH = 64  # packets with one key; srt-live-transmit announces the next one 31 packets before


class KeyTap:
    """A line that loses what it is told to, and sees which key each data packet has."""

    def __init__(self) -> None:
        self.keys: list[int] = []  # each change of it

    def __call__(self, datagram: bytes) -> bool:
        if not is_control(datagram):
            key = unpack_header(datagram)[1] >> 27 & 3
            if not self.keys or self.keys[-1] != key:
                self.keys.append(key)
        return False


def tapped(line: Line | None, tap: KeyTap) -> Line:
    return Line(loses=tap) if line is None else Line(line.delay, line.loss, loses=tap)


@pytest.mark.alone  # a slot has its next key 33 packets after the last one of the key before
async def test_keys_that_they_refresh() -> None:
    """kmrefreshrate of libsrt; the retransmissions have the key that was theirs."""

    def task(key_bytes: int, line: Line | None) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            options = Options(receive_latency_ms=LATENCY_MS, security=SecurityOptions(PASSPHRASE))
            handler, tap = Collector(), KeyTap()
            with contextlib.closing(Endpoint.bind(HERE, 0)) as endpoint:
                endpoint.listen(ListenerOptions(), lambda call: call.accept(options, handler))
                there = tapped(line, tap)
                async with proxied((HERE, endpoint.port), there, line or Line()) as proxy:
                    way = Way(
                        TRANSMIT,
                        CALLER,
                        HERE,
                        proxy.port,
                        latency_ms=LATENCY_MS,
                        passphrase=PASSPHRASE,
                        key_bytes=key_bytes,
                        more=(("kmrefreshrate", REFRESH),),
                    )
                    await take(way, handler, COUNT)
            changes(tap)

        return run

    await every(task(*values) for values in product((16, 32), (None, LINES[LOSSY])))


@pytest.mark.alone
async def test_keys_that_we_refresh(public_folder: Path) -> None:
    def task(program: str, key_bytes: int, line: Line | None) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            security = SecurityOptions(
                PASSPHRASE, key_bytes, refresh_packets=REFRESH, announce_packets=REFRESH // 2 - 1
            )
            options = Options(peer_latency_ms=LATENCY_MS, security=security)
            handler, tap = Collector(), KeyTap()
            with contextlib.closing(Endpoint.bind(HERE, 0)) as endpoint:
                endpoint.listen(
                    ListenerOptions(key_bytes=key_bytes), lambda call: call.accept(options, handler)
                )
                back = tapped(line, tap)
                async with proxied((HERE, endpoint.port), line or Line(), back) as proxy:
                    way = Way(
                        program,
                        CALLER,
                        HERE,
                        proxy.port,
                        latency_ms=LATENCY_MS,
                        passphrase=PASSPHRASE,
                        key_bytes=key_bytes,
                    )
                    name = f"{program}-{key_bytes}-{line is None}"
                    (public_folder / name).mkdir()
                    (public_folder / name).chmod(0o777)
                    await give(way, handler, public_folder / name / "got", COUNT)
            changes(tap)

        return run

    cells: list[tuple[str, int, Line | None]] = [(each, 16, None) for each in PROGRAMS]
    cells += [(each, 32, None) for each in (TRANSMIT, FFMPEG_NEW)]
    cells += [(each, 16, LINES[LOSSY]) for each in (TRANSMIT, FFMPEG_OLD, GSTREAMER)]
    await every(task(*cell) for cell in cells)


def changes(tap: KeyTap) -> None:
    """Both keys were in use, one after the other."""
    assert set(tap.keys) == {1, 2}
    assert len(tap.keys) >= COUNT // REFRESH


# -- stream ids ----------------------------------------------------------------------------

LENGTHS = (1, 2, 3, 4, 5, 7, 8, 63, 64, 127, 255, 256, 509, 510, 511, 512)
SHORT = (
    "a",
    "#!::r=live/cam1,m=publish,u=somebody,s=x,h=here",
    "publish:live/cam1:me:secret",
    "räksmörgås",
)


async def named(program: str, stream_id: str, public_folder: Path) -> str:
    """What the listener hears of a caller's stream id."""
    heard: list[str] = []
    handler = Collector()
    with contextlib.closing(Endpoint.bind(HERE, 0)) as endpoint:

        def called(call: IncomingCall) -> None:
            heard.append(call.request.stream_id)
            call.accept(Options(), handler)

        endpoint.listen(ListenerOptions(), called)
        way = Way(program, CALLER, HERE, endpoint.port, stream_id=stream_id)
        async with child(bytes_in(way, public_folder / "got")) as them:
            with contextlib.suppress(Cannot):
                await connected(handler, them)
    assert len(heard) <= 1
    return heard[0] if heard else "nothing"


async def test_stream_ids_of_every_length_class(public_folder: Path) -> None:
    ids = [*("x" * (length - 1) + "y" for length in LENGTHS), *SHORT]

    def task(program: str, stream_id: str) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            assert await named(program, stream_id, public_folder) == stream_id, program

        return run

    cells = [*product((TRANSMIT,), ids), *product((FFMPEG_OLD, GSTREAMER, VLC), ids[-5:])]
    cells += [(FFMPEG_NEW, each) for each in ids[-7:] if len(each) < 512]  # its own limit
    await every(task(*cell) for cell in cells)


async def test_a_stream_id_that_is_too_long_is_not_sent(public_folder: Path) -> None:
    assert await named(TRANSMIT, "x" * 513, public_folder) in ("nothing", "")


# -- addresses -----------------------------------------------------------------------------


@pytest.mark.parametrize("bound", ["::1", ""], ids=["::1", "every address"])
async def test_callers_by_both_families(bound: str, public_folder: Path) -> None:
    """One port of every address serves IPv4 and IPv6 at the same time."""
    hosts = ("::1",) if bound else ("::1", HERE, "127.0.0.2")
    with contextlib.closing(Endpoint.bind(bound, 0)) as endpoint:
        handlers: dict[str, Collector] = {}
        options = Options(receive_latency_ms=200)
        endpoint.listen(
            ListenerOptions(), lambda call: call.accept(options, handlers[call.request.stream_id])
        )

        def task(program: str, is_publish: bool, host: str) -> Callable[[], Awaitable[None]]:
            async def run() -> None:
                name = f"{program}-{is_publish}-{host.replace(':', '')}"
                handler = handlers[name] = Collector()
                way = Way(program, CALLER, host, endpoint.port, latency_ms=200, stream_id=name)
                if is_publish:
                    await take(way, handler, COUNT)
                else:
                    (public_folder / name).mkdir()
                    (public_folder / name).chmod(0o777)
                    await give(way, handler, public_folder / name / "got", COUNT)

            return run

        cells = product(PROGRAMS, (True, False), hosts)
        await every(task(*cell) for cell in cells if cell[:2] != (VLC, True))


@pytest.mark.parametrize("is_publish", [True, False], ids=["publish", "read"])
async def test_listeners_at_ipv6(is_publish: bool, public_folder: Path) -> None:
    handler = Collector()
    with contextlib.closing(Endpoint.bind("::", 0)) as endpoint:
        port = free_port()
        way = Way(TRANSMIT, LISTENER, "::1", port, latency_ms=200)
        options = Options(receive_latency_ms=200)

        async def call() -> None:
            await until(lambda: is_bound("::1", port), "it listens")
            endpoint.call(("::1", port, 0, 0), options, handler)

        calling = asyncio.ensure_future(call())
        if is_publish:
            await take(way, handler, COUNT)
        else:
            await give(way, handler, public_folder / "got", COUNT)
        await calling


async def test_a_source_and_a_target_by_ipv6(public_folder: Path) -> None:
    """FLUX calls ffmpeg for a stream, and srt-live-transmit to forward it."""
    source_port, target_port = (free_port() for _ in range(2))
    file = public_folder / "got"
    async with SrtStage() as stage:
        stage.declare("cam")
        from_them = media_out(Way(FFMPEG_NEW, LISTENER, "::1", source_port), clip.path_of("bunny"))
        to_them = bytes_in(Way(TRANSMIT, LISTENER, "::1", target_port), file)
        async with child(from_them), child(to_them):
            source = stage.source("cam", f"srt://[::1]:{source_port}")
            await until(lambda: stage.router.publisher("cam") is not None, "it publishes", 15.0)
            stage.forward().declare("cam", [target(f"srt://[::1]:{target_port}")], passive=True)
            await until(lambda: file.exists() and file.stat().st_size > 50_000, "it arrives")
        source.stop("over")
        await source.wait_stopped()
    assert file.read_bytes()[0] == file.read_bytes()[188] == ord("G")


# -- habits --------------------------------------------------------------------------------


@pytest.mark.long
async def test_the_output_of_vlc_connects_and_sends_nothing(public_folder: Path) -> None:
    """Why VLC does not publish in the matrix: 3.0.24 takes what its muxer writes and drops it."""
    file = public_folder / "clip.ts"
    words = ["-v", "error", "-i", str(clip.path_of("bunny")), "-c", "copy", "-f", "mpegts"]
    process = await asyncio.create_subprocess_exec(FFMPEGS[FFMPEG_NEW], *words, str(file))
    assert await process.wait() == 0
    handler = Collector()
    with contextlib.closing(Endpoint.bind(HERE, 0)) as endpoint:
        endpoint.listen(ListenerOptions(), lambda call: call.accept(Options(), handler))
        chain = f"#std{{access=srt,mux=ts,dst={HERE}:{endpoint.port}}}"
        command = [*NOBODY, "env", f"HOME={public_folder}", "cvlc", "-I", "dummy", str(file)]
        async with child([*command, "--sout", chain]) as them:
            link = await connected(handler, them)
            await asyncio.sleep(6.0)
            assert handler.payloads == [] and not link.end
