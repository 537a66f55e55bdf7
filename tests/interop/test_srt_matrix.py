"""SRT against everything that speaks it through libsrt: byte-identical, both ways, in every mode.

The matrix is {peer} x {publish, read} x {caller, listener, rendezvous} x {plain, AES} x {line}, and
what it found is printed (`pytest -s`). The small scale takes each pair of two columns at least
once, the full scale every cell.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import product

import pytest

from protocols.srt.endpoint import Endpoint
from protocols.srt.link import Channel
from protocols.srt.options import ListenerOptions, Options, SecurityOptions
from protocols.srt.reception import IncomingCall
from tests.support.ports import free_port
from tests.support.srt_peers import (
    FFMPEGS,
    PASSPHRASE,
    TOOLS,
    Collector,
    Output,
    cut,
    feed,
    numbers,
    receiving,
    running,
    send,
    sending,
    url_of,
)
from tests.support.udp_proxy import Line, proxied

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

COUNT = 300  # packets
EXTRA = 20  # more, as srt-live-transmit keeps the last ones to itself
INTERVAL = 0.003  # seconds between two: 3.5 Mbit/s
LATENCY_MS = 200
LINES = {"clean": None, "2%-40ms": Line(delay=0.02, loss=0.02)}
KEYS = {"plain": 0, "AES-128": 16, "AES-256": 32}
CONNECT_LIMIT = 8.0
END_LIMIT = 4.0


@dataclass(frozen=True)
class Cell:
    """One combination; `role` is the peer's."""

    tool: str
    direction: str  # publish: the peer sends
    role: str
    key: str
    line: str

    @property
    def name(self) -> str:
        return "-".join((self.tool, self.direction, self.role, self.key, self.line))

    @property
    def options(self) -> Options:
        key = KEYS[self.key]
        secret = SecurityOptions(PASSPHRASE, key) if key else SecurityOptions()
        is_caller = self.role == "caller"  # the listener takes the caller's length of key
        if is_caller and key:
            secret = SecurityOptions(PASSPHRASE)
        return Options(receive_latency_ms=LATENCY_MS, security=secret)

    def url(self, place: str, **more: object) -> str:
        options: dict[str, object] = {"mode": self.role, "latency": LATENCY_MS, **more}
        if KEYS[self.key]:
            options |= {"passphrase": PASSPHRASE, "pbkeylen": KEYS[self.key]}
        if self.role == "caller":
            options["streamid"] = self.stream_id
        return url_of(self.tool, place, **options)

    @property
    def stream_id(self) -> str:
        """GStreamer takes # for the end of the URL."""
        return "publish:cam" if self.tool == "gst" else "#!::r=cam,m=publish"


def is_possible(cell: Cell) -> bool:
    if cell.role != "rendezvous":
        return True
    # ffmpeg cannot say where it calls from; a line in between has one place only.
    return cell.tool in ("slt", "gst") and cell.line == "clean"


CELLS = [
    cell
    for cell in (
        Cell(*values)
        for values in product(
            TOOLS, ("publish", "read"), ("caller", "listener", "rendezvous"), KEYS, LINES
        )
    )
    if is_possible(cell)
]


def pairwise(cells: list[Cell]) -> list[Cell]:
    """Few cells that hold every pair of two columns that some cell holds."""

    def pairs(cell: Cell) -> set[tuple[int, str, int, str]]:
        values = (cell.tool, cell.direction, cell.role, cell.key, cell.line)
        return {(i, values[i], j, values[j]) for i in range(5) for j in range(i)}

    wanted = set().union(*map(pairs, cells))
    chosen: list[Cell] = []
    while wanted:
        best = max(cells, key=lambda cell: len(pairs(cell) & wanted))
        chosen.append(best)
        wanted -= pairs(best)
    return chosen


