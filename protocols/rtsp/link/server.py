"""One TCP connection of the RTSP server, and the client behind it.

A pump and nothing more: bytes in, packets and events to the bridge, bytes out, one timer for each
client. The clock is read here, once a turn.

Media and replies share a transport and nobody stands between them: the bridge's feed writes whole
`$` frames straight to `RtspPeer.transport`, the pump writes whole replies, both on the loop. So
order is all there is to care for: `answer` writes its reply before it returns, media that it let go
comes after it; a TEARDOWN is told to the bridge before its reply is written.
"""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Protocol, cast

from flux.base.addresses import plain_address
from flux.base.errors import WireError
from flux.net.flood import FloodGuard
from flux.net.timer import DeadlineTimer
from protocols.rtsp.server_connection import ServerConnection
from protocols.rtsp.server_events import Asked, ConnectionEnded, Reply, SessionEnded, TrackEnded
from protocols.rtsp.server_options import ServerOptions
from protocols.rtsp.server_tunnel import (
    GET_REPLY,
    HeadReader,
    HttpHead,
    Tunnel,
    TunnelInput,
    TunnelRegistry,
    looks_like_http,
)

MAX_OWED_BYTES = 256 * 1024  # replies that a peer does not take
MAX_STRAY_BYTES = 64 * 1024  # on a GET, where nothing is to come
LINGER = 2.0  # seconds that the last bytes have to leave

BUSY = b"RTSP/1.0 503 Service Unavailable\r\nConnection: close\r\n\r\n"
NO_TUNNEL = b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
# A dead peer is found after two minutes, where nothing else finds it.
KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))


class ServerHandler(Protocol):
    """The bridge."""

    def on_request(self, peer: "RtspPeer", event: Asked) -> None:
        """A question: `peer.answer(event.handle, reply)`, now or later."""

    def on_ended(self, peer: "RtspPeer", event: SessionEnded | TrackEnded) -> None:
        """A session is over, or one track of it: stop its media before this returns."""

    def on_packets(self, peer: "RtspPeer", packets: list[tuple[int, bytes]], now: float) -> None:
        """Interleaved packets (channel, payload) in the order of arrival."""

    def on_closed(self, peer: "RtspPeer", reason: str) -> None:
        """The last call about a peer; each of its sessions had its `on_ended`."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What all peers and one peer may have."""

    connections: int = 10_000
    connections_per_address: int = 1024  # 0: no limit
    max_bytes_per_second: int = 32 * 1024 * 1024  # what floods is read no faster
    tunnel_timeout: float = 10.0  # seconds that one half waits for the other


class Host(Protocol):
    """The server, as its connections see it."""

    handler: ServerHandler
    options: ServerOptions
    limits: ServerLimits
    token: Callable[[], str]
    peers: "set[RtspPeer]"
    tunnels: "TunnelRegistry[Link]"
    refusals: Counter[str]
    drops: Counter[str]

    def admit(self, link: "Link") -> bool:
        """Whether a new connection is within the limits."""

    def forget(self, link: "Link") -> None:
        """A connection is gone."""

    def leave(self, tunnel: "Tunnel[Link]", link: "Link") -> None:
        """A half of a tunnel is gone."""

    def arm(self, now: float) -> None:
        """A tunnel waits for its other half."""


