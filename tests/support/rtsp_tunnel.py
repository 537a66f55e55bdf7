"""A scripted camera behind the HTTP tunnel: its own reader of requests and of base64."""

import asyncio
import base64
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self, cast

from tests.support.rtsp_peer import Camera

OK = b"HTTP/1.0 200 OK\r\nContent-Type: application/x-rtsp-tunnelled\r\n\r\n"


@dataclass(eq=False)
class Pair:
    """The two connections of one cookie."""

    camera: Camera
    down: asyncio.Transport | None = None
    up: asyncio.Transport | None = None


@dataclass(eq=False)
class TunnelServer:
    """Cameras behind tunnels on a loopback port. `get_reply`, `post_reply`: what HTTP answers."""

    make: Callable[[], Camera]
    context: ssl.SSLContext | None = None
    get_replies: list[bytes] = field(default_factory=list)  # in order; afterwards OK
    post_reply: bytes = b""
    heads: list[str] = field(default_factory=list)
    pairs: dict[str, Pair] = field(default_factory=dict)
    open: int = 0
    _server: asyncio.Server | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Half(self), "127.0.0.1", 0, ssl=self.context
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self.until(lambda: self.open == 0)

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def change(self) -> None:
        """Something happened."""
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is true."""
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class _Half(asyncio.Protocol):
    def __init__(self, server: TunnelServer) -> None:
        self._server = server
        self._data = b""
        self._pair: Pair | None = None
        self._is_up = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.open += 1

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._pair is None:
            head, mark, self._data = self._data.partition(b"\r\n\r\n")
            if not mark:
                self._data = head
                return
            self._begin(head.decode())
        if self._is_up and self._pair is not None:
            whole = len(self._data) // 4 * 4
            groups = [self._data[i : i + 4] for i in range(0, whole, 4)]
            self._data = self._data[whole:]
            plain = b"".join(base64.b64decode(group, validate=True) for group in groups)
            answer = self._pair.camera.receive(plain)
            if answer and self._pair.down is not None:
                self._pair.down.write(answer)
        self._server.change()

    def _begin(self, head: str) -> None:
        server = self._server
        server.heads.append(head)
        cookie = re.search(r"(?im)^x-sessioncookie: *(\S+)", head)
        assert cookie is not None, head
        if head.startswith("GET"):
            reply = server.get_replies.pop(0) if server.get_replies else OK
            self._transport.write(reply)
            if reply.split()[1:2] == [b"200"]:
                pair = self._pair = Pair(server.make(), self._transport)
                server.pairs[cookie[1]] = pair
            else:
                self._transport.close()
            return
        self._pair = server.pairs[cookie[1]]
        self._pair.up = self._transport
        self._is_up = True
        if server.post_reply:
            self._transport.write(server.post_reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.open -= 1
        self._server.change()
