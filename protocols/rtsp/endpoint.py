"""A client's machine on a connection: TCP, TLS, or both within HTTP.

A pump and nothing more: bytes in, events out, bytes out, one timer. The clock is read here, once a
turn. What a peer can make us hold is bounded: reads are handed on at once, writes beyond a limit
end the connection, and a server that floods is read no faster than `max_bytes_per_second`.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import Counter
from typing import cast

from flux.net import tcp
from flux.net.flood import FloodGuard
from flux.net.timer import DeadlineTimer
from flux.net.tls import ClientTls
from flux.net.udp_pairs import UdpPairs
from protocols.rtsp import events
from protocols.rtsp.auth import Authenticator
from protocols.rtsp.dialogue import Dialogue
from protocols.rtsp.options import ClientOptions, TransportChoice
from protocols.rtsp.transport import PortPair
from protocols.rtsp.tunnel.client import open_tunnel
from protocols.rtsp.url import Url

MAX_UNSENT_BYTES = 256 * 1024
MAX_RTCP_BYTES = 65_535


class Nobody:
    """In the place of an owner that has had its `Closed`: a client that is over knows none."""

    def on_event(self, event: events.Event) -> None:
        """Nothing follows `Closed`."""

    def on_packets(self, packets: list[tuple[int, bytes]], now: float) -> None:
        """As above."""

    def on_report(self, track_index: int, data: bytes, now: float) -> None:
        """As above."""


NOBODY = Nobody()


class ClientEndpoint(asyncio.Protocol, ABC):
    """One connection of a client. Call `connect`; the event `Closed` is the end."""

    max_unsent_bytes: int | None = MAX_UNSENT_BYTES  # of ours, then the peer is given up

    def __init__(
        self, machine: Dialogue, url: Url, options: ClientOptions, authenticator: Authenticator
    ) -> None:
        self._dialogue = machine
        self._target = (url, options, authenticator)
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._timer = DeadlineTimer(self._loop, self._on_due)
        self._flood = FloodGuard(options.max_bytes_per_second)
        self._resume: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None  # with the last bytes
        self._udp = UdpPairs(self._loop)
        self._is_pumping = False
        self._is_closed = False
        self._lost = asyncio.Event()  # nothing of the connection is left
        self.drops: Counter[str] = Counter()

    @property
    def junk_bytes(self) -> int:
        """Bytes of the connection that were neither message nor frame."""
        return self._dialogue.junk_bytes

    @property
    def is_buffer_clamped(self) -> bool:
        """The kernel gave the UDP sockets less buffer than was asked for (net.core.rmem_max)."""
        return self._udp.is_clamped

    # For the owner.

    async def connect(self) -> None:
        """Connect and begin. Raises `PeerError` with a named reason; no event comes then."""
        url, options, authenticator = self._target
        tls = ClientTls(options.fingerprint) if url.is_secure else None
        if options.transport is TransportChoice.HTTP:
            await open_tunnel(url, options, authenticator, tls, lambda: self)
            return
        timeout = options.connect_timeout
        await tcp.connect(url.host, url.effective_port, lambda: self, timeout=timeout, tls=tls)

    def close(self, reason: str) -> None:
        """End with TEARDOWN; `Closed(reason)` comes within `teardown_timeout`."""
        now = time.monotonic()
        self._dialogue.close(reason, now)
        self._pump(now)

    async def wait_closed(self) -> None:
        """After `Closed`: return once the last bytes have left, or are given up."""
        if self._transport is not None:
            await self._lost.wait()

    # For the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the session."""
        self._transport = cast(asyncio.Transport, transport)
        now = time.monotonic()
        if self._is_closed:  # closed before the connection stood
            transport.close()
            return
        self._dialogue.connect(now)
        self._pump(now)

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        now = time.monotonic()
        self._dialogue.receive_data(data, now)
        self._pump(now)
        self._count_flood(len(data), now)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._lost.set()
        if self._patience is not None:
            self._patience.cancel()
        now = time.monotonic()
        self._dialogue.receive_eof(now)
        self._pump(now)

    # What a subclass fills in.

    @abstractmethod
    def _take_event(self, event: events.Event, now: float) -> None:
        """Do what an event asks for and pass it on to the owner."""

    @abstractmethod
    def _on_datagrams(
        self, channel: int, arrived: float, sender: tuple[object, ...], datagrams: list[bytes]
    ) -> None:
        """Take what came by UDP."""

    def _give_packets(self, now: float) -> bool:
        """Hand interleaved packets on; whether there were any."""
        del now
        return False

    def _get_timer(self) -> float | None:
        """When `_do_due` is to be called next."""
        return self._dialogue.get_timer()

    def _do_due(self, now: float) -> None:
        self._dialogue.handle_timer(now)

    # Inside.

    def _on_due(self, now: float) -> None:
        self._do_due(now)
        self._pump(now)

    def _pump(self, now: float) -> None:
        """Events out, packets out, bytes out, timer armed: after every input, in one place."""
        if self._is_pumping or self._is_closed:
            return  # a verb called from a handler: the pump that called it goes on
        self._is_pumping = True
        machine = self._dialogue
        try:
            while True:
                while (event := machine.next_event()) is not None:
                    if isinstance(event, events.Closed):
                        self._give_packets(now)
                        self._write(machine.data_to_send())  # the last TEARDOWN
                        self._release()
                    self._take_event(event, now)
                if not self._give_packets(now):
                    break
            self._write(machine.data_to_send())
        finally:
            self._is_pumping = False
        if not self._is_closed:
            self._timer.arm(self._get_timer(), now)

    def _bind_pairs(self, count: int) -> list[PortPair]:
        """UDP ports for so many tracks on the address of the connection; raises `PeerError`."""
        assert self._transport is not None  # only after connection_made
        sock = self._transport.get_extra_info("socket")
        local: tuple[object, ...] = self._transport.get_extra_info("sockname")
        size = self._target[1].receive_buffer_bytes
        return [PortPair(*self._udp.bind(sock.family, local, size)) for _ in range(count)]

    @property
    def _peer_host(self) -> str:
        assert self._transport is not None  # only after connection_made
        peer: tuple[object, ...] = self._transport.get_extra_info("peername")
        return str(peer[0])

    def _count_flood(self, count: int, now: float) -> None:
        """Count what was read; pause where it is too much."""
        rest = self._flood.take(count, now)
        if rest <= 0 or self._is_closed or self._resume is not None:
            return
        self.drops["rtsp-flood-pause"] += 1
        self._resume = self._loop.call_later(rest, self._resume_reading)
        self._udp.read(None)
        if self._transport is not None:
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        self._resume = None
        if self._is_closed:
            return
        self._udp.read(self._on_datagrams)
        if self._transport is not None:
            self._transport.resume_reading()

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if not data or transport is None or transport.is_closing():
            return
        transport.write(data)
        most = self.max_unsent_bytes
        if most is not None and transport.get_write_buffer_size() > most:
            transport.abort()
            self._dialogue.close("peer-not-reading", time.monotonic())

    def _release(self) -> None:
        """Give everything back; what is written may still leave for a moment."""
        self._is_closed = True
        self._timer.close()
        if self._resume is not None:
            self._resume.cancel()
        self.drops.update(self._dialogue.drops)
        self.drops["udp-error"] += self._udp.errors
        self._udp.close()
        self.drops = +self.drops  # no zeros
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            patience = self._target[1].teardown_timeout
            self._patience = self._loop.call_later(patience, self._transport.abort)
