"""The UDP sockets of a session on loopback: pairs, groups, pauses, ends."""

import asyncio
import socket
from collections.abc import Callable, Iterator

import pytest
import uvloop

from flux.base.errors import PeerError
from flux.net.udp import Address
from flux.net.udp_pairs import UdpPairs

BUFFER = 65_536


class Heard:
    """Keeps what comes."""

    def __init__(self) -> None:
        self.got: list[tuple[int, bytes, int]] = []
        self.changed = asyncio.Event()
        self.pairs = UdpPairs(asyncio.get_running_loop())
        self.on_first: Callable[[], None] = lambda: None

    def on_datagrams(
        self, channel: int, arrived: float, sender: Address, datagrams: list[bytes]
    ) -> None:
        self.got += [(channel, data, sender[1]) for data in datagrams]
        self.changed.set()
        self.on_first()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.got) < count:
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


async def test_pairs_are_even_and_odd_and_told_by_channel(sender: socket.socket) -> None:
    heard = Heard()
    ports = [heard.pairs.bind(socket.AF_INET, ("127.0.0.1", 0), BUFFER) for _ in range(2)]
    assert len(heard.pairs) == 2
    assert all(rtp % 2 == 0 and rtcp == rtp + 1 for rtp, rtcp in ports)
    heard.pairs.read(heard.on_datagrams)
    for channel, port in enumerate(port for pair in ports for port in pair):
        sender.sendto(bytes((channel,)), ("127.0.0.1", port))
    await heard.until(4)
    own = sender.getsockname()[1]
    assert sorted(heard.got) == [(n, bytes((n,)), own) for n in range(4)]
    heard.pairs.send(3, b"back", "127.0.0.1", own)
    sender.settimeout(5)
    data, address = sender.recvfrom(100)
    assert (data, address[1]) == (b"back", ports[1][1])
    assert heard.pairs.socket_of(3).getsockname()[1] == ports[1][1]
    heard.pairs.close()
    assert len(heard.pairs) == 0


async def test_what_comes_while_nobody_reads_waits(sender: socket.socket) -> None:
    heard = Heard()
    port, _ = heard.pairs.bind(socket.AF_INET, ("127.0.0.1", 0), BUFFER)
    sender.sendto(b"early", ("127.0.0.1", port))
    heard.pairs.read(heard.on_datagrams)
    await heard.until(1)
    heard.pairs.read(None)
    heard.pairs.read(None)
    sender.sendto(b"late", ("127.0.0.1", port))
    await asyncio.sleep(0)
    assert len(heard.got) == 1
    heard.pairs.read(heard.on_datagrams)
    await heard.until(2)
    heard.pairs.close()


async def test_closed_from_within(sender: socket.socket) -> None:
    heard = Heard()
    port, _ = heard.pairs.bind(socket.AF_INET, ("127.0.0.1", 0), BUFFER)
    for size in range(1, 10):
        sender.sendto(bytes(size), ("127.0.0.1", port))
    heard.on_first = heard.pairs.close
    heard.pairs.read(heard.on_datagrams)
    await heard.until(1)
    assert len(heard.pairs) == 0


async def test_an_address_that_is_not_ours() -> None:
    heard = Heard()
    with pytest.raises(PeerError) as caught:
        heard.pairs.bind(socket.AF_INET, ("192.0.2.1", 0), BUFFER)
    assert caught.value.reason == "no-udp-ports"
    assert len(heard.pairs) == 0


async def test_a_group_that_is_none_leaves_nothing_open() -> None:
    heard = Heard()
    with pytest.raises(PeerError) as caught:
        heard.pairs.join(
            "10.0.0.1", (5000, 5001), source="", ttl=1, interface="nowhere", buffer_bytes=BUFFER
        )
    assert caught.value.reason
    assert len(heard.pairs) == 0


def test_the_same_on_uvloop(sender: socket.socket) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_pairs_are_even_and_odd_and_told_by_channel(sender))
        runner.run(test_what_comes_while_nobody_reads_waits(sender))
        runner.run(test_closed_from_within(sender))
