"""Two houses with one cable between them: flows that share a bottleneck, in virtual time."""

import random
from collections.abc import Sequence
from dataclasses import replace

from protocols.srt.connection import Connection
from protocols.srt.events import DataReceived
from protocols.srt.options import Mode, Options
from protocols.srt.packet import Address, Run
from tests.support.simnet import Link, SimNet, Wire
from tests.support.srt_pair import CALLER, LISTENER, results

BLOCK = [b"x" * 1456] * 32


class House:
    """A machine with many connections, told apart by the destination of datagrams."""

    def __init__(self) -> None:
        self.connections: dict[int, Connection] = {}

    def receive_datagrams(self, datagrams: Sequence[bytes], address: Address, now: float) -> None:
        parts: dict[int, list[bytes]] = {}
        for datagram in datagrams:
            parts.setdefault(int.from_bytes(datagram[12:16], "big"), []).append(datagram)
        for number, part in parts.items():
            self.connections[number].receive_datagrams(part, address, now)

    def handle_timer(self, now: float) -> None:
        for connection in self.connections.values():
            connection.handle_timer(now)

    def get_timer(self) -> float | None:
        timers = [connection.get_timer() for connection in self.connections.values()]
        return min((each for each in timers if each is not None), default=None)

    def datagrams_to_send(self, now: float) -> list[Run]:
        runs: list[Run] = []
        for connection in self.connections.values():
            runs += connection.datagrams_to_send(now)
        return runs


class Flow:
    """A file without end that is sent from one house to the other. Public: `received` bytes."""

    def __init__(self, sender: Connection, receiver: Connection) -> None:
        self.sender, self.receiver = sender, receiver
        self.received = 0
        self.starts_at = 0.0

    def feed(self, now: float) -> None:
        """Fill the send buffer."""
        while now >= self.starts_at and self.sender.send(BLOCK, now) == len(BLOCK):
            pass

    def drain(self) -> None:
        """Count what came."""
        while (event := self.receiver.next_event()) is not None:
            if isinstance(event, DataReceived):
                self.received += sum(map(len, event.payloads))
        while self.sender.next_event() is not None:
            pass


class Street:
    """Flows over one cable."""

    def __init__(
        self, link: Link, options: Sequence[Options], back: Link | None = None, seed: int = 1
    ) -> None:
        self.net = net = SimNet(seed)
        here, there = House(), House()
        self.flows: list[Flow] = []
        dice = random.Random(seed)
        for number, each in enumerate(options):
            ours, theirs = results(net, each, transit=link.delay)
            near, far = 1000 + number, 2000 + number
            ours = replace(ours, socket_id=near, peer_socket_id=far)
            theirs = replace(theirs, socket_id=far, peer_socket_id=near)
            sender = Connection(ours, each, dice.randbytes, net.now)
            receiver = Connection(theirs, each, dice.randbytes, net.now)
            here.connections[near] = sender
            there.connections[far] = receiver
            self.flows.append(Flow(sender, receiver))
        net.add(CALLER, here)
        net.add(LISTENER, there, on_turn=lambda now: self._drain())
        self.wire: Wire
        self.wire, _ = net.connect(CALLER, LISTENER, link, back)
        net.every(0.01, self._feed)

    def rates(self, seconds: float) -> list[float]:
        """Let time pass: bytes a second of each flow."""
        before = [flow.received for flow in self.flows]
        self.net.run(seconds)
        return [
            (flow.received - old) / seconds for flow, old in zip(self.flows, before, strict=True)
        ]

    def _feed(self, now: float) -> None:
        for flow in self.flows:
            flow.feed(now)

    def _drain(self) -> None:
        for flow in self.flows:
            flow.drain()


def file_options(**more: object) -> Options:
    """Of a file transfer."""
    return Options(mode=Mode.STREAM, receive_latency_ms=0, **more)  # type: ignore[arg-type]
