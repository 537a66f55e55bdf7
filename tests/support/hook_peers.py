"""What hooks meet: receivers that answer or misbehave, programs that tell of themselves, time."""

import asyncio
import heapq
import json
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from aiohttp import web

from flux.core.hooks.timing import Timing

PATIENCE = 10.0  # seconds that a test waits for anything


class Changes:
    """Something to wait on: whoever changes something says so."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def tell(self) -> None:
        self._changed.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Return once `condition` holds; it is looked at after each change."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class VirtualTime(Changes):
    """A clock that stands still until `advance`; `delays` are all sleeps that were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.delays: list[float] = []
        self._numbers = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._ids = count(1)

    @property
    def timing(self) -> Timing:
        return Timing(
            now=lambda: self.now,
            wall=lambda: 1_800_000_000 + self.now,
            sleep=self.sleep,
            rand=lambda: 0.5,  # no jitter
            make_id=lambda: f"id-{next(self._ids)}",
        )

    async def sleep(self, delay: float) -> None:
        done = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + delay, next(self._numbers), done))
        self.delays.append(delay)
        self.tell()
        await done

    def asleep(self) -> list[float]:
        """The seconds that those who sleep still want, the shortest first."""
        return sorted(due - self.now for due, _, done in self._sleepers if not done.done())

    def advance(self, seconds: float) -> None:
        self.now += seconds
        while self._sleepers and self._sleepers[0][0] <= self.now:
            _, _, done = heapq.heappop(self._sleepers)
            if not done.done():
                done.set_result(None)


@dataclass
class Post:
    """What a receiver got."""

    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value


@dataclass
class Receiver:
    """A well-behaved service; `statuses` are answered one after the other, then 204."""

    url: str = ""
    posts: list[Post] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)

    async def got(self, posts: int) -> None:
        await self.changes.until(lambda: len(self.posts) >= posts)

    async def handle(self, request: web.Request) -> web.Response:
        self.posts.append(Post(dict(request.headers), await request.read()))
        status = self.statuses.pop(0) if self.statuses else 204
        self.changes.tell()
        headers = {"Location": self.url} if 300 <= status < 400 else {}
        return web.Response(status=status, headers=headers)


@asynccontextmanager
async def receiver(*statuses: int) -> AsyncIterator[Receiver]:
    """A service of aiohttp on a port of the system's choice."""
    peer = Receiver(statuses=list(statuses))
    app = web.Application()
    app.router.add_post("/hook", peer.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    peer.url = f"http://{host}:{port}/hook"
    try:
        yield peer
    finally:
        await runner.cleanup()


Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class BadReceiver:
    """A service that misbehaves; knows how many connections there were and still are."""

    url: str = ""
    opened: int = 0
    open_now: int = 0
    most: int = 0
    changes: Changes = field(default_factory=Changes)


@asynccontextmanager
async def bad_receiver(behave: Behaviour) -> AsyncIterator[BadReceiver]:
    """A TCP server that reads the request's head and then does what `behave` does."""
    peer = BadReceiver()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer.opened += 1
        peer.open_now += 1
        peer.most = max(peer.most, peer.open_now)
        peer.changes.tell()
        try:
            await reader.readuntil(b"\r\n\r\n")
            await behave(reader, writer)
            await gone(reader)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            peer.open_now -= 1
            peer.changes.tell()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    peer.url = f"http://{host}:{port}/hook"
    try:
        yield peer
        await peer.changes.until(lambda: peer.open_now == 0)  # nobody holds a connection
    finally:
        server.close()
        await server.wait_closed()


async def gone(reader: asyncio.StreamReader) -> None:
    """Return once the other side has closed."""
    while await reader.read(65536):
        pass


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say nothing."""


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Cut the connection with a RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close without an answer."""
    writer.close()


def answering(data: bytes) -> Behaviour:
    """Send these bytes, whatever they are, and nothing more."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return behave


def repeating(first: bytes, again: bytes) -> Behaviour:
    """Send `first`, then `again` for ever."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(0)

    return behave


# A program of a hook: it tells the ear what it was started with, then does what BODY says.
TELL = (
    "import json,os,signal,socket,sys,time;"
    "s=socket.create_connection(('127.0.0.1',int(os.environ['EAR'])));"
    "s.sendall(json.dumps([os.getpid(),sys.argv[1:],dict(os.environ)]).encode()+b'\\n');"
)


def program(body: str = "pass", *arguments: str) -> list[str]:
    """The argv of a program that tells the ear and then runs `body`."""
    return [sys.executable, "-I", "-S", "-c", TELL + body, *arguments]


@dataclass
class Told:
    """One process, as it told of itself."""

    pid: int
    arguments: list[str]
    environment: dict[str, str]
    alive: bool = True
    received: bytes = b""


@dataclass
class Ear:
    """Hears processes: each connects when it begins, and its connection ends with it."""

    port: int = 0
    told: list[Told] = field(default_factory=list)
    most: int = 0  # alive at one time
    changes: Changes = field(default_factory=Changes)

    @property
    def env(self) -> dict[str, str]:
        return {"EAR": str(self.port)}

    @property
    def alive(self) -> int:
        return sum(each.alive for each in self.told)

    async def heard(self, processes: int) -> None:
        await self.changes.until(lambda: len(self.told) >= processes)

    async def silence(self) -> None:
        """Return once no process lives."""
        await self.changes.until(lambda: not self.alive)


@asynccontextmanager
async def ear() -> AsyncIterator[Ear]:
    """Listens to processes; at the end none may be left."""
    listener = Ear()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pid, arguments, environment = json.loads(await reader.readline())
        told = Told(pid, arguments, environment)
        listener.told.append(told)
        listener.most = max(listener.most, listener.alive)
        listener.changes.tell()
        try:
            while data := await reader.read(65536):
                told.received += data
                listener.changes.tell()
        except ConnectionError:
            pass
        told.alive = False
        listener.changes.tell()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    listener.port = server.sockets[0].getsockname()[1]
    try:
        yield listener
        await listener.silence()
    finally:
        server.close()
        await server.wait_closed()
