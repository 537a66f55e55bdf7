"""Outgoing connections: the names of their failures."""

import asyncio
import socket

import pytest

from flux.base.errors import PeerError
from flux.net import tcp
from tests.support.ports import free_port


async def reason_of(host: str, port: int, timeout: float = 5.0) -> str:
    with pytest.raises(PeerError) as caught:
        await tcp.connect(host, port, asyncio.Protocol, timeout=timeout)
    return caught.value.reason


async def test_connects() -> None:
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    made: list[asyncio.BaseTransport] = []

    class Client(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(transport)

    async with server:
        port = server.sockets[0].getsockname()[1]
        for host in ("127.0.0.1", "localhost"):
            protocol = await tcp.connect(host, port, Client, timeout=5.0)
            assert isinstance(protocol, Client)
            made.pop().close()


async def test_refused() -> None:
    assert await reason_of("127.0.0.1", free_port()) == "connection-refused"


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 70, "x..y"])
async def test_a_name_that_does_not_resolve(host: str) -> None:
    assert await reason_of(host, 1) == "dns-failure"


async def test_a_full_listener_times_out() -> None:
    with socket.socket() as sock, socket.socket() as first, socket.socket() as second:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        address = sock.getsockname()
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(address)
        assert await reason_of(address[0], address[1], 0.05) == "connect-timeout"
