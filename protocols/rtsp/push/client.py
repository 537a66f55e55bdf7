"""The client that records on sockets. Media does not go through the machine.

Interleaved media is written to `transport` by the owner, in frames of the channels that
`channels` tells; over UDP it is sent in runs with `send`. Both may begin with the event
`Recording`.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from flux.base.errors import PeerError
from flux.net.udp_send import Run, RunSender
from protocols.rtsp import events
from protocols.rtsp.auth import Authenticator
from protocols.rtsp.endpoint import MAX_RTCP_BYTES, NOBODY, ClientEndpoint
from protocols.rtsp.exchange import status_reason
from protocols.rtsp.options import PushOptions, TransportChoice
from protocols.rtsp.push.connection import PushConnection
from protocols.rtsp.setup import Secured
from protocols.rtsp.transport import PortPair, Way
from protocols.rtsp.url import Url


class PushHandler(Protocol):
    """Who runs a push."""

    def on_event(self, event: events.Event) -> None:
        """Take an event of the machine; the last one is always `Closed`."""

    def on_report(self, track_index: int, data: bytes, now: float) -> None:
        """Take an RTCP compound of the server."""


class PushClient(ClientEndpoint):
    """One connection. Call `connect`; at `Recording` begin to send; `Closed` is the end."""

    max_unsent_bytes = None  # media waits there, too: the feed judges who is slow

    def __init__(
        self,
        url: Url,
        options: PushOptions,
        authenticator: Authenticator,
        handler: PushHandler,
        sdp: bytes,
        controls: Sequence[str],
        secured: Mapping[int, Secured] | None = None,
    ) -> None:
        """See `PushConnection`; `secured` are all of the tracks or none."""
        self._machine = PushConnection(url, options, authenticator, sdp, controls, secured)
        super().__init__(self._machine, url, options, authenticator)
        self._handler = handler  # until `Closed`
        self._count = len(controls)
        self._ways = ways_of(options.transport, is_secure=url.is_secure and not secured)
        self._tracks: dict[int, events.TrackTransport] = {}
        self._senders: list[RunSender] = []  # by track, over UDP
        self._host = ""
        self.way = Way.TCP

    # For the owner.

    @property
    def transport(self) -> asyncio.Transport:
        """Where interleaved frames are written, from `Recording` on."""
        assert self._transport is not None  # there is one by then
        return self._transport

    @property
    def channels(self) -> dict[int, int]:
        """By track index, the channel of its RTP; RTCP goes on the one after it."""
        return {index: track.channels.rtp for index, track in self._tracks.items()}

    @property
    def send_errors(self) -> int:
        """Runs that the system did not take because of an error."""
        return sum(sender.errors for sender in self._senders)

    def send(self, run: Run) -> bool:
        """Send a run of one track by UDP; whether the system took it."""
        if self._is_closed:
            return False
        ports = self._tracks[run.track].server_port
        return ports is not None and self._senders[run.track].send(run, (self._host, ports.rtp))

    def send_rtcp(self, track_index: int, data: bytes) -> None:
        """Send an RTCP compound of ours."""
        if self._is_closed or len(data) > MAX_RTCP_BYTES or track_index not in self._tracks:
            return
        if self.way is Way.TCP:
            self._machine.send_frame(2 * track_index + 1, data)
            self._pump(time.monotonic())
            return
        ports = self._tracks[track_index].server_port
        if ports is not None:
            self._udp.send(2 * track_index + 1, data, self._host, ports.rtcp)

    # Inside.

    def _try(self, now: float) -> None:
        """Ask for the next way of transport."""
        self.way = self._ways.pop(0)
        self._udp.close()
        ports: list[PortPair] = []
        try:
            if self.way is Way.UDP:
                ports = self._bind_pairs(self._count)
        except PeerError as error:
            self._machine.close(error.reason, now)
        else:
            self._machine.set_up(now, self.way, ports)
        self._pump(now)

    def _take_event(self, event: events.Event, now: float) -> None:
        if isinstance(event, events.AnnounceAccepted):
            self._try(now)
        elif isinstance(event, events.TransportRefused):
            if self._ways:
                self._try(now)
            else:
                self._machine.close(status_reason(event.status), now)
            return
        elif isinstance(event, events.TracksReady):
            self._prepare(event, now)
        self._handler.on_event(event)
        if isinstance(event, events.Closed):
            self._handler = NOBODY

    def _prepare(self, ready: events.TracksReady, now: float) -> None:
        self._tracks = {track.track_index: track for track in ready.tracks}
        if self.way is not Way.UDP:
            return
        if any(track.server_port is None for track in ready.tracks):
            self._machine.close("rtsp-no-server-port", now)
            return
        self._host = self._peer_host
        self._senders = [RunSender(self._udp.socket_of(2 * i)) for i in range(self._count)]
        self._udp.read(self._on_datagrams)

    def _give_packets(self, now: float) -> bool:
        reports = self._machine.take_reports()
        for index, data in reports:
            self._handler.on_report(index, data, now)
        return bool(reports)

    def _on_datagrams(
        self, channel: int, arrived: float, sender: tuple[object, ...], datagrams: list[bytes]
    ) -> None:
        self._count_flood(sum(map(len, datagrams)), time.monotonic())
        if sender[0] != self._host or not channel & 1:
            self.drops["rtp-foreign-source"] += len(datagrams)
            return
        for data in datagrams:
            self._handler.on_report(channel >> 1, data, arrived)


def ways_of(transport: TransportChoice, *, is_secure: bool) -> list[Way]:
    """What is asked for, one after the other; `is_secure`: TLS alone keeps the media secret."""
    if transport is TransportChoice.UDP:
        return [Way.UDP]
    if transport is TransportChoice.AUTO and not is_secure:
        return [Way.TCP, Way.UDP]
    return [Way.TCP]
