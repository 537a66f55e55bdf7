"""Multicast groups: who receives joins, who sends says how far and where (RFC 1112, 3678, 4607).

IPv4 and IPv6 are joined by the same calls of RFC 3678 section 5, which name the interface by its
number. An interface is given by its name or by one of its addresses; without one the kernel takes
the route of the group. Errors are `PeerError` with a stable reason:

    interface-not-found      no interface of that name or address
    multicast-no-route       no interface was given, and the group has no route
    multicast-limit          the kernel allows no more groups (net.ipv4.igmp_max_memberships, _msf)
    multicast-group-invalid  not a group, or a source of another family
    multicast-join-failed    anything else, with the system's words as detail
    address-in-use, address-not-local, permission-denied, bind-failed   of the port
"""

import contextlib
import errno
import ipaddress
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Any

from flux.base.errors import PeerError
from flux.net.udp import Address, bind_ports

# linux/in.h, linux/in6.h: what the socket module does not name
MCAST_JOIN_GROUP, MCAST_LEAVE_GROUP = 42, 45
MCAST_JOIN_SOURCE_GROUP, MCAST_LEAVE_SOURCE_GROUP = 46, 47
IP_MULTICAST_ALL, IPV6_MULTICAST_ALL = 49, 29
IPV6_V6ONLY = socket.IPV6_V6ONLY

GROUP_REQUEST = Struct("@I0L128s")  # struct group_req: interface, sockaddr_storage
SOURCE_REQUEST = Struct("@I0L128s128s")  # struct group_source_req
MREQN = Struct("@4s4si")  # struct ip_mreqn
SOCKADDR_IN = Struct("@H2s4s")
SOCKADDR_IN6 = Struct("@H2sI16sI")

# linux/rtnetlink.h
NETLINK_ROUTE, RTM_NEWADDR, RTM_GETADDR, NLMSG_ERROR, NLMSG_DONE = 0, 20, 22, 2, 3
NLM_F_DUMP = 0x301  # with NLM_F_REQUEST
NLMSGHDR = Struct("@IHHII")
IFADDRMSG = Struct("@BBBBI")
RTATTR = Struct("@HH")
IFA_ADDRESS, IFA_LOCAL = 1, 2

MAX_TTL = 255


def is_multicast(host: str) -> bool:
    """Whether `host` is the address of a group; names are none."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_multicast
    except ValueError:
        return False


def family_of(address: str) -> socket.AddressFamily:
    """AF_INET or AF_INET6 of an address that is one."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def interface_index(interface: str) -> int:
    """The number of an interface given by name or address; 0 for an empty text.

    Raises `PeerError` `interface-not-found`.
    """
    if not interface:
        return 0
    with contextlib.suppress(OSError):
        return socket.if_nametoindex(interface)
    try:
        wanted = ipaddress.ip_address(interface.partition("%")[0]).packed
    except ValueError:
        raise PeerError("interface-not-found", detail=interface) from None
    for index, address in _local_addresses():
        if address == wanted:
            return index
    raise PeerError("interface-not-found", detail=interface)


class Membership:
    """What one socket has joined: a group, from anybody or from `sources` only."""

    __slots__ = ("_index", "_is_joined", "_requests", "_sock")

    def __init__(
        self, sock: socket.socket, group: str, *, sources: Sequence[str] = (), interface: str = ""
    ) -> None:
        """Raises `PeerError`; nothing is joined yet."""
        if not is_multicast(group):
            raise PeerError("multicast-group-invalid", detail=group)
        self._sock = sock
        self._index = interface_index(interface) or _scope_of(group)
        self._is_joined = False
        address = _storage(group)
        if sources:
            if any(family_of(source) != family_of(group) for source in sources):
                raise PeerError("multicast-group-invalid", detail=f"{group} from {sources[0]}")
            self._requests = tuple(
                SOURCE_REQUEST.pack(self._index, address, _storage(source)) for source in sources
            )
        else:
            self._requests = (GROUP_REQUEST.pack(self._index, address),)

    def join(self) -> None:
        """Ask for the group; raises `PeerError`."""
        for request in self._requests:
            is_any = len(request) == GROUP_REQUEST.size
            option = MCAST_JOIN_GROUP if is_any else MCAST_JOIN_SOURCE_GROUP
            try:
                self._sock.setsockopt(self._level, option, request)
            except OSError as error:
                raise PeerError(_why_not_joined(error), detail=str(error)) from error
        self._is_joined = True

    def leave(self) -> None:
        """Give the group up; never fails, closing the socket does the same."""
        if not self._is_joined:
            return
        self._is_joined = False
        for request in self._requests:
            is_any = len(request) == GROUP_REQUEST.size
            option = MCAST_LEAVE_GROUP if is_any else MCAST_LEAVE_SOURCE_GROUP
            try:
                self._sock.setsockopt(self._level, option, request)
            except OSError:
                continue  # the interface is gone, and the membership with it

    @property
    def _level(self) -> int:
        is_v6 = self._sock.family == socket.AF_INET6
        return socket.IPPROTO_IPV6 if is_v6 else socket.IPPROTO_IP


