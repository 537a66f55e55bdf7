"""A scripted RTSP client on loopback, and the pairs of UDP ports that it names."""

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import cast

from tests.support.rtsp_app import Reply, frame, parse_replies, request

PATIENCE = 4.0  # real seconds for anything that is waited for
HEAD_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


async def until(condition: Callable[[], bool], what: str = "") -> None:
    """Wait for something; AssertionError if it does not come."""
    end = time.perf_counter() + PATIENCE
    while not condition():
        assert time.perf_counter() < end, what or "it does not come"
        await asyncio.sleep(0.001)


@dataclass(frozen=True)
class Came:
    """One thing that came within a connection."""

    reply: Reply | None = None
    channel: int = -1
    data: bytes = b""


class Caller(asyncio.Protocol):
    """One connection. `came` has replies and interleaved frames in the order of their arrival."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.came: list[Came] = []
        self.is_closed = False
        self.transport: asyncio.Transport
        self._buffer = b""
        self._numbers = count(1)

    @classmethod
    async def call(
        cls, url: str, port: int, tls: ssl.SSLContext | None = None, room: int = 0
    ) -> "Caller":
        """Connect; `room` bounds what the system takes in for a client that does not read."""
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if room:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        name = "localhost" if tls else None
        _, caller = await loop.create_connection(
            lambda: cls(url), sock=sock, ssl=tls, server_hostname=name
        )
        return caller

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._buffer:
            if self._buffer[:1] == b"$":
                size = 4 + int.from_bytes(self._buffer[2:4], "big")
                if len(self._buffer) < max(size, 4):
                    return
                self.came.append(Came(None, self._buffer[1], self._buffer[4:size]))
            else:
                head = self._buffer.find(b"\r\n\r\n")
                if head < 0:
                    return
                length = HEAD_LENGTH.search(self._buffer, 0, head + 2)
                size = head + 4 + (int(length[1]) if length else 0)
                if len(self._buffer) < size:
                    return
                self.came += [Came(reply) for reply in parse_replies(self._buffer[:size])]
            self._buffer = self._buffer[size:]

    # What came.

    @property
    def replies(self) -> list[Reply]:
        """Replies so far."""
        return [each.reply for each in self.came if each.reply is not None]

    def packets(self, channel: int) -> list[bytes]:
        """Interleaved packets of a channel so far."""
        return [each.data for each in self.came if each.channel == channel]

    # What is sent.

    def send(self, method: str, url: str = "", body: bytes = b"", **headers: object) -> None:
        """A request whose answer is not waited for."""
        headers.setdefault("CSeq", next(self._numbers))
        self.transport.write(request(method, url or self.url, body, **headers))

    def send_frame(self, channel: int, data: bytes) -> None:
        """An interleaved frame."""
        self.transport.write(frame(channel, data))

    async def ask(self, method: str, url: str = "", body: bytes = b"", **headers: object) -> Reply:
        """A request and its reply."""
        wanted = len(self.replies) + 1
        self.send(method, url, body, **headers)
        await self.until(lambda: len(self.replies) >= wanted, method)
        return self.replies[wanted - 1]

    async def until(self, condition: Callable[[], bool], what: str = "") -> None:
        """Wait for something that has to come before the connection ends."""
        await until(lambda: condition() or self.is_closed, what)
        assert condition(), f"closed before {what}"

    async def until_packets(self, channel: int, number: int) -> list[bytes]:
        """Wait for so many packets of a channel."""
        await self.until(
            lambda: len(self.packets(channel)) >= number, f"{number} packets of {channel}"
        )
        return self.packets(channel)

    async def set_up(self, *transports: str, session: str = "") -> str:
        """SETUP of the first tracks, one transport for each; the session's id."""
        for index, transport in enumerate(transports):
            url = f"{self.url}/trackID={index}"
            if session:
                reply = await self.ask("SETUP", url, Transport=transport, Session=session)
            else:
                reply = await self.ask("SETUP", url, Transport=transport)
            assert reply.status == 200, reply
            session = reply.session
        return session

    async def play(self, *transports: str) -> str:
        """A session that plays."""
        session = await self.set_up(*transports)
        reply = await self.ask("PLAY", Session=session)
        assert reply.status == 200, reply
        return session

    async def wait_closed(self) -> None:
        """The server closes the connection."""
        await until(lambda: self.is_closed, "the connection stays open")

    def hang_up(self) -> None:
        """Leave without a word."""
        self.transport.abort()

    async def leave(self) -> None:
        """Close."""
        self.transport.close()
        with suppress(AssertionError):
            await self.wait_closed()


class UdpPair:
    """Two ports of one host: what came to each, with its sender."""

    def __init__(self, host: str = "127.0.0.1", ports: tuple[int, int] = (0, 0)) -> None:
        self.host = host
        self.heard: tuple[list[tuple[bytes, tuple[str, int]]], ...] = ([], [])
        self._sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        loop = asyncio.get_running_loop()
        for index, sock in enumerate(self._sockets):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            sock.bind((host, ports[index]))
            sock.setblocking(False)
            loop.add_reader(sock.fileno(), self._hear, index)

    def _hear(self, index: int) -> None:
        with suppress(BlockingIOError):
            while True:
                self.heard[index].append(self._sockets[index].recvfrom(65536))

    @property
    def ports(self) -> tuple[int, int]:
        """Of RTP and RTCP."""
        first, second = (int(sock.getsockname()[1]) for sock in self._sockets)
        return first, second

    @property
    def offer(self) -> str:
        """The Transport header that names them."""
        return "RTP/AVP;unicast;client_port={}-{}".format(*self.ports)

    @property
    def rtp(self) -> list[bytes]:
        """RTP packets that came."""
        return [data for data, _ in self.heard[0]]

    @property
    def rtcp(self) -> list[bytes]:
        """RTCP packets that came."""
        return [data for data, _ in self.heard[1]]

    def send(self, index: int, data: bytes, port: int) -> None:
        """Send from the RTP (0) or the RTCP (1) port to a port of 127.0.0.1."""
        self._sockets[index].sendto(data, ("127.0.0.1", port))

    def close(self) -> None:
        """Close both."""
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()
