"""Two handshake machines of SRT joined by a line with delay and faults, in virtual time."""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from protocols.srt.cipher import derive_key
from protocols.srt.events import (
    ConnectionRequested,
    Established,
    HandshakeEvent,
    HandshakeFailed,
    KeyNeeded,
    RequestEnded,
)
from protocols.srt.handshake import HandshakeMachine
from protocols.srt.listener import Listener
from protocols.srt.options import Options
from protocols.srt.packet import Address
from protocols.srt.result import HandshakeResult

CALLER = ("192.0.2.1", 40000)
LISTENER = ("192.0.2.2", 8890)
Fault = Callable[[int, bytes], list[float]]  # (index, datagram) -> delays added, one a copy

KEYS: dict[tuple[bytes, bytes, int], bytes] = {}


def no_fault(_index: int, _datagram: bytes) -> list[float]:
    """Every datagram arrives once."""
    return [0.0]


def seeded(seed: int) -> Callable[[int], bytes]:
    """Randomness for a machine."""
    return Random(seed).randbytes


def key_for(event: KeyNeeded) -> bytes:
    """The answer to a question for a key; kept, as an endpoint keeps it."""
    question = (event.passphrase, event.salt, event.key_bytes)
    if question not in KEYS:
        KEYS[question] = derive_key(*question)
    return KEYS[question]


@dataclass
class Side:
    """One machine with its owner. `decide` answers a listener's questions."""

    machine: HandshakeMachine
    address: Address
    decide: Callable[[ConnectionRequested, float], None] | None = None
    key_delay: float = 0.0
    events: list[HandshakeEvent] = field(default_factory=list)
    keys: list[tuple[float, int, bytes]] = field(default_factory=list)  # (at, handle, key)

    @property
    def results(self) -> list[HandshakeResult]:
        """What was established."""
        return [event.result for event in self.events if isinstance(event, Established)]

    @property
    def failures(self) -> list[HandshakeFailed | RequestEnded]:
        """What failed."""
        return [e for e in self.events if isinstance(e, HandshakeFailed | RequestEnded)]

    def take_events(self, now: float) -> None:
        """Answer what the machine asks."""
        while (event := self.machine.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, KeyNeeded):
                self.keys.append((now + self.key_delay, event.handle, key_for(event)))
            elif isinstance(event, ConnectionRequested) and self.decide is not None:
                self.decide(event, now)

    def provide_keys(self, now: float) -> None:
        """Hand over the keys that are ready."""
        due = [key for key in self.keys if key[0] <= now]
        self.keys = [key for key in self.keys if key[0] > now]
        for _, handle, key in due:
            self.machine.provide_key(handle, key, now)

    def next_at(self) -> float:
        """When something is to be done."""
        timer = self.machine.get_timer()
        return min([at for at, _, _ in self.keys] + ([] if timer is None else [timer]), default=1e9)


def acceptor(
    listener: Listener, options: Options, group_id: int = 0
) -> Callable[[ConnectionRequested, float], None]:
    """An application that lets everybody in."""

    def decide(event: ConnectionRequested, now: float) -> None:
        listener.accept(event.handle, options, 0x1000 + event.handle, now, group_id)

    return decide


class Line:
    """Carries datagrams between two sides. `sent` keeps what left: (time, from first?, bytes)."""

    def __init__(
        self,
        first: Side,
        second: Side,
        delay: float = 0.02,
        to_second: Fault = no_fault,
        to_first: Fault = no_fault,
        now: float = 100.0,
    ) -> None:
        self.first, self.second = first, second
        self.delay = delay
        self.faults = {True: to_second, False: to_first}
        self.counts = {True: 0, False: 0}
        self.now = now
        self.sent: list[tuple[float, bool, bytes]] = []
        self._flying: list[tuple[float, int, bool, bytes]] = []
        self._order = 0

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while True:
            self._work()
            due = [side.next_at() for side in (self.first, self.second)]
            due += [self._flying[0][0]] if self._flying else []
            at = min(due)
            if at > end:
                break
            self.now = max(self.now, at)
            while self._flying and self._flying[0][0] <= self.now:
                _, _, is_to_second, datagram = heapq.heappop(self._flying)
                self.deliver(is_to_second, datagram)
        self.now = end

    def deliver(self, is_to_second: bool, datagram: bytes) -> None:
        """Hand one datagram over now."""
        source, target = (self.first, self.second) if is_to_second else (self.second, self.first)
        target.machine.receive_datagrams([datagram], source.address, self.now)

    def _work(self) -> None:
        for side in (self.first, self.second):
            side.provide_keys(self.now)
            side.machine.handle_timer(self.now)
            side.take_events(self.now)
            for datagram in self._datagrams(side):
                self._send(side is self.first, datagram)

    def _datagrams(self, side: Side) -> Iterator[bytes]:
        for _, segment, joined in side.machine.datagrams_to_send(self.now):
            for at in range(0, len(joined), segment):
                yield joined[at : at + segment]

    def _send(self, is_from_first: bool, datagram: bytes) -> None:
        index = self.counts[is_from_first]
        self.counts[is_from_first] += 1
        self.sent.append((self.now, is_from_first, datagram))
        for extra in self.faults[is_from_first](index, datagram):
            self._order += 1
            arrival = self.now + self.delay + extra
            heapq.heappush(self._flying, (arrival, self._order, is_from_first, datagram))
