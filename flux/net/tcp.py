"""TCP: outgoing connections whose failures have names."""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any, TypeVar

from flux.base.errors import PeerError
from flux.net.tls import ClientTls, context_of, fault

MAX_ADDRESSES = 4  # of one name that are tried

Connected = TypeVar("Connected", bound=asyncio.Protocol)
# (family, type, protocol, canonical name, socket address) as getaddrinfo gives it
AddressInfo = tuple[int, int, int, str, Any]

UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN)


async def connect(
    host: str,
    port: int,
    factory: Callable[[], Connected],
    *,
    timeout: float,
    tls: ClientTls | None = None,
) -> Connected:
    """Connect and return the protocol that `factory` made; its transport came with connection_made.

    Raises `PeerError`: `dns-failure`, `connection-refused`, `connect-timeout`, `host-unreachable`,
    `connect-failed`; with `tls` also `tls-certificate-invalid`, `tls-fingerprint-mismatch`,
    `tls-handshake-failed`. `timeout` covers the look-up and all addresses; each of several gets its
    share of what is left, so that a dead IPv6 route does not eat the time of IPv4. With TLS the
    protocol begins once the certificate has been judged.
    """
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + timeout
    reason, detail = "connect-timeout", ""
    try:
        # Not bound to a name: the errors below refer to this frame, and a timeout to its task.
        async with asyncio.timeout_at(ends_at):
            infos = await _look_up(host, port)
            for index, info in enumerate(infos):
                left = ends_at - loop.time()
                try:
                    sock = await _connect_one(info, left / (len(infos) - index))
                except TimeoutError:
                    reason, detail = "connect-timeout", str(info[4][0])
                except OSError as error:
                    reason, detail = _name(error), str(info[4][0])
                else:
                    if tls is not None:
                        reason = "tls-handshake-failed"  # what it is called when time is over
                        return await _handshake(sock, host, factory, tls)
                    _, protocol = await loop.create_connection(factory, sock=sock)
                    return protocol
    except TimeoutError:
        if reason == "tls-handshake-failed":
            raise PeerError(reason, detail="timeout") from None
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


async def _handshake(
    sock: socket.socket, host: str, factory: Callable[[], Connected], tls: ClientTls
) -> Connected:
    """Make TLS of a connection; raises `PeerError`."""
    loop = asyncio.get_running_loop()
    try:
        context = await asyncio.to_thread(context_of, tls)  # reading authorities takes 20 ms
    except BaseException:
        sock.close()
        raise
    try:
        # The protocol is put in afterwards: it would send at once, and to whom is not known yet.
        transport, gate = await loop.create_connection(
            _Gate, sock=sock, ssl=context, server_hostname=tls.server_name or host
        )
    except OSError as error:
        raise fault(error) from None
    try:
        tls.check(transport)
        return gate.open(transport, factory())
    except BaseException:
        transport.abort()
        raise


class _Gate(asyncio.Protocol):
    """Stands in for the protocol until the server is known; keeps what comes meanwhile."""

    def __init__(self) -> None:
        self._received = b""
        self._is_over = False
        self._error: Exception | None = None

    def data_received(self, data: bytes) -> None:
        """Keep it: servers that speak first are rare, and `open` comes in the next turn."""
        self._received += data

    def connection_lost(self, error: Exception | None) -> None:
        """Keep that too."""
        self._is_over, self._error = True, error

    def open(self, transport: asyncio.Transport, protocol: Connected) -> Connected:
        """Give the connection over."""
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if self._received:
            protocol.data_received(self._received)
        if self._is_over:
            protocol.connection_lost(self._error)
        return protocol


def _name(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection-refused"
    if error.errno == errno.ETIMEDOUT:
        return "connect-timeout"
    return "host-unreachable" if error.errno in UNREACHABLE else "connect-failed"
