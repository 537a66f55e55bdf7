"""A simulated network in virtual time: seeded loss, bursts, delay, jitter, reordering, duplicates,
bandwidth with a queue, MTU. Whatever is asked of it twice with one seed happens twice alike.

Nodes are machines with the verbs of a datagram machine. What reaches a node at one instant comes
as one batch; `Node.coalesce` makes instants coarse, as an event loop that is woken rarely.
"""

import heapq
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

Address = tuple[Any, ...]
Run = tuple[Address, int, bytes]
NEVER = float("inf")
MAX_SPIN = 1000  # times that one node may want its timer at one instant


class Machine(Protocol):
    """What a node is driven by."""

    def receive_datagrams(self, datagrams: Sequence[bytes], address: Address, now: float) -> object:
        """Datagrams of one sender, in order."""

    def handle_timer(self, now: float) -> None:
        """The timer has come."""

    def get_timer(self) -> float | None:
        """When `handle_timer` is wanted."""

    def datagrams_to_send(self, now: float) -> list[Run]:
        """What is to be sent now."""


@dataclass(frozen=True, slots=True)
class Link:
    """One direction of a cable. Seconds, shares of one, bytes."""

    delay: float = 0.0
    jitter: float = 0.0  # up to that much more, even; order is kept unless `jitter_reorders`
    jitter_reorders: bool = False
    loss: float = 0.0
    burst: float = 0.0  # mean length of a loss in packets; 0: every packet for itself
    reorder: float = 0.0  # share of packets that come `reorder_by` later
    reorder_by: float = 0.010
    duplicate: float = 0.0
    rate: float = 0.0  # bytes per second; 0: no limit
    queue: int = 64_000  # bytes in front of the bottleneck
    mtu: int = 1500  # IP and UDP headers included
    overhead: int = 28  # of IP and UDP


@dataclass(slots=True)
class LinkCount:
    """What happened on a link."""

    sent: int = 0
    lost: int = 0
    overflowed: int = 0  # the queue was full
    oversized: int = 0
    delivered: int = 0
    bytes: int = 0


class Wire:
    """One direction in use. `link` may be changed, `is_cut` stops all; `tap` sees and may veto."""

    def __init__(self, link: Link, dice: random.Random) -> None:
        self.link = link
        self.is_cut = False
        self.tap: Callable[[bytes, float], bool] | None = None  # False: this one is lost
        self.count = LinkCount()
        self._dice = dice
        self._is_bad = False  # in a burst
        self._free_at = 0.0  # the bottleneck
        self._last_at = 0.0

    def carry(self, datagram: bytes, now: float) -> Iterator[float]:
        """When it arrives, for every copy that does."""
        link, count = self.link, self.count
        count.sent += 1
        size = len(datagram) + link.overhead
        count.bytes += size
        if size > link.mtu:
            count.oversized += 1
            return
        if self.is_cut or self._is_lost() or (self.tap and not self.tap(datagram, now)):
            count.lost += 1
            return
        at = now
        if link.rate:
            waiting = max(self._free_at - now, 0.0)
            if waiting * link.rate + size > link.queue:
                count.overflowed += 1
                return
            at = self._free_at = now + waiting + size / link.rate
        dice = self._dice
        yield self._arrival(at)
        if link.duplicate and dice.random() < link.duplicate:
            yield self._arrival(at + dice.random() * 0.005)

    def _arrival(self, at: float) -> float:
        link, dice = self.link, self._dice
        self.count.delivered += 1
        arrival = at + link.delay
        if link.jitter:
            arrival += dice.random() * link.jitter
            if not link.jitter_reorders:
                arrival = max(arrival, self._last_at)
        if link.reorder and dice.random() < link.reorder:
            return arrival + link.reorder_by
        self._last_at = max(arrival, self._last_at)
        return arrival

    def _is_lost(self) -> bool:
        link = self.link
        if not link.loss:
            return False
        dice = self._dice.random()
        if not link.burst:
            return dice < link.loss
        # Gilbert's model: all is lost in the bad state, nothing in the good one.
        if self._is_bad:
            self._is_bad = dice >= 1 / link.burst
        else:
            self._is_bad = dice < link.loss / (1 - link.loss) / link.burst
        return self._is_bad


