"""The caller's side of the handshake, draft section 4.3.1.

| state | what comes | what follows |
|---|---|---|
| INDUCTION | an induction with magic and version 5 | CONCLUSION, which waits for the key |
| CONCLUSION | the key | the first conclusion leaves |
| CONCLUSION | a conclusion with HSRSP | `Established` |
| both | a rejection | `HandshakeFailed` with the peer's code |
| both | 3 s are over | `HandshakeFailed` TIMEOUT |
| OVER | a conclusion once more | nothing: our answer is the data |

The packet of a state is repeated from 50 ms on, doubled up to 250 ms; the conclusion not before an
answer can be there, as the induction has told the round trip. The key is asked for at once, so that
it is usually there before the induction's answer.
"""

from collections.abc import Sequence
from dataclasses import replace
from enum import IntEnum

from flux.base.errors import PeerError, WireError
from protocols.srt.events import Established, HandshakeEvent
from protocols.srt.handshake import RandomBytes
from protocols.srt.handshake_wire import (
    ENCRYPTION_FIELDS,
    INDUCTION_REQUEST,
    LEGACY_VERSION,
    MAGIC,
    VERSION,
    Handshake,
    HandshakeType,
    serialize_peer_ip,
)
from protocols.srt.initiator import OfferedKeys, Outcome
from protocols.srt.key_exchange import check_cipher, initiator_secrets
from protocols.srt.negotiation import (
    Offer,
    check_fixed,
    extension_field,
    read_offer,
    request_extensions,
    take_response,
)
from protocols.srt.options import Options
from protocols.srt.packet import (
    HEADER_BYTES,
    SEQUENCE_MASK,
    Address,
    ControlPacket,
    Run,
    destination_of,
    is_handshake,
)
from protocols.srt.reject import WIRE_OFFSET, Reject
from protocols.srt.repeater import Repeater, interval_for
from protocols.srt.result import HandshakeResult, Role, Secrets


class State(IntEnum):
    """See the table above."""

    INDUCTION = 0
    CONCLUSION = 1
    OVER = 2


