"""A socket of a source, read in turns.

A wake-up of the loop costs more than some packets do. So after a turn that brought something the
socket rests, unread, for some milliseconds; what comes meanwhile waits in the kernel, which stamps
it. After a turn that brought nothing the loop watches the socket again.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

from flux.bridges.udp.plan import Senders
from flux.net.multicast import bind_receiver, is_multicast
from flux.net.resolve import is_address, resolve
from flux.net.turns import Turn, Turns
from flux.net.udp import Address, Batch, SharedUdpSocket

REST = 0.010  # seconds
MOST_FULL = 0.25  # share of the buffer that may fill while it rests
SHORTEST_REST = 0.002

OnBatches = Callable[[Sequence[Batch], float], None]


class ReceivePort:
    """Calls `on_batches(batches, now)` with what came in one turn of the loop, until `close`.

    Public, and may be changed: `rest` in seconds, and `joins`: what comes is taken as a stream of
    bytes with a clock of its own, see `SharedUdpSocket.receive_joined`.
    """

    def __init__(self, sock: SharedUdpSocket, on_batches: OnBatches, rest: float = REST) -> None:
        """`rest` in seconds, if the socket's buffer does not fill sooner."""
        self._sock = sock
        self._on_batches = on_batches
        self._loop = asyncio.get_running_loop()
        self._turns = Turns.of(self._loop)
        self._resting: Turn | None = None
        self.rest = rest
        self.joins = False
        self._room = max(sock.room, 1)
        self._read_at = 0.0
        self._is_watched = False
        self._is_open = True
        self._watch()

    @property
    def port(self) -> int:
        """The local port."""
        return self._sock.port

    @property
    def is_clamped(self) -> bool:
        """Whether the kernel gave less buffer than asked."""
        return self._sock.is_clamped

    def send(self, data: bytes, address: Address) -> None:
        """Send one datagram from here."""
        if self._is_open:
            self._sock.send(data, address)

    def close(self) -> None:
        """Read no more; a group that was joined is left."""
        if self._is_open:
            self._is_open = False
            self._unwatch()
            if self._resting is not None:
                self._resting.cancel()
            self._sock.close()

    def read(self) -> None:
        """Take what is there now, and decide when to look again."""
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        if not self._is_open:
            return
        now = time.monotonic()
        sock = self._sock
        batches: Sequence[Batch] = sock.receive_joined(now) if self.joins else sock.receive(now)
        if not batches:
            self._watch()
            return
        brought = sum([len(datagrams) for _, _, datagrams in batches])
        try:
            self._on_batches(batches, now)
        finally:
            if self._is_open:
                self._unwatch()
                pause, self._read_at = now - self._read_at, now
                # So long until so much has come that the buffer is in danger.
                rest = min(self.rest, pause * MOST_FULL * self._room / brought)
                if self._sock.has_more:
                    rest = SHORTEST_REST
                at = now + max(rest, SHORTEST_REST)
                self._resting = self._turns.call(at, rest / 2, self.read, now)

    def _watch(self) -> None:
        if not self._is_watched:
            self._is_watched = True
            self._loop.add_reader(self._sock.fileno(), self.read)

    def _unwatch(self) -> None:
        if self._is_watched:
            self._is_watched = False
            self._loop.remove_reader(self._sock.fileno())


async def open_port(
    host: str,
    port: int,
    senders: Senders,
    on_batches: OnBatches,
    *,
    interface: str,
    buffer_bytes: int,
    timeout: float,
    rest: float = REST,
) -> ReceivePort:
    """Bind, and join if `host` is a group; raises `PeerError` as `flux.net.multicast` names them.

    A name is looked up: it must be one of this machine's addresses.
    """
    if host and not is_address(host):
        _, address = await resolve(host, port, timeout=timeout)
        host = str(address[0])
    included = senders.included if is_multicast(host) else ()
    sock, _ = bind_receiver(host, port, sources=included, interface=interface)
    return ReceivePort(SharedUdpSocket(sock, buffer_bytes), on_batches, rest)