class OffClock:
    """A machine whose clock runs `skew` faster than the network's: 50e-6 is 50 us a second."""

    def __init__(self, machine: Machine, skew: float, since: float) -> None:
        self._machine = machine
        self._rate = 1 + skew
        self._since = since

    def local(self, now: float) -> float:
        """What the machine's clock shows at `now`."""
        return self._since + (now - self._since) * self._rate

    def receive_datagrams(self, datagrams: Sequence[bytes], address: Address, now: float) -> None:
        """See `Machine`."""
        self._machine.receive_datagrams(datagrams, address, self.local(now))

    def handle_timer(self, now: float) -> None:
        """See `Machine`."""
        self._machine.handle_timer(self.local(now))

    def get_timer(self) -> float | None:
        """See `Machine`."""
        timer = self._machine.get_timer()
        # A little late, so that the machine finds its time has come.
        return None if timer is None else self._since + (timer - self._since) / self._rate + 1e-9

    def datagrams_to_send(self, now: float) -> list[Run]:
        """See `Machine`."""
        return self._machine.datagrams_to_send(self.local(now))


@dataclass(slots=True)
class Node:
    """A machine with an address."""

    address: Address
    machine: Machine
    coalesce: float = 0.0  # seconds; arrivals wait for the next multiple
    on_turn: Callable[[float], None] | None = None  # after each turn: take events
    is_urgent: Callable[[bytes], bool] = lambda datagram: False  # does not wait for that
    wires: dict[Address, Wire] = field(default_factory=dict)  # by destination
    unreachable: int = 0
    timer: float = NEVER
    spun: int = 0
    spun_at: float = -1.0


class _Deed(NamedTuple):
    """What is done at a time, and the nodes that have a turn then; None: all."""

    action: Callable[[float], None]
    touches: Sequence[Address] | None


class _Flight(NamedTuple):
    """A datagram on its way."""

    receiver: Address
    sender: Address
    datagram: bytes