@contextlib.asynccontextmanager
async def connection(cell: Cell, handler: Collector) -> AsyncIterator[tuple[Endpoint, list[str]]]:
    """Our end, and the command of the other one."""
    make = sending if cell.direction == "publish" else receiving
    line = LINES[cell.line]
    async with contextlib.AsyncExitStack() as stack:
        if cell.role == "caller":
            endpoint = Endpoint.bind("127.0.0.1", 0)
            stack.callback(endpoint.close)

            def called(call: IncomingCall) -> None:
                assert call.request.stream_id == cell.stream_id
                call.accept(cell.options, handler)

            endpoint.listen(ListenerOptions(), called)
            port = endpoint.port
            if line is not None:
                proxy = await stack.enter_async_context(proxied(("127.0.0.1", port), line))
                port = proxy.port
            yield endpoint, make(cell.tool, cell.url(f"127.0.0.1:{port}"))
            return
        port = free_port(socket.SOCK_DGRAM)
        if cell.role == "rendezvous":
            endpoint = Endpoint.bind("127.0.0.2", port)
            stack.callback(endpoint.close)
            endpoint.meet(("127.0.0.1", port), cell.options, handler)
            names = ("localaddress", "localport") if cell.tool == "gst" else ("adapter", "port")
            local = dict(zip(names, ("127.0.0.1", port), strict=True))
            yield endpoint, make(cell.tool, cell.url(f"127.0.0.2:{port}", **local))
            return
        endpoint = Endpoint.bind("127.0.0.1", 0)
        stack.callback(endpoint.close)
        target = ("127.0.0.1", port)
        if line is not None:
            proxy = await stack.enter_async_context(proxied(target, line))
            target = ("127.0.0.1", proxy.port)
        options = cell.options
        endpoint.call(target, options, handler)
        yield endpoint, make(cell.tool, cell.url(f"127.0.0.1:{port}"))


async def run(cell: Cell) -> str:
    """What is wrong with a cell; empty: nothing."""
    handler = Collector()
    async with connection(cell, handler) as (_, command), running(command) as program:
        output = Output(program)
        is_publish = cell.direction == "publish"
        # ffmpeg reads before it connects; the others drop what comes before.
        feeding = feed(program, COUNT, INTERVAL) if is_publish else None
        early = asyncio.ensure_future(feeding) if feeding and cell.tool in FFMPEGS else None
        link = await connected(handler)
        if link is None:
            if early is not None:
                early.cancel()
            elif feeding is not None:
                feeding.close()
            assert program.stderr is not None
            with contextlib.suppress(ProcessLookupError):
                program.kill()
            said = await program.stderr.read()
            return f"not connected: {handler.end} {said[-300:].decode(errors='replace')}"
        await asyncio.sleep(0.2)  # a program may be slower than its socket
        if feeding is not None:
            await (early or feeding)
        else:
            await send(link, COUNT + EXTRA, INTERVAL)

        def got() -> list[int]:
            # ffmpeg cuts where its pipe was empty for a moment: what counts are the bytes.
            return numbers(cut(b"".join(handler.payloads) if is_publish else output.data))[:COUNT]

        for _ in range(int(END_LIMIT / 0.05)):
            await asyncio.sleep(0.05)
            if len(got()) >= COUNT:
                break
        output.stop()
    found = got()
    if found == list(range(COUNT)):
        return ""
    missing = sorted(set(range(COUNT)) - set(found))
    return f"{len(found)} packets, missing {missing[:10]} ({len(missing)}), lost {handler.lost}"


async def connected(handler: Collector) -> Channel | None:
    for _ in range(int(CONNECT_LIMIT / 0.02)):
        await asyncio.sleep(0.02)
        if handler.link is not None or handler.end is not None:
            break
    return handler.link


async def report(cells: list[Cell], at_once: int) -> dict[str, str]:
    """Run cells, some at a time, and print what was found."""
    gate = asyncio.Semaphore(at_once)
    found: dict[str, str] = {}

    async def one(cell: Cell) -> None:
        async with gate:
            found[cell.name] = await run(cell)
            if found[cell.name]:  # a loaded machine gets a second chance
                found[cell.name] = await run(cell)
            sys.stdout.write(f"{cell.name:48} {found[cell.name] or 'identical'}\n")

    await asyncio.gather(*map(one, cells))
    return {name: problem for name, problem in found.items() if problem}


async def test_pairs_of_the_matrix() -> None:
    assert await report(pairwise(CELLS), 3) == {}


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_whole_matrix() -> None:
    assert await report(CELLS, 3) == {}
