"""Rendezvous: both sides call each other, draft section 4.3.2.

The larger cookie makes the initiator. W: WAVEAHAND, C: CONCLUSION, C0: one without extensions, CQ:
with HSREQ, CR: with HSRSP, A: AGREEMENT. Every answer leaves at once; the last word is repeated.

| state | comes | initiator | responder |
|---|---|---|---|
| WAVING | W | ATTENTION, send CQ | ATTENTION, send C0 |
| WAVING | C | FINE, send CQ | FINE, send CR if it was CQ |
| ATTENTION | W | CQ again | C0 again |
| ATTENTION, FINE | C0 | CQ again | last word again |
| ATTENTION | CQ | | INITIATED, send CR |
| ATTENTION, FINE | CR | send A, `Established` | |
| FINE, INITIATED | CQ | | CR again |
| FINE, INITIATED | A, data, KEEPALIVE, user-defined | | `Established` |
| OVER | C | A again | nothing |
| any | a rejection; SHUTDOWN in INITIATED | `HandshakeFailed` | `HandshakeFailed` |

Keys need time: while `KeyNeeded` is not answered, the packet that wants them is not sent, and what
asks for it again is passed over. Each side keeps its own initial sequence number.
"""

from collections.abc import Sequence
from dataclasses import replace
from enum import IntEnum

from flux.base.errors import PeerError, WireError
from protocols.srt.contest import draw_cookie, is_initiator
from protocols.srt.events import Established, HandshakeEvent, KeyNeeded
from protocols.srt.handshake import RandomBytes
from protocols.srt.handshake_wire import (
    ENCRYPTION_FIELDS,
    VERSION,
    Extension,
    Handshake,
    HandshakeType,
    serialize_peer_ip,
)
from protocols.srt.initiator import OfferedKeys, Outcome
from protocols.srt.key_exchange import check_cipher, initiator_secrets
from protocols.srt.negotiation import (
    Agreement,
    Offer,
    check_fixed,
    extension_field,
    read_offer,
    request_extensions,
    response_extensions,
    take_response,
)
from protocols.srt.options import Options
from protocols.srt.packet import (
    HEADER_BYTES,
    SEQUENCE_MASK,
    Address,
    ControlPacket,
    ControlType,
    Run,
    destination_of,
    is_control,
    is_handshake,
)
from protocols.srt.reject import WIRE_OFFSET, Reject
from protocols.srt.repeater import MAX_INTERVAL, NEVER, Repeater
from protocols.srt.responder import Decision, decide, open_decision
from protocols.srt.result import HandshakeResult, Role, Secrets

TIMEOUT_SHARE = 10  # of the connect timeout: nobody knows when the other side starts
ASKED_AS_INITIATOR = 1
ASKED_AS_RESPONDER = 2
WORDS = (HandshakeType.WAVEAHAND, HandshakeType.CONCLUSION, HandshakeType.AGREEMENT)


class State(IntEnum):
    """See the table above."""

    WAVING = 0
    ATTENTION = 1
    FINE = 2
    INITIATED = 3
    OVER = 4


