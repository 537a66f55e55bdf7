"""A caller on a bare socket, without endpoint: it can do what no endpoint does."""

import asyncio
import os
import socket
import time

from protocols.srt.caller import Caller
from protocols.srt.events import Established, HandshakeFailed
from protocols.srt.options import Options
from protocols.srt.packet import Address
from protocols.srt.result import HandshakeResult
from tests.support.datagrams import until

SOCKET_ID = 0x1234567


class StubCaller:
    """Calls at once. Public: `result` once it is in, `sock`, `recorded` (what it sent)."""

    def __init__(self, peer: Address, options: Options | None = None) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.peer = peer
        self.result: HandshakeResult | None = None
        self.code: int | None = None
        self.recorded: list[bytes] = []
        self._machine = Caller(
            options or Options(), peer, SOCKET_ID, os.urandom, time.monotonic(), sequence=1000
        )

    async def connected(self) -> HandshakeResult:
        """Wait until it is let in."""
        await until(lambda: self._turn() or self.result is not None, "let in")
        assert self.result is not None
        return self.result

    def _turn(self) -> bool:
        now = time.monotonic()
        while True:
            try:
                data = self.sock.recv(65_536)
            except OSError:
                break
            self._machine.receive_datagrams([data], self.peer, now)
        self._machine.handle_timer(now)
        while (event := self._machine.next_event()) is not None:
            if isinstance(event, Established):
                self.result = event.result
            elif isinstance(event, HandshakeFailed):
                self.code = event.code
        for _, _, data in self._machine.datagrams_to_send(now):
            self.recorded.append(data)
            self.sock.sendto(data, self.peer)
        return self.code is not None

    def send(self, data: bytes) -> None:
        """Anything."""
        self.sock.sendto(data, self.peer)

    def vanish(self) -> None:
        """Close the socket without a word: the system answers for it from now on."""
        self.sock.close()


async def pace(seconds: float) -> None:
    """Give others the loop for so long: the traffic of a test is paced by it."""
    await asyncio.sleep(seconds)
