"""The sockets of a target: opened, made ready for its network, written to in runs."""

import asyncio
import socket
import time
from collections.abc import Callable

from config.datagram_url import DatagramUrl
from flux.base.errors import PeerError
from flux.net.multicast import bind_sender_pair, configure_sender, is_multicast, route_to
from flux.net.resolve import Address, host_of, resolve
from flux.net.udp import SharedUdpSocket
from flux.net.udp_send import Run, RunSender

SEND_BUFFER_BYTES = 2 << 20
RECEIVE_BUFFER_BYTES = 64 << 10  # RTCP only
LOOKUP_TIMEOUT = 5.0
MAX_TRACK_PORTS = 2  # ports of a track: RTP and RTCP


class DatagramEndpoint:
    """A pair of sockets towards one host. Satisfies `flux.bridges.rtp.datagrams.DatagramTarget`.

    Track i goes to the target's port + 2i, its RTCP to the port after that; `on_sent` is called
    once, when something has gone out. What comes back on the second socket goes to `on_reports`.
    """

    def __init__(
        self,
        url: DatagramUrl,
        family: int,
        address: Address,
        on_sent: Callable[[], None],
        on_reports: Callable[[list[bytes], float], None],
    ) -> None:
        """`address` is what the URL's host and port resolve to. Raises `PeerError`."""
        self.local_host = route_to(family, address, url.interface)
        self._addresses: dict[int, Address] = {}
        self._base = address
        self.host = host_of(address)
        self.is_group = is_multicast(self.host)
        self._on_sent: Callable[[], None] | None = on_sent
        self._on_reports = on_reports
        rtp, rtcp = bind_sender_pair(family)
        try:
            for sock in (rtp, rtcp):
                configure_sender(sock, ttl=url.ttl, interface=url.interface)
                sock.setblocking(False)
            rtp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        except BaseException:
            rtp.close()
            rtcp.close()
            raise
        self._rtp = rtp
        self._sender = RunSender(rtp)
        self._rtcp = SharedUdpSocket(rtcp, RECEIVE_BUFFER_BYTES)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._rtcp.fileno(), self._read)
        self._is_open = True

    @property
    def errors(self) -> int:
        """Runs that the system refused, for whatever reason."""
        return self._sender.errors + self._sender.full

    def send(self, run: Run) -> bool:
        """Send one run of a track."""
        if not self._is_open:
            return False
        is_sent = self._sender.send(run, self.address_of(run.track))
        if is_sent and self._on_sent is not None:
            on_sent, self._on_sent = self._on_sent, None
            on_sent()
        return is_sent

    def send_rtcp(self, track_index: int, data: bytes) -> None:
        """Send an RTCP compound of a track."""
        if self._is_open:
            host, port, *rest = self.address_of(track_index)
            self._rtcp.send(data, (host, port + 1, *rest))

    def address_of(self, track_index: int) -> Address:
        """Where a track's packets go."""
        address = self._addresses.get(track_index)
        if address is None:
            host, port, *rest = self._base
            address = (host, port + MAX_TRACK_PORTS * track_index, *rest)
            self._addresses[track_index] = address
        return address

    def close(self) -> None:
        """Close the sockets; calling it twice does no harm."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._rtcp.fileno())
            self._rtcp.close()
            self._rtp.close()

    def _read(self) -> None:
        now = time.monotonic()
        for _, address, datagrams in self._rtcp.receive(now):
            if self.is_group or host_of(address) == self.host:
                self._on_reports(datagrams, now)


async def look_up(url: DatagramUrl) -> tuple[int, Address]:
    """Family and socket address of a target; raises `PeerError`."""
    family, address = await resolve(url.host, url.port, timeout=LOOKUP_TIMEOUT)
    if family not in (socket.AF_INET, socket.AF_INET6):
        raise PeerError("dns-failure", detail=url.host)
    return family, address
