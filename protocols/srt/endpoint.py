"""One UDP socket with all connections on it: the asyncio shell of SRT.

A wake-up of the loop costs more than ten packets do, so the socket is read in turns. After a turn
that brought something it rests, unread, for as long as `pace` says; what comes meanwhile waits in
the kernel, which stamps it, but for what may not wait: that ends a long rest. After a turn that
brought nothing, or little after a pause, the loop watches the socket again. Timers are served in
the same turns, so they may be late by a rest: one heap, and one timer of the loop. Who was heard or
was due in a turn is flushed once, at its end. What the application sends leaves at once.
"""

import asyncio
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

from flux.base.errors import PeerError
from flux.net.multicast import bind_receiver
from flux.net.turns import Alarm
from flux.net.udp import MAX_TURN_BYTES, SharedUdpSocket
from flux.net.udp_ears import Ears
from flux.net.udp_hearing import Heard
from flux.net.udp_send import RunSender
from protocols.srt.arrivals import CONTROL, CONTROL_WORD, PATIENT, parted
from protocols.srt.caller import Caller
from protocols.srt.events import ConnectionRequested, KeyNeeded
from protocols.srt.group_call import GroupCall, Place
from protocols.srt.group_link import GroupLink
from protocols.srt.handshake import RandomBytes, draw_socket_id
from protocols.srt.link import Link, LinkHandler
from protocols.srt.options import GroupType, ListenerOptions, Options
from protocols.srt.pace import CALM_REST, Pace, are_awaiting
from protocols.srt.packet import GROUP_ID_FLAG, Address, Run
from protocols.srt.reception import IncomingCall, Reception
from protocols.srt.rendezvous import Rendezvous
from protocols.srt.timed import Timed
from protocols.srt.timers import Timers
from protocols.srt.worker import KeyDeriver

LITTLE = 2  # datagrams: more of them are a stream
EARLY = 0.7  # share of a rest that may be cut off, if the process is awake anyway
FULL_TURN = 384  # datagrams that one turn takes: then the next one follows at once
MAX_LOADS = 4  # of `MAX_TURN_BYTES`, that are read at once where they are of many links
LINKS_A_LOAD = 4
ERRORS_EVERY = 0.1  # seconds between two looks for errors, in turns that bring nothing
NEVER = float("inf")
NOBODY = bytes(4)  # destination of a request


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """The socket, and what one process can bear."""

    receive_buffer_bytes: int = 4 << 20
    send_buffer_bytes: int = 4 << 20
    max_links: int = 4096


