"""UDP out in runs: many datagrams of one size to one address in one system call (UDP_SEGMENT).

The kernel cuts a run into segments of the size that it is told; only the last may be shorter. Where
it has no such option every datagram is sent by itself.
"""

import errno
import socket
from dataclasses import dataclass, field
from struct import Struct
from typing import Any

from flux.net.udp_homes import Ancillary, Homes

UDP_SEGMENT = 103  # linux/udp.h
SEGMENT_SIZE = Struct("@H")
MAX_RUN_BYTES = 65_000  # 65,507 are what UDP over IPv4 takes, less over IPv6
MAX_RUN_SEGMENTS = 64
# What the kernel answers where it, or the device, cannot cut.
NO_SEGMENTATION = (errno.EIO, errno.EINVAL, errno.ENOPROTOOPT, errno.EOPNOTSUPP)
FULL = (errno.EAGAIN, errno.ENOBUFS)
FROM_NETWORK = (  # what ICMP messages become
    *(errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENONET),
    *(errno.EACCES, errno.EPROTO, errno.EMSGSIZE, errno.ENOPROTOOPT, errno.EOPNOTSUPP),
)
# It answers the same for segments that the link does not carry whole, which it could have cut into
# fragments. Up to this size any Ethernet carries them: a refusal is one of the option.
SURE_SEGMENT_BYTES = 1452  # with headers of IPv6 and UDP 1,500

Address = tuple[Any, ...]


@dataclass(slots=True)
class Run:
    """Datagrams of one track in order, joined; shared by every reader that gets them."""

    track: int
    data: bytes
    segment: int  # bytes of each, the last may be shorter
    count: int
    buffers: list[bytes] = field(init=False)
    ancillary: list[tuple[int, int, bytes]] = field(init=False)

    def __post_init__(self) -> None:
        self.buffers = [self.data]
        is_single = self.count == 1
        size = b"" if is_single else SEGMENT_SIZE.pack(self.segment)
        self.ancillary = [] if is_single else [(socket.IPPROTO_UDP, UDP_SEGMENT, size)]

    def datagrams(self) -> list[bytes]:
        """Each by itself."""
        data, step = self.data, self.segment
        return [data[at : at + step] for at in range(0, len(data), step)]


def make_runs(track: int, packets: list[bytes], most: int = MAX_RUN_SEGMENTS) -> list[Run]:
    """Group packets, which keep their order: a longer one, or one after a shorter, begins anew."""
    runs: list[Run] = []
    first = 0
    size = len(packets[0]) if packets else 0
    total = 0
    for index, packet in enumerate(packets):
        length = len(packet)
        is_cut = index > first and (
            length > size
            or len(packets[index - 1]) < size
            or index - first == most
            or total + length > MAX_RUN_BYTES
        )
        if is_cut:
            runs.append(Run(track, b"".join(packets[first:index]), size, index - first))
            first, size, total = index, length, 0
        total += length
    if packets:
        runs.append(Run(track, b"".join(packets[first:]), size, len(packets) - first))
    return runs


class RunSender:
    """Sends runs through a socket that somebody else owns. Public counters: `full`, `errors`."""

    __slots__ = ("_has_segmentation", "_homes", "_sock", "errors", "full")

    def __init__(self, sock: socket.socket, homes: Homes | None = None) -> None:
        """`homes`: what the socket that receives has noted."""
        self._sock = sock
        self._homes = homes
        self._has_segmentation = True
        self.full = 0  # runs that the socket's buffer had no room for
        self.errors = 0

    def send(self, run: Run, address: Address) -> bool:
        """Send one run; whether the kernel took it."""
        # A socket that hears what comes back by ICMP is told of it by whatever it sends next, to
        # whomever that goes: only the second refusal is about this run.
        try:
            return self._send(run, address)
        except OSError as error:
            if error.errno not in FROM_NETWORK:
                return self._refused(run, address, error)
        try:
            return self._send(run, address)
        except OSError as error:
            return self._refused(run, address, error)

    def _refused(self, run: Run, address: Address, error: OSError) -> bool:
        if error.errno in NO_SEGMENTATION and run.count > 1 and self._has_segmentation:
            self._has_segmentation = run.segment > SURE_SEGMENT_BYTES
            return self._send_singly(run, address)
        if error.errno in FULL:
            self.full += 1
        else:
            self.errors += 1
        return False

    def _send(self, run: Run, address: Address) -> bool:
        if self._homes is not None:
            control = self._homes.control(address)
            if control is not None:
                return self._send_from(run, control, address)
        if run.count == 1:
            self._sock.sendto(run.data, address)
        elif self._has_segmentation:
            self._sock.sendmsg(run.buffers, run.ancillary, 0, address)
        else:
            return self._send_singly(run, address)
        return True

    def _send_singly(self, run: Run, address: Address) -> bool:
        is_sent = True
        for datagram in run.datagrams():
            try:
                self._sock.sendto(datagram, address)
            except OSError:
                self.errors += 1
                is_sent = False
        return is_sent

    def _send_from(self, run: Run, control: Ancillary, address: Address) -> bool:
        """As `_send`, with a source of our choice."""
        if run.count == 1 or self._has_segmentation:
            self._sock.sendmsg(run.buffers, [*run.ancillary, *control], 0, address)
            return True
        for datagram in run.datagrams():
            self._sock.sendmsg([datagram], control, 0, address)
        return True
