"""What a caller and a rendezvous share: keys to offer, packets that came too early, the end."""

from collections import deque

from flux.base.errors import PeerError
from protocols.srt.control import serialize_empty
from protocols.srt.events import HandshakeEvent, HandshakeFailed, KeyNeeded
from protocols.srt.handshake import RandomBytes
from protocols.srt.key_exchange import DEFAULT_KEY_BYTES, draw_ring, draw_salt, seal_keys
from protocols.srt.keys import KeyRing
from protocols.srt.options import SecurityOptions
from protocols.srt.packet import ControlType, timestamp_at
from protocols.srt.reject import slug_of

MAX_EARLY = 256  # datagrams that came before the end of the handshake


class OfferedKeys:
    """The keys that an initiator offers: asks for the key of the passphrase, then draws.

    Public: `ring` and `material` (the KM message), None until the key is there.
    """

    __slots__ = ("_handle", "_key_bytes", "_options", "_random", "_salt", "material", "ring")

    def __init__(self, options: SecurityOptions, random: RandomBytes) -> None:
        self._options = options
        self._random = random
        self._salt = b""
        self._key_bytes = 0
        self._handle = 0
        self.ring: KeyRing | None = None
        self.material: bytes | None = None

    @property
    def is_ready(self) -> bool:
        """Whether a conclusion can be made."""
        return self.material is not None or not self._options.passphrase

    def ask(self, handle: int, advertised_bytes: int) -> KeyNeeded | None:
        """Settle the length, ours before what the peer advertises; a question if that needs one."""
        size = self._options.key_bytes or advertised_bytes or DEFAULT_KEY_BYTES
        if not self._options.passphrase or size == self._key_bytes:
            return None
        self._salt = self._salt or draw_salt(self._random)
        self._key_bytes = size
        self._handle = handle
        self.ring = self.material = None
        return KeyNeeded(handle, self._options.passphrase.encode(), self._salt, size)

    def provide(self, handle: int, key: bytes) -> bool:
        """The answer; whether it was waited for."""
        if handle != self._handle or self.material is not None or len(key) != self._key_bytes:
            return False
        self.ring = draw_ring(self._options, self._salt, key, self._random)
        self.material = seal_keys(self.ring).serialize()
        return True


class Outcome:
    """Events of one handshake, its early packets and its last word.

    Public: `counters` by reason.
    """

    __slots__ = ("_early", "_events", "_farewell", "counters")

    def __init__(self) -> None:
        self._events: deque[HandshakeEvent] = deque()
        self._early: deque[tuple[float, bytes]] = deque(maxlen=MAX_EARLY)
        self._farewell: tuple[int, int] | None = None
        self.counters: dict[str, int] = {}

    def add_early(self, now: float, datagram: bytes) -> None:
        """A packet for the connection that is not there yet."""
        self._early.append((now, datagram))

    def take_early(self) -> tuple[tuple[float, bytes], ...]:
        """Those packets."""
        early = tuple(self._early)
        self._early.clear()
        return early

    def add(self, event: HandshakeEvent) -> None:
        """Tell the owner."""
        self._events.append(event)

    def fail(self, code: int, reason: str = "", is_remote: bool = False) -> None:
        """The end without a connection."""
        self._early.clear()
        self.add(HandshakeFailed(code, reason or slug_of(code), is_remote))

    def refuse(self, error: PeerError, destination: int) -> None:
        """We do not take the peer's answer: tell it, as it may think that we are connected."""
        self._farewell = (ControlType.SHUTDOWN, destination)
        self.fail(error.status, error.reason)

    def take_farewell(self, now: float, started_at: float) -> bytes | None:
        """The last packet of a handshake that failed."""
        if self._farewell is None:
            return None
        kind, destination = self._farewell
        self._farewell = None
        return serialize_empty(kind, timestamp_at(now, started_at), destination)

    def count(self, reason: str) -> None:
        """One more datagram that was dropped for this reason."""
        self.counters[reason] = self.counters.get(reason, 0) + 1

    def next_event(self) -> HandshakeEvent | None:
        """The oldest event that was not taken yet."""
        return self._events.popleft() if self._events else None
