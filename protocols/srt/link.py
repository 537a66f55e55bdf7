"""One connection from its handshake to its end, as the endpoint and the application hold it.

A link owns the machine of its handshake and then its connection; which of them a datagram is for,
and what their events mean, is decided here. It has no socket: its endpoint feeds it and sends for
it.

    calling   --Established------> connected
    calling   --HandshakeFailed--> closed
    connected --ConnectionClosed-> closed
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from protocols.srt.caller import Caller
from protocols.srt.connection import Connection
from protocols.srt.events import (
    ConnectionClosed,
    DataReceived,
    Established,
    HandshakeFailed,
    KeyNeeded,
    SendDropped,
    SendRoom,
)
from protocols.srt.handshake import RandomBytes
from protocols.srt.link_state import LinkState
from protocols.srt.options import LEISURE, Options
from protocols.srt.packet import Address, is_handshake
from protocols.srt.playout import Playout
from protocols.srt.pump import Pump
from protocols.srt.rendezvous import Rendezvous
from protocols.srt.result import HandshakeResult
from protocols.srt.statistics import Statistics

NO_CODE = -1
NEVER = float("inf")
HANDSHAKE = b"\x80\x00"  # a control packet of type 0


class Channel(Protocol):
    """What the application sees: a link, or a group of them."""

    attachment: object  # the application's own

    @property
    def peer(self) -> Address:
        """Who is at the other end."""

    @property
    def result(self) -> HandshakeResult | None:
        """What was agreed on, once it is connected."""

    @property
    def end(self) -> str:
        """The reason, once it is closed."""

    @property
    def rtt(self) -> float | None:
        """Seconds; None: not connected."""

    @property
    def max_payload_bytes(self) -> int:
        """The longest payload that `send` takes in live mode; 0: not connected."""

    @property
    def state(self) -> LinkState | None:
        """How sending goes; None: not connected."""

    def send(self, payloads: Sequence[bytes], now: float) -> int:
        """Send payloads, one packet each in live mode; how many were taken."""

    def close(self, reason: str, now: float) -> None:
        """End it; the handler hears `closed` with this reason."""

    def statistics(self, now: float, *, is_clearing: bool = False) -> Statistics | None:
        """What is measured; None: not connected. `is_clearing`: the next interval begins."""


class LinkHandler:
    """The application's side of a link. None of these may wait; those that do nothing may stay."""

    def inbox(self, result: HandshakeResult) -> Playout | None:
        """The inbox that this link shares with others; None: it has its own."""
        del result
        return None

    def connected(self, link: Channel, now: float) -> None:
        """The handshake is done: `link.result` is there, and `send` may be called."""

    def received(self, link: Channel, event: DataReceived, now: float) -> None:
        """Payloads in order, when their time has come."""

    def writable(self, link: Channel, now: float) -> None:
        """`send` took less than it was given, and takes more now."""

    def given_up(self, link: Channel, packets: int, now: float) -> None:
        """Packets that the peer will not get: too old, or older than their message may be."""

    def turned(self, link: Channel, now: float) -> None:
        """Something may have changed at the link."""

    def refused(self, reason: str, code: int) -> None:
        """An accepted call came to nothing: the two sides do not agree. There is no link."""

    def closed(self, link: Channel, reason: str, code: int) -> None:
        """The end, told once. `code`: of the peer's rejection, or of ours; NO_CODE: none."""


NOBODY = LinkHandler()  # of a link that is closed: it holds on to nothing of the application's


