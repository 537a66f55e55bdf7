"""UDP sockets that receive in batches: GRO, kernel arrival stamps, large buffers (DESIGN 2, 4.9).

One `recvmsg` may bring dozens of equal datagrams of one sender in one buffer; the kernel says their
size and they are cut here. Where the system has none of this, every option falls away by itself.
"""

import errno
import socket
import time
from collections.abc import Callable
from struct import Struct
from typing import Any

from flux.net.udp_homes import Homes

UDP_GRO = 104  # linux/udp.h
SO_TIMESTAMPNS = 35  # asm-generic/socket.h; SCM_TIMESTAMPNS is the same
SO_RCVBUFFORCE = 33
IP_RECVERR = 11  # linux/in.h
IPV6_RECVERR = 25  # linux/in6.h
EXTENDED_ERROR = Struct("@IBBBBII")  # linux/errqueue.h, struct sock_extended_err
FROM_NETWORK = (2, 3)  # SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6
MAX_TURN_ERRORS = 64

MAX_DATAGRAM_BYTES = 65_536
MAX_TURN_BYTES = 512 * 1024  # read in one turn of the loop
MAX_TURN_CALLS = 256
STAMP_SPREAD = 0.005  # seconds; packets that came further apart go into batches of their own
PAIR_ATTEMPTS = 64

ANCILLARY_BYTES = socket.CMSG_SPACE(16) + socket.CMSG_SPACE(4)
HOMES_BYTES = ANCILLARY_BYTES + 2 * socket.CMSG_SPACE(20)  # IPv4 of an IPv6 socket has both
TIMESPEC = Struct("@qq")
GRO_SIZE = Struct("@i")

Address = tuple[Any, ...]  # a socket address; the first two are host and port
PeerBatch = tuple[float, Address, list[bytes]]  # arrival in monotonic seconds, sender, datagrams


class SharedUdpSocket:
    """One bound, non-blocking UDP socket that hears everybody; batches are told apart by sender.

    Public counter: `errors` of the system. `is_clamped`: the kernel gave less buffer than asked.
    """

    __slots__ = ("_sock", "errors", "homes", "is_clamped")

    def __init__(
        self,
        sock: socket.socket,
        buffer_bytes: int,
        *,
        hears_errors: bool = False,
        keeps_homes: bool = False,
    ) -> None:
        """Take over a bound socket. `hears_errors`: `unreachable` is of use, and must be asked.

        `keeps_homes`: `homes` is for who answers, if the socket has more than one address.
        """
        self._sock = sock
        self.homes = Homes.of(sock) if keeps_homes else None
        self.errors = 0
        self.is_clamped = _prepare(sock, buffer_bytes)
        if hears_errors:
            _hear_errors(sock)

    def fileno(self) -> int:
        """For the event loop."""
        return self._sock.fileno()

    @property
    def port(self) -> int:
        """The local port."""
        return int(self._sock.getsockname()[1])

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def send(self, data: bytes, address: Address) -> None:
        """Send one datagram; what the system refuses is counted and dropped."""
        try:
            self._sock.sendto(data, address)
        except OSError:
            self.errors += 1

    def receive(self, now: float) -> list[PeerBatch]:
        """What has come, at most a turn's share: call again when the loop says readable.

        A batch is what one sender sent within some milliseconds, in order; others may have sent in
        between. Kernel stamps are wall time: arrival = now - (wall clock now - stamp), within
        0..1 s.
        """
        batches, errors = _drain(self._sock.recvmsg, now, self.homes)
        self.errors += errors
        return batches

    def unreachable(self) -> list[Address]:
        """Whom the network has called unreachable since, one for each of its messages (ICMP).

        While some are left the loop says readable. Anybody can forge them.
        """
        found: list[Address] = []
        for _ in range(MAX_TURN_ERRORS):
            try:
                _, ancillary, _, address = self._sock.recvmsg(0, 512, socket.MSG_ERRQUEUE)
            except OSError:
                break
            for _, _, value in ancillary:
                if len(value) < EXTENDED_ERROR.size:
                    continue
                code, origin = EXTENDED_ERROR.unpack_from(value)[:2]
                if origin in FROM_NETWORK and code != errno.EMSGSIZE:  # that is about one packet
                    found.append(address)
        return found


