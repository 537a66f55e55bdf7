"""Listening TCP sockets."""

import asyncio
import socket
from collections.abc import Callable

from flux.net.tls import ServerTls

HANDSHAKE_TIMEOUT = 10.0  # seconds that a client may take for TLS


async def listen_tcp(
    factory: Callable[[], asyncio.BaseProtocol],
    host: str | None,
    port: int,
    *,
    backlog: int = 1024,
    ssl: ServerTls | None = None,
) -> asyncio.Server:
    """Listen on `host` (None: every address, IPv4 and IPv6 on one port); port 0 picks one.

    With `ssl` it is TLS: `factory` is called at once, `connection_made` after the handshake.

    Raises OSError with the address in its text when binding fails.
    """
    loop = asyncio.get_running_loop()
    context = None if ssl is None else ssl.context
    patience = None if ssl is None else HANDSHAKE_TIMEOUT
    if host is None and socket.has_dualstack_ipv6():
        try:
            sock = socket.create_server(
                ("::", port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True
            )
        except OSError:
            host = "0.0.0.0"  # a kernel without IPv6
        else:
            sock.setblocking(False)
            return await loop.create_server(
                factory, sock=sock, backlog=backlog, ssl=context, ssl_handshake_timeout=patience
            )
    return await loop.create_server(
        factory,
        host or "0.0.0.0",
        port,
        backlog=backlog,
        ssl=context,
        ssl_handshake_timeout=patience,
    )
