"""The RTSP server: its listeners, its connections, its limits. `link/server.py` has the pump."""

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import Callable, Iterator

from flux.net.listener import listen_tcp
from flux.net.timer import DeadlineTimer
from flux.net.tls import ServerTls
from protocols.rtsp.link.server import Link, RtspPeer, ServerHandler, ServerLimits
from protocols.rtsp.server_options import ServerOptions
from protocols.rtsp.server_tunnel import Tunnel, TunnelRegistry

__all__ = ("RtspPeer", "RtspServer", "ServerHandler", "ServerLimits")


class RtspServer:
    """Owns listeners, connections and tunnels.

    By reason: `refusals` counts requests and connections that were refused, `drops` what was thrown
    away by connections that have ended; `all_drops` those that are there as well.
    """

    def __init__(
        self,
        handler: ServerHandler,
        options: ServerOptions,
        limits: ServerLimits,
        token: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self.handler = handler
        self.options = options
        self.limits = limits
        self.token = token
        self.peers: set[RtspPeer] = set()
        self.tunnels: TunnelRegistry[Link] = TunnelRegistry(
            limits.tunnel_timeout, lambda link: link.transport.abort()
        )
        self.refusals: Counter[str] = Counter()
        self.drops: Counter[str] = Counter()
        self._servers: list[asyncio.Server] = []
        self._links: set[Link] = set()
        self._by_address: Counter[str] = Counter()
        self._timer = DeadlineTimer(asyncio.get_running_loop(), self._expire_tunnels)
        self._empty = asyncio.Event()
        self._empty.set()
        self._is_stopping = False

    async def start(
        self, host: str | None, port: int, tls: ServerTls | None = None
    ) -> tuple[str, int]:
        """Listen; answers the address that was bound. Raises OSError if that fails.

        May be called several times: RTSP and RTSPS are two listeners of one server.
        """
        listener = await listen_tcp(
            lambda: Link(self, is_secure=tls is not None), host, port, ssl=tls
        )
        self._servers.append(listener)
        bound = listener.sockets[0].getsockname()
        return bound[0], bound[1]

    async def stop(self, timeout: float = 2.0) -> None:
        """Accept no more, end every session, cut what does not leave in time."""
        self._is_stopping = True
        for listener in self._servers:
            listener.close()
        for peer in tuple(self.peers):
            peer.close("server-stopping")
        for link in tuple(self._links):
            if link.peer is None:
                link.transport.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._empty.wait()
        for link in tuple(self._links):
            link.transport.abort()
        self._timer.cancel()

    @property
    def connections(self) -> int:
        """How many TCP connections there are."""
        return len(self._links)

    def all_drops(self) -> Counter[str]:
        """What was thrown away so far, by reason."""
        found = self.drops.copy()
        for peer in self.peers:
            peer.add_drops(found)
        return found

    def __iter__(self) -> Iterator[RtspPeer]:
        return iter(tuple(self.peers))

    # For the links.

    def admit(self, link: Link) -> bool:
        """Whether a new connection is within the limits; it is remembered either way."""
        self._links.add(link)
        self._empty.clear()
        self._by_address[link.address] += 1
        per_address = self.limits.connections_per_address
        return (
            not self._is_stopping
            and len(self._links) <= self.limits.connections
            and (not per_address or self._by_address[link.address] <= per_address)
        )

    def forget(self, link: Link) -> None:
        """A connection is gone."""
        if link in self._links:
            self._links.discard(link)
            self._by_address[link.address] -= 1
            if self._by_address[link.address] <= 0:
                del self._by_address[link.address]
            if not self._links:
                self._empty.set()

    def leave(self, tunnel: Tunnel[Link], link: Link) -> None:
        """A half of a tunnel is gone; without its GET the other half has no use."""
        self.tunnels.leave(tunnel, link)
        if tunnel.out is None and tunnel.inward is not None:
            tunnel.inward.transport.abort()

    def arm(self, now: float) -> None:
        """A tunnel waits for its other half."""
        self._timer.arm(self.tunnels.get_timer(), now)

    def _expire_tunnels(self, now: float) -> None:
        for link in self.tunnels.expired(now):
            self.refusals["tunnel-half"] += 1
            if link.peer is not None:
                link.peer.close("tunnel-half")
            else:
                link.transport.abort()
        self.arm(now)
