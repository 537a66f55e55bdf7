"""UDP sockets that receive in batches: GRO, kernel arrival stamps, large buffers (DESIGN 2, 4.9).

One message of the kernel may be dozens of equal datagrams of one sender, joined; it says their size
and they are cut here. One call brings many messages (`udp_many`). Where the system has none of
this, every option falls away by itself.
"""

import errno
import socket
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, Self

from flux.net.udp_hearing import SO_TIMESTAMPNS, UDP_GRO, Heard, Hearing
from flux.net.udp_hearing import Address as Address
from flux.net.udp_hearing import Batch as Batch
from flux.net.udp_hearing import Joined as Joined
from flux.net.udp_homes import Homes
from flux.net.udp_many import SLOTS, reader_of_thread
from flux.net.udp_split import split

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
KEPT_BYTES = 2304  # that a datagram takes of the receive buffer

ANCILLARY_BYTES = socket.CMSG_SPACE(16) + socket.CMSG_SPACE(4)
HOMES_BYTES = ANCILLARY_BYTES + 2 * socket.CMSG_SPACE(20)  # IPv4 of an IPv6 socket has both

PeerBatch = tuple[float, Address, list[bytes]]  # arrival in monotonic seconds, sender, datagrams


class SharedUdpSocket:
    """One bound, non-blocking UDP socket that hears everybody; batches are told apart by sender.

    Public counter: `errors` of the system. `is_clamped`: the kernel gave less buffer than asked.
    `has_more`: the last `hear` took as much as it was to, and left something perhaps.
    """

    __slots__ = ("_hears_errors", "_sock", "errors", "has_more", "homes", "is_clamped")

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
        self.has_more = False
        self.is_clamped = _prepare(sock, buffer_bytes)
        self._hears_errors = hears_errors
        if hears_errors:
            _hear_errors(sock)

    def split(self, flag: int, patient: Sequence[int], buffer_bytes: int) -> Self | None:
        """A second socket for what may not wait, see `udp_split`, with the same `homes`.

        None: the system cannot do that, and everything comes here. Its owner closes it.
        """
        sock = split(self._sock, flag, patient)
        if sock is None:
            return None
        keeps_homes = self.homes is not None
        other = type(self)(
            sock, buffer_bytes, hears_errors=self._hears_errors, keeps_homes=keeps_homes
        )
        other.homes = self.homes
        return other

    def fileno(self) -> int:
        """For the event loop."""
        return self._sock.fileno()

    @property
    def port(self) -> int:
        """The local port."""
        return int(self._sock.getsockname()[1])

    @property
    def room(self) -> int:
        """Datagrams of an Ethernet frame's length that the kernel keeps while nobody reads."""
        return self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // KEPT_BYTES

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

        A batch is what one sender sent within `STAMP_SPREAD` seconds, in order; others may have
        sent in between. It came when its first datagram did.
        """
        return [batch for heard in self.hear(now) for batch in batches_of(heard)]

    def receive_joined(self, now: float) -> list[Batch]:
        """The same for who takes them as a stream of bytes, however long they took: those that came
        from one sender are `Joined`, if no other sent in between."""
        hearing = Hearing(now, self.homes, joins=True)
        self._hear(hearing, MAX_TURN_BYTES)
        return hearing.batches()

    def hear(self, now: float, most_bytes: int = MAX_TURN_BYTES) -> list[Heard]:
        """The same by sender, with a time for each datagram; about so many bytes at the most."""
        hearing = Hearing(now, self.homes)
        self._hear(hearing, most_bytes)
        return hearing.heard

    def _hear(self, hearing: Hearing, most_bytes: int) -> None:
        reader = reader_of_thread()
        if reader is None:
            space = ANCILLARY_BYTES if self.homes is None else HOMES_BYTES
            self.has_more = _drain(self._sock.recvmsg, hearing, space, most_bytes)
        else:
            descriptor, room = self._sock.fileno(), most_bytes
            self.has_more = True
            while room > 0:
                count, size = reader.receive(descriptor, hearing)
                if count < SLOTS:
                    self.has_more = False
                    break
                room -= size
        self.errors += hearing.errors

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


def batches_of(heard: Heard) -> list[PeerBatch]:
    """Datagrams of one sender in batches of those that came within `STAMP_SPREAD` seconds."""
    address, datagrams, first = heard.address, heard.datagrams, heard.at(0)
    if abs(heard.at(-1) - first) <= STAMP_SPREAD:
        return [(first, address, datagrams)]
    batches: list[PeerBatch] = []
    start = 0
    for index in range(len(datagrams)):
        stamp = heard.at(index)
        if abs(stamp - first) > STAMP_SPREAD:
            batches.append((first, address, datagrams[start:index]))
            start, first = index, stamp
    batches.append((first, address, datagrams[start:]))
    return batches


def _drain(
    recvmsg: Callable[[int, int], tuple[bytes, list[Any], int, Address]],
    hearing: Hearing,
    space: int,
    room: int,
) -> bool:
    """Where the system has no better way: one message a call; whether there may be more."""
    for _ in range(MAX_TURN_CALLS):
        try:
            data, ancillary, _, address = recvmsg(MAX_DATAGRAM_BYTES, space)
        except BlockingIOError:
            return False
        except OSError:
            hearing.errors += 1
            return False
        hearing.take(data, ancillary, address)
        room -= len(data)
        if room <= 0:
            break
    return True


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
