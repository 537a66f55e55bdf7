"""Endpoints of SRT in virtual time: links, receptions and groups as an endpoint drives them, on a
simulated network instead of a socket. Whatever is forged goes in by `inject`."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from os import urandom
from random import Random

from protocols.srt.caller import Caller
from protocols.srt.events import ConnectionRequested, DataReceived, KeyNeeded
from protocols.srt.handshake import draw_socket_id
from protocols.srt.link import Channel, Link, LinkHandler
from protocols.srt.options import ListenerOptions, Options
from protocols.srt.packet import GROUP_ID_FLAG, HEADER_BYTES, Address, Run
from protocols.srt.reception import IncomingCall, Reception
from protocols.srt.rendezvous import Rendezvous
from protocols.srt.timed import Timed
from tests.support.simnet import Link as SimLink
from tests.support.simnet import SimNet
from tests.support.srt_handshake import key_for
from tests.support.srt_pair import CALLER, Pair


class Tape(LinkHandler):
    """The application's side of a link: keeps what happens. `on_connected` is called then."""

    def __init__(self, on_connected: Callable[[Channel, float], None] | None = None) -> None:
        self.payloads: list[bytes] = []
        self.lost = 0
        self.link: Channel | None = None
        self.connected_at = 0.0
        self.end: tuple[str, int] | None = None
        self.ended_at = 0.0
        self._on_connected = on_connected

    def connected(self, link: Channel, now: float) -> None:
        self.link, self.connected_at = link, now
        if self._on_connected is not None:
            self._on_connected(link, now)

    def received(self, link: Channel, event: DataReceived, now: float) -> None:
        del link, now
        self.payloads += event.payloads
        self.lost += event.lost

    def refused(self, reason: str, code: int) -> None:
        self.end = reason, code

    def closed(self, link: Channel, reason: str, code: int) -> None:
        del link
        self.end = reason, code

    @property
    def channel(self) -> Link:
        """The link, which is there."""
        assert isinstance(self.link, Link), self.end
        return self.link

    @property
    def numbers(self) -> list[int]:
        """What `Talker` numbered."""
        return [int.from_bytes(each[:4], "big") for each in self.payloads]


