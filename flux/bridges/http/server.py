"""The media listener: HTTP/1.1 on httptools, for everything that players fetch (DESIGN 4.10)."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from flux.bridges.http.connection import HttpConnection
from flux.bridges.http.request import Request
from flux.net.listener import listen_tcp
from flux.net.tls import ServerTls
from flux.net.turns import Turn, Turns

BACKLOG = 4096
SWEEP_INTERVAL = 1.0


class MediaHandler(Protocol):
    """A protocol's bridge on this listener."""

    def handle(self, request: Request, connection: HttpConnection) -> bool:
        """Answer the request, now or later; False if the path is not this bridge's."""
        ...


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one peer may have."""

    connections: int = 20_000
    connections_per_address: int = 4096  # 0: no limit
    header_bytes: int = 16 << 10
    header_timeout: float = 10.0  # seconds


class HttpServer:
    """Owns the listening sockets and every connection on them."""

    def __init__(
        self,
        handlers: Sequence[MediaHandler],
        limits: HttpLimits,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._handlers = tuple(handlers)
        self.limits = limits
        self._connections: set[HttpConnection] = set()
        self._by_address: Counter[str] = Counter()
        self._servers: list[asyncio.Server] = []
        self._sweeper: Turn | None = None
        self._stopping = False
        self._empty = asyncio.Event()
        self._empty.set()
        self.now = now
        self.refusals: Counter[str] = Counter()  # by reason
        self.responses: Counter[int] = Counter()  # by status
        self.sent_bytes = 0  # bodies of whole responses; streams count their own

    async def start(
        self, host: str | None, port: int, tls: ServerTls | None = None
    ) -> tuple[str, int]:
        """Listen, on as many addresses as one likes; answers what was bound.

        Raises OSError if that fails.
        """
        server = await listen_tcp(
            lambda: HttpConnection(self), host, port, backlog=BACKLOG, ssl=tls
        )
        self._servers.append(server)
        if self._sweeper is None:
            self._sweep()
        bound = server.sockets[0].getsockname()
        return bound[0], bound[1]

    async def stop(self, timeout: float = 2.0) -> None:
        """Accept no more; let what is being sent go out, then cut what is left. Once is enough."""
        if self._stopping:
            return
        self._stopping = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for server in self._servers:
            server.close()
        for connection in tuple(self._connections):
            connection.finish()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._empty.wait()
        for connection in tuple(self._connections):
            connection.abort()

    @property
    def connections(self) -> int:
        """How many peers are connected."""
        return len(self._connections)

    def admit(self, connection: HttpConnection) -> bool:
        """Whether a new connection is within the limits; it is remembered either way."""
        self._connections.add(connection)
        self._empty.clear()
        self._by_address[connection.address] += 1
        per_address = self.limits.connections_per_address
        return (
            not self._stopping
            and len(self._connections) <= self.limits.connections
            and (not per_address or self._by_address[connection.address] <= per_address)
        )

    def forget(self, connection: HttpConnection) -> None:
        """A connection has ended."""
        if connection in self._connections:
            self._connections.discard(connection)
            self._by_address[connection.address] -= 1
            if self._by_address[connection.address] <= 0:
                del self._by_address[connection.address]
            if not self._connections:
                self._empty.set()

    def dispatch(self, request: Request, connection: HttpConnection) -> None:
        """Give a request to the first handler whose path it is."""
        for handler in self._handlers:
            if handler.handle(request, connection):
                return
        connection.refuse(404, "not-found")

    def count(self, reason: str) -> None:
        """Something was refused."""
        self.refusals[reason] += 1

    def count_response(self, status: int, size: int) -> None:
        """A response went out."""
        self.responses[status] += 1
        self.sent_bytes += size

    def _sweep(self) -> None:
        # First of all the next sweep: a fault in one must not be the last of all.
        turns = Turns.of(asyncio.get_running_loop())
        self._sweeper = turns.after(SWEEP_INTERVAL, SWEEP_INTERVAL / 2, self._sweep)
        now = self.now()
        for connection in tuple(self._connections):
            connection.sweep(now)
