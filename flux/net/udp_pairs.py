"""The UDP sockets of one media session: a pair a track, RTP and RTCP, read by the event loop."""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

from flux.base.errors import PeerError
from flux.net.multicast import bind_receiver, configure_sender
from flux.net.udp import Address, SharedUdpSocket, bind_ports

OnDatagrams = Callable[[int, float, Address, list[bytes]], None]  # channel, arrival, sender


class UdpPairs:
    """Channel 2i is the RTP socket of pair i, 2i + 1 its RTCP socket."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._on_datagrams: OnDatagrams | None = None  # while they are read
        self._sockets: list[SharedUdpSocket] = []
        self._raw: list[socket.socket] = []

    def __len__(self) -> int:
        """How many pairs there are."""
        return len(self._sockets) // 2

    @property
    def is_clamped(self) -> bool:
        """The kernel gave less receive buffer than was asked for (net.core.rmem_max)."""
        return any(each.is_clamped for each in self._sockets)

    @property
    def errors(self) -> int:
        """Errors of the system so far."""
        return sum(each.errors for each in self._sockets)

    def bind(self, family: int, local: tuple[Any, ...], buffer_bytes: int) -> tuple[int, int]:
        """Add a pair on an even port and the odd one after it, RFC 3550 section 11; the ports.

        `local` is a socket address of which only the port is replaced. Raises `PeerError`
        `no-udp-ports`.
        """
        try:
            even, odd = bind_ports(family, local)
        except OSError as error:
            raise PeerError("no-udp-ports", detail=str(error)) from error
        self._add(even, buffer_bytes)
        self._add(odd, buffer_bytes)
        return int(even.getsockname()[1]), int(odd.getsockname()[1])

    def join(
        self,
        group: str,
        ports: tuple[int, int],
        *,
        source: str,
        ttl: int,
        interface: str,
        buffer_bytes: int,
    ) -> None:
        """Add a pair that hears a multicast group, from `source` alone if that is an address.

        What is sent (RTCP) goes as far as `ttl`. Raises `PeerError` with the reasons of
        `flux.net.multicast`.
        """
        sources = (source,) if source else ()
        bound: list[socket.socket] = []
        try:
            for port in ports:
                sock, _ = bind_receiver(group, port, sources=sources, interface=interface)
                bound.append(sock)
                configure_sender(sock, ttl=ttl, interface=interface, loopback=True)
        except PeerError:
            for sock in bound:
                sock.close()
            raise
        for sock in bound:
            self._add(sock, buffer_bytes)

    def socket_of(self, channel: int) -> socket.socket:
        """The socket of a channel, for who sends through it; it stays ours."""
        return self._raw[channel]

    def send(self, channel: int, data: bytes, host: str, port: int) -> None:
        """Send one datagram; what the system refuses is counted and dropped."""
        self._sockets[channel].send(data, (host, port))

    def read(self, on_datagrams: OnDatagrams | None) -> None:
        """Listen, or with None no more for now: the kernel keeps what comes meanwhile."""
        if (on_datagrams is None) is (self._on_datagrams is None) or not self._sockets:
            return
        self._on_datagrams = on_datagrams
        for channel, each in enumerate(self._sockets):
            if on_datagrams is not None:
                self._loop.add_reader(each.fileno(), self._on_readable, each, channel)
            else:
                self._loop.remove_reader(each.fileno())

    def close(self) -> None:
        """Give every socket back, and let go of who listened."""
        self.read(None)
        for each in self._sockets:
            each.close()
        self._sockets.clear()
        self._raw.clear()

    def _add(self, sock: socket.socket, buffer_bytes: int) -> None:
        self._sockets.append(SharedUdpSocket(sock, buffer_bytes))
        self._raw.append(sock)

    def _on_readable(self, sock: SharedUdpSocket, channel: int) -> None:
        on_datagrams = self._on_datagrams
        if on_datagrams is None:
            return
        for arrived, sender, datagrams in sock.receive(time.monotonic()):
            if not self._sockets:
                return  # closed from within
            on_datagrams(channel, arrived, sender, datagrams)
