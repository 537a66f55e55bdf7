"""The client that plays on sockets: TCP for the messages, UDP pairs where the media comes that way.

With the transport `auto` it asks for TCP first (or for UDP, `udp_first`) and for the other one on
the same connection if the server refuses that. Nothing goes in the clear beside a TLS connection
unless `udp` or `multicast` were asked for by name; SRTP is not in the clear.
"""

import ipaddress
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from flux.base.addresses import plain_address
from flux.base.errors import PeerError
from protocols.rtsp import events
from protocols.rtsp.auth import Authenticator
from protocols.rtsp.connection import PullConnection
from protocols.rtsp.endpoint import MAX_RTCP_BYTES, NOBODY, ClientEndpoint
from protocols.rtsp.exchange import status_reason
from protocols.rtsp.options import PullOptions, TransportChoice
from protocols.rtsp.senders import Batch, SenderGuard
from protocols.rtsp.setup import Secured
from protocols.rtsp.transport import Group, PortPair, Way
from protocols.rtsp.url import Url

# What opens a NAT or a firewall for the media, sent before PLAY: an RTP header without payload and
# an empty receiver report (RFC 3550 sections 5.1 and 6.4.2), both of SSRC 0.
RTP_PUNCH = b"\x80\x00" + bytes(10)
RTCP_PUNCH = b"\x80\xc9\x00\x01" + bytes(4)

SOURCE_SPECIFIC = (ipaddress.ip_network("232.0.0.0/8"), ipaddress.ip_network("ff30::/12"))


class ClientHandler(Protocol):
    """Who runs a client. Channel numbers are 2 x track index for RTP, that + 1 for RTCP."""

    def on_event(self, event: events.Event) -> None:
        """Take an event of the machine; the last one is always `Closed`."""

    def on_packets(self, packets: list[tuple[int, bytes]], now: float) -> None:
        """Take (channel, payload) in the order of arrival, which was at `now`."""


