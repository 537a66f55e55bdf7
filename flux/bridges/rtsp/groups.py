"""Multicast for players: one group a stream, one packet flow however many watch (RFC 1112).

A stream gets a free group of the configured range for as long as somebody watches it so. The group
takes part in the RTP output like any datagram reader; its first viewer's start is everybody's. Who
wants to hear of one sender only (RFC 4607) finds it in the `source` of the Transport header.
"""

import ipaddress
import secrets
import socket
import time
from dataclasses import replace

from flux.base.errors import PeerError
from flux.bridges.rtp.datagrams import DatagramReader
from flux.bridges.rtp.output import RtpOutput
from flux.bridges.rtp.reports import ReaderReports
from flux.net.multicast import open_sender, route_to
from flux.net.udp_send import Run, RunSender
from media.stream import Stream
from protocols.rtsp.transport import PortPair, Transport

MAX_TRACKS = 16  # each takes two ports of the group


class Group:
    """The group of one stream."""

    def __init__(
        self, stream: Stream, address: str, port: int, ttl: int, sock: socket.socket, source: str
    ) -> None:
        self.address = address
        self.members = 0
        self.reader: DatagramReader | None = None
        self._stream = stream
        self._port = port  # RTP of the first track
        self._ttl = ttl
        self._source = source  # our address on the way there; empty if that is not known
        self._reports: ReaderReports | None = None
        self._counted_bytes = 0
        self._sock = sock
        self._sender = RunSender(sock)

    def offer(self, offer: Transport, track: int, ssrc: int) -> Transport:
        """What SETUP of a track answers."""
        return replace(
            offer,
            destination=self.address,
            port=PortPair(*self._ports(track)),
            client_port=None,
            ttl=self._ttl,
            source=self._source,
            ssrc=ssrc,
        )

    def begin(self, output: RtpOutput, cname: str, start: str) -> None:
        """Let the media flow."""
        points = output.start_points(start)
        ahead = {index: (point.packets, point.octets) for index, point in points.items()}
        self._reports = ReaderReports(output.tracks, cname, ahead)
        for index, point in points.items():
            self._reports.start_at(index, point.begins)
        self.tell(time.monotonic())
        everything = frozenset(track.index for track in output.tracks)
        self.reader = output.attach_datagrams(self, everything, _nobody, start)

    def greet(self, now: float) -> None:
        """Another viewer listens, who needs a report to lay the tracks upon each other."""
        if self._reports is not None:
            self._reports.hasten(now)

    def tell(self, now: float) -> None:
        """Send what reports are due, count what was sent since the last time."""
        if self._reports is not None:
            for index, compound in self._reports.due(now):
                self.send_rtcp(index, compound)
        if self.reader is not None:
            sent = self.reader.sent_bytes
            self._stream.sent_bytes += sent - self._counted_bytes
            self._counted_bytes = sent

    def send(self, run: Run) -> bool:
        """Send a run to the group."""
        return self._sender.send(run, (self.address, self._ports(run.track)[0]))

    def send_rtcp(self, track_index: int, data: bytes) -> None:
        """Send a compound to the group."""
        run = Run(track_index, data, len(data), 1)
        self._sender.send(run, (self.address, self._ports(track_index)[1]))

    def end(self, output: RtpOutput) -> None:
        """Say goodbye and close the socket."""
        now = time.monotonic()
        self.tell(now)
        reader, self.reader = self.reader, None
        if reader is not None:
            output.detach(reader)
        reports, self._reports = self._reports, None
        if reports is not None:
            for index in reports.tracks:
                farewell = reports.goodbye(index, now)
                if farewell is not None:
                    self.send_rtcp(index, farewell)
        self._sock.close()

    def _ports(self, track: int) -> tuple[int, int]:
        """RTP and RTCP of a track."""
        return self._port + 2 * track, self._port + 2 * track + 1


class MulticastGroups:
    """Every group in use. Groups are found by the output that they carry."""

    def __init__(self, network: str, port: int, ttl: int, interface: str) -> None:
        self._network = ipaddress.IPv4Network(network)
        self._port = port
        self._ttl = ttl
        self._interface = interface
        self._groups: dict[RtpOutput, Group] = {}
        self._taken: set[str] = set()

    def __len__(self) -> int:
        return len(self._groups)

    def enter(self, stream: Stream, output: RtpOutput) -> Group:
        """One more viewer of an output's group. Raises `PeerError`."""
        group = self._groups.get(output)
        if group is None:
            group = self._groups[output] = self._open(stream, len(output.tracks))
        group.members += 1
        return group

    def leave(self, output: RtpOutput, group: Group) -> None:
        """One viewer less; the last one ends the flow."""
        group.members -= 1
        if not group.members:
            del self._groups[output]
            self._taken.discard(group.address)
            group.end(output)

    def all(self) -> tuple[Group, ...]:
        """Those that there are."""
        return tuple(self._groups.values())

    def _open(self, stream: Stream, tracks: int) -> Group:
        if tracks > MAX_TRACKS:
            raise PeerError("too-many-tracks", 461)
        hosts = self._network.num_addresses
        first = secrets.randbelow(hosts)  # a restarted server does not meet its old viewers
        for step in range(min(hosts, len(self._taken) + 1)):
            address = str(self._network[(first + step) % hosts])
            if address not in self._taken:
                break
        else:
            raise PeerError("no-multicast-group", 461)
        try:
            source = route_to(socket.AF_INET, (address, self._port), self._interface)
            sock = open_sender(socket.AF_INET, ttl=self._ttl, interface=self._interface)
        except (PeerError, OSError) as error:
            raise PeerError("multicast-no-route", 461, str(error)) from error
        self._taken.add(address)
        return Group(stream, address, self._port, self._ttl, sock, source)


def _nobody(reason: str) -> None:
    """The viewers of a group are told by their own hold on the output."""
