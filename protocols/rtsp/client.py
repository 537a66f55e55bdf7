"""The pull machine on sockets: TCP for the messages, UDP pairs where the media comes that way.

A pump and nothing more: bytes in, events and packets out, one timer. The clock is read here, once a
turn. What a peer can make us hold is bounded: reads are handed on at once, writes beyond a limit
end the connection, and a camera that floods is read no faster than `max_bytes_per_second`.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol, cast

from flux.net import tcp, udp
from flux.net.flood import FloodGuard
from flux.net.timer import DeadlineTimer
from protocols.rtsp import events
from protocols.rtsp.auth import Authenticator
from protocols.rtsp.connection import PullConnection
from protocols.rtsp.exchange import status_reason
from protocols.rtsp.options import PullOptions, TransportChoice
from protocols.rtsp.transport import PortPair
from protocols.rtsp.url import Url

MAX_WRITE_BUFFER_BYTES = 256 * 1024
MAX_RTCP_BYTES = 65_535

# What opens a NAT or a firewall for the media, sent before PLAY: an RTP header without payload and
# an empty receiver report (RFC 3550 sections 5.1 and 6.4.2), both of SSRC 0.
RTP_PUNCH = b"\x80\x00" + bytes(10)
RTCP_PUNCH = b"\x80\xc9\x00\x01" + bytes(4)


class ClientHandler(Protocol):
    """Who runs a client. Channel numbers are 2 x track index for RTP, that + 1 for RTCP."""

    def on_event(self, event: events.Event) -> None:
        """Take an event of the machine; the last one is always `Closed`."""

    def on_packets(self, packets: list[tuple[int, bytes]], now: float) -> None:
        """Take (channel, payload) in the order of arrival, which was at `now`."""


class RtspClient(asyncio.Protocol):
    """One connection. Call `connect`; at `Described` call `set_up`; `Closed` is the end."""

    def __init__(
        self, url: Url, options: PullOptions, authenticator: Authenticator, handler: ClientHandler
    ) -> None:
        self._url = url
        self._options = options
        self._machine = PullConnection(url, options, authenticator)
        self._handler = handler
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._timer = DeadlineTimer(self._loop, self._on_due)
        self._flood = FloodGuard(options.max_bytes_per_second)
        self._resume: asyncio.TimerHandle | None = None
        self._controls: tuple[Sequence[str | None], str | None] = ((), None)
        self._pairs: list[tuple[udp.UdpSocket, udp.UdpSocket]] = []
        self._rtcp_ports: dict[int, int] = {}
        self._is_pumping = False
        self._is_reading_udp = False
        self._is_closed = False
        self._lost = asyncio.Event()  # nothing of the connection is left
        self.drops: Counter[str] = Counter()

    @property
    def junk_bytes(self) -> int:
        """Bytes of the connection that were neither message nor frame."""
        return self._machine.junk_bytes

    @property
    def is_buffer_clamped(self) -> bool:
        """The kernel gave the UDP sockets less buffer than was asked for (net.core.rmem_max)."""
        return any(socket.is_clamped for pair in self._pairs for socket in pair)

    # For the owner.

    async def connect(self) -> None:
        """Connect and begin. Raises `PeerError` with a named reason; no event comes then."""
        await tcp.connect(
            self._url.host,
            self._url.effective_port,
            lambda: self,
            timeout=self._options.connect_timeout,
        )

    def set_up(self, controls: Sequence[str | None], aggregate: str | None) -> None:
        """Set up and play these tracks (see `PullConnection.set_up`)."""
        self._controls = (controls, aggregate)
        self._set_up(self._options.transport is TransportChoice.UDP, time.monotonic())

    def send_rtcp(self, track_index: int, data: bytes) -> None:
        """Send an RTCP compound of ours for one track of `set_up`."""
        if self._is_closed or len(data) > MAX_RTCP_BYTES:
            return
        if self._pairs:
            port = self._rtcp_ports.get(track_index)
            if port is not None:
                self._pairs[track_index][1].send(data, port)
            return
        self._machine.send_frame(2 * track_index + 1, data)
        self._pump(time.monotonic())

    def close(self, reason: str) -> None:
        """End with TEARDOWN; `Closed(reason)` comes within `teardown_timeout`."""
        now = time.monotonic()
        self._machine.close(reason, now)
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
        self._machine.connect(now)
        self._pump(now)

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        now = time.monotonic()
        self._machine.receive_data(data, now)
        self._pump(now)
        rest = self._flood.take(len(data), now)
        if rest > 0 and self._rest(rest) and self._transport is not None:
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._lost.set()
        now = time.monotonic()
        self._machine.receive_eof(now)
        self._pump(now)

    # Inside.

    def _on_due(self, now: float) -> None:
        self._machine.handle_timer(now)
        self._pump(now)

    def _pump(self, now: float) -> None:
        """Events out, packets out, bytes out, timer armed: after every input, in one place."""
        if self._is_pumping or self._is_closed:
            return  # a verb called from a handler: the pump that called it goes on
        self._is_pumping = True
        machine = self._machine
        try:
            while True:
                while (event := machine.next_event()) is not None:
                    self._take_event(event, now)
                packets = machine.take_packets()
                if not packets:
                    break
                self._handler.on_packets(packets, now)
            self._write(machine.data_to_send())
        finally:
            self._is_pumping = False
        if not self._is_closed:
            self._timer.arm(machine.get_timer(), now)

    def _take_event(self, event: events.Event, now: float) -> None:
        if isinstance(event, events.TransportRefused):
            if self._options.transport is TransportChoice.AUTO and not event.is_udp:
                self._set_up(True, now)
            else:
                self._machine.close(status_reason(event.status), now)
            return
        if isinstance(event, events.TracksReady):
            self._punch(event)
        elif isinstance(event, events.Playing):
            self._read_udp(True)
        elif isinstance(event, events.Closed):
            self._write(self._machine.data_to_send())  # the last TEARDOWN
            self._release()
        self._handler.on_event(event)

    def _set_up(self, is_udp: bool, now: float) -> None:
        controls, aggregate = self._controls
        try:
            ports = self._bind(len(controls)) if is_udp else []
        except OSError:
            self._machine.close("no-udp-ports", now)
        else:
            self._machine.set_up(controls, aggregate, now, ports)
        self._pump(now)

    def _bind(self, count: int) -> list[PortPair]:
        assert self._transport is not None  # only after connection_made
        sock = self._transport.get_extra_info("socket")
        local: tuple[Any, ...] = self._transport.get_extra_info("sockname")
        peer: tuple[Any, ...] = self._transport.get_extra_info("peername")
        size = self._options.receive_buffer_bytes
        while len(self._pairs) < count:
            self._pairs.append(udp.bind_pair(sock.family, local, str(peer[0]), size))
        return [PortPair(rtp.port, rtcp.port) for rtp, rtcp in self._pairs]

    def _punch(self, ready: events.TracksReady) -> None:
        if not ready.is_udp:
            return
        for track in ready.tracks:
            if track.server_port is None:
                continue
            rtp, rtcp = self._pairs[track.track_index]
            self._rtcp_ports[track.track_index] = track.server_port.rtcp
            rtp.send(RTP_PUNCH, track.server_port.rtp)
            rtcp.send(RTCP_PUNCH, track.server_port.rtcp)

    def _read_udp(self, is_reading: bool) -> None:
        """Listen to the pairs, or no more. Until PLAY is answered the kernel keeps what comes."""
        if is_reading == self._is_reading_udp or not self._pairs:
            return
        self._is_reading_udp = is_reading
        channel = 0
        for pair in self._pairs:
            for socket in pair:
                if is_reading:
                    self._loop.add_reader(socket.fileno(), self._on_readable, socket, channel)
                else:
                    self._loop.remove_reader(socket.fileno())
                channel += 1

    def _on_readable(self, socket: udp.UdpSocket, channel: int) -> None:
        now = time.monotonic()
        count = 0
        for arrived, datagrams in socket.receive(now):
            if self._is_closed:
                return
            if not channel & 1:
                self._machine.media_received(now)
            count += sum(map(len, datagrams))
            self._handler.on_packets([(channel, data) for data in datagrams], arrived)
        rest = self._flood.take(count, now)
        if rest > 0 and self._rest(rest):
            self._read_udp(False)

    def _rest(self, seconds: float) -> bool:
        """Begin a pause of reading; false where one is under way or all is over."""
        if self._is_closed or self._resume is not None:
            return False
        self.drops["rtsp-flood-pause"] += 1
        self._resume = self._loop.call_later(seconds, self._resume_reading)
        return True

    def _resume_reading(self) -> None:
        self._resume = None
        if self._is_closed:
            return
        if self._pairs:
            self._read_udp(True)
        if self._transport is not None:
            self._transport.resume_reading()

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if not data or transport is None or transport.is_closing():
            return
        transport.write(data)
        if transport.get_write_buffer_size() > MAX_WRITE_BUFFER_BYTES:
            transport.abort()
            self._machine.close("peer-not-reading", time.monotonic())

    def _release(self) -> None:
        """Give everything back; what is written may still leave for a moment."""
        self._is_closed = True
        self._timer.cancel()
        if self._resume is not None:
            self._resume.cancel()
        self._read_udp(False)
        self.drops.update(self._machine.drops)
        for pair in self._pairs:
            for socket in pair:
                self.drops["rtp-foreign-source"] += socket.foreign
                self.drops["udp-error"] += socket.errors
                socket.close()
        self.drops = +self.drops  # no zeros
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            self._loop.call_later(self._options.teardown_timeout, self._transport.abort)
