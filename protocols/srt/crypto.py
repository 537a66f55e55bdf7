"""The keys of one connection while it lives: which key seals, which opens, and their refresh.

Each side refreshes the keys that it sends with (draft section 6.1.6). With n packets sent since the
last switch, R = `refresh_packets` and A = `announce_packets`:

| n | step |
|---|---|
| R - A | draw a new key for the other slot, send a KMREQ with both keys until it is answered |
| R | send with the new key, once the peer has said that it knows it |
| A of the new key | the old key is forgotten |

A KMREQ is repeated after 1.5 round trips, ten times at most; then the announcement begins anew
after A more packets. The switch waits for the answer because packets that nobody can open are
lost; but no key seals more than half of the sequence numbers.

In the other direction a KMREQ brings the peer's keys (see `receive_keys`) and is answered with the
same bytes, or with one word that says why not. Salt and key-encrypting key usually stay; where the
salt is new, a `KeyNeeded` is asked first. A message that cannot be opened changes nothing.
"""

from collections import deque
from dataclasses import dataclass

from flux.base.errors import WireError
from protocols.srt.cipher import PacketCipher, make_cipher
from protocols.srt.events import CryptoEvent, KeyNeeded, KeyStateChanged
from protocols.srt.handshake import RandomBytes
from protocols.srt.handshake_wire import ExtensionType
from protocols.srt.key_exchange import open_keys, refusal_of, seal_keys
from protocols.srt.keys import (
    KeyMaterial,
    KeyRing,
    KmState,
    parse_refusal,
    serialize_refusal,
)
from protocols.srt.options import SecurityOptions
from protocols.srt.packet import KEY_CLEAR, KEY_EVEN, KEY_ODD, ControlPacket
from protocols.srt.receive_keys import ReceiveKeys
from protocols.srt.result import Secrets

MAX_ATTEMPTS = 10
RTT_SHARE = 1.5
MIN_REPEAT = 0.02  # seconds
MAX_KEY_PACKETS = 1 << 30  # sealed with one key, whatever the peer answers
KEY_INTERVAL = 1.0  # seconds between two `KeyNeeded`, each of which costs 2 ms somewhere
KEY_PATIENCE = 5.0  # seconds, after which no answer is expected any more
MAX_EVENTS = 64
NEVER = float("inf")


@dataclass(slots=True)
class _Announcement:
    """A KMREQ on its way."""

    body: bytes
    attempts: int = 0
    repeat_at: float = 0.0
    is_confirmed: bool = False