class SimNet:
    """Nodes, cables and the clock. `now` starts high, so that nobody confuses it with zero."""

    def __init__(self, seed: int = 0, now: float = 1000.0) -> None:
        self.now = now
        self.dice = random.Random(seed)
        self.nodes: dict[Address, Node] = {}
        self._queue: list[tuple[float, int, _Deed | _Flight]] = []
        self._number = 0
        self._touched: dict[Address, Node] = {}

    def add(
        self,
        address: Address,
        machine: Machine,
        *,
        coalesce: float = 0.0,
        on_turn: Callable[[float], None] | None = None,
    ) -> Node:
        """A machine; `connect` gives it cables."""
        node = self.nodes[address] = Node(address, machine, coalesce, on_turn)
        return node

    def connect(
        self, a: Address, b: Address, link: Link, back: Link | None = None
    ) -> tuple[Wire, Wire]:
        """A cable: `link` from a to b, `back` (else the same) from b to a."""
        there = Wire(link, random.Random(self.dice.random()))
        here = Wire(link if back is None else back, random.Random(self.dice.random()))
        self.nodes[a].wires[b] = there
        self.nodes[b].wires[a] = here
        return there, here

    def at(
        self,
        time: float,
        action: Callable[[float], None],
        touches: Sequence[Address] | None = None,
    ) -> None:
        """Do something at a time. The nodes that it `touches` (None: all) have a turn then, as has
        who says so itself by `touch`."""
        self._push(time, _Deed(action, touches))

    def every(
        self,
        period: float,
        action: Callable[[float], None],
        until: float = NEVER,
        touches: Sequence[Address] | None = None,
    ) -> None:
        """Do something again and again, from now on; see `at`."""

        def act(now: float) -> None:
            action(now)
            if now + period < until:
                self._push(now + period, deed)

        deed = _Deed(act, touches)
        self._push(self.now, deed)

    def touch(self, node: Node) -> None:
        """Something was done to this one, so it has a turn at this instant."""
        self._touched[node.address] = node

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.run_until(self.now + seconds)

    def run_until(self, end: float, is_done: Callable[[], bool] | None = None) -> None:
        """Let time pass until `end`, or until `is_done` after a turn."""
        for node in self.nodes.values():
            self._pump(node)
        queue, nodes = self._queue, self.nodes
        while True:
            wake = NEVER
            for node in nodes.values():
                if node.timer < wake:
                    wake = node.timer
            due = queue[0][0] if queue and queue[0][0] < wake else wake
            if due > end:
                break
            if due > self.now:
                self.now = due
            now = self.now
            if wake <= now:
                for node in list(nodes.values()):
                    if node.timer <= now:
                        self._wake(node)
            if queue and queue[0][0] <= now:
                self._deliver(now)
            if is_done is not None and is_done():
                return
        self.now = max(self.now, end)

    # -- inside ------------------------------------------------------------------------------

    def _push(self, time: float, what: _Deed | _Flight) -> None:
        self._number += 1
        heapq.heappush(self._queue, (time, self._number, what))

    def _wake(self, node: Node) -> None:
        """The node's timer; one that wants it again and again without time passing is broken."""
        node.spun = node.spun + 1 if node.spun_at == self.now else 0
        node.spun_at = self.now
        if node.spun > MAX_SPIN:
            raise AssertionError(f"{node.address} spins at {self.now}: timer {node.timer}")
        node.machine.handle_timer(self.now)
        self._pump(node)

    def _deliver(self, now: float) -> None:
        """All that is due at this instant, arrivals batched by receiver and sender."""
        queue = self._queue
        item = heapq.heappop(queue)
        if (not queue or queue[0][0] > now) and isinstance(item[2], _Flight):  # mostly so
            receiver, sender, datagram = item[2]
            node = self.nodes.get(receiver)
            if node is not None:
                node.machine.receive_datagrams([datagram], sender, now)
                self._pump(node)
                self._touched.pop(receiver, None)
            return
        heapq.heappush(queue, item)
        touched, self._touched = self._touched, {}
        batches: dict[tuple[Address, Address], list[bytes]] = {}
        while queue and queue[0][0] <= now:
            what = heapq.heappop(queue)[2]
            if isinstance(what, _Flight):
                batches.setdefault(what[:2], []).append(what.datagram)
                continue
            what.action(now)
            for address in self.nodes if what.touches is None else what.touches:
                touched[address] = self.nodes[address]
        for (receiver, sender), datagrams in batches.items():
            node = self.nodes.get(receiver)
            if node is not None:
                node.machine.receive_datagrams(datagrams, sender, now)
                touched[receiver] = node
        touched.update(self._touched)
        self._touched = {}
        for node in touched.values():
            self._pump(node)

    def _pump(self, node: Node) -> None:
        """What an event loop does after each turn."""
        now = self.now
        for address, segment, data in node.machine.datagrams_to_send(now):
            wire = node.wires.get(address)
            if wire is None or address not in self.nodes:
                node.unreachable += 1
                continue
            if segment <= 0 or not data:
                raise AssertionError(f"a run of {len(data)} bytes by {segment}")
            receiver = self.nodes[address]
            for start in range(0, len(data), segment):
                datagram = data[start : start + segment]
                grid = 0.0 if receiver.is_urgent(datagram) else receiver.coalesce
                for arrival in wire.carry(datagram, now):
                    time = -(-arrival // grid) * grid if grid else arrival
                    self._push(time, _Flight(address, node.address, datagram))
        if node.on_turn is not None:
            node.on_turn(now)
        timer = node.machine.get_timer()
        node.timer = NEVER if timer is None else max(timer, now)
