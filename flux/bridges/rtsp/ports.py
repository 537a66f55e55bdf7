"""The server's UDP ports: one for RTP and one for RTCP, for all sessions.

What comes is told apart by the sender's address and port, which SETUP named. RTCP from another port
of an address that has one session only is that session's: many NATs and some players use a port of
their own for RTCP. Everything else is counted.
"""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable

from flux.base.errors import PeerError
from flux.net.multicast import bind_receiver
from flux.net.udp import Address, SharedUdpSocket
from flux.net.udp_send import RunSender

RECEIVE_BUFFER_BYTES = 4 << 20
SEND_BUFFER_BYTES = 4 << 20
PAIR_ATTEMPTS = 64

# (datagrams, monotonic seconds of their arrival, seconds now)
Receiver = Callable[[list[bytes], float], None]


class UdpPorts:
    """The pair. Public counters: `strangers`, datagrams of nobody's."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets: list[SharedUdpSocket] = []
        self._family = socket.AF_INET
        self._receivers: tuple[dict[tuple[str, int], Receiver], ...] = ({}, {})
        self._anywhere: dict[str, dict[Receiver, None]] = {}  # of RTCP, by host
        self._expected: set[tuple[str, int]] = set()  # who is to send RTP and has not yet
        self._senders: list[RunSender] = []
        self.strangers: Counter[str] = Counter()

    @property
    def rtp(self) -> RunSender:
        """Sends RTP."""
        return self._senders[0]

    @property
    def rtcp(self) -> RunSender:
        """Sends RTCP."""
        return self._senders[1]

    @property
    def numbers(self) -> tuple[int, int]:
        """The two ports."""
        return self._sockets[0].port, self._sockets[1].port

    @property
    def is_clamped(self) -> bool:
        """The kernel gave less receive buffer than was asked for."""
        return any(each.is_clamped for each in self._sockets)

    @property
    def errors(self) -> int:
        """Sends and receives that the system refused."""
        received = sum(shared.errors for shared in self._sockets)
        return received + sum(sender.errors for sender in self._senders)

    def start(self, host: str, rtp_port: int, rtcp_port: int) -> None:
        """Bind both and listen; port 0 chooses a pair. Raises `PeerError`."""
        first, second = _bind_pair(host, rtp_port, rtcp_port)
        self._family = first.family
        for index, sock in enumerate((first, second)):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            shared = SharedUdpSocket(sock, RECEIVE_BUFFER_BYTES)
            self._sockets.append(shared)
            self._senders.append(RunSender(sock))
            self._loop.add_reader(shared.fileno(), self._on_readable, index)

    def close(self) -> None:
        """Close both."""
        for shared in self._sockets:
            self._loop.remove_reader(shared.fileno())
            shared.close()
        self._sockets.clear()

    def reaches(self, host: str) -> bool:
        """Whether the sockets can send to an address: those of IPv4 alone know no other.

        A link-local one (RFC 4007 section 11) says nothing without its zone, which no session has.
        """
        is_v6 = ":" in host
        return not is_v6 or (self._family == socket.AF_INET6 and not host.startswith("fe80:"))

    def address(self, host: str, port: int) -> Address:
        """`host` and `port` as the sockets take it."""
        if self._family == socket.AF_INET:
            return (host, port)
        return ("::ffff:" + host, port) if "." in host and ":" not in host else (host, port)

    @property
    def registrations(self) -> int:
        """How many receivers there are."""
        return sum(map(len, self._receivers)) + sum(map(len, self._anywhere.values()))

    def listen(self, host: str, port: int, receiver: Receiver, *, is_rtcp: bool) -> None:
        """Give `receiver` what comes from there; replaces who had it before."""
        self._receivers[is_rtcp][host, port] = receiver

    def forget(self, host: str, port: int, receiver: Receiver, *, is_rtcp: bool) -> None:
        """Undo `listen`; nothing if somebody else has it by now."""
        if self._receivers[is_rtcp].get((host, port)) == receiver:
            del self._receivers[is_rtcp][host, port]
            if not is_rtcp:
                self._expected.discard((host, port))

    def expect(self, host: str, port: int) -> None:
        """Hear the report that a publisher sends in front of its first RTP before that RTP."""
        self._expected.add((host, port))

    def listen_anywhere(self, host: str, receiver: Receiver) -> None:
        """Give `receiver` RTCP of this host from ports that nobody named, if it is the only one."""
        self._anywhere.setdefault(host, {})[receiver] = None

    def forget_anywhere(self, host: str, receiver: Receiver) -> None:
        """Undo `listen_anywhere`."""
        of_host = self._anywhere.get(host, {})
        of_host.pop(receiver, None)
        if not of_host:
            self._anywhere.pop(host, None)

    def _on_readable(self, index: int) -> None:
        if index == 0 and self._expected:
            self._read(1)
        self._read(index)

    def _read(self, index: int) -> None:
        now = time.monotonic()
        receivers = self._receivers[index]
        for arrived, address, datagrams in self._sockets[index].receive(now):
            host = plain_host(address[0])
            receiver = receivers.get((host, address[1]))
            if receiver is None and index == 1:
                of_host = self._anywhere.get(host, {})
                receiver = next(iter(of_host)) if len(of_host) == 1 else None
            if receiver is None:
                self.strangers["rtcp-stranger" if index else "rtp-stranger"] += len(datagrams)
            else:
                if index == 0 and self._expected:
                    self._expected.discard((host, address[1]))
                receiver(datagrams, arrived)


def plain_host(host: str) -> str:
    """An address without what a dual-stack socket puts before IPv4."""
    return host.removeprefix("::ffff:") if "." in host else host


def _bind_pair(host: str, first: int, second: int) -> tuple[socket.socket, socket.socket]:
    if first or second:
        one, _ = bind_receiver(host, first)
        try:
            return one, bind_receiver(host, second)[0]
        except PeerError:
            one.close()
            raise
    for _ in range(PAIR_ATTEMPTS):
        one, _ = bind_receiver(host, 0)
        port = int(one.getsockname()[1])
        try:
            two, _ = bind_receiver(host, port ^ 1)
        except PeerError:
            one.close()
            continue
        return (one, two) if port % 2 == 0 else (two, one)
    raise PeerError("no-udp-ports")