class RtspPeer:
    """One client: a connection, or the two halves of an HTTP tunnel."""

    def __init__(self, server: Host, link: "Link", *, is_tunnelled: bool) -> None:
        self._server = server
        self._link = link
        self._machine = ServerConnection(
            server.options, server.token, link.address, time.monotonic(), _date, server.refusals
        )
        self._timer = DeadlineTimer(asyncio.get_running_loop(), self._on_due)
        self._is_pumping = False
        self._owed_bytes = 0  # replies since the transport was last empty enough
        self._has_ended = False
        self.is_tunnelled = is_tunnelled
        server.peers.add(self)
        self._arm(time.monotonic())

    @property
    def address(self) -> str:
        """The client's address; one of IPv4 is written as such."""
        return self._link.address

    @property
    def local_address(self) -> str:
        """The address of ours that the client has reached."""
        return self._link.local_address

    @property
    def is_secure(self) -> bool:
        """The connection is TLS."""
        return self._link.is_secure

    @property
    def transport(self) -> asyncio.Transport:
        """Where media may be written, whole frames at a time."""
        return self._link.transport

    @property
    def drops(self) -> Counter[str]:
        """What its machine has thrown away so far, by reason; the server's get it at the end."""
        return +self._machine.drops

    def add_drops(self, found: Counter[str]) -> None:
        """Add them to a count of all peers; there may be thousands."""
        for reason, count in self._machine.drops.items():
            if count:
                found[reason] += count

    @property
    def sessions(self) -> tuple[str, ...]:
        """The ids of its sessions."""
        return self._machine.sessions

    # Verbs of the bridge; see `ServerConnection`.

    def answer(self, handle: int, reply: Reply) -> bool:
        """Answer a question; the reply is written when this returns."""
        now = time.monotonic()
        is_done = self._machine.answer(handle, reply, now)
        self._flush()
        self._pump(now)
        return is_done

    def touch(self, session_id: str, now: float) -> None:
        """RTCP of a session came by UDP."""
        self._machine.touch(session_id, now)

    def media_received(self, session_id: str, now: float) -> None:
        """A publisher's packet came by UDP."""
        self._machine.media_received(session_id, now)

    def end_session(self, session_id: str, reason: str) -> None:
        """Forget a session; `on_ended` is called before this returns, but from within a call."""
        now = time.monotonic()
        self._machine.end_session(session_id, reason, now)
        self._pump(now)

    def close(self, reason: str) -> None:
        """End everything; `on_closed` follows."""
        now = time.monotonic()
        self._machine.close(reason, now)
        self._pump(now)

    # Verbs of the links.

    def receive(self, data: bytes, now: float) -> None:
        """Bytes of the client."""
        self._machine.receive_data(data, now)
        self._pump(now)

    def lost(self) -> None:
        """The connection is gone."""
        now = time.monotonic()
        self._machine.receive_eof(now)
        self._pump(now)

    def drained(self) -> None:
        """The client has taken most of what was written."""
        self._owed_bytes = 0

    # Inside.

    def _on_due(self, now: float) -> None:
        self._machine.handle_timer(now)
        self._pump(now)

    def _pump(self, now: float) -> None:
        """Packets out, events out, bytes out, timer armed: after every input, in one place."""
        if self._is_pumping:
            return  # a verb called from a handler: the pump that called it goes on
        self._is_pumping = True
        machine, handler = self._machine, self._server.handler
        try:
            while True:
                event = machine.next_event()
                packets = machine.take_packets()
                if packets:
                    handler.on_packets(self, packets, now)
                elif event is None:
                    break
                if event is None:
                    continue  # what the packets brought about may be an event
                if isinstance(event, Asked):
                    handler.on_request(self, event)
                elif isinstance(event, ConnectionEnded):
                    self._end(event.reason)
                else:
                    handler.on_ended(self, event)
        finally:
            self._is_pumping = False
        self._flush()
        if self._has_ended:
            self._link.finish()
        else:
            self._arm(now)

    def _arm(self, now: float) -> None:
        self._timer.arm(self._machine.get_timer(), now)

    def _flush(self) -> None:
        data = self._machine.data_to_send()
        if not data or self._link.transport.is_closing():
            return
        self._link.transport.write(data)
        if self._link.is_full:
            self._owed_bytes += len(data)
            if self._owed_bytes > MAX_OWED_BYTES:
                self._owed_bytes = 0
                self._server.refusals["rtsp-peer-not-reading"] += 1
                self._link.transport.abort()

    def _end(self, reason: str) -> None:
        self._has_ended = True
        self._timer.close()
        self._server.peers.discard(self)
        self._server.drops.update(+self._machine.drops)
        self._server.handler.on_closed(self, reason)


