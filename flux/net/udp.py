"""UDP sockets that receive in batches: GRO, kernel arrival stamps, large buffers (DESIGN 2, 4.9).

One `recvmsg` may bring dozens of equal datagrams of one sender in one buffer; the kernel says their
size and they are cut here. Where the system has none of this, every option falls away by itself.
"""

import socket
import time
from collections.abc import Callable
from struct import Struct
from typing import Any

UDP_GRO = 104  # linux/udp.h
SO_TIMESTAMPNS = 35  # asm-generic/socket.h; SCM_TIMESTAMPNS is the same
SO_RCVBUFFORCE = 33

MAX_DATAGRAM_BYTES = 65_536
MAX_TURN_BYTES = 512 * 1024  # read in one turn of the loop
MAX_TURN_CALLS = 256
STAMP_SPREAD = 0.005  # seconds; packets that came further apart go into batches of their own
PAIR_ATTEMPTS = 64

ANCILLARY_BYTES = socket.CMSG_SPACE(16) + socket.CMSG_SPACE(4)
TIMESPEC = Struct("@qq")
GRO_SIZE = Struct("@i")

Address = tuple[Any, ...]  # a socket address; the first two are host and port
PeerBatch = tuple[float, Address, list[bytes]]  # arrival in monotonic seconds, sender, datagrams


class SharedUdpSocket:
    """One bound, non-blocking UDP socket that hears everybody; batches are told apart by sender.

    Public counter: `errors` of the system. `is_clamped`: the kernel gave less buffer than asked.
    """

    __slots__ = ("_sock", "errors", "is_clamped")

    def __init__(self, sock: socket.socket, buffer_bytes: int) -> None:
        """Take over a bound socket."""
        self._sock = sock
        self.errors = 0
        self.is_clamped = _prepare(sock, buffer_bytes)

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

        A batch is what one sender sent in a row. Kernel stamps are wall time: arrival = now - (wall
        clock now - stamp), within 0..1 s.
        """
        batches, errors = _drain(self._sock.recvmsg, now)
        self.errors += errors
        return batches


def _drain(
    recvmsg: Callable[[int, int], tuple[bytes, list[Any], int, Address]], now: float
) -> tuple[list[PeerBatch], int]:
    """Batches and errors."""
    batches: list[PeerBatch] = []
    current: list[bytes] = []
    current_age = -1.0
    current_address: Address | None = None
    errors = 0
    wall = time.time()
    room = MAX_TURN_BYTES
    for _ in range(MAX_TURN_CALLS):
        try:
            data, ancillary, _, address = recvmsg(MAX_DATAGRAM_BYTES, ANCILLARY_BYTES)
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
        if abs(current_age - age) > STAMP_SPREAD or address != current_address:
            current, current_age, current_address = [], age, address
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