class RtspClient(ClientEndpoint):
    """One connection. Call `connect`; at `Described` call `set_up`; `Closed` is the end."""

    def __init__(
        self, url: Url, options: PullOptions, authenticator: Authenticator, handler: ClientHandler
    ) -> None:
        self._machine = PullConnection(url, options, authenticator)
        super().__init__(self._machine, url, options, authenticator)
        self._options = options
        self._handler = handler  # until `Closed`
        self._is_secure = url.is_secure
        self._ways: list[Way] = []  # that are still to be tried
        self._controls: tuple[Sequence[str | None], str | None] = ((), None)
        self._groups: Sequence[Group | None] = ()
        self._secured: Mapping[int, Secured] = {}
        self._guards: dict[int, SenderGuard] = {}  # by channel
        self._channels: list[int] = []  # the first channel of each pair of sockets
        self._reports_to: dict[int, tuple[str, int]] = {}  # by track index

    # For the owner.

    def set_up(
        self,
        controls: Sequence[str | None],
        aggregate: str | None,
        groups: Sequence[Group | None] = (),
        secured: Mapping[int, Secured] | None = None,
    ) -> None:
        """Set up and play these tracks (see `PullConnection.set_up`)."""
        self._controls = (controls, aggregate)
        self._groups = groups
        self._secured = secured or {}
        is_open = self._is_secure and len(self._secured) < len(controls)
        self._ways = ways_of(self._options, is_secure=is_open)
        self._try(time.monotonic())

    def send_rtcp(self, track_index: int, data: bytes) -> None:
        """Send an RTCP compound of ours for one track of `set_up`."""
        if self._is_closed or len(data) > MAX_RTCP_BYTES:
            return
        if not self._udp:
            self._machine.send_frame(2 * track_index + 1, data)
            self._pump(time.monotonic())
            return
        channel = 2 * track_index + 1
        target = self._reports_to.get(track_index)
        if target is None and channel in self._guards:
            port = self._guards[channel].port  # not announced, but heard from
            target = (self._peer_host, port) if port is not None else None
        if target is not None:
            self._udp.send(self._socket_of(channel), data, *target)

    # Inside.

    def _try(self, now: float) -> None:
        """Ask for the next way of transport."""
        way = self._ways.pop(0)
        controls, aggregate = self._controls
        self._udp.close()
        ports: list[PortPair] = []
        try:
            if way is Way.UDP:
                ports = self._bind_pairs(len(controls))
        except PeerError as error:
            self._machine.close(error.reason, now)
        else:
            self._machine.set_up(controls, aggregate, now, way, ports, self._groups, self._secured)
        self._pump(now)

    def _take_event(self, event: events.Event, now: float) -> None:
        if isinstance(event, events.TransportRefused):
            if self._ways:
                self._try(now)
            else:
                self._machine.close(status_reason(event.status), now)
            return
        if isinstance(event, events.TracksReady):
            self._prepare(event, now)
        elif isinstance(event, events.Playing):
            self._udp.read(self._on_datagrams)
        self._handler.on_event(event)
        if isinstance(event, events.Closed):
            self._handler = NOBODY

    def _give_packets(self, now: float) -> bool:
        packets = self._machine.take_packets()
        if packets:
            self._handler.on_packets(packets, now)
        return bool(packets)

    def _get_timer(self) -> float | None:
        due = self._machine.get_timer()
        for guard in self._guards.values():
            held = guard.get_timer()
            if held is not None and (due is None or held < due):
                due = held
        return due

    def _do_due(self, now: float) -> None:
        for channel, guard in self._guards.items():
            self._give_batches(channel, guard.handle_timer(now), now)
        super()._do_due(now)

    def _release(self) -> None:
        self.drops["rtp-foreign-source"] += sum(each.foreign for each in self._guards.values())
        super()._release()
        self._guards.clear()

    # Media by UDP.

    def _prepare(self, ready: events.TracksReady, now: float) -> None:
        """The answers say who sends: be ready for that, before PLAY goes out."""
        if ready.way is Way.UDP:
            self._channels = [2 * index for index in range(len(self._udp))]
            for track in ready.tracks:
                self._punch(track)
        elif ready.way is Way.MULTICAST:
            self._channels = [2 * track.track_index for track in ready.tracks]
            try:
                for track in ready.tracks:
                    if track.group is not None:
                        self._join(track.track_index, track.group, track.ssrc)
            except PeerError as error:
                self._machine.close(error.reason, now)

    def _punch(self, track: events.TrackTransport) -> None:
        host, patience = self._peer_host, self._options.any_port_after
        rtp, rtcp = 2 * track.track_index, 2 * track.track_index + 1
        ports = track.server_port
        # quirk: some cameras announce the port 0. test: test_other_ports
        told = (ports.rtp or None, ports.rtcp or None) if ports is not None else (None, None)
        self._guards[rtp] = SenderGuard(host, told[0], track.ssrc, patience, is_rtcp=False)
        self._guards[rtcp] = SenderGuard(host, told[1], track.ssrc, patience, is_rtcp=True)
        if told[0] is not None:
            self._udp.send(rtp, RTP_PUNCH, host, told[0])
        if told[1] is not None:
            self._udp.send(rtcp, RTCP_PUNCH, host, told[1])
            self._reports_to[track.track_index] = (host, told[1])

    def _join(self, index: int, group: Group, ssrc: int | None) -> None:
        source = plain_address(group.source) if _is_host(group.source) else ""
        address = ipaddress.ip_address(group.address)
        is_specific = any(address in network for network in SOURCE_SPECIFIC)
        self._udp.join(
            group.address,
            (group.ports.rtp, group.ports.rtcp),
            source=source if is_specific else "",
            ttl=group.ttl,
            interface=self._options.interface,
            buffer_bytes=self._options.receive_buffer_bytes,
        )
        for rtcp in (False, True):
            patience = self._options.any_port_after
            self._guards[2 * index + rtcp] = SenderGuard(source, None, ssrc, patience, is_rtcp=rtcp)
        self._reports_to[index] = (group.address, group.ports.rtcp)

    def _socket_of(self, channel: int) -> int:
        return 2 * self._channels.index(channel & ~1) + (channel & 1)

    def _on_datagrams(
        self, channel: int, arrived: float, sender: tuple[object, ...], datagrams: list[bytes]
    ) -> None:
        now = time.monotonic()
        channel = self._channels[channel >> 1] + (channel & 1)
        guard = self._guards.get(channel)
        if guard is None or not isinstance(sender[1], int):
            return
        batches = guard.admit(str(sender[0]), sender[1], (arrived, datagrams), now)
        self._give_batches(channel, batches, now)
        if guard.get_timer() is not None:
            self._timer.arm(self._get_timer(), now)
        self._count_flood(sum(map(len, datagrams)), now)

    def _give_batches(self, channel: int, batches: Sequence[Batch], now: float) -> None:
        for arrived, datagrams in batches:
            if self._is_closed:
                return
            if not channel & 1:
                self._machine.media_received(now)
            self._handler.on_packets([(channel, data) for data in datagrams], arrived)


def ways_of(options: PullOptions, *, is_secure: bool) -> list[Way]:
    """What is asked for, one after the other; `is_secure`: TLS alone keeps the media secret."""
    match options.transport:
        case TransportChoice.UDP:
            return [Way.UDP]
        case TransportChoice.MULTICAST:
            return [Way.MULTICAST]
        case TransportChoice.AUTO if not is_secure:
            return [Way.UDP, Way.TCP] if options.udp_first else [Way.TCP, Way.UDP]
    return [Way.TCP]


def _is_host(text: str) -> bool:
    """Whether this is the address of one host, as a sender has."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_multicast or address.is_unspecified)
