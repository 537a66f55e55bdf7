"""The listener's side of the handshake, draft section 4.3.1, for all callers of one port.

An induction is answered with a cookie and forgotten. A conclusion with a valid cookie becomes a
request (`requests.py`); one without is dropped, as its address may be somebody else's.

| request | what comes | what follows |
|---|---|---|
| none | a conclusion that makes sense | `ConnectionRequested`, WAITING |
| none | one that makes none, HSv4, too many wait | the rejection; nothing is kept |
| WAITING | `reject`, or `accept` of what does not fit | the rejection, `RequestEnded`, ENDED |
| WAITING | `accept`, keys offered | `KeyNeeded` |
| WAITING | `accept` without keys, or the key | the response, `Established`, ACCEPTED |
| WAITING | the key of another passphrase | `RequestEnded`, ENDED; the rejection after a delay |
| WAITING | `ignore` | `RequestEnded`, ENDED without an answer |
| WAITING | time is over | the rejection, `RequestEnded`, ENDED |
| WAITING | the conclusion again | nothing: it will be answered |
| ACCEPTED | the conclusion again | the response again |
| ACCEPTED | `forget` | ENDED |
| ENDED | the conclusion again | the rejection again; nothing for a closed connection |

So there is at most one datagram out for one in, and until the cookie has come back it is not a byte
longer.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from flux.base.errors import PeerError, WireError
from protocols.srt.cookie import SECRET_BYTES, CookieJar
from protocols.srt.events import (
    ConnectionRequested,
    Established,
    HandshakeEvent,
    KeyNeeded,
    RequestEnded,
)
from protocols.srt.handshake import RandomBytes
from protocols.srt.handshake_wire import (
    ENCRYPTION_FIELDS,
    FIXED_BYTES,
    LEGACY_VERSION,
    MAGIC,
    VERSION,
    Handshake,
    HandshakeType,
    serialize_peer_ip,
)
from protocols.srt.induction_limit import InductionLimit
from protocols.srt.keys import KeyMaterial
from protocols.srt.negotiation import (
    Offer,
    check_fixed,
    extension_field,
    read_offer,
    refused,
    response_extensions,
)
from protocols.srt.options import ListenerOptions, Options
from protocols.srt.packet import (
    HEADER_BYTES,
    Address,
    ControlPacket,
    Run,
    is_handshake,
    timestamp_at,
)
from protocols.srt.reject import MAX_CODE, WIRE_OFFSET, Reject, slug_of
from protocols.srt.requests import Acceptance, Request, RequestState, RequestTable
from protocols.srt.responder import decide, open_decision
from protocols.srt.result import HandshakeResult, Role

MAX_OUT = 4096  # datagrams that wait for `datagrams_to_send`
NEVER = float("inf")


class Listener:
    """Hears all callers of a port. Public: `counters` by reason."""

    __slots__ = (
        "_events",
        "_jar",
        "_late",
        "_limit",
        "_options",
        "_out",
        "_request_limit",
        "_started_at",
        "_table",
        "counters",
    )

    def __init__(self, options: ListenerOptions, random: RandomBytes, now: float) -> None:
        self._options = options
        self._started_at = now
        self._jar = CookieJar(random(SECRET_BYTES), options.cookie_lifetime)
        self._limit = InductionLimit(options.max_inductions_per_host, options.max_inductions)
        self._request_limit = InductionLimit(options.max_requests_per_host, options.max_requests)
        self._table = RequestTable(options)
        # (address, handshake, the caller's socket id, our start)
        self._out: deque[tuple[Address, Handshake, int, float]] = deque(maxlen=MAX_OUT)
        self._late: deque[Request] = deque()  # whose rejection is not sent yet, by `answer_at`
        self._events: deque[HandshakeEvent] = deque()
        self.counters: dict[str, int] = {}

    @property
    def request_count(self) -> int:
        """Requests of all kinds that are remembered."""
        return len(self._table)

    # In.

    def receive_datagrams(self, datagrams: Sequence[bytes], address: Address, now: float) -> None:
        """See `HandshakeMachine`."""
        for datagram in datagrams:
            if len(datagram) < HEADER_BYTES + FIXED_BYTES:
                self._count("handshake-truncated")
            elif not is_handshake(datagram):
                self._count("srt-no-connection")
            else:
                self._receive(ControlPacket.parse(datagram), address, now)

    def _receive(self, packet: ControlPacket, address: Address, now: float) -> None:
        try:
            fixed = Handshake.parse(packet.body[:FIXED_BYTES])
        except WireError as error:
            self._count(error.reason)
            return
        if fixed.kind == HandshakeType.INDUCTION:
            self._receive_induction(fixed, address, now)
        elif fixed.kind != HandshakeType.CONCLUSION:
            self._count("handshake-out-of-turn")
        elif self._is_known(fixed, address, now):
            self._count("handshake-repeated")
        elif not self._jar.is_valid(fixed.cookie, address, now):
            self._count("handshake-bad-cookie")
        else:
            self._receive_conclusion(packet, fixed, address, now)

    def _receive_induction(self, handshake: Handshake, address: Address, now: float) -> None:
        if handshake.version < LEGACY_VERSION:
            self._count("handshake-bad-version")
            return
        if not self._limit.is_allowed(str(address[0]), now):
            self._count("handshake-flood")
            return
        # The caller's socket id goes back, against the draft and as libsrt does.
        answer = Handshake(
            VERSION,
            ENCRYPTION_FIELDS[self._options.key_bytes],
            MAGIC,
            handshake.sequence,
            handshake.mtu,
            handshake.window,
            HandshakeType.INDUCTION,
            handshake.socket_id,
            self._jar.bake(address, now),
            serialize_peer_ip(str(address[0])),
        )
        self._out.append((address, answer, handshake.socket_id, self._started_at))

    def _is_known(self, fixed: Handshake, address: Address, now: float) -> bool:
        """Whether this conclusion was heard before, however long ago; its answer goes out again."""
        known = self._table.find(address, fixed.socket_id)
        if known is None:
            return False
        asked = known.handshake
        if (asked.cookie, asked.sequence) == (fixed.cookie, fixed.sequence):
            self._answer(known, now)
            return True
        if known.state == RequestState.ENDED:
            self._table.forget(known)  # a call anew, from a socket that has the same number
            return False
        return True  # that connection comes first

    def _receive_conclusion(
        self, packet: ControlPacket, fixed: Handshake, address: Address, now: float
    ) -> None:
        host = str(address[0])
        if not self._request_limit.is_allowed(host, now):
            self._count("handshake-flood")  # an honest caller will ask again
            return
        try:
            check_fixed(fixed)
            offer, handshake = _read(packet)
            if self._table.is_crowded(host):
                raise refused(Reject.OVERLOAD)
            if not self._table.has_room(host):
                raise refused(Reject.BACKLOG)
            if offer.group is not None and not self._options.is_group_allowed:
                raise refused(Reject.GROUP)
        except PeerError as error:
            self._count(error.reason)
            answer = self._rejection(fixed, address, error.status)
            self._out.append((address, answer, fixed.socket_id, self._started_at))
            return
        peer_start = now - packet.timestamp / 1e6
        request = self._table.add(address, handshake, offer, now, peer_start)
        self._events.append(_question(request))

    # The application's answers.

    def accept(
        self, handle: int, options: Options, socket_id: int, now: float, group_id: int = 0
    ) -> bool:
        """Let the caller in with these options; whether the request was still there.

        `socket_id` is the new connection's; `group_id` our group of a link that joins one. What the
        two sides cannot agree on still ends in a rejection and `RequestEnded`.
        """
        request = self._waiting(handle)
        if request is None:
            return False
        try:
            if request.offer.group is not None and not group_id:
                raise refused(Reject.GROUP)
            decision = decide(request.offer, options)
        except PeerError as error:
            self._refuse(request, error.status, error.reason, now)
            return True
        acceptance = Acceptance(decision, socket_id, group_id)
        material = decision.material
        if material is None:
            self._establish(request, acceptance, now)
            return True
        request.acceptance = acceptance
        self._events.append(
            KeyNeeded(handle, decision.passphrase, material.salt, material.key_bytes)
        )
        return True

    def provide_key(self, handle: int, key: bytes, now: float) -> None:
        """See `HandshakeMachine`."""
        request = self._table.get(handle)
        if request is None or request.state != RequestState.WAITING or request.acceptance is None:
            return
        wish = request.acceptance
        try:
            decision = open_decision(wish.decision, key)
        except PeerError as error:
            delay = self._options.wrong_secret_delay
            self._refuse(request, error.status, error.reason, now, delay)
            return
        self._establish(request, replace(wish, decision=decision), now)

    def reject(self, handle: int, code: int, now: float) -> bool:
        """Refuse the caller with a `Reject` or other code; whether the request was still there."""
        request = self._waiting(handle)
        if request is None:
            return False
        self._refuse(request, min(max(code, 0), MAX_CODE), slug_of(code), now)
        return True

    def ignore(self, handle: int, reason: str, now: float) -> None:
        """Refuse the caller without a word, however often it asks; counted under `reason`."""
        request = self._waiting(handle)
        if request is not None:
            self._count(reason)
            self._table.end(request, None, now)
            self._events.append(RequestEnded(handle, request.address, Reject.UNKNOWN, reason))

    def forget(self, handle: int, now: float) -> None:
        """The connection of this request is closed."""
        request = self._table.get(handle)
        if request is not None and request.state == RequestState.ACCEPTED:
            self._table.end(request, None, now)

    def _waiting(self, handle: int) -> Request | None:
        """The request that an answer is for; one that has an answer gets no other."""
        request = self._table.get(handle)
        if request is None or request.state != RequestState.WAITING or request.acceptance:
            return None
        return request

    def _refuse(
        self, request: Request, code: int, reason: str, now: float, delay: float = 0.0
    ) -> None:
        self._count(reason)
        self._table.end(request, self._rejection(request.handshake, request.address, code), now)
        request.answer_at = now + delay
        if delay:
            self._late.append(request)
        self._answer(request, now)
        self._events.append(RequestEnded(request.handle, request.address, code, reason))

    def _establish(self, request: Request, wish: Acceptance, now: float) -> None:
        asked, offer, decision = request.handshake, request.offer, wish.decision
        options = decision.options
        if decision.fault:
            self._count(decision.fault)
        group = offer.group
        if group is not None:
            group = replace(group, group_id=wish.group_id)
        extensions = response_extensions(options, decision.agreement, group, decision.answer)
        mtu = min(asked.mtu, options.mtu, self._options.mtu)
        answer = Handshake(
            VERSION,
            0,
            extension_field(extensions),
            asked.sequence,  # ours too: both directions begin with the caller's
            mtu,
            options.window_packets,
            HandshakeType.CONCLUSION,
            wish.socket_id,
            asked.cookie,
            serialize_peer_ip(str(request.address[0])),
            extensions,
        )
        self._table.accept(request, answer)
        self._answer(request, now)
        result = HandshakeResult(
            role=Role.LISTENER,
            peer=request.address,
            socket_id=wish.socket_id,
            peer_socket_id=asked.socket_id,
            send_sequence=asked.sequence,
            receive_sequence=asked.sequence,
            mode=options.mode,
            receive_latency_ms=decision.agreement.receive_latency_ms,
            send_latency_ms=decision.agreement.send_latency_ms,
            peer_version=offer.hs.version,
            peer_flags=offer.hs.flags,
            mtu=mtu,
            peer_window=asked.window,
            congestion=offer.congestion,
            started_at=request.arrived,
            peer_started_at=request.peer_started_at,
            established_at=now,
            stream_id=offer.stream_id,
            filter=decision.agreement.filter,
            peer_group=offer.group,
            group_id=0 if group is None else group.group_id,
            secrets=decision.secrets,
        )
        self._events.append(Established(result, request.handle))

    # Out.

    def handle_timer(self, now: float) -> None:
        """See `HandshakeMachine`."""
        for request in self._table.expired(now):
            self._refuse(request, Reject.TIMEOUT, slug_of(Reject.TIMEOUT), now)
        while self._late and self._late[0].answer_at <= now:
            self._answer(self._late.popleft(), now)

    def get_timer(self) -> float | None:
        """See `HandshakeMachine`."""
        timer = min(self._table.next_at(), self._late[0].answer_at if self._late else NEVER)
        return None if timer == NEVER else timer

    def datagrams_to_send(self, now: float) -> list[Run]:
        """See `HandshakeMachine`."""
        runs = []
        for address, handshake, destination, started_at in self._out:
            data = handshake.to_datagram(timestamp_at(now, started_at), destination)
            runs.append((address, len(data), data))
        self._out.clear()
        return runs

    def next_event(self) -> HandshakeEvent | None:
        """See `HandshakeMachine`."""
        return self._events.popleft() if self._events else None

    def _answer(self, request: Request, now: float) -> None:
        """What the caller gets, again if need be, and not too soon; stamped when it leaves."""
        if request.answer is None or now < request.answer_at:
            return
        start = self._started_at if request.answer.is_rejection else request.arrived
        self._out.append((request.address, request.answer, request.handshake.socket_id, start))

    def _rejection(self, handshake: Handshake, address: Address, code: int) -> Handshake:
        """The refusal of a conclusion: its own words with another type, and no extensions."""
        # The version is ours even to an HSv4 peer, and the extension field stays, as libsrt's do.
        return replace(
            handshake,
            version=VERSION,
            kind=WIRE_OFFSET + code,
            peer_ip=serialize_peer_ip(str(address[0])),
            extensions=(),
            trailer=b"",
        )

    def _count(self, reason: str) -> None:
        self.counters[reason] = self.counters.get(reason, 0) + 1


def _read(packet: ControlPacket) -> tuple[Offer, Handshake]:
    """A conclusion with its extensions; raises PeerError."""
    try:
        handshake = Handshake.parse(packet.body)
    except WireError as error:
        raise refused(Reject.ROGUE, str(error)) from None
    return read_offer(handshake, is_response=False), handshake


def _question(request: Request) -> ConnectionRequested:
    """What the application is asked about a request."""
    offer = request.offer
    key_bytes = 0
    if offer.material is not None:
        try:
            material = KeyMaterial.parse(offer.material)
            key_bytes = material.key_bytes
        except WireError:
            key_bytes = 16  # broken, but the caller means to encrypt
    return ConnectionRequested(
        request.handle,
        request.address,
        request.handshake.socket_id,
        offer.hs.version,
        offer.stream_id,
        offer.mode,
        offer.congestion,
        offer.filter,
        offer.group,
        key_bytes,
        offer.hs.receive_latency_ms,
        offer.hs.send_latency_ms,
    )
