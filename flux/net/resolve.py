"""Names to addresses for datagrams, with an end to the waiting."""

import asyncio
import ipaddress
import socket
from typing import Any

from flux.base.errors import PeerError

Address = tuple[Any, ...]  # a socket address


async def resolve(host: str, port: int, *, timeout: float) -> tuple[int, Address]:
    """Family and socket address of a name or an address (IPv6 with its `%zone`).

    Raises `PeerError` `dns-failure`, `dns-timeout`.
    """
    loop = asyncio.get_running_loop()
    flags = socket.AI_NUMERICHOST if is_address(host) else 0
    try:
        async with asyncio.timeout(timeout):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=flags)
    except TimeoutError:
        raise PeerError("dns-timeout", detail=host) from None
    except (OSError, UnicodeError) as error:
        raise PeerError("dns-failure", detail=host) from error
    if not found:
        raise PeerError("dns-failure", detail=host)
    family, _, _, _, address = found[0]
    return family, address


def is_address(host: str) -> bool:
    """Whether `host` is an address and no name."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def host_of(address: Address) -> str:
    """The host of a socket address for people and for comparing: without zone, IPv4 as IPv4."""
    return str(address[0]).partition("%")[0].removeprefix("::ffff:")