class Endpoint:
    """Owns the socket, the listener and the links.

    Public counters: `drops` by reason, `turns`, `datagrams`. `hears_questions`: for packets, in the
    middle of a long rest.
    """

    def __init__(
        self,
        sock: socket.socket,
        options: EndpointOptions | None = None,
        *,
        deriver: KeyDeriver | None = None,
        random: RandomBytes = os.urandom,
    ) -> None:
        """Take over a bound socket. Endpoints may share a `deriver`, whose owner closes it."""
        self._options = options or EndpointOptions()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._options.send_buffer_bytes)
        size = self._options.receive_buffer_bytes
        shared = SharedUdpSocket(sock, size, hears_errors=True, keeps_homes=True)
        self._sender = RunSender(sock, shared.homes)
        self.local: Address = sock.getsockname()
        self._random = random
        self._owns_deriver = deriver is None
        self._deriver = deriver or KeyDeriver()
        self._loop = asyncio.get_running_loop()
        self._links: dict[bytes, Link] = {}  # by socket id, as it stands in packets
        self._meeting: dict[Address, Link] = {}  # rendezvous by the peer's host and port
        self._reception: Reception | None = None
        self._timers = Timers()
        self._alarm = Alarm(self._loop, self._turn)
        self._turn_at = self._errors_at = self._sent_at = 0.0
        wake = partial(self._turn, is_woken=True)
        self._ears = Ears(self._loop, shared, wake, flag=CONTROL_WORD, patient=PATIENT)
        self.hears_questions = self._ears.is_split
        self._pace = Pace(time.monotonic(), self._ears.room)
        self._heard: deque[Heard] = deque()  # that has been read, and is for a later turn
        self._rests_until = 0.0  # 0: the socket is watched
        self._is_open = True
        self.drops: Counter[str] = Counter()
        self.turns = 0
        self.datagrams = 0
        self._ears.watch()

    @classmethod
    def bind(cls, host: str, port: int, options: EndpointOptions | None = None) -> Self:
        """Open a port; host "" is every address, IPv4 and IPv6. Raises `PeerError`."""
        sock, _ = bind_receiver(host, port)
        return cls(sock, options)

    @property
    def port(self) -> int:
        """The local port."""
        return self._ears.port

    @property
    def is_clamped(self) -> bool:
        """Whether the kernel gave less receive buffer than asked."""
        return self._ears.is_clamped

    @property
    def links(self) -> list[Link]:
        """All there are, those that still call among them."""
        return list(self._links.values())

    def figures(self) -> Counter[str]:
        """What came to nothing, by reason."""
        found = Counter(self.drops)
        for reason, number in self._reception.counters.items() if self._reception else ():
            found[reason] += number
        for reason, number in (("udp-full", self._sender.full), ("udp-error", self._sender.errors)):
            if number:
                found[reason] += number
        return found

    # -- for the application -----------------------------------------------------------------

    def listen(self, options: ListenerOptions, on_call: Callable[[IncomingCall], None]) -> None:
        """Hear callers from now on."""
        self._reception = Reception(self, options, on_call, self._random)

    def call(
        self,
        peer: Address,
        options: Options,
        handler: LinkHandler,
        sequence: int | None = None,
        started_at: float | None = None,
    ) -> Link:
        """Call a listener; `peer` is a socket address of this socket's family.

        Raises PeerError `srt-overload`.
        """
        now = time.monotonic()
        socket_id = self._seat()
        machine = Caller(options, peer, socket_id, self._random, now, sequence, started_at)
        return self._add(Link(self, socket_id, peer, options, handler, machine, self._random), now)

    def call_group(
        self, places: Sequence[Place], kind: GroupType, options: Options, handler: LinkHandler
    ) -> GroupLink:
        """Call with a group: one link to each place. Raises PeerError `srt-overload`."""
        return GroupCall(self, places, kind, options, handler, self._random).group

    def meet(self, peer: Address, options: Options, handler: LinkHandler) -> Link:
        """Call somebody who calls us: rendezvous. Raises PeerError `srt-overload`."""
        now = time.monotonic()
        socket_id = self._seat()
        machine = Rendezvous(options, peer, socket_id, self._random, now)
        link = Link(self, socket_id, peer, options, handler, machine, self._random)
        self._meeting[peer[:2]] = link
        return self._add(link, now)

    def close(self, reason: str = "endpoint-closed") -> None:
        """Close every link and the socket; calling it twice does no harm."""
        if not self._is_open:
            return
        now = time.monotonic()
        reception, self._reception = self._reception, None
        if reception is not None:
            reception.close()
            self.drops.update(reception.counters)
        for link in self.links:
            link.abort(reason, now)
        self._is_open = False
        self._ears.close()
        self._alarm.close()
        self._timers.clear()
        self._links.clear()
        self._heard.clear()
        if self._owns_deriver:
            self._deriver.close()

    # -- for the links and the reception -----------------------------------------------------

    def now(self) -> float:
        """The time."""
        return time.monotonic()

    def draw_id(self) -> int | None:
        """A socket id that nobody has; None: there is no room for one more link."""
        taken = self._reception.ids if self._reception is not None else set()
        if len(self._links) + len(taken) >= self._options.max_links:
            return None
        while True:
            socket_id = draw_socket_id(self._random)
            if socket_id not in taken and socket_id.to_bytes(4, "big") not in self._links:
                return socket_id

    def draw_group_id(self) -> int:
        """A new id of a group."""
        return int.from_bytes(self._random(4), "big") & (GROUP_ID_FLAG - 1) | GROUP_ID_FLAG

    def add_link(self, socket_id: int, options: Options, handler: LinkHandler, handle: int) -> Link:
        """A link of the listening side."""
        link = Link(self, socket_id, (), options, handler, None, self._random, handle)
        self._links[socket_id.to_bytes(4, "big")] = link
        return link

    def transmit(self, runs: Iterable[Run]) -> None:
        """Send; what the system refuses counts as lost on the way."""
        if not self._is_open:
            return
        send, now = self._sender.send_joined, time.monotonic()
        for address, segment, data in runs:
            send(data, segment, address)
            if data[0] < CONTROL:
                self._sent_at = now
        if not self._is_open or self._pace.rest < CALM_REST or self._rests_until == NEVER:
            return
        may_lie = self._ears.hears_urgent and now < self._turn_at + self._pace.answers_rest
        if self._rests_until and not may_lie:
            self._alarm.hasten(now)
            return
        # What answers these is worth no waking of its own.
        self._ears.rest(hears_urgent=True)
        rest = self._pace.send_rest
        self._rests_until = now + rest
        if may_lie:  # nor is it looked for whenever somebody wakes
            self._alarm.put_off(self._rests_until, rest * EARLY, now)
        else:
            self._arm(now)

    def derive(self, question: KeyNeeded, answer: Callable[[bytes, float], None]) -> None:
        """Compute a key in a thread."""
        self._deriver.ask(
            question.passphrase,
            question.salt,
            question.key_bytes,
            lambda key: answer(key, time.monotonic()),
        )

    def rearm(self, part: Timed, at: float) -> None:
        """Serve this one then."""
        self._timers.add(part, at)
        if self._rests_until:
            return  # the next turn is known
        if at < self._alarm.due:
            due = max(at, self._turn_at + self._pace.rest)
            self._alarm.set(due, 0.0, time.monotonic())

    def release(self, link: Link) -> None:
        """A link is closed."""
        self.drops.update(link.refusals)
        self._links.pop(link.socket_id.to_bytes(4, "big"), None)
        if self._meeting.get(link.peer[:2]) is link:
            del self._meeting[link.peer[:2]]
        if link.listener_handle and self._reception is not None:
            self._reception.forget(link.listener_handle, time.monotonic())

    def call_failed(self, request: ConnectionRequested, error: Exception) -> None:
        """The application raised when it was told of a caller."""
        self._loop.call_exception_handler(
            {"message": f"srt call of {request.peer[:2]}", "exception": error}
        )

    def failed(self, link: Link, error: Exception) -> None:
        """A handler raised, or a machine of ours."""
        self._loop.call_exception_handler(
            {"message": f"srt link of {link.peer[:2]}", "exception": error}
        )
        try:
            link.abort("internal-error", time.monotonic())
        except Exception:  # it is told of already
            link.fail()

    # -- turns -------------------------------------------------------------------------------

    def _turn(self, is_woken: bool = False) -> None:
        """Read, serve what is due, decide when to look again; `is_woken`: a socket can be read."""
        if not self._is_open:
            return
        now = time.monotonic()
        self.turns += 1
        self._rests_until = NEVER  # it is decided in the end
        is_urgent = is_woken and self._ears.is_resting
        brought = data = 0
        touched: dict[Timed, None] = {}
        try:
            brought, data = self._read(now, touched, is_woken)
            if not self._heard:  # a link that is due may be among those that come next
                self._serve_due(now, touched)
            for part in touched:
                self._flush(part, now)
        finally:  # whatever happens, there is a next turn
            if self._pace.is_measure_due(now):
                self._pace.measure(self._links.values(), now)
            is_awaiting = self._sent_at >= self._turn_at and are_awaiting(self._links.values())
            pause, self._turn_at = now - self._turn_at, now
            self._pace.fill(brought, now, is_behind=self._ears.has_more or bool(self._heard))
            self._pace.look(touched, data, now)
            if data:  # more are to come
                is_stream = brought > LITTLE or pause < 2 * self._pace.rest
            else:  # acknowledgements: of what was sent in one go, they may be all
                is_stream = brought > 0 and pause < self._pace.rest
                # Those that are still to come are worth no waking of their own.
                is_stream |= is_awaiting and self._pace.send_rest > CALM_REST
            rest = self._pace.rest if data else self._pace.send_rest
            if not is_stream and (brought or not is_woken):
                rest = 0.0
            self._rest_or_watch(rest, is_urgent)

    def _rest_or_watch(self, rest: float, is_urgent: bool) -> None:
        if not self._is_open:
            return  # closed from within
        now = self._turn_at
        if is_urgent:  # whoever says so over and over gets no more turns than in a short rest
            rest = min(rest, CALM_REST)
        if rest or self._pace.is_behind:
            # Woken for nothing: the socket has an error, and some loops stop to watch it then
            # without a word. They have to be asked anew, in another turn.
            self._ears.rest(hears_urgent=rest >= CALM_REST and not is_urgent)
            self._rests_until = now if self._pace.is_behind else now + rest
        else:
            self._rests_until = 0.0
            self._ears.watch()
        self._arm(now)

    def _read(self, now: float, touched: dict[Timed, None], is_woken: bool) -> tuple[int, int]:
        """Feed what has come; how many datagrams that were, and how many of them data."""
        brought = data = 0
        has_calls = False
        if not self._heard:
            self._hear(now, is_woken)
        while self._heard and brought < FULL_TURN:
            sender = self._heard.popleft()
            address, whole = sender.address, 0
            for destination, part, arrived in parted(sender.datagrams, sender.at):
                whole += len(part)
                link = self._links.get(destination)
                if link is None and destination == NOBODY:
                    link = self._meeting.get(address[:2])
                if link is not None:
                    if part[0][0] < CONTROL:
                        data += len(part)
                    try:
                        if link.receive(part, address, arrived):
                            touched[link] = None
                        else:
                            link.answer(now)
                    except Exception as error:  # a fault of ours is the end of one link alone
                        self.failed(link, error)
                elif self._reception is not None:
                    self._reception.receive(part, address, arrived)
                    has_calls = True
                else:
                    self.drops["srt-no-connection"] += len(part)
            brought += len(sender.datagrams)
            if whole != len(sender.datagrams):
                self.drops["srt-truncated"] += len(sender.datagrams) - whole
        self.datagrams += brought
        if has_calls and self._reception is not None:
            self._pace.hear_call(now)
            self._flush(self._reception, now)
        return brought, data

    def _hear(self, now: float, is_woken: bool) -> None:
        """Read the socket: more of it where many links share a turn, as each costs by itself."""
        errors = self._ears.errors
        loads = min(1 + len(self._links) // LINKS_A_LOAD, MAX_LOADS)
        self._heard += self._ears.hear(now, loads * MAX_TURN_BYTES, is_woken=is_woken)
        is_looking = is_woken or now >= self._errors_at + ERRORS_EVERY
        is_told = self._ears.errors != errors or (is_woken and self._ears.is_resting)
        if is_told or (is_looking and not self._heard):
            self._read_errors(now)

    def _read_errors(self, now: float) -> None:
        """Tell links whose peers are called unreachable; they judge what that is worth."""
        self._errors_at = now
        found = self._ears.unreachable()
        if not found:
            return
        self.drops["srt-peer-unreachable"] += len(found)
        hosts = {address[:2] for address in found}
        for link in self.links:
            if link.peer[:2] in hosts:
                link.report_unreachable(now)
                self._flush(link, now)

    def _flush(self, part: Timed, now: float) -> None:
        """Flush; a fault of ours harms nobody else."""
        try:
            part.flush(now)
        except Exception as error:
            self._fault(part, error)

    def _fault(self, part: Timed, error: Exception) -> None:
        if isinstance(part, Link):
            self.failed(part, error)
        else:
            self._loop.call_exception_handler({"message": "srt endpoint", "exception": error})

    def _serve_due(self, now: float, touched: dict[Timed, None]) -> None:
        for at, part in self._timers.take_due(now):
            try:
                if part.handle_timer(at, now):
                    touched[part] = None
            except Exception as error:  # as in `_read`
                self._fault(part, error)

    def _arm(self, now: float) -> None:
        """One timer for whatever comes first."""
        slack = 0.0
        if self._rests_until:
            due = self._rests_until
            if self._pace.rest >= CALM_REST:
                slack = (due - now) * EARLY
        else:
            due = max(self._timers.first(), self._turn_at + self._pace.rest)
        if due != NEVER:  # else nothing is waited for, or it is amid a turn
            self._alarm.set(due, slack, now)

    # -- links -------------------------------------------------------------------------------

    def _seat(self) -> int:
        socket_id = self.draw_id()
        if socket_id is None:
            raise PeerError("srt-overload", 503)
        return socket_id

    def _add(self, link: Link, now: float) -> Link:
        self._links[link.socket_id.to_bytes(4, "big")] = link
        self._pace.hurry(link)
        link.flush(now)
        return link
