"""Listening TCP sockets."""

import asyncio
import socket
from collections.abc import Callable


async def listen_tcp(
    factory: Callable[[], asyncio.BaseProtocol],
    host: str | None,
    port: int,
    *,
    backlog: int = 1024,
) -> asyncio.Server:
    """Listen on `host` (None: every address, IPv4 and IPv6 on one port); port 0 picks one.

    Raises OSError with the address in its text when binding fails.
    """
    loop = asyncio.get_running_loop()
    if host is None and socket.has_dualstack_ipv6():
        try:
            sock = socket.create_server(
                ("::", port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True
            )
        except OSError:
            host = "0.0.0.0"  # a kernel without IPv6
        else:
            sock.setblocking(False)
            return await loop.create_server(factory, sock=sock, backlog=backlog)
    return await loop.create_server(factory, host or "0.0.0.0", port, backlog=backlog)
