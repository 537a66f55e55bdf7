"""One cell of the SRT matrix between a program and an endpoint: the same datagrams, or bytes."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import NoReturn

from protocols.srt.endpoint import Endpoint
from protocols.srt.keys import KmState
from protocols.srt.link import Channel
from protocols.srt.options import ListenerOptions, Options, SecurityOptions
from protocols.srt.reception import IncomingCall
from tests.support.datagrams import until
from tests.support.matrix import Cannot, Wrong
from tests.support.ports import free_port, is_bound
from tests.support.srt_child import Child, child
from tests.support.srt_matrix import LINES, PUBLISH, Cell
from tests.support.srt_peers import PACKET, Collector, cut, feed, numbers, send
from tests.support.srt_programs import CALLER, FFMPEGS, RENDEZVOUS, Way, bytes_in, bytes_out
from tests.support.udp_proxy import proxied

INTERVAL = 0.003  # seconds between two packets: 3.5 Mbit/s
EXTRA = 20  # more packets: srt-live-transmit keeps the last ones to itself, libsrt repairs no tail
CONNECT_LIMIT = 15.0
END_LIMIT = 5.0
LOOK = 0.1
SETTLE = 0.2  # a program may be slower than its socket
STREAM_ID = "#!::r=cam,m=publish"
HERE, OPPOSITE = "127.0.0.1", "127.0.0.2"


class Exchange:
    """Does cells. `seconds` of media each; `folder` is one where everybody may write."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self._folder = folder
        self._count = int(seconds / INTERVAL)

    async def do(self, cell: Cell) -> None:
        """One cell; raises `Cannot` and `Wrong`."""
        folder = self._folder / cell.name
        folder.mkdir()
        folder.chmod(0o777)
        handler = Collector()
        file = folder / "got"
        async with connecting(cell, handler) as way:
            if cell.sign is not None:
                command = bytes_out(way) if cell.direction == PUBLISH else bytes_in(way, file)
                await refusal(command, cell.sign, lambda: handler.link is not None)
            elif cell.direction == PUBLISH:
                await take(way, handler, self._count)
            else:
                await give(way, handler, file, self._count)
        check_keys(cell, handler)


async def take(way: Way, handler: Collector, count: int) -> None:
    """The program sends, and all of it arrives."""
    async with child(bytes_out(way)) as program:
        feeding = asyncio.ensure_future(fed(program, handler, way, count + EXTRA))
        try:
            await connected(handler, program)
            await feeding
        finally:
            feeding.cancel()

        def got() -> list[int]:
            if way.program in FFMPEGS:  # it cuts where its pipe was empty for a moment
                return numbers(cut(b"".join(handler.payloads)))[:count]
            return numbers(handler.payloads)[:count]

        await complete(lambda: sum(map(len, handler.payloads)), got, count, handler)