class Link:
    """Public: `result` after the handshake, `connection` with its statistics, `peer`, `options`.

    `attachment` is the application's own.
    """

    __slots__ = (
        "_handler",
        "_is_busy",
        "_is_stirred",
        "_machine",
        "_pump",
        "_random",
        "_timer_at",
        "_why",
        "attachment",
        "connection",
        "end",
        "hears_questions",
        "leisure",
        "listener_handle",
        "options",
        "peer",
        "result",
        "socket_id",
    )

    def __init__(
        self,
        pump: Pump,
        socket_id: int,
        peer: Address,
        options: Options,
        handler: LinkHandler,
        machine: Caller | Rendezvous | None,
        random: RandomBytes,
        listener_handle: int = 0,
    ) -> None:
        """`machine` is None on the listener's side, whose one machine serves all of its links."""
        self._pump = pump
        self._handler = handler
        self._machine = machine
        self._random = random
        self._is_busy = False
        self._is_stirred = False  # something came, or is due
        self._why = ""  # we close it
        self._timer_at: float | None = None  # what the endpoint was told
        self.hears_questions = pump.hears_questions  # for packets, however long it rests
        self.socket_id = socket_id
        self.peer = peer
        self.options = options
        self.listener_handle = listener_handle
        self.result: HandshakeResult | None = None
        self.connection: Connection | None = None
        self.end = ""  # the reason, once it is closed
        self.leisure = LEISURE  # seconds that what comes may lie, as far as the application cares
        self.attachment: object = None

    # -- for the application -----------------------------------------------------------------

    @property
    def rtt(self) -> float | None:
        """Seconds; None: not connected."""
        return None if self.connection is None else self.connection.rtt

    @property
    def max_payload_bytes(self) -> int:
        """The longest payload that `send` takes in live mode; 0: not connected."""
        return 0 if self.connection is None else self.connection.max_payload_bytes

    @property
    def state(self) -> LinkState | None:
        """How sending goes; None: not connected."""
        return None if self.connection is None else self.connection.state

    def statistics(self, now: float, *, is_clearing: bool = False) -> Statistics | None:
        """What is measured; None: not connected. `is_clearing`: the next interval begins."""
        return None if self.connection is None else self.connection.statistics(now, is_clearing)

    def send(self, payloads: Sequence[bytes], now: float) -> int:
        """Send payloads, one packet each in live mode; how many were taken."""
        connection = self.connection
        if connection is None or self.end:
            return 0
        taken = connection.send(payloads, now)
        self.flush(now)
        return taken

    def send_message(
        self, payload: bytes, now: float, is_in_order: bool = True, lifetime: float | None = None
    ) -> bool:
        """Send one message, see `Connection.send_message`; whether all of it was taken."""
        if self.connection is None or self.end:
            return False
        is_taken = self.connection.send_message(payload, now, is_in_order, lifetime)
        self.flush(now)
        return is_taken

    def hold(self, is_held: bool, now: float) -> None:
        """Hand out nothing while it is held, in message and stream mode; the peer has to wait."""
        if self.connection is not None and not self.end:
            self.connection.hold(is_held)
            self._is_stirred = True
            self.flush(now)

    def close(self, reason: str, now: float) -> None:
        """End the link; the handler hears `closed` with this reason, before this returns if that
        is possible (file modes finish what they have)."""
        if self.end:
            return
        if self.connection is None:
            if isinstance(self._machine, Caller | Rendezvous):
                self._machine.close()
            self._finish(reason, NO_CODE, now)
            return
        self._why = self._why or reason
        self.connection.close(now)
        self.flush(now)
        if self.options.is_live and not self._is_busy:
            self._finish(reason, NO_CODE, now)

    def abort(self, reason: str, now: float) -> None:
        """End the link now, whatever is not sent yet."""
        self.close(reason, now)
        if not self.end and self.connection is not None:
            self.connection.close(now, may_linger=False)
            self._finish(reason, NO_CODE, now)

    # -- for the endpoint --------------------------------------------------------------------

    @property
    def is_urgent(self) -> bool:
        """Whether something is missing, so that every turn counts."""
        return self.connection is None or self.connection.is_repairing

    @property
    def refusals(self) -> dict[str, int]:
        """What came from the peer and made no sense, by reason."""
        found = {} if self._machine is None else dict(self._machine.counters)
        if self.connection is not None:
            for reason, number in self.connection.reasons.items():
                found[reason] = found.get(reason, 0) + number
        return found

    def report_unreachable(self, now: float) -> None:
        """The network says that nobody listens at the peer's address; `flush` is to follow."""
        if self.connection is not None:  # who is being called may only be late
            self.connection.report_unreachable(now)

    def fail(self) -> None:
        """A fault of ours: forget it, without another word to machines that may be broken."""
        if not self.end:
            self.end = "internal-error"
            self._let_go(self.end, NO_CODE)

    def establish(self, result: HandshakeResult, now: float) -> None:
        """The handshake is done."""
        self.result = result
        self.peer = result.peer
        inbox = self._handler.inbox(result)
        self.connection = Connection(result, self.options, self._random, now, inbox=inbox)
        self._tell(lambda: self._handler.connected(self, now))

    def receive(self, datagrams: list[bytes], address: Address, now: float) -> bool:
        """Datagrams that are for this link, all of one sender; whether `flush` is to follow.

        If not, `answer` is.
        """
        machine, connection = self._machine, self.connection
        if connection is not None and HANDSHAKE not in [each[:2] for each in datagrams]:
            if connection.receive_datagrams(datagrams, address, now, False):
                self._is_stirred = True
            return self._is_stirred
        self._is_stirred = True
        words = [each for each in datagrams if each.startswith(HANDSHAKE)]
        if words and machine is not None:  # once connected: the peer may have lost our last word
            datagrams = [each for each in datagrams if not is_handshake(each)]
            machine.receive_datagrams(words, address, now)
            if self.connection is None:
                self.flush(now)  # what came behind the last word is for the connection
        if self.connection is not None:
            if datagrams:
                self.connection.receive_datagrams(datagrams, address, now, False)
        elif machine is not None:
            machine.receive_datagrams(datagrams, address, now)
        return True

    def answer(self, now: float) -> None:
        """Send what little is to be said to what came."""
        if self.connection is not None:
            self._pump.transmit(self.connection.feedback.take_answer(now))

    def handle_timer(self, at: float, now: float) -> bool:
        """The time `at` has come, as told; whether it still mattered, and `flush` is to follow."""
        later = self.postponed(at)
        if later > now:
            if later < NEVER:
                self._pump.rearm(self, later)
            return False
        self._timer_at = None
        machine = self._machine
        if machine is not None:
            due = machine.get_timer()
            if due is not None and due <= now:
                machine.handle_timer(now)
        self._is_stirred = True
        return True

    def postponed(self, at: float) -> float:
        """The time `at` that was told, or a later one, if what was waited for came; or never."""
        if at != self._timer_at or self.end:
            return NEVER
        due = None if self._is_stirred else self._next_timer()
        if due is None or due <= at:
            return at
        self._timer_at = due
        return due

    def flush(self, now: float) -> None:
        """Tell what happened, send what is to be sent, say when to come again."""
        if self._is_busy or self.end:
            return  # called from within a handler: the turn under way does it
        self._is_busy = True
        try:
            while self._machine is not None and self._shake(self._machine, now):
                pass
            if self.connection is not None and not self.end:
                self._exchange(self.connection, now)
        finally:
            self._is_busy = False
        if not self.end:
            self._rearm()
            try:
                self._handler.turned(self, now)
            except Exception as error:  # a fault of ours must not stop the endpoint
                self._pump.failed(self, error)

    # -- inside ------------------------------------------------------------------------------

    def _shake(self, machine: Caller | Rendezvous, now: float) -> bool:
        """One round of the handshake's events and datagrams; whether there may be more."""
        is_more = False
        while (event := machine.next_event()) is not None:
            self._take(event, now)
            is_more = True
            if self.end:
                return False
        runs = machine.datagrams_to_send(now)
        if runs:
            self._pump.transmit(runs)
        return is_more

    def _exchange(self, connection: Connection, now: float) -> None:
        """Events and datagrams of the connection, until there are none."""
        if self._is_stirred:
            self._is_stirred = False
            connection.handle_timer(now)  # once for all that came
        event = connection.next_event()
        while True:
            while event is not None:
                self._take(event, now)
                if self.end:
                    return
                event = connection.next_event()
            runs = connection.datagrams_to_send(now)
            if runs:
                self._pump.transmit(runs)
            event = connection.next_event()
            if event is None:
                return

    def _take(self, event: object, now: float) -> None:
        if type(event) is DataReceived:
            try:
                self._handler.received(self, event, now)
            except Exception as error:  # a fault of ours must not stop the endpoint
                self._pump.failed(self, error)
        elif isinstance(event, SendRoom):
            self._tell(lambda: self._handler.writable(self, now))
        elif isinstance(event, SendDropped):
            self._tell(lambda: self._handler.given_up(self, event.packets, now))
        elif isinstance(event, ConnectionClosed):
            self._finish(self._why or event.reason, NO_CODE, now)
        elif isinstance(event, KeyNeeded):
            self._ask(event, now)
        elif isinstance(event, Established):
            self.establish(event.result, now)
        elif isinstance(event, HandshakeFailed):
            self._finish(event.reason, event.code, now)

    def _ask(self, question: KeyNeeded, now: float) -> None:
        asker = self._machine if self.connection is None else self.connection

        def answer(key: bytes, at: float) -> None:
            if asker is not None and not self.end:
                asker.provide_key(question.handle, key, at)
                self.flush(at)

        self._pump.derive(question, answer)

    def _finish(self, reason: str, code: int, now: float) -> None:
        if self.end:
            return
        self.end = reason
        try:
            for part in (self._machine, self.connection):
                if part is not None:
                    self._pump.transmit(part.datagrams_to_send(now))  # the last word
        finally:
            self._let_go(reason, code)

    def _let_go(self, reason: str, code: int) -> None:
        self._pump.release(self)
        self._tell(lambda: self._handler.closed(self, reason, code))
        # What holds on to each other is freed late, and in one go with thousands of others.
        self._handler = NOBODY
        self._machine = None

    def _tell(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # a fault of ours must not stop the endpoint
            self._pump.failed(self, error)

    def _next_timer(self) -> float | None:
        due = None if self.connection is None else self.connection.get_timer()
        if self._machine is not None:
            first = self._machine.get_timer()
            if due is None or (first is not None and first < due):
                return first
        return due

    def _rearm(self) -> None:
        due = self._next_timer()
        if due is not None and (self._timer_at is None or due < self._timer_at):
            self._timer_at = due
            self._pump.rearm(self, due)
