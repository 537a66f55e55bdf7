"""Multicast for players: one group a stream, one packet flow however many watch (RFC 1112).

A stream gets a free group of the configured range for as long as somebody watches it so. The group
takes part in the RTP output like any datagram reader; its first viewer's start is everybody's.
"""

import ipaddress
import secrets
import socket
import time

from flux.base.errors import PeerError
from flux.bridges.rtp.datagrams import DatagramReader
from flux.bridges.rtp.output import RtpOutput
from flux.bridges.rtp.reports import REPORT_INTERVAL, ReaderReports
from flux.net.multicast import open_sender
from flux.net.udp_send import Run, RunSender

MAX_TRACKS = 16  # each takes two ports of the group


class Group:
    """The group of one stream."""

    def __init__(self, address: str, port: int, ttl: int, sock: socket.socket) -> None:
        self.address = address
        self.port = port  # RTP of the first track
        self.ttl = ttl
        self.members = 0
        self.reader: DatagramReader | None = None
        self.reports: ReaderReports | None = None
        self._sock = sock
        self._sender = RunSender(sock)

    def ports(self, track: int) -> tuple[int, int]:
        """RTP and RTCP of a track."""
        return self.port + 2 * track, self.port + 2 * track + 1

    def send(self, run: Run) -> bool:
        """Send a run to the group."""
        return self._sender.send(run, (self.address, self.port + 2 * run.track))

    def send_rtcp(self, track_index: int, data: bytes) -> None:
        """Send a compound to the group."""
        run = Run(track_index, data, len(data), 1)
        self._sender.send(run, (self.address, self.ports(track_index)[1]))

    def report(self, now: float) -> None:
        """Send what reports are due."""
        reports = self.reports
        if reports is None or now < reports.due_at:
            return
        for index in reports.tracks:
            compound = reports.make(index, now)
            if compound is not None:
                self.send_rtcp(index, compound)
                reports.due_at = now + REPORT_INTERVAL

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()


class MulticastGroups:
    """Every group in use. Groups are found by the output that they carry."""

    def __init__(self, network: str, port: int, ttl: int, interface: str) -> None:
        self._network = ipaddress.IPv4Network(network)
        self._port = port
        self._ttl = ttl
        self._interface = interface
        self._groups: dict[RtpOutput, Group] = {}
        self._taken: set[str] = set()

    def enter(self, output: RtpOutput) -> Group:
        """One more viewer of an output's group. Raises `PeerError`."""
        group = self._groups.get(output)
        if group is None:
            group = self._groups[output] = self._open(len(output.tracks))
        group.members += 1
        return group

    def play(self, output: RtpOutput, group: Group, cname: str, start: str) -> None:
        """Let the group's media flow, if it does not yet; viewers hold the output themselves."""
        if group.reader is not None:
            return
        everything = frozenset(track.index for track in output.tracks)
        group.reports = ReaderReports(output.tracks, cname, {})
        group.report(time.monotonic())
        group.reader = output.attach_datagrams(group, everything, _nobody, start)

    def leave(self, output: RtpOutput, group: Group) -> None:
        """One viewer less; the last one ends the flow."""
        group.members -= 1
        if group.members or self._groups.get(output) is not group:
            return
        del self._groups[output]
        self._taken.discard(group.address)
        reader, group.reader = group.reader, None
        if reader is not None:
            output.detach(reader)
        group.close()

    def flowing(self) -> list[Group]:
        """Groups whose reports are to be sent."""
        return [group for group in self._groups.values() if group.reports is not None]

    def _open(self, tracks: int) -> Group:
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
        sock = open_sender(socket.AF_INET, ttl=self._ttl, interface=self._interface)
        self._taken.add(address)
        return Group(address, self._port, self._ttl, sock)


def _nobody(reason: str) -> None:
    """The viewers of a group are told by their own hold on the output."""