def bind_receiver(
    host: str, port: int, *, sources: Sequence[str] = (), interface: str = ""
) -> tuple[socket.socket, Membership | None]:
    """A socket that receives what is sent to `host` (an address; "" is any) and `port`.

    A group is joined, and its port shared with other programs; the socket then hears that group
    alone, not what others on this machine joined. Raises `PeerError`.
    """
    if is_multicast(host):
        return _bind_group(host, port, sources, interface)
    family = family_of(host) if host else socket.AF_INET6
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM)
    except OSError:
        if host:
            raise PeerError("bind-failed", detail=host) from None
        family = socket.AF_INET  # a kernel without IPv6
        sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if not host and family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_V6ONLY, 0)
        bare, _, _ = host.partition("%")
        if family == socket.AF_INET6:
            sock.bind((bare or "::", port, 0, _scope_of(host)))
        else:
            sock.bind((bare or "0.0.0.0", port))
    except OSError as error:
        sock.close()
        raise PeerError(_why_not_bound(error), detail=f"{host}:{port}: {error}") from error
    return sock, None


def configure_sender(
    sock: socket.socket, *, ttl: int | None = None, interface: str = "", loopback: bool = True
) -> None:
    """Say how what `sock` sends travels: hops (also of unicast), interface, our own machine too.

    Without `ttl` the kernel's default holds: 64 for unicast, 1 for multicast. Raises `PeerError`.
    """
    index = interface_index(interface)
    is_v6 = sock.family == socket.AF_INET6
    level = socket.IPPROTO_IPV6 if is_v6 else socket.IPPROTO_IP
    try:
        if is_v6:
            sock.setsockopt(level, socket.IPV6_MULTICAST_LOOP, int(loopback))
            if ttl is not None:
                sock.setsockopt(level, socket.IPV6_MULTICAST_HOPS, ttl)
                sock.setsockopt(level, socket.IPV6_UNICAST_HOPS, max(ttl, 1))
            if index:
                sock.setsockopt(level, socket.IPV6_MULTICAST_IF, index)
        else:
            sock.setsockopt(level, socket.IP_MULTICAST_LOOP, int(loopback))
            if ttl is not None:
                sock.setsockopt(level, socket.IP_MULTICAST_TTL, ttl)
                sock.setsockopt(level, socket.IP_TTL, max(ttl, 1))  # 0 is for groups
            if index:
                mreqn = MREQN.pack(bytes(4), bytes(4), index)
                sock.setsockopt(level, socket.IP_MULTICAST_IF, mreqn)
    except OSError as error:
        raise PeerError("interface-not-usable", detail=f"{interface}: {error}") from error


