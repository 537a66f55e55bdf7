"""Answers leave from the address that was addressed, on a socket that is bound to all of them.

A host with several addresses answers, where nobody says which, from the one that the route prefers;
a peer that called another one takes no notice. The kernel tells of each datagram to which address
it came (RFC 3542 section 4, IP_PKTINFO), and takes the same as the source of an answer.
"""

import socket
from struct import Struct
from typing import Any

IP_PKTINFO = 8  # linux/in.h: the option, and what comes with a datagram
IPV6_RECVPKTINFO = 49  # linux/in6.h
IPV6_PKTINFO = 50
IN_PKTINFO = Struct("@i4s4s")  # interface, our address, the header's
IN6_PKTINFO = Struct("@16si")
MAX_KNOWN = 16_384  # peers; then all are forgotten, and learned anew from what they send next
EVERYWHERE = ("0.0.0.0", "::")

Address = tuple[Any, ...]
Ancillary = list[tuple[int, int, bytes]]


class Homes:
    """What each peer knows us by."""

    __slots__ = ("_family", "_known", "_seen")

    def __init__(self, family: int) -> None:
        self._family = family
        self._seen: dict[Address, bytes] = {}  # by peer, as the kernel told it
        self._known: dict[Address, Ancillary] = {}  # where an answer would have another source

    @classmethod
    def of(cls, sock: socket.socket) -> "Homes | None":
        """For a bound socket; None: it has one address, or the system tells nothing."""
        if sock.getsockname()[0] not in EVERYWHERE:
            return None
        is_6 = sock.family == socket.AF_INET6
        level = socket.IPPROTO_IPV6 if is_6 else socket.IPPROTO_IP
        try:
            sock.setsockopt(level, IPV6_RECVPKTINFO if is_6 else IP_PKTINFO, 1)
        except OSError:
            return None  # not Linux
        return cls(sock.family)

    def note(self, peer: Address, kind: int, value: bytes) -> None:
        """A datagram of `peer` came with this in its ancillary data."""
        if self._seen.get(peer) == value:
            return
        if kind not in (IP_PKTINFO, IPV6_PKTINFO) or len(value) not in (12, 20):
            return
        if len(self._seen) >= MAX_KNOWN:
            self._seen.clear()
            self._known.clear()
        self._seen[peer] = value
        self._known.pop(peer, None)
        # The interface is left to the route.
        if kind == IPV6_PKTINFO:
            ours, _ = IN6_PKTINFO.unpack(value)
            control = (socket.IPPROTO_IPV6, IPV6_PKTINFO, IN6_PKTINFO.pack(ours, 0))
        else:
            _, ours, _ = IN_PKTINFO.unpack(value)
            control = (socket.IPPROTO_IP, IP_PKTINFO, IN_PKTINFO.pack(0, ours, bytes(4)))
        if self._preferred(peer) != ours:
            self._known[peer] = [control]

    def control(self, peer: Address) -> Ancillary | None:
        """What goes with a datagram to `peer`; None: nothing is needed."""
        return self._known.get(peer)

    def _preferred(self, peer: Address) -> bytes:
        """The address from which the route would have us answer."""
        try:
            with socket.socket(self._family, socket.SOCK_DGRAM) as probe:
                probe.connect(peer)
                return socket.inet_pton(self._family, probe.getsockname()[0].partition("%")[0])
        except OSError:
            return b""