async def give(way: Way, handler: Collector, file: Path, count: int) -> None:
    """The program receives all that we send."""
    async with child(bytes_in(way, file)) as program:
        link = await connected(handler, program)
        await asyncio.sleep(SETTLE)
        await send(link, count + EXTRA, INTERVAL)

        def size() -> int:
            return file.stat().st_size if file.exists() else 0

        def got() -> list[int]:
            data = file.read_bytes() if file.exists() else b""
            return numbers(cut(data[: len(data) // PACKET * PACKET]))[:count]

        await complete(size, got, count, handler)


async def fed(program: Child, handler: Collector, way: Way, count: int) -> None:
    """Feed a program: ffmpeg reads before it connects, the others drop what comes before."""
    if way.program not in FFMPEGS:
        await until(lambda: handler.link is not None, "connected", 2 * CONNECT_LIMIT)
        await asyncio.sleep(SETTLE)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await feed(program.process, count, INTERVAL)


async def connected(handler: Collector, program: Child) -> Channel:
    """The link, once it is there; `Cannot` with what the program says if it does not come."""

    def is_decided() -> bool:
        return handler.link is not None or handler.end is not None or not program.is_running

    with contextlib.suppress(AssertionError):
        await until(is_decided, "connected", CONNECT_LIMIT)
    if handler.link is None:
        raise Cannot(f"{await program.last_words()}\nnot connected: {handler.end}")
    return handler.link


async def taken(host: str, port: int, is_over: Callable[[], bool] = lambda: False) -> None:
    """Wait until somebody has this port; a look costs a millisecond."""
    for _ in range(int(CONNECT_LIMIT / LOOK)):
        if is_bound(host, port) or is_over():
            return
        await asyncio.sleep(LOOK)
    raise AssertionError(f"nobody listens at {port}")


async def refusal(
    command: Sequence[str | Path], sign: str, is_connected: Callable[[], bool]
) -> NoReturn:
    """Run a program until it says that it cannot; `Cannot` with what it said, `Wrong` if it can."""
    async with child(command) as program:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await feed(program.process, EXTRA, 0.0)  # ffmpeg reads before it opens its output
        await until(
            lambda: not program.is_running or re.search(sign, program.said) is not None,
            "it says that it cannot",
            CONNECT_LIMIT,
        )
        await asyncio.sleep(SETTLE)
        if is_connected():
            raise Wrong("it connects")
        raise Cannot(await program.last_words())


async def complete(
    size: Callable[[], int], got: Callable[[], list[int]], count: int, handler: Collector
) -> None:
    """Wait for every packet, and let no other one be there. `size`: bytes that came."""
    with contextlib.suppress(AssertionError):
        await until(lambda: size() >= count * PACKET, "everything", END_LIMIT)
    found = got()
    if found != list(range(count)):
        missing = sorted(set(range(count)) - set(found))
        text = f"{len(found)} packets of {count}, {len(missing)} are missing: {missing[:10]}"
        raise Wrong(f"{text}, lost {handler.lost}, {handler.end}")


def check_keys(cell: Cell, handler: Collector) -> None:
    """The connection is as secret as it should be."""
    assert handler.link is not None and handler.link.result is not None
    secrets = handler.link.result.secrets
    key_bytes = secrets.ring.key_bytes if secrets.ring is not None else 0
    due = KmState.SECURED if cell.key_bytes else KmState.UNSECURED
    if (key_bytes, secrets.send_state, secrets.receive_state) != (cell.key_bytes, due, due):
        raise Wrong(f"{key_bytes} bytes of key, {secrets.send_state}, {secrets.receive_state}")


def options_of(cell: Cell) -> Options:
    """Our end. A listener takes the caller's length of key."""
    key_bytes = 0 if cell.mode == CALLER else cell.key_bytes
    return Options(
        receive_latency_ms=cell.latency_ms, security=SecurityOptions(cell.passphrase, key_bytes)
    )


@contextlib.asynccontextmanager
async def connecting(cell: Cell, handler: Collector) -> AsyncIterator[Way]:
    """Our end, waiting or calling, behind the line of the cell; and how the program connects."""
    line = LINES[cell.line]
    async with contextlib.AsyncExitStack() as stack:

        def bound(host: str, port: int) -> Endpoint:
            endpoint = Endpoint.bind(host, port)
            stack.callback(endpoint.close)
            return endpoint

        if cell.mode == CALLER:
            endpoint = bound(HERE, 0)

            def called(call: IncomingCall) -> None:
                assert call.request.stream_id == STREAM_ID
                call.accept(options_of(cell), handler)

            endpoint.listen(ListenerOptions(), called)
            port = endpoint.port
            if line is not None:
                port = (
                    await stack.enter_async_context(proxied((HERE, port), line, seed=cell.seed))
                ).port
            yield cell.way(HERE, port, stream_id=STREAM_ID)
            return
        port = free_port()
        if cell.mode == RENDEZVOUS:
            endpoint = bound(OPPOSITE, port)
            ours, theirs = (OPPOSITE, port), (HERE, port)  # where each finds the other
            if line is not None:
                proxy = await stack.enter_async_context(
                    proxied(ours, line, seed=cell.seed, client=theirs)
                )
                ours, theirs = (HERE, proxy.port), (HERE, proxy.rear_port)
            endpoint.meet(theirs, options_of(cell), handler)
            yield cell.way(*ours, local=(HERE, port))
            return
        target = (HERE, port)
        if line is not None:
            proxy = await stack.enter_async_context(proxied(target, line, seed=cell.seed))
            target = (HERE, proxy.port)
        endpoint = bound(HERE, 0)

        async def call() -> None:
            await taken(HERE, port)
            endpoint.call(target, options_of(cell), handler)

        calling = asyncio.ensure_future(call())
        stack.callback(calling.cancel)
        yield cell.way(HERE, port)