class VirtualEndpoint:
    """One node of a `SimNet`. Public: `links` by socket id, `drops`, `bytes_in`, `bytes_out`,
    `keys` (that were derived), `faults` (exceptions that got out)."""

    def __init__(
        self,
        net: SimNet,
        address: Address,
        *,
        seed: int = 1,
        key_delay: float = 0.002,
        max_links: int = 4096,
        coalesce: float = 0.0,
    ) -> None:
        self.net = net
        self.address = address
        self.random = Random(f"{seed} {address}").randbytes
        self.links: dict[int, Link] = {}
        self.reception: Reception | None = None
        self.drops: Counter[str] = Counter()
        self.bytes_in = self.bytes_out = 0
        self.datagrams_in = self.datagrams_out = 0
        self.keys: list[KeyNeeded] = []
        self.faults: list[Exception] = []
        self.key_delay = key_delay
        self.max_links = max_links
        self.hears_questions = False
        self._meeting: dict[Address, Link] = {}
        self._out: list[Run] = []
        self._heap: list[tuple[float, int, Timed]] = []
        self._numbers = count()
        self.node = net.add(address, self, coalesce=coalesce)

    # -- for tests ---------------------------------------------------------------------------

    def listen(
        self, on_call: Callable[[IncomingCall], None], options: ListenerOptions | None = None
    ) -> None:
        """Hear callers."""
        self.reception = Reception(self, options or ListenerOptions(), on_call, self.random)

    def call(
        self,
        peer: Address,
        options: Options,
        handler: LinkHandler,
        sequence: int | None = None,
        started_at: float | None = None,
    ) -> Link:
        """Call a listener."""
        now = self.net.now
        socket_id = self.draw_id() or 0
        machine = Caller(options, peer, socket_id, self.random, now, sequence, started_at)
        return self._add(Link(self, socket_id, peer, options, handler, machine, self.random))

    def meet(self, peer: Address, options: Options, handler: LinkHandler) -> Link:
        """Call somebody who calls us."""
        socket_id = self.draw_id() or 0
        machine = Rendezvous(options, peer, socket_id, self.random, self.net.now)
        link = Link(self, socket_id, peer, options, handler, machine, self.random)
        self._meeting[peer] = link
        return self._add(link)

    def inject(self, *datagrams: bytes, source: Address) -> None:
        """These come now, whoever sent them."""

        def act(now: float) -> None:
            self.receive_datagrams(datagrams, source, now)

        self.net.at(self.net.now, act, touches=[self.address])

    def refusals(self) -> Counter[str]:
        """What came to nothing, by reason."""
        found = Counter(self.drops)
        if self.reception is not None:
            found.update(self.reception.counters)
        for link in self.links.values():
            found.update(link.refusals)
        return found

    # -- what a network drives ---------------------------------------------------------------

    def receive_datagrams(self, datagrams: Sequence[bytes], address: Address, now: float) -> None:
        self.bytes_in += sum(map(len, datagrams))
        self.datagrams_in += len(datagrams)
        whole = [each for each in datagrams if len(each) >= HEADER_BYTES]
        if len(whole) != len(datagrams):
            self.drops["srt-truncated"] += len(datagrams) - len(whole)
        touched: dict[Timed, None] = {}
        for datagram in whole:
            destination = int.from_bytes(datagram[12:16], "big")
            link = self.links.get(destination)
            if link is None and not destination:
                link = self._meeting.get(address)
            if link is not None:
                if link.receive([datagram], address, now):
                    touched[link] = None
                else:
                    link.answer(now)
            elif self.reception is not None:
                self.reception.receive([datagram], address, now)
                touched[self.reception] = None
            else:
                self.drops["srt-no-connection"] += 1
        for part in touched:
            part.flush(now)

    def handle_timer(self, now: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= now:
            at, _, part = heapq.heappop(heap)
            if part.handle_timer(at, now):
                part.flush(now)

    def get_timer(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def datagrams_to_send(self, now: float) -> list[Run]:
        del now
        runs, self._out = self._out, []
        return runs

    # -- what links and receptions need ------------------------------------------------------

    def now(self) -> float:
        return self.net.now

    def transmit(self, runs: Iterable[Run]) -> None:
        for run in runs:
            self.bytes_out += len(run[2])
            self.datagrams_out += -(-len(run[2]) // run[1])
            self._out.append(run)
        self.net.touch(self.node)

    def derive(self, question: KeyNeeded, answer: Callable[[bytes, float], None]) -> None:
        self.keys.append(question)
        key = key_for(question)
        due = self.net.now + self.key_delay
        self.net.at(due, lambda now: answer(key, now), touches=[self.address])

    def rearm(self, part: Timed, at: float) -> None:
        heapq.heappush(self._heap, (at, next(self._numbers), part))
        self.net.touch(self.node)

    def release(self, link: Link) -> None:
        self.drops.update(link.refusals)
        self.links.pop(link.socket_id, None)
        if self._meeting.get(link.peer) is link:
            del self._meeting[link.peer]
        if link.listener_handle and self.reception is not None:
            self.reception.forget(link.listener_handle, self.net.now)

    def failed(self, link: Link, error: Exception) -> None:
        self.faults.append(error)
        link.fail()

    def draw_id(self) -> int | None:
        taken = self.reception.ids if self.reception is not None else set()
        if len(self.links) + len(taken) >= self.max_links:
            return None
        return draw_socket_id(self.random)

    def draw_group_id(self) -> int:
        return int.from_bytes(self.random(4), "big") & (GROUP_ID_FLAG - 1) | GROUP_ID_FLAG

    def add_link(self, socket_id: int, options: Options, handler: LinkHandler, handle: int) -> Link:
        link = Link(self, socket_id, (), options, handler, None, self.random, handle)
        self.links[socket_id] = link
        return link

    def call_failed(self, request: ConnectionRequested, error: Exception) -> None:
        del request
        self.faults.append(error)

    def _add(self, link: Link) -> Link:
        self.links[link.socket_id] = link
        link.flush(self.net.now)
        return link


class Talker:
    """Sends numbered payloads over a link, `rate` a second, while time passes."""

    def __init__(self, net: SimNet, link: Channel, *, rate: float = 500.0, size: int = 400) -> None:
        self.count = 0
        self.refused = 0
        self._net = net
        self._link = link
        self._rate = rate
        self._size = size

    def start(self, packets: int, burst: int = 1) -> None:
        """So many from now on."""
        left = packets

        def tick(now: float) -> None:
            nonlocal left
            batch = min(burst, left)
            if batch <= 0:
                return
            left -= batch
            numbers = range(self.count, self.count + batch)
            payloads = [number.to_bytes(4, "big").ljust(self._size, b"G") for number in numbers]
            self.count += batch
            self.refused += batch - self._link.send(payloads, now)

        end = self._net.now + packets / self._rate
        # The endpoint of the link says by itself that it has something to send.
        self._net.every(burst / self._rate, tick, end + burst / self._rate / 2, touches=[])


def letting_in(options: Options, tapes: list[Tape]) -> Callable[[IncomingCall], None]:
    """An application that lets everybody in, each with a tape of its own."""

    def called(call: IncomingCall) -> None:
        tapes.append(Tape())
        call.accept(options, tapes[-1])

    return called


def measured_link(
    rtt: float,
    handler: LinkHandler,
    options: Options | None = None,
    *,
    is_sending: bool = False,
    hears_questions: bool = False,
) -> tuple[Pair, Link]:
    """A connection that has measured its round trip, as a link of an endpoint: the listener of the
    pair, which received, or the caller, which sent."""
    pair = Pair(SimLink(delay=rtt / 2), SimLink(delay=rtt / 2), options=options)
    pair.transfer(400)
    pump = VirtualEndpoint(pair.net, ("198.18.9.9", 9))
    pump.hears_questions = hears_questions
    link = Link(pump, 1, CALLER, pair.options, handler, None, urandom)
    link.connection = pair.caller if is_sending else pair.listener
    link.result = link.connection.result
    return pair, link
