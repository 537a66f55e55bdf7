"""UDP out in runs: many datagrams of one size to one address in one system call (UDP_SEGMENT).

The kernel cuts a run into segments of the size that it is told; only the last may be shorter. Where
it has no such option every datagram is sent by itself.
"""

import errno
import socket
from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, Self

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


class Run:
    """Datagrams of one track in order; shared by every reader that gets them.

    Public: `track`, `segment` (bytes of each, the last may be shorter), `count`, `size_bytes`.
    They are joined when somebody wants them so for the first time.
    """

    __slots__ = ("_data", "_packets", "count", "segment", "size_bytes", "track")

    def __init__(self, track: int, data: bytes, segment: int, count: int) -> None:
        self.track = track
        self.segment = segment
        self.count = count
        self.size_bytes = len(data)
        self._data: bytes | None = data
        self._packets: Sequence[bytes] | None = None

    @classmethod
    def of(cls, track: int, packets: Sequence[bytes], size_bytes: int) -> Self:
        """Of packets that are cut already, `size_bytes` together; the sequence is kept."""
        run = cls(track, b"", len(packets[0]), len(packets))
        run.size_bytes = size_bytes
        run._data, run._packets = None, packets
        return run

    @property
    def data(self) -> bytes:
        """All of them, joined."""
        if self._data is None:
            self._data = b"".join(self._packets or ())
        return self._data

    def datagrams(self) -> Sequence[bytes]:
        """Each by itself: the same objects each time."""
        if self._packets is None:
            data, step = self.data, self.segment
            self._packets = [data[at : at + step] for at in range(0, len(data), step)]
        return self._packets


def make_runs(track: int, packets: list[bytes], most: int = MAX_RUN_SEGMENTS) -> list[Run]:
    """Group packets, which keep their order: a longer one, or one after a shorter, begins anew."""
    if not packets:
        return []
    sizes = list(map(len, packets))
    size = sizes[0]
    if 0 < sizes[-1] <= size and len(set(sizes[:-1])) <= 1:  # one frame's, mostly
        step = max(min(most, MAX_RUN_BYTES // size), 1)
        starts = range(0, len(packets), step)
        return [Run.of(track, packets[at : at + step], sum(sizes[at : at + step])) for at in starts]
    runs: list[Run] = []
    first = total = 0
    for index, packet in enumerate(packets):
        length = len(packet)
        is_cut = index > first and (
            length > size
            or len(packets[index - 1]) < size
            or index - first == most
            or total + length > MAX_RUN_BYTES
        )
        if is_cut:
            runs.append(Run.of(track, packets[first:index], total))
            first, size, total = index, length, 0
        total += length
    runs.append(Run.of(track, packets[first:], total))
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
        return self.send_joined(run.data, run.segment, address)

    def send_joined(self, data: bytes, segment: int, address: Address) -> bool:
        """Send datagrams of `segment` bytes, joined; whether the kernel took them."""
        # A socket that hears what comes back by ICMP is told of it by whatever it sends next, to
        # whomever that goes: only the second refusal is about this run.
        try:
            return self._send(data, segment, address)
        except OSError as error:
            if error.errno not in FROM_NETWORK:
                return self._refused(data, segment, address, error)
        try:
            return self._send(data, segment, address)
        except OSError as error:
            return self._refused(data, segment, address, error)

    def _refused(self, data: bytes, segment: int, address: Address, error: OSError) -> bool:
        is_single = len(data) <= segment
        if error.errno in NO_SEGMENTATION and not is_single and self._has_segmentation:
            self._has_segmentation = segment > SURE_SEGMENT_BYTES
            return self._send_singly(data, segment, address)
        if error.errno in FULL:
            self.full += 1
        else:
            self.errors += 1
        return False

    def _send(self, data: bytes, segment: int, address: Address) -> bool:
        if self._homes is not None:
            control = self._homes.control(address)
            if control is not None:
                return self._send_from(data, segment, control, address)
        if len(data) <= segment:
            self._sock.sendto(data, address)
        elif self._has_segmentation:
            self._sock.sendmsg((data,), _segmented(segment), 0, address)
        else:
            return self._send_singly(data, segment, address)
        return True

    def _send_singly(self, data: bytes, segment: int, address: Address) -> bool:
        is_sent = True
        for at in range(0, len(data), segment):
            try:
                self._sock.sendto(data[at : at + segment], address)
            except OSError:
                self.errors += 1
                is_sent = False
        return is_sent

    def _send_from(self, data: bytes, segment: int, control: Ancillary, address: Address) -> bool:
        """As `_send`, with a source of our choice."""
        if len(data) <= segment:
            self._sock.sendmsg((data,), control, 0, address)
        elif self._has_segmentation:
            self._sock.sendmsg((data,), [*_segmented(segment), *control], 0, address)
        else:
            for at in range(0, len(data), segment):
                self._sock.sendmsg((data[at : at + segment],), control, 0, address)
        return True


@lru_cache(maxsize=256)
def _segmented(segment: int) -> Ancillary:
    """What tells the kernel to cut; nobody may change it."""
    return [(socket.IPPROTO_UDP, UDP_SEGMENT, SEGMENT_SIZE.pack(segment))]
