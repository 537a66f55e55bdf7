"""TCP: outgoing connections whose failures have names."""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any, TypeVar

from flux.base.errors import PeerError

MAX_ADDRESSES = 4  # of one name that are tried

Connected = TypeVar("Connected", bound=asyncio.Protocol)
# (family, type, protocol, canonical name, socket address) as getaddrinfo gives it
AddressInfo = tuple[int, int, int, str, Any]

UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN)


async def connect(
    host: str, port: int, factory: Callable[[], Connected], *, timeout: float
) -> Connected:
    """Connect and return the protocol that `factory` made; its transport came with connection_made.

    Raises `PeerError`: `dns-failure`, `connection-refused`, `connect-timeout`, `host-unreachable`,
    `connect-failed`. `timeout` covers the look-up and all addresses; each of several addresses gets
    its share of what is left, so that a dead IPv6 route does not eat the time of IPv4.
    """
    loop = asyncio.get_running_loop()
    reason, detail = "connect-timeout", ""
    try:
        async with asyncio.timeout(timeout) as deadline:
            infos = await _look_up(host, port)
            for index, info in enumerate(infos):
                left = (deadline.when() or 0.0) - loop.time()
                try:
                    sock = await _connect_one(info, left / (len(infos) - index))
                except TimeoutError:
                    reason, detail = "connect-timeout", str(info[4][0])
                except OSError as error:
                    reason, detail = _name(error), str(info[4][0])
                else:
                    _, protocol = await loop.create_connection(factory, sock=sock)
                    return protocol
    except TimeoutError:
        reason = "connect-timeout"
    raise PeerError(reason, detail=detail)


async def _look_up(host: str, port: int) -> list[AddressInfo]:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise PeerError("dns-failure", detail=host) from error
    return list(found[:MAX_ADDRESSES])


async def _connect_one(info: AddressInfo, timeout: float) -> socket.socket:
    family, kind, protocol, _, address = info
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        async with asyncio.timeout(timeout):
            await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _name(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection-refused"
    if error.errno == errno.ETIMEDOUT:
        return "connect-timeout"
    return "host-unreachable" if error.errno in UNREACHABLE else "connect-failed"