class Link(asyncio.Protocol):
    """One TCP connection. What begins with GET or POST is half of a tunnel, all else is RTSP."""

    def __init__(self, server: Host, *, is_secure: bool) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._flood = FloodGuard(server.limits.max_bytes_per_second)
        self._patience: asyncio.TimerHandle | None = None
        self._resume: asyncio.TimerHandle | None = None
        self._opening = b""  # until it is known what it is
        self._head: HeadReader | None = None
        self._input: TunnelInput | None = None  # of a POST
        self._tunnel: Tunnel[Link] | None = None
        self._stray_bytes = 0
        self._is_refused = False
        self.peer: RtspPeer | None = None
        self.is_secure = is_secure
        self.is_full = False  # the transport holds more than it likes to
        self.address = self.local_address = ""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is here."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self.address = plain_address(peer[0]) if isinstance(peer, tuple) else ""
        self.local_address = plain_address(local[0]) if isinstance(local, tuple) else ""
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in KEEPALIVE:
                if hasattr(socket, name):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        if not self._server.admit(self):
            self._refuse(BUSY, "rtsp-too-many-connections")
            return
        self._wait(self._server.options.idle_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        del exc
        for handle in (self._patience, self._resume):
            if handle is not None:
                handle.cancel()
        self._server.forget(self)
        if self._tunnel is not None:
            self._server.leave(self._tunnel, self)
        peer, self.peer = self.peer, None  # which knows this link: neither is to keep the other
        if peer is not None:
            peer.lost()

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        now = time.monotonic()
        if self._is_refused:
            return
        if self._input is not None:
            self._receive_base64(self._input, data, now)
        elif self.peer is None:
            self._receive_opening(data, now)
        elif self._tunnel is None:
            self.peer.receive(data, now)
        else:
            self._stray_bytes += len(data)
            if self._stray_bytes > MAX_STRAY_BYTES:
                self.peer.close("tunnel-flood")
        rest = self._flood.take(len(data), now)
        if rest > 0 and self._resume is None and not self.transport.is_closing():
            self._server.drops["rtsp-flood-pause"] += 1
            self.transport.pause_reading()
            self._resume = self._loop.call_later(rest, self._resume_reading)

    def pause_writing(self) -> None:
        """The transport holds more than it likes to."""
        self.is_full = True

    def resume_writing(self) -> None:
        """The client has taken most of it."""
        self.is_full = False
        if self.peer is not None:
            self.peer.drained()

    def finish(self) -> None:
        """Close after what is written has left, and not much later."""
        if self._tunnel is not None and self._tunnel.inward is not None:
            self._tunnel.inward.transport.abort()
        if not self.transport.is_closing():
            self.transport.close()
            self._wait(LINGER)

    def _receive_opening(self, data: bytes, now: float) -> None:
        if self._head is None:
            self._opening += data
            is_http = looks_like_http(self._opening)
            if is_http is None:
                self._wait(self._server.options.request_timeout)
                return
            data, self._opening = self._opening, b""
            if not is_http:
                self._wait(None)
                self.peer = RtspPeer(self._server, self, is_tunnelled=False)
                self.peer.receive(data, now)
                return
            self._head = HeadReader()
            self._wait(self._server.options.request_timeout)
        try:
            head = self._head.receive(data)
            if head is not None:
                self._wait(None)
                self._tunnel = self._server.tunnels.join(head, self.address, self, now)
                self._server.arm(now)
                self._begin(self._tunnel, head, self._head.rest, now)
        except WireError as error:
            self._refuse(NO_TUNNEL, error.reason)

    def _begin(self, tunnel: Tunnel["Link"], head: HttpHead, rest: bytes, now: float) -> None:
        """This is one half of a tunnel."""
        if head.method == "POST":
            self._input = TunnelInput(head)
            self._receive_base64(self._input, rest, now)
            return
        self.transport.write(GET_REPLY)
        self.peer = RtspPeer(self._server, self, is_tunnelled=True)
        early, tunnel.early = tunnel.early, []
        for data in early:
            self.peer.receive(data, now)

    def _receive_base64(self, body: TunnelInput, data: bytes, now: float) -> None:
        tunnel = self._tunnel
        assert tunnel is not None  # a POST has joined one
        decoded = body.receive(data)
        if tunnel.out is None:
            try:
                tunnel.keep(decoded)
            except WireError as error:
                self._refuse(NO_TUNNEL, error.reason)
        elif decoded and tunnel.out.peer is not None:
            tunnel.out.peer.receive(decoded, now)
        if body.fault:
            self._server.refusals[body.fault] += 1
            if tunnel.out is not None and tunnel.out.peer is not None:
                tunnel.out.peer.close(body.fault)
            self.transport.abort()

    def _refuse(self, reply: bytes, reason: str) -> None:
        self._server.refusals[reason] += 1
        self._is_refused = True
        self.transport.write(reply)
        self.transport.close()
        self._wait(LINGER)

    def _wait(self, seconds: float | None) -> None:
        """Cut the connection after that long."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if seconds is not None:
            self._patience = self._loop.call_later(seconds, self._out_of_patience)

    def _out_of_patience(self) -> None:
        self._patience = None
        if not self.transport.is_closing():
            self._server.refusals["rtsp-silent-connection"] += 1
        self.transport.abort()

    def _resume_reading(self) -> None:
        self._resume = None
        if not self.transport.is_closing():
            self.transport.resume_reading()


def _date() -> str:
    """RFC 2326 section 12.18."""
    return formatdate(usegmt=True)