def _drain(
    recvmsg: Callable[[int, int], tuple[bytes, list[Any], int, Address]],
    now: float,
    homes: Homes | None,
) -> tuple[list[PeerBatch], int]:
    """Batches and errors."""
    batches: list[PeerBatch] = []
    senders: dict[Address, tuple[float, list[bytes]]] = {}  # the last batch of each
    current: list[bytes] = []
    current_age = -1.0
    current_address: Address | None = None
    errors = 0
    space = ANCILLARY_BYTES if homes is None else HOMES_BYTES
    wall = time.time()
    room = MAX_TURN_BYTES
    for _ in range(MAX_TURN_CALLS):
        try:
            data, ancillary, _, address = recvmsg(MAX_DATAGRAM_BYTES, space)
        except BlockingIOError:
            break
        except OSError:
            errors += 1
            break
        segment, age = len(data), 0.0
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
                seconds, nanoseconds = TIMESPEC.unpack_from(value)
                age = min(max(wall - seconds - nanoseconds * 1e-9, 0.0), 1.0)
            elif level == socket.IPPROTO_UDP and kind == UDP_GRO:
                segment = GRO_SIZE.unpack_from(value)[0]
            elif homes is not None:
                homes.note(address, kind, value)
        if address != current_address:
            current_age, current = senders.get(address, (-1.0, current))
            current_address = address
        if abs(current_age - age) > STAMP_SPREAD:
            current, current_age = [], age
            senders[address] = age, current
            batches.append((now - age, address, current))
        if 0 < segment < len(data):
            current += [data[i : i + segment] for i in range(0, len(data), segment)]
        else:
            current.append(data)
        room -= len(data)
        if room <= 0:
            break
    return batches, errors


def _prepare(sock: socket.socket, buffer_bytes: int) -> bool:
    """Make a socket ready for batches; whether the kernel gave less buffer than asked."""
    sock.setblocking(False)
    is_clamped = not _grow_buffer(sock, buffer_bytes)
    for level, option in ((socket.IPPROTO_UDP, UDP_GRO), (socket.SOL_SOCKET, SO_TIMESTAMPNS)):
        try:
            sock.setsockopt(level, option, 1)
        except OSError:
            continue  # not Linux, or an old one
    return is_clamped


def _hear_errors(sock: socket.socket) -> None:
    """Ask the kernel to keep what comes back by ICMP; a socket of IPv6 may carry IPv4 too."""
    options = [(socket.IPPROTO_IP, IP_RECVERR)]
    if sock.family == socket.AF_INET6:
        options.append((socket.IPPROTO_IPV6, IPV6_RECVERR))
    for level, option in options:
        try:
            sock.setsockopt(level, option, 1)
        except OSError:
            continue  # not Linux


def _grow_buffer(sock: socket.socket, buffer_bytes: int) -> bool:
    """Ask for a receive buffer; whether the kernel gave it (it doubles what it grants)."""
    for option in (SO_RCVBUFFORCE, socket.SO_RCVBUF):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, buffer_bytes)
        except OSError:
            continue  # the first needs a privilege
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= buffer_bytes:
            return True
    return False


def bind_ports(family: int, local: tuple[Any, ...]) -> tuple[socket.socket, socket.socket]:
    """Sockets on an even port and the odd one after it, RFC 3550 section 11, for RTP and RTCP.

    `local` is a socket address of which only the port is replaced. Raises OSError where no pair
    is to be had.
    """
    failure: OSError | None = None
    for _ in range(PAIR_ATTEMPTS):
        first = socket.socket(family, socket.SOCK_DGRAM)
        second = socket.socket(family, socket.SOCK_DGRAM)
        try:
            first.bind((local[0], 0, *local[2:]))
            port = int(first.getsockname()[1])
            second.bind((local[0], port ^ 1, *local[2:]))
            return (first, second) if port % 2 == 0 else (second, first)
        except OSError as error:
            failure = error
            first.close()
            second.close()
    raise failure or OSError("no free pair of ports")
