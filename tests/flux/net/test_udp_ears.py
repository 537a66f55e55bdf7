"""A port that rests: what is heard meanwhile, and in which order."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import closing

import pytest

from flux.net.udp import SharedUdpSocket
from flux.net.udp_ears import Ears

FLAG, PATIENT = 0x8000, (0x8002,)
DATA, URGENT = b"\0\1" + bytes(1000), b"\x80\5"
ALL = 1 << 20


class Port:
    """Ears, what wakes them, and somebody who sends to them."""

    def __init__(self) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        self.woken = 0
        shared = SharedUdpSocket(sock, 4 << 20, hears_errors=True)
        loop = asyncio.get_running_loop()
        self.ears = Ears(loop, shared, self.wake, flag=FLAG, patient=PATIENT)
        self.peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.peer.connect(("127.0.0.1", shared.port))

    def wake(self) -> None:
        self.woken += 1

    def heard(self, most_bytes: int = ALL, *, is_woken: bool = False) -> list[bytes]:
        found = self.ears.hear(0.0, most_bytes, is_woken=is_woken)
        return [datagram for each in found for datagram in each.datagrams]

    async def is_woken_by(self, datagram: bytes) -> bool:
        before = self.woken
        self.peer.send(datagram)
        await self.settle()
        self.heard(is_woken=True)
        is_woken = self.woken > before
        await self.settle()  # the loop may have been about to call once more
        return is_woken

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    made = Port()
    assert made.ears.is_split
    with closing(made.peer), closing(made.ears):
        yield made


async def test_a_rest_hears_what_it_is_to(port: Port) -> None:
    ears = port.ears
    ears.watch()
    assert [await port.is_woken_by(each) for each in (DATA, URGENT)] == [True, True]
    ears.rest(hears_urgent=True)
    assert ears.is_resting
    assert [await port.is_woken_by(each) for each in (DATA, URGENT)] == [False, True]
    ears.rest(hears_urgent=False)
    assert [await port.is_woken_by(each) for each in (DATA, URGENT)] == [False, False]
    ears.watch()
    assert not ears.is_resting


async def test_the_end_comes_behind_the_last_packets(port: Port) -> None:
    """Also where these are more than one turn takes."""
    port.ears.rest(hears_urgent=True)
    port.peer.send(URGENT)
    for _ in range(300):
        port.peer.send(DATA)
    found: list[list[bytes]] = []
    while not found or URGENT not in found[-1]:
        found.append(port.heard(100_000, is_woken=True))
        assert found[-1]
    assert len(found) > 1
    assert [each for some in found for each in some] == [DATA] * 300 + [URGENT]


async def test_nobody_asks_a_socket_that_would_have_called(port: Port) -> None:
    """One call of the system less in each turn."""
    port.ears.rest(hears_urgent=True)
    port.peer.send(URGENT)
    assert port.heard() == []
    assert port.heard(is_woken=True) == [URGENT]
    port.ears.rest(hears_urgent=False)
    port.peer.send(URGENT)
    assert port.heard() == [URGENT]


async def test_without_a_second_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flux.net.udp.split", lambda *_: None)
    port = Port()
    with closing(port.peer), closing(port.ears):
        assert not port.ears.is_split
        port.ears.rest(hears_urgent=True)
        assert not await port.is_woken_by(URGENT)
        port.ears.watch()
        assert await port.is_woken_by(URGENT)
