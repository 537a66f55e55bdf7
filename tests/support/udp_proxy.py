"""A line between two UDP sockets of this machine: seeded loss, delay, reordering."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

Address = tuple[Any, ...]
MAX_DATAGRAM = 65_536


@dataclass(frozen=True, slots=True)
class Line:
    """One direction: seconds, and shares of one."""

    delay: float = 0.0
    loss: float = 0.0
    reorder: float = 0.0  # share of datagrams that come `reorder_by` later
    reorder_by: float = 0.01
    loses: Callable[[bytes], bool] | None = None  # says of each datagram whether it is lost
    spares: Callable[[bytes], bool] | None = None  # says what no chance takes


class UdpProxy:
    """Whoever sends to `port` is one end; what it sends goes to `target`, and answers come back.

    For two ends that both begin, as in a rendezvous, the first one's address is `client` from the
    start, and `rear_port` is what the other one sends to. Counters: `sent`, `lost`, both ways.
    """

    def __init__(
        self, target: Address, there: Line, back: Line, seed: int, client: Address | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._target = target
        self._lines = {True: there, False: back}
        self._chance = random.Random(seed)
        self._client = client
        self._front, self._rear = _bound(), _bound()
        self.port: int = self._front.getsockname()[1]
        self.rear_port: int = self._rear.getsockname()[1]
        self.sent = 0
        self.lost = 0
        self._loop.add_reader(self._front.fileno(), self._read, self._front, True)
        self._loop.add_reader(self._rear.fileno(), self._read, self._rear, False)

    def close(self) -> None:
        """Cut the line."""
        for sock in (self._front, self._rear):
            self._loop.remove_reader(sock.fileno())
            sock.close()

    def _read(self, sock: socket.socket, is_there: bool) -> None:
        while True:
            try:
                data, address = sock.recvfrom(MAX_DATAGRAM)
            except OSError:
                return
            if is_there:
                self._client = address
            line = self._lines[is_there]
            self.sent += 1
            is_lost = line.loss > 0 and self._chance.random() < line.loss
            is_lost = is_lost and not (line.spares is not None and line.spares(data))
            if is_lost or (line.loses is not None and line.loses(data)):
                self.lost += 1
                continue
            late = line.reorder and self._chance.random() < line.reorder
            delay = line.delay + (line.reorder_by if late else 0.0)
            if delay:
                self._loop.call_later(delay, self._pass, data, is_there)
            else:
                self._pass(data, is_there)

    def _pass(self, data: bytes, is_there: bool) -> None:
        sock, address = (self._rear, self._target) if is_there else (self._front, self._client)
        if address is not None and sock.fileno() >= 0:
            with contextlib.suppress(OSError):
                sock.sendto(data, address)


@contextlib.asynccontextmanager
async def proxied(
    target: Address,
    there: Line,
    back: Line | None = None,
    seed: int = 1,
    client: Address | None = None,
) -> AsyncIterator[UdpProxy]:
    """A line while the block lasts; `back` is as `there` unless it is given."""
    proxy = UdpProxy(target, there, there if back is None else back, seed, client)
    try:
        yield proxy
    finally:
        proxy.close()


def _bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind(("127.0.0.1", 0))
    return sock