def open_sender(family: int, *, ttl: int | None = None, interface: str = "") -> socket.socket:
    """A non-blocking socket to send from, as `configure_sender` says; raises `PeerError`."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        configure_sender(sock, ttl=ttl, interface=interface)
    except PeerError:
        sock.close()
        raise
    return sock


def bind_sender_pair(family: int) -> tuple[socket.socket, socket.socket]:
    """Sockets to send RTP and RTCP from, on two ports in a row; PeerError `no-udp-ports`."""
    try:
        return bind_ports(family, ("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
    except OSError as error:
        raise PeerError("no-udp-ports", detail=str(error)) from error


def route_to(family: int, address: Address, interface: str = "") -> str:
    """Our own address on the way to `address`; nothing is sent.

    Raises `PeerError` `host-unreachable` where there is no way, and `interface-not-found`.
    """
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            configure_sender(probe, interface=interface)
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise PeerError("host-unreachable", detail=f"{address[0]}: {error}") from error


def _bind_group(
    group: str, port: int, sources: Sequence[str], interface: str
) -> tuple[socket.socket, Membership]:
    family = family_of(group)
    is_v6 = family == socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        membership = Membership(sock, group, sources=sources, interface=interface)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        level, option = socket.IPPROTO_IP, IP_MULTICAST_ALL
        if is_v6:
            level, option = socket.IPPROTO_IPV6, IPV6_MULTICAST_ALL
        with contextlib.suppress(OSError):  # an old kernel: binding sorts out what is not ours
            sock.setsockopt(level, option, 0)
        index = interface_index(interface) or _scope_of(group)
        bare, _, _ = group.partition("%")
        sock.bind((bare, port, 0, index) if is_v6 else (bare, port))
        membership.join()
    except OSError as error:
        sock.close()
        raise PeerError(_why_not_bound(error), detail=f"{group}:{port}: {error}") from error
    except PeerError:
        sock.close()
        raise
    return sock, membership


def _scope_of(address: str) -> int:
    """The interface in the `%` part of an IPv6 address."""
    _, percent, zone = address.partition("%")
    if not percent:
        return 0
    return int(zone) if zone.isdigit() else interface_index(zone)


def _storage(address: str) -> bytes:
    """An address as `struct sockaddr_storage`."""
    bare, _, _ = address.partition("%")
    packed = ipaddress.ip_address(bare).packed
    if len(packed) == 4:
        return SOCKADDR_IN.pack(socket.AF_INET, b"", packed)
    return SOCKADDR_IN6.pack(socket.AF_INET6, b"", 0, packed, _scope_of(address))


def _why_not_joined(error: OSError) -> str:
    match error.errno:
        case errno.ENODEV | errno.EADDRNOTAVAIL | errno.ENETUNREACH:
            return "multicast-no-route"
        case errno.ENOBUFS:
            return "multicast-limit"
        case errno.EINVAL:
            return "multicast-group-invalid"
    return "multicast-join-failed"


def _why_not_bound(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "address-in-use"
        case errno.EADDRNOTAVAIL:
            return "address-not-local"
        case errno.EACCES | errno.EPERM:
            return "permission-denied"
    return "bind-failed"


def _local_addresses() -> Iterator[tuple[int, bytes]]:
    """(interface number, address) of everything this machine has; rtnetlink(7)."""
    if not sys.platform.startswith("linux"):
        return
    request = NLMSGHDR.pack(NLMSGHDR.size + IFADDRMSG.size, RTM_GETADDR, NLM_F_DUMP, 1, 0)
    netlink: Any = getattr(socket, "AF_NETLINK")  # noqa: B009  Linux alone has it
    try:
        with socket.socket(netlink, socket.SOCK_RAW, NETLINK_ROUTE) as sock:
            sock.settimeout(1.0)
            sock.sendto(request + IFADDRMSG.pack(0, 0, 0, 0, 0), (0, 0))
            while True:
                data = sock.recv(65_536)
                found, is_last = _parse_addresses(data)
                yield from found
                if is_last:
                    return
    except OSError as error:
        raise PeerError("interface-not-found", detail=os.strerror(error.errno or 0)) from error


def _parse_addresses(data: bytes) -> tuple[list[tuple[int, bytes]], bool]:
    """The addresses in one answer of netlink, and whether it is the last one."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at + NLMSGHDR.size <= len(data):
        size, kind, _, _, _ = NLMSGHDR.unpack_from(data, at)
        if kind in (NLMSG_DONE, NLMSG_ERROR) or size < NLMSGHDR.size:
            return found, True
        end = min(at + size, len(data))
        if kind == RTM_NEWADDR and at + NLMSGHDR.size + IFADDRMSG.size <= end:
            index = IFADDRMSG.unpack_from(data, at + NLMSGHDR.size)[4]
            place = at + NLMSGHDR.size + IFADDRMSG.size
            while place + RTATTR.size <= end:
                length, attribute = RTATTR.unpack_from(data, place)
                if length < RTATTR.size:
                    break
                if attribute in (IFA_ADDRESS, IFA_LOCAL):
                    found.append((index, data[place + RTATTR.size : place + length]))
                place += (length + 3) & ~3
        at += (size + 3) & ~3
    return found, False