class Caller:
    """Calls one listener. Public: `state`, `counters` by reason."""

    __slots__ = (
        "_cookie",
        "_deadline",
        "_key_field",
        "_keys",
        "_options",
        "_outcome",
        "_peer",
        "_repeater",
        "_rtt",
        "_sequence",
        "_socket_id",
        "_started_at",
        "state",
    )

    def __init__(
        self,
        options: Options,
        peer: Address,
        socket_id: int,
        random: RandomBytes,
        now: float,
        sequence: int | None = None,
        started_at: float | None = None,
    ) -> None:
        """Begin to call.

        Links of a group share `sequence`, of the first data packet, and `started_at`, `now` at
        timestamp 0.
        """
        self._options = options
        self._peer = peer
        self._socket_id = socket_id
        self._started_at = now if started_at is None else started_at
        self._deadline = now + options.connect_timeout
        drawn = int.from_bytes(random(4), "big") & SEQUENCE_MASK
        self._sequence = drawn if sequence is None else sequence
        self._cookie = 0
        self._key_field = ENCRYPTION_FIELDS[options.security.key_bytes]
        self._rtt = 0.0  # of the first copy's answer: no shorter than the round trip
        self._keys = OfferedKeys(options.security, random)
        self._outcome = Outcome()
        self._repeater = Repeater(self._started_at)
        self.state = State.INDUCTION
        self._ask_key(0)
        self._repeater.send(self._induction(), 0, now)

    @property
    def counters(self) -> dict[str, int]:
        """Datagrams that were dropped, by reason."""
        return self._outcome.counters

    # In.

    def receive_datagrams(self, datagrams: Sequence[bytes], address: Address, now: float) -> None:
        """See `HandshakeMachine`."""
        for datagram in datagrams:
            if len(datagram) < HEADER_BYTES:
                self._outcome.count("srt-truncated")
            elif address[:2] != self._peer[:2]:
                self._outcome.count("handshake-stranger")
            elif destination_of(datagram) != self._socket_id:
                self._outcome.count("handshake-not-for-us")
            elif not is_handshake(datagram):
                if self.state == State.CONCLUSION:
                    self._outcome.add_early(now, datagram)
            else:
                self._receive(ControlPacket.parse(datagram), now)

    def _receive(self, packet: ControlPacket, now: float) -> None:
        try:
            handshake = Handshake.parse(packet.body)
        except WireError as error:
            self._outcome.count(error.reason)
            return
        if self.state == State.OVER:
            return
        if handshake.is_rejection:
            self._repeater.stop()
            self.state = State.OVER
            self._outcome.fail(handshake.kind - WIRE_OFFSET, is_remote=True)
        elif handshake.kind == HandshakeType.INDUCTION and self.state == State.INDUCTION:
            self._receive_induction(handshake, now)
        elif handshake.kind == HandshakeType.CONCLUSION and self.state == State.CONCLUSION:
            self._receive_conclusion(handshake, packet.timestamp, now)
        else:
            self._outcome.count("handshake-out-of-turn")

    def _receive_induction(self, handshake: Handshake, now: float) -> None:
        if handshake.version != VERSION or handshake.extension_field != MAGIC:
            is_legacy = handshake.version == LEGACY_VERSION
            self._fail(Reject.VERSION if is_legacy else Reject.ROGUE)
            return
        self._rtt = now - self._repeater.first_sent_at
        self._cookie = handshake.cookie
        self._repeater.stop()
        self.state = State.CONCLUSION
        if handshake.key_bytes and not self._key_field:
            self._key_field = handshake.encryption
        self._ask_key(handshake.key_bytes)
        self._conclude(now)

    def _receive_conclusion(self, handshake: Handshake, timestamp: int, now: float) -> None:
        if not self._repeater.sent:
            self._outcome.count("handshake-out-of-turn")  # we did not say anything yet
            return
        try:
            check_fixed(handshake)
            offer = read_offer(handshake, is_response=True)
            agreement = take_response(self._options, offer)
            secrets = self._secrets(offer)
        except PeerError as error:
            self._repeater.stop()
            self.state = State.OVER
            self._outcome.refuse(error, handshake.socket_id)
            return
        rtt = min(self._rtt, now - self._repeater.first_sent_at)
        self._repeater.stop()
        self.state = State.OVER
        group = self._options.group
        result = HandshakeResult(
            role=Role.CALLER,
            peer=self._peer,
            socket_id=self._socket_id,
            peer_socket_id=handshake.socket_id,
            send_sequence=self._sequence,
            receive_sequence=handshake.sequence,
            mode=self._options.mode,
            receive_latency_ms=agreement.receive_latency_ms,
            send_latency_ms=agreement.send_latency_ms,
            peer_version=offer.hs.version,
            peer_flags=offer.hs.flags,
            mtu=min(handshake.mtu, self._options.mtu),
            peer_window=handshake.window,
            congestion=offer.congestion,
            started_at=self._started_at,
            peer_started_at=now - timestamp / 1e6,
            established_at=now,
            rtt=rtt,
            stream_id=self._options.stream_id,
            filter=agreement.filter,
            peer_group=offer.group,
            group_id=0 if group is None else group.group_id,
            secrets=secrets,
            early=self._outcome.take_early(),
        )
        self._outcome.add(Established(result))

    def _secrets(self, offer: Offer) -> Secrets:
        """The keys that both have; raises PeerError."""
        keys = self._keys
        secrets = initiator_secrets(
            keys.ring, keys.material, offer.material, self._options.security
        )
        check_cipher(secrets, offer.hs.version)
        return secrets

    def provide_key(self, handle: int, key: bytes, now: float) -> None:
        """See `HandshakeMachine`."""
        if self._keys.provide(handle, key) and self.state == State.CONCLUSION:
            self._conclude(now)

    def handle_timer(self, now: float) -> None:
        """See `HandshakeMachine`."""
        if self.state != State.OVER and now >= self._deadline:
            self._fail(Reject.TIMEOUT)

    def close(self) -> None:
        """Give up; no event follows."""
        self._repeater.stop()
        self.state = State.OVER

    # Out.

    def get_timer(self) -> float | None:
        """See `HandshakeMachine`."""
        return None if self.state == State.OVER else min(self._deadline, self._repeater.send_at)

    def datagrams_to_send(self, now: float) -> list[Run]:
        """See `HandshakeMachine`."""
        farewell = self._outcome.take_farewell(now, self._started_at)
        datagram = self._repeater.take(now)
        return [(self._peer, len(data), data) for data in (datagram, farewell) if data is not None]

    def next_event(self) -> HandshakeEvent | None:
        """See `HandshakeMachine`."""
        return self._outcome.next_event()

    def _ask_key(self, advertised_bytes: int) -> None:
        handle = 1 if self.state == State.INDUCTION else 2
        question = self._keys.ask(handle, advertised_bytes)
        if question is not None:
            self._outcome.add(question)

    def _fail(self, code: Reject) -> None:
        self._repeater.stop()
        self.state = State.OVER
        self._outcome.fail(code)

    def _conclude(self, now: float) -> None:
        """Send the conclusion as soon as its keys are there."""
        if not self._keys.is_ready:
            return
        extensions = request_extensions(self._options, self._keys.material)
        conclusion = replace(
            self._induction(),
            version=VERSION,
            encryption=self._key_field,
            extension_field=extension_field(extensions),
            kind=HandshakeType.CONCLUSION,
            cookie=self._cookie,
            extensions=extensions,
        )
        self._repeater.send(conclusion, 0, now, interval_for(self._rtt))

    def _induction(self) -> Handshake:
        return Handshake(
            LEGACY_VERSION,
            0,
            INDUCTION_REQUEST,
            self._sequence,
            self._options.mtu,
            self._options.window_packets,
            HandshakeType.INDUCTION,
            self._socket_id,
            0,
            serialize_peer_ip(str(self._peer[0])),
        )
