"""One connection after its handshake: joins keys, filter, receiver, inbox and sender.

Theory of operation. Datagrams and time come in, events and runs go out; nothing here knows a socket
or a clock. `receive_datagrams` sorts a batch into packets and controls. What is due by time is done
in `datagrams_to_send`, which the owner calls after each turn: ACKACK, ACK, NAK, key material, drop
requests, packets and packets again, keepalive; all joined to runs. `handle_timer` plays out what is
due and looks whether the peer is still there.

    open --close, nothing left to send--> closed            SHUTDOWN is sent
    open --close in a file mode--> lingering --all acknowledged, or too long--> closed
    open --SHUTDOWN comes--> ending --all is played out, a moment has passed--> closed
    ending --packets or ACKs keep coming--> open             it was a stranger's
    any  --nothing heard for `idle_timeout`--> closed

A peer is never answered with an exception: what makes no sense is counted under a slug, and one
forged control packet changes nothing that the next good one would not mend.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import ClassVar

from flux.base.errors import StateError, WireError
from protocols.srt.control import (
    FILE_SYSTEM_ERROR,
    DropRequest,
    parse_losses,
    serialize_empty,
)
from protocols.srt.events import ConnectionClosed, ConnectionEvent
from protocols.srt.feedback import ACK_HEAD, Feedback, are_acks
from protocols.srt.handshake import RandomBytes
from protocols.srt.inbox import Inbox
from protocols.srt.link_state import LinkState
from protocols.srt.message_inbox import MessageInbox
from protocols.srt.options import Mode, Options
from protocols.srt.packet import (
    HEADER_BYTES,
    SEQUENCE_MASK,
    Address,
    ControlPacket,
    ControlType,
    Run,
    timestamp_at,
)
from protocols.srt.parts import Parts
from protocols.srt.payloads import Payloads
from protocols.srt.pieces import cut, cut_all
from protocols.srt.presence import Phase, Presence
from protocols.srt.result import HandshakeResult
from protocols.srt.runs import RunBuilder
from protocols.srt.statistics import Meter, Statistics

SHUTDOWN_COPIES = 2  # nobody confirms it
MAX_EVENTS = 4096
NEVER = float("inf")


class Connection:
    """Public: `result`, `socket_id`, `peer`, `max_payload_bytes`, `feedback`, `round_trip`,
    `reasons` (of refusals), `inbox` (if it is its own)."""

    def __init__(
        self,
        result: HandshakeResult,
        options: Options,
        random: RandomBytes,
        now: float,
        *,
        inbox: Inbox | None = None,
    ) -> None:
        """What came before the handshake's end is taken in at once.

        `inbox` is given where links of a group share one; then its owner releases what is in it.
        """
        parts = Parts.build(result, options, random, now, inbox)
        self.result = result
        self.socket_id = result.socket_id
        self.peer = result.peer
        self.max_payload_bytes = parts.max_payload_bytes
        self.reasons: dict[str, int] = {}
        self._parts = parts
        self._receiver = parts.receiver
        self._sender = parts.sender
        self._presence = Presence(options, now)
        self._meter = Meter(parts, now)
        self._events: deque[ConnectionEvent] = deque()
        self.feedback = Feedback(parts, self._presence)
        self.round_trip = parts.rtt
        self.inbox = None if parts.is_inbox_shared else parts.inbox
        self._is_shutdown_due = self._is_error_due = False
        self._is_over = False  # the last event is told
        self._now = now  # of the last turn
        self._due = now  # what `get_timer` said last
        for arrived, datagram in result.early:
            if len(datagram) >= HEADER_BYTES:
                self.receive_datagrams([datagram], result.peer, arrived)
        self._presence.hear(now)

    # -- datagrams in ------------------------------------------------------------------------

    def receive_datagrams(
        self, datagrams: Sequence[bytes], address: Address, now: float, is_last: bool = True
    ) -> bool:
        """One sender's, in order, with whole headers; whether there is more to do.

        If not, they were acknowledgements that want an answer at the most (`feedback`). Else
        `handle_timer` has to be called, or is already if they are the last of a turn.
        """
        if address[:2] != self.peer[:2]:
            self._refuse("foreign-address", len(datagrams))
            return True
        if self._is_over:
            return True
        self._presence.hear(now)
        if not is_last and are_acks(datagrams):
            return self._receive_acks(datagrams, now)
        self._receiver.is_secured = not self._parts.crypto.accepts_clear
        controls = [datagram for datagram in datagrams if datagram[0] & 0x80]
        if not controls:
            self._receive_data(datagrams, now)
        else:
            if len(controls) != len(datagrams):
                self._receive_data([each for each in datagrams if not each[0] & 0x80], now)
            for datagram in controls:
                if datagram.startswith(ACK_HEAD):
                    self._receive_ack(datagram, now)
                else:
                    self._receive_control(ControlPacket.parse(datagram), now)
        self.feedback.stir()
        if is_last:
            self._release(now)
        return True

    def _receive_acks(self, datagrams: Sequence[bytes], now: float) -> bool:
        for datagram in datagrams:
            self._receive_ack(datagram, now)
        is_calm = now < self._due and self._sender.is_idle and not self._events
        is_alone = self._presence.phase is Phase.OPEN and not self._parts.is_inbox_shared
        return not (is_calm and is_alone)

    def _receive_data(self, datagrams: Sequence[bytes], now: float) -> None:
        parts, receiver = self._parts, self._receiver
        position = receiver.next
        unique = receiver.count.unique
        if parts.filter is None:
            receiver.receive(datagrams, now)
        else:
            passed, losses = parts.filter.receive(datagrams)
            receiver.receive(passed, now)
            receiver.report(losses, now)
        parts.acks.rate.hear(datagrams, receiver.count.unique - unique, now)
        if receiver.next != position and self._presence.hear_life(now):
            self._refuse("shutdown-contradicted")

    def _receive_control(self, packet: ControlPacket, now: float) -> None:
        if packet.destination != self.socket_id:
            self._refuse("foreign-socket-id")
            return
        handler = self._CONTROL.get(packet.kind)
        if handler is None:
            self._refuse("control-unknown")
            return
        try:
            handler(self, packet, now)
        except WireError as error:
            self._refuse(error.reason)

    def _receive_ack(self, datagram: bytes, now: float) -> None:
        reason = self.feedback.receive_ack(datagram, now)
        if reason:
            self._refuse(reason)

    def _receive_nak(self, packet: ControlPacket, now: float) -> None:
        losses, bad = parse_losses(packet.body)
        if bad:
            self._refuse("nak-malformed", bad)
        if losses:
            self._sender.receive_nak(losses, now)

    def _receive_ackack(self, packet: ControlPacket, now: float) -> None:
        parts = self._parts
        if not parts.acks.confirm(packet.specific, now):
            self._refuse("ackack-unknown")
        elif parts.inbox.clock is not None:
            parts.inbox.clock.drift.add_rtt(parts.rtt.last)

    def _receive_nothing(self, packet: ControlPacket, now: float) -> None:
        """A keepalive: that it came is all it tells."""

    def _receive_warning(self, packet: ControlPacket, now: float) -> None:
        self._refuse("congestion-warning")

    def _receive_shutdown(self, packet: ControlPacket, now: float) -> None:
        self._presence.hear_shutdown(now)
        if self.inbox is not None:
            self.inbox.deferred = 0.0  # the end waits for what is inside

    def _receive_drop_request(self, packet: ControlPacket, now: float) -> None:
        request = DropRequest.parse(packet)
        self._receiver.drop(request.first, request.last, request.message)

    def _receive_peer_error(self, packet: ControlPacket, now: float) -> None:
        self._refuse("peer-error")
        if self.result.mode != Mode.LIVE:
            self._presence.hear_shutdown(now, "srt-peer-error")

    def _receive_user(self, packet: ControlPacket, now: float) -> None:
        self._parts.crypto.receive_control(packet, now)
        self._take_crypto_events()

    def _receive_handshake(self, packet: ControlPacket, now: float) -> None:
        self._refuse("handshake-out-of-turn")

    # By type. Of functions: bound methods would make each connection hold on to itself.
    _CONTROL: ClassVar[dict[int, Callable[["Connection", ControlPacket, float], None]]] = {
        ControlType.HANDSHAKE: _receive_handshake,
        ControlType.NAK: _receive_nak,
        ControlType.ACKACK: _receive_ackack,
        ControlType.KEEPALIVE: _receive_nothing,
        ControlType.CONGESTION_WARNING: _receive_warning,
        ControlType.SHUTDOWN: _receive_shutdown,
        ControlType.DROP_REQUEST: _receive_drop_request,
        ControlType.PEER_ERROR: _receive_peer_error,
        ControlType.USER: _receive_user,
    }

    # -- the application ---------------------------------------------------------------------

    def send(self, payloads: Sequence[bytes], now: float, sent_at: float | None = None) -> int:
        """Take payloads in order; how many. `SendRoom` tells when more are taken than this time.

        Live mode: a packet each, and the list is kept: it must not change any more. Message mode: a
        message each. Stream mode: bytes. `sent_at`: when they were made, if not now. Raises
        StateError: a payload in live mode is longer than `max_payload_bytes`, or empty.
        """
        if not self._presence.is_taking or not payloads:
            return 0
        if self.result.mode == Mode.LIVE:
            given = Payloads.of(payloads)
            if given.longest > self.max_payload_bytes or not given.shortest:
                raise StateError(f"payloads of {given.shortest}..{given.longest} bytes")
            return self._sender.send(given, now, now if sent_at is None else sent_at)
        if self.result.mode == Mode.STREAM:
            room = self._sender.room()
            pieces, taken, refused = cut_all(payloads, self.max_payload_bytes, room)
            self._sender.send(pieces, now, now)
            self._sender.refuse(refused)
            return taken
        taken = 0
        for payload in payloads:
            if not self.send_message(payload, now):
                break
            taken += 1
        return taken

    def send_message(
        self, payload: bytes, now: float, is_in_order: bool = True, lifetime: float | None = None
    ) -> bool:
        """Take one message of any length up to the send buffer's, or bytes, or one live packet.

        `lifetime` in seconds: then it is given up. Whether all of it was taken.
        """
        if not self._presence.is_taking or not payload:
            return False
        if self.result.mode != Mode.MESSAGE:
            return self.send((payload,), now) == 1
        pieces = cut(payload, self.max_payload_bytes)
        expires_at = NEVER if lifetime is None else now + lifetime
        return self._sender.send_message(pieces, now, is_in_order, expires_at)

    def jump(self, sequence: int, message: int) -> None:
        """The next packet has these numbers: a link of a group that was idle."""
        self._sender.jump(sequence, message)

    def hold(self, is_held: bool) -> None:
        """Stop handing out what comes, in message and stream mode; the peer has to wait."""
        if isinstance(self._parts.inbox, MessageInbox):
            self._parts.inbox.is_held = is_held

    def report_error(self) -> None:
        """Tell the peer of file modes that what it sends cannot be stored; it is to stop."""
        self._is_error_due = True

    def close(self, now: float, *, may_linger: bool = True) -> None:
        """End it. In file modes what was sent is finished first, for `Options.linger` at most."""
        if self._presence.phase is Phase.CLOSED:
            return
        sender = self._sender
        is_sent = sender.acknowledged >= sender.buffer.end
        is_left = is_sent and self._presence.phase is Phase.ENDING
        if may_linger and self.result.mode != Mode.LIVE and not is_left:
            self._presence.linger(now)
            self._release(now)
            return
        self._presence.end("srt-closed", False)
        self._finish()

    def report_unreachable(self, now: float) -> None:
        """The network said that nobody listens at the peer's address."""
        self._presence.hear_unreachable(now)
        self._finish()

    def provide_key(self, handle: int, key: bytes, now: float) -> None:
        """The answer to `KeyNeeded`."""
        self._parts.crypto.provide_key(handle, key)
        self.feedback.stir()
        self._take_crypto_events()

    def next_event(self) -> ConnectionEvent | None:
        """The oldest event that was not taken yet."""
        return self._events.popleft() if self._events else None

    def statistics(self, now: float, is_clearing: bool = False) -> Statistics:
        """All numbers; `is_clearing`: the next interval begins here."""
        return self._meter.look(now, self.reasons, is_clearing)

    @property
    def state(self) -> LinkState:
        """How it goes."""
        return LinkState.of(self._parts, self._presence.received_at)

    # -- time --------------------------------------------------------------------------------

    def handle_timer(self, now: float) -> None:
        """To be called when `get_timer` has come."""
        if not self._is_over:
            self._release(now)

    def _release(self, now: float) -> None:
        """Hand out what is due, and see whether it is over."""
        parts, sender = self._parts, self._sender
        inbox = parts.inbox
        self.feedback.stir()
        if not parts.is_inbox_shared:
            self._events += inbox.release(now)
        if self._receiver.losses.missing:
            self._receiver.losses.forget_below(inbox.expected)
        is_sent = sender.acknowledged >= sender.buffer.end
        is_played = parts.is_inbox_shared or not inbox.waiting
        self._presence.look(is_sent, is_played, now)
        self._finish()

    def _finish(self) -> None:
        """If it is over, say so: to the peer, and as the last event."""
        presence = self._presence
        if presence.phase is Phase.CLOSED and not self._is_over:
            self._is_over = True
            self._is_shutdown_due = presence.reason != "srt-peer-closed"
            self._events.append(ConnectionClosed(presence.reason, presence.is_remote))

    def get_timer(self) -> float | None:
        """When `handle_timer` is wanted; None: it is over."""
        if self._is_over:
            return None
        parts, now = self._parts, self._now
        self._due = min(
            NEVER if parts.is_inbox_shared else parts.inbox.get_timer(),
            self.feedback.get_timer(),
            self._sender.get_timer(now),
            self._presence.get_timer(now),
        )
        return self._due

    # -- datagrams out -----------------------------------------------------------------------

    def datagrams_to_send(self, now: float) -> list[Run]:
        """What is to be sent now."""
        self._now = now
        sender = self._sender
        builder = RunBuilder(self.peer)
        stamp = timestamp_at(now, self.result.started_at)
        destination = self.result.peer_socket_id
        if self._is_error_due:
            self._is_error_due = False
            error = serialize_empty(ControlType.PEER_ERROR, stamp, destination, FILE_SYSTEM_ERROR)
            builder.add(error)
        if self._is_over:
            if self._is_shutdown_due:
                self._is_shutdown_due = False
                for _ in range(SHUTDOWN_COPIES):
                    builder.add(serialize_empty(ControlType.SHUTDOWN, stamp, destination))
            return builder.take()
        self.feedback.report(now, stamp, destination, builder)
        sender.fill(now, builder)
        for drop in sender.drops.take():
            builder.add(DropRequest(*drop).to_packet(stamp, destination).serialize())
        answer = self.feedback.answer(now, stamp, destination)
        if answer:
            builder.add(answer)  # behind the packets: the short last segment of their run
        runs = builder.take()
        presence = self._presence
        if not runs and now >= presence.keepalive_at:
            builder.add(serialize_empty(ControlType.KEEPALIVE, stamp, destination))
            runs = builder.take()
        if runs:
            presence.sent_at = now
        self._events += sender.news()
        return runs

    def _take_crypto_events(self) -> None:
        crypto = self._parts.crypto
        while (event := crypto.next_event()) is not None:
            self._events.append(event)

    def _refuse(self, reason: str, count: int = 1) -> None:
        """Count what came from the peer and made no sense."""
        self.reasons[reason] = self.reasons.get(reason, 0) + count

    # -- for groups and endpoints ------------------------------------------------------------

    @property
    def next_sequence(self) -> int:
        """Wire number of the next new packet."""
        return self._sender.buffer.end & SEQUENCE_MASK

    @property
    def acknowledged_sequence(self) -> int:
        """Wire number of the first packet that the peer has not acknowledged."""
        return self._sender.acknowledged & SEQUENCE_MASK

    @property
    def rtt(self) -> float:
        """Smoothed round-trip time in seconds."""
        return self._parts.rtt.rtt

    @property
    def is_closed(self) -> bool:
        """Whether it is over."""
        return self._presence.phase is Phase.CLOSED

    @property
    def is_repairing(self) -> bool:
        """Whether something is missing on either side, so that every turn counts."""
        return bool(self._receiver.losses.missing) or self._sender.repair.is_open