class SendKeys:
    """Our direction: the current key and its successor."""

    __slots__ = ("_announce", "_pending", "_random", "_refresh", "_retry", "_ring", "_sent", "key")

    def __init__(
        self, ring: KeyRing, options: SecurityOptions, random: RandomBytes, is_refreshing: bool
    ) -> None:
        self._ring = ring
        self._random = random
        refresh = options.refresh_packets if is_refreshing else 0
        self._refresh = min(refresh, MAX_KEY_PACKETS) if refresh else 0
        self._announce = min(options.announce_packets, max((self._refresh - 1) // 2, 0))
        self._retry = 0  # packets sent at which an unanswered announcement begins anew
        self._sent = 0  # with the current key
        self._pending: _Announcement | None = None
        flag = KEY_EVEN if ring.even else KEY_ODD
        self.key: tuple[int, PacketCipher] = (flag, self._cipher(flag))

    def _cipher(self, flag: int) -> PacketCipher:
        ring = self._ring
        return make_cipher(ring.cipher, ring.even if flag == KEY_EVEN else ring.odd, ring.salt)

    def count(self, packets: int) -> None:
        """So many new packets were sealed with `key`."""
        self._sent += packets
        if not self._refresh:
            return
        pending = self._pending
        if pending is None:
            if self._sent >= self._refresh - self._announce and self._sent >= self._retry:
                self._begin()
        elif self._sent >= (self._refresh if pending.is_confirmed else MAX_KEY_PACKETS):
            self._switch()
        if self._ring.even and self._ring.odd:
            self._retire()

    def _begin(self) -> None:
        """Draw the next key and announce both."""
        fresh = self._random(self._ring.key_bytes)
        ring = self._ring
        is_even = self.key[0] == KEY_EVEN
        even, odd = (ring.even, fresh) if is_even else (fresh, ring.odd)
        self._ring = KeyRing(ring.cipher, ring.salt, ring.kek, even, odd)
        self._pending = _Announcement(seal_keys(self._ring).serialize())

    def _switch(self) -> None:
        """Seal with the announced key from now on."""
        flag = KEY_ODD if self.key[0] == KEY_EVEN else KEY_EVEN
        self.key = (flag, self._cipher(flag))
        self._pending = None
        self._sent = self._retry = 0

    def _retire(self) -> None:
        """Forget the old key when nobody needs it any more."""
        if self._pending is None and self._sent >= self._announce:
            ring, is_even = self._ring, self.key[0] == KEY_EVEN
            even, odd = (ring.even, b"") if is_even else (b"", ring.odd)
            self._ring = KeyRing(ring.cipher, ring.salt, ring.kek, even, odd)

    def answer(self, body: bytes) -> KmState | None:
        """A KMRSP came: the state it leaves this direction in, None where nothing asked for it.

        Raises WireError `km-bad-response`.
        """
        pending = self._pending
        if pending is None or pending.is_confirmed:
            return None
        if body == pending.body:
            pending.is_confirmed = True
            if self._sent >= self._refresh:
                self._switch()
            return KmState.SECURED
        refusal = parse_refusal(body)
        if refusal is None:
            return None  # an answer to an older announcement
        self._give_up()
        return refusal

    def _give_up(self) -> None:
        self._pending = None
        self._retry = self._sent + max(self._announce, 1)

    def announcement(self, now: float, rtt: float) -> bytes | None:
        """The KMREQ to send now, if one is due."""
        pending = self._pending
        if pending is None or pending.is_confirmed or now < pending.repeat_at:
            return None
        if pending.attempts == MAX_ATTEMPTS:
            self._give_up()
            return None
        pending.attempts += 1
        pending.repeat_at = now + max(RTT_SHARE * rtt, MIN_REPEAT)
        return pending.body

    def get_timer(self) -> float:
        """When `announcement` is due; infinity: never."""
        pending = self._pending
        return NEVER if pending is None or pending.is_confirmed else pending.repeat_at


class Crypto:
    """Both directions of one connection.

    Public: `send_state` and `receive_state` (KmState), `counters` by reason.
    """

    __slots__ = (
        "_answers",
        "_events",
        "_handle",
        "_key_at",
        "_last_request",
        "_options",
        "_receive",
        "_send",
        "_waiting",
        "counters",
        "receive_state",
        "send_state",
    )

    def __init__(self, secrets: Secrets, options: SecurityOptions, random: RandomBytes) -> None:
        self._options = options
        self.send_state = secrets.send_state
        self.receive_state = secrets.receive_state
        ring = secrets.ring
        is_secured = secrets.send_state == KmState.SECURED
        self._send = SendKeys(ring, options, random, is_secured) if ring is not None else None
        has_received = secrets.receive_state == KmState.SECURED
        self._receive = ReceiveKeys(ring if has_received else None)
        self._answers: deque[bytes] = deque(maxlen=4)
        self._events: deque[CryptoEvent] = deque(maxlen=MAX_EVENTS)
        self._waiting: KeyMaterial | None = None  # for the key of a new salt
        self._handle = 0
        self._key_at = -NEVER
        self._last_request = b""
        self.counters: dict[str, int] = {}

    # The data path.

    @property
    def overhead_bytes(self) -> int:
        """How much longer our payloads get."""
        return 0 if self._send is None else self._send.key[1].overhead_bytes

    @property
    def accepts_clear(self) -> bool:
        """Whether packets without encryption are the peer's: not on a secured connection."""
        return self.receive_state != KmState.SECURED

    def sending(self) -> tuple[int, PacketCipher | None]:
        """Key flag and cipher of the packets to send now; 0 and None: in clear.

        Ask again after each `count_sent`. Keep the cipher with packets that may be sent again.
        """
        return (KEY_CLEAR, None) if self._send is None else self._send.key

    def count_sent(self, packets: int) -> None:
        """So many new packets were sealed. Retransmissions do not count."""
        if self._send is not None:
            self._send.count(packets)

    @property
    def receiving(self) -> ReceiveKeys:
        """The keys that open what the peer sends."""
        return self._receive

    # Key material during the connection.

    def receive_control(self, packet: ControlPacket, now: float) -> None:
        """A user-defined control packet of the peer; others than KMREQ and KMRSP are counted."""
        try:
            if packet.subtype == ExtensionType.KMREQ:
                self._receive_request(packet.body, now)
            elif packet.subtype == ExtensionType.KMRSP:
                self._receive_answer(packet.body)
            else:
                self._count("user-packet-unknown")
        except WireError as error:
            self._count(error.reason)

    def _receive_request(self, body: bytes, now: float) -> None:
        if body == self._last_request:
            self._answers.append(body)
            return
        material = KeyMaterial.parse(body)
        refusal = refusal_of(material, self._options)
        if refusal is not None:
            self._refuse(refusal)
            return
        ring = self._receive.ring
        if ring is not None and (ring.salt, ring.key_bytes) == (
            material.salt,
            material.key_bytes,
        ):
            self._open(material, ring.kek)
        elif now >= self._key_at + (KEY_INTERVAL if self._waiting is None else KEY_PATIENCE):
            self._waiting = material
            self._handle += 1
            self._key_at = now
            passphrase = self._options.passphrase.encode()
            self._events.append(
                KeyNeeded(self._handle, passphrase, material.salt, material.key_bytes)
            )
        else:
            self._count("km-too-often")

    def provide_key(self, handle: int, key: bytes) -> None:
        """The answer to `KeyNeeded`."""
        material = self._waiting
        if material is None or handle != self._handle:
            return
        self._waiting = None
        self._open(material, key)

    def _open(self, material: KeyMaterial, kek: bytes) -> None:
        try:
            ring = open_keys(material, kek)
        except WireError as error:
            self._count(error.reason)
            self._refuse(KmState.BAD_SECRET)
            return
        self._receive.take(ring)
        self._last_request = material.serialize()
        self._answers.append(self._last_request)
        self._set_state(False, KmState.SECURED)

    def _refuse(self, state: KmState) -> None:
        """Say no. Keys that are known stay: this may be a stranger's packet."""
        self._count("km-refused")
        self._answers.append(serialize_refusal(state))
        if self.receive_state != KmState.SECURED:
            self._set_state(False, state)

    def _receive_answer(self, body: bytes) -> None:
        state = None if self._send is None else self._send.answer(body)
        if state is None:
            self._count("km-unasked")
        elif state == KmState.SECURED:
            self._set_state(True, state)
        else:
            # The present key goes on: it was agreed on, and the refusal may be a stranger's.
            self._count("km-refresh-refused")

    def controls_to_send(self, now: float, rtt: float) -> list[tuple[int, bytes]]:
        """Subtype and body of the user-defined packets to send now; `rtt` is seconds."""
        if not self._answers and self._send is None:
            return []
        controls = [(int(ExtensionType.KMRSP), body) for body in self._answers]
        self._answers.clear()
        if self._send is not None:
            request = self._send.announcement(now, rtt)
            if request is not None:
                controls.append((int(ExtensionType.KMREQ), request))
        return controls

    def get_timer(self) -> float | None:
        """When `controls_to_send` has something; None: nothing is waited for."""
        if self._answers:
            return -NEVER
        timer = NEVER if self._send is None else self._send.get_timer()
        return None if timer == NEVER else timer

    def next_event(self) -> CryptoEvent | None:
        """The oldest event that was not taken yet."""
        return self._events.popleft() if self._events else None

    def _set_state(self, is_send: bool, state: KmState) -> None:
        if state == (self.send_state if is_send else self.receive_state):
            return
        if is_send:
            self.send_state = state
        else:
            self.receive_state = state
        self._events.append(KeyStateChanged(is_send, state))

    def _count(self, reason: str) -> None:
        self.counters[reason] = self.counters.get(reason, 0) + 1