class Rendezvous:
    """One side of a rendezvous. Public: `state`, `counters` by reason."""

    __slots__ = (
        "_cookie",
        "_deadline",
        "_decision",
        "_is_initiator",
        "_keys",
        "_offer",
        "_options",
        "_outcome",
        "_peer",
        "_peer_handshake",
        "_peer_started_at",
        "_repeater",
        "_rtt",
        "_sequence",
        "_socket_id",
        "_started_at",
        "state",
    )

    def __init__(
        self, options: Options, peer: Address, socket_id: int, random: RandomBytes, now: float
    ) -> None:
        self._options = options
        self._peer = peer
        self._socket_id = socket_id
        self._started_at = now
        self._deadline = now + TIMEOUT_SHARE * options.connect_timeout
        self._sequence = int.from_bytes(random(4), "big") & SEQUENCE_MASK
        self._cookie = draw_cookie(random)
        self._keys = OfferedKeys(options.security, random)
        self._outcome = Outcome()
        self._repeater = Repeater(now)
        self._is_initiator: bool | None = None  # None: nothing heard yet
        self._peer_handshake: Handshake | None = None  # of the last word that was good
        self._peer_started_at = now
        self._offer: Offer | None = None  # as responder
        self._decision: Decision | None = None
        self._rtt: float | None = None
        self.state = State.WAVING
        # Nobody may be there for long: no hurry before the first word is heard.
        self._repeater.send(self._word(HandshakeType.WAVEAHAND), 0, now, MAX_INTERVAL)

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
            elif destination_of(datagram) not in (0, self._socket_id):
                self._outcome.count("handshake-not-for-us")
            elif is_handshake(datagram):
                self._receive(ControlPacket.parse(datagram), now)
            elif destination_of(datagram):
                self._receive_other(datagram, now)

    def _receive_other(self, datagram: bytes, now: float) -> None:
        """A packet of a peer that thinks that we are connected."""
        if self.state == State.OVER:
            return
        if is_control(datagram) and datagram[1] == ControlType.SHUTDOWN:
            if self._decision is not None:
                self._fail(Reject.CLOSED, is_remote=True)
            return
        self._outcome.add_early(now, datagram)
        self._confirm(now, is_agreement=False)

    def _receive(self, packet: ControlPacket, now: float) -> None:
        try:
            handshake = Handshake.parse(packet.body)
        except WireError as error:
            self._outcome.count(error.reason)
            return
        if handshake.is_rejection:
            if self.state != State.OVER:
                self._fail(handshake.kind - WIRE_OFFSET, is_remote=True)
            return
        if self.state == State.OVER:
            if handshake.kind == HandshakeType.CONCLUSION:
                self._repeater.send_again(now)
            return
        if handshake.kind not in WORDS:
            self._outcome.count("handshake-out-of-turn")
            return
        try:
            if handshake.kind == HandshakeType.AGREEMENT:
                self._receive_agreement(handshake, now)
                return
            self._meet(handshake)
            if handshake.kind == HandshakeType.WAVEAHAND:
                self._receive_wave(now)
            else:
                self._receive_conclusion(handshake, packet.timestamp, now)
        except PeerError as error:
            self._refuse(error, handshake, now)

    def _meet(self, handshake: Handshake) -> None:
        """Judge the fixed words and settle who initiates. Raises PeerError."""
        check_fixed(handshake)
        known = self._peer_handshake
        if known is None or (known.cookie, known.socket_id) != (
            handshake.cookie,
            handshake.socket_id,
        ):
            verdict = is_initiator(self._cookie, handshake.cookie)
            if verdict is None:
                raise PeerError("srt-rendezvous-cookie", Reject.RENDEZVOUS_COOKIE)
            # The first word of this peer, or it was started anew: all begins again.
            self._is_initiator = verdict
            self._offer = self._decision = None
            self.state = State.WAVING
        self._peer_handshake = handshake

    def _receive_agreement(self, handshake: Handshake, now: float) -> None:
        """The last word; it begins nothing, whoever says it. Raises PeerError."""
        check_fixed(handshake)
        known = self._peer_handshake
        # quirk: libsrt, once connected, says it again with the cookie 0, against draft section
        # 4.3.2; test_an_agreement_that_libsrt_says_again.
        if known is None or (
            handshake.socket_id != known.socket_id or handshake.cookie not in (known.cookie, 0)
        ):
            self._outcome.count("handshake-out-of-turn")
            return
        self._confirm(now, is_agreement=True)

    def _receive_wave(self, now: float) -> None:
        if self.state == State.WAVING:
            self.state = State.ATTENTION
            self._open(now)
        elif self.state == State.ATTENTION:
            self._repeater.send_again(now)

    def _open(self, now: float) -> None:
        """The first word after the wave: CQ, or C0."""
        if not self._is_initiator:
            self._say(HandshakeType.CONCLUSION, (), now)
            return
        advertised = 0 if self._peer_handshake is None else self._peer_handshake.key_bytes
        question = self._keys.ask(ASKED_AS_INITIATOR, advertised)
        if question is not None:
            self._repeater.forget()
            self._outcome.add(question)
        self._request(now)

    def _request(self, now: float) -> None:
        if self._keys.is_ready:
            extensions = request_extensions(self._options, self._keys.material)
            self._say(HandshakeType.CONCLUSION, extensions, now)

    def _receive_conclusion(self, handshake: Handshake, timestamp: int, now: float) -> None:
        is_waving = self.state == State.WAVING
        if is_waving:
            self.state = State.FINE
        if self._is_initiator:
            if is_waving:
                self._open(now)
            elif handshake.extensions:
                self._take_response(handshake, timestamp, now)
            else:
                self._repeater.send_again(now)
        elif not handshake.extensions or self._offer is not None:
            self._repeater.send_again(now)
        else:
            self._receive_request(handshake, timestamp, now)

    # As initiator.

    def _take_response(self, handshake: Handshake, timestamp: int, now: float) -> None:
        if not self._keys.is_ready:
            return
        offer = read_offer(handshake, is_response=True)
        agreement = take_response(self._options, offer)
        keys = self._keys
        secrets = initiator_secrets(
            keys.ring, keys.material, offer.material, self._options.security
        )
        check_cipher(secrets, offer.hs.version)
        self._sample(now)
        self._peer_started_at = now - timestamp / 1e6
        self._say(HandshakeType.AGREEMENT, (), now)
        self._repeater.send_once()
        self._establish(offer, agreement, secrets, now)

    # As responder.

    def _receive_request(self, handshake: Handshake, timestamp: int, now: float) -> None:
        offer = read_offer(handshake, is_response=False)
        decision = decide(offer, self._options)
        self._offer = offer
        self._peer_started_at = now - timestamp / 1e6
        self._repeater.forget()
        self._decision = decision
        material = decision.material
        if material is None:
            self._respond(decision, offer, now)
        else:
            self._outcome.add(
                KeyNeeded(
                    ASKED_AS_RESPONDER, decision.passphrase, material.salt, material.key_bytes
                )
            )

    def _respond(self, decision: Decision, offer: Offer, now: float) -> None:
        if decision.fault:
            self._outcome.count(decision.fault)
        self._decision = decision
        if self.state == State.ATTENTION:
            self.state = State.INITIATED
        extensions = response_extensions(self._options, decision.agreement, None, decision.answer)
        self._say(HandshakeType.CONCLUSION, extensions, now)

    def _confirm(self, now: float, is_agreement: bool) -> None:
        """The peer has our response."""
        decision, offer = self._decision, self._offer
        if decision is None or offer is None or decision.material is not None:
            return
        if is_agreement:
            self._sample(now)
        self._repeater.forget()
        self._establish(offer, decision.agreement, decision.secrets, now)

    # The owner's verbs.

    def provide_key(self, handle: int, key: bytes, now: float) -> None:
        """See `HandshakeMachine`."""
        if self.state == State.OVER:
            return
        if self._is_initiator:
            if self._keys.provide(handle, key):
                self._request(now)
            return
        decision, offer, peer = self._decision, self._offer, self._peer_handshake
        if decision is None or offer is None or peer is None or decision.material is None:
            return
        try:
            self._respond(open_decision(decision, key), offer, now)
        except PeerError as error:
            self._refuse(error, peer, now)

    def handle_timer(self, now: float) -> None:
        """See `HandshakeMachine`."""
        if self.state != State.OVER and now >= self._deadline:
            self._fail(Reject.TIMEOUT)

    def close(self) -> None:
        """Give up; no event follows."""
        self._repeater.forget()
        self.state = State.OVER

    # Out.

    def get_timer(self) -> float | None:
        """See `HandshakeMachine`."""
        if self.state == State.OVER:
            return None if self._repeater.send_at == NEVER else self._repeater.send_at
        return min(self._deadline, self._repeater.send_at)

    def datagrams_to_send(self, now: float) -> list[Run]:
        """See `HandshakeMachine`."""
        farewell = self._outcome.take_farewell(now, self._started_at)
        datagram = self._repeater.take(now)
        return [(self._peer, len(data), data) for data in (datagram, farewell) if data is not None]

    def next_event(self) -> HandshakeEvent | None:
        """See `HandshakeMachine`."""
        return self._outcome.next_event()

    def _word(self, kind: HandshakeType, extensions: tuple[Extension, ...] = ()) -> Handshake:
        return Handshake(
            VERSION,
            ENCRYPTION_FIELDS[self._options.security.key_bytes],
            extension_field(extensions),
            self._sequence,
            self._options.mtu,
            self._options.window_packets,
            kind,
            self._socket_id,
            self._cookie,
            serialize_peer_ip(str(self._peer[0])),
            extensions,
        )

    def _say(self, kind: HandshakeType, extensions: tuple[Extension, ...], now: float) -> None:
        destination = 0 if self._peer_handshake is None else self._peer_handshake.socket_id
        self._repeater.send(self._word(kind, extensions), destination, now)

    def _sample(self, now: float) -> None:
        self._rtt = now - self._repeater.first_sent_at

    def _establish(self, offer: Offer, agreement: Agreement, secrets: Secrets, now: float) -> None:
        peer = self._peer_handshake
        if peer is None:
            return
        self.state = State.OVER
        result = HandshakeResult(
            role=Role.RENDEZVOUS,
            peer=self._peer,
            socket_id=self._socket_id,
            peer_socket_id=peer.socket_id,
            send_sequence=self._sequence,
            receive_sequence=peer.sequence,
            mode=self._options.mode,
            receive_latency_ms=agreement.receive_latency_ms,
            send_latency_ms=agreement.send_latency_ms,
            peer_version=offer.hs.version,
            peer_flags=offer.hs.flags,
            mtu=min(peer.mtu, self._options.mtu),
            peer_window=peer.window,
            congestion=offer.congestion,
            started_at=self._started_at,
            peer_started_at=self._peer_started_at,
            established_at=now,
            rtt=self._rtt,
            stream_id=offer.stream_id or self._options.stream_id,
            filter=agreement.filter,
            secrets=secrets,
            early=self._outcome.take_early(),
        )
        self._outcome.add(Established(result))

    def _fail(self, code: int, is_remote: bool = False) -> None:
        self._repeater.forget()
        self.state = State.OVER
        self._outcome.fail(code, is_remote=is_remote)

    def _refuse(self, error: PeerError, handshake: Handshake, now: float) -> None:
        """Say no: with a code, and again when the peer asks again."""
        word = replace(
            self._word(HandshakeType.CONCLUSION),
            kind=WIRE_OFFSET + error.status,
            extension_field=handshake.extension_field,
        )
        self._repeater.send(word, handshake.socket_id, now)
        self._repeater.send_once()
        self.state = State.OVER
        self._outcome.fail(error.status, error.reason)
