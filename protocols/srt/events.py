"""What the machines of SRT tell their owner. The data path and the groups add theirs below."""

from dataclasses import dataclass, field

from protocols.srt.options import GroupOffer, Mode
from protocols.srt.packet import Address
from protocols.srt.result import HandshakeResult

# The handshake.


@dataclass(frozen=True, slots=True)
class KeyNeeded:
    """Work for a thread: `cipher.derive_key` of the three; the answer goes to `provide_key`.

    The results can be kept by (passphrase, salt, key_bytes). `handle` tells questions apart.
    """

    handle: int
    passphrase: bytes = field(repr=False)
    salt: bytes
    key_bytes: int


@dataclass(frozen=True, slots=True)
class ConnectionRequested:
    """A listener's question: somebody with a valid cookie wants in. Answer: `accept` or `reject`.

    Unanswered requests are dropped after `ListenerOptions.answer_timeout`.
    """

    handle: int
    peer: Address
    peer_socket_id: int
    peer_version: int
    stream_id: str
    mode: Mode  # as far as the caller's flags tell
    congestion: str
    filter: str
    group: GroupOffer | None
    key_bytes: int  # of the offered key; 0: no encryption
    receive_latency_ms: int  # what the peer wants as receiver
    send_latency_ms: int  # what the peer wants us to take


@dataclass(frozen=True, slots=True)
class Established:
    """The handshake is done; `result` is what the connection is made of.

    `handle`: of the listener's request; 0 in the other roles.
    """

    result: HandshakeResult
    handle: int = 0


@dataclass(frozen=True, slots=True)
class HandshakeFailed:
    """The handshake ended without a connection; the last event of a caller or of a rendezvous.

    `is_remote`: the peer refused us; else we refused it, or time ran out.
    """

    code: int  # Reject or any other number
    reason: str  # slug
    is_remote: bool = False


@dataclass(frozen=True, slots=True)
class RequestEnded:
    """A listener's request came to nothing: refused by us, or not answered in time."""

    handle: int
    peer: Address
    code: int
    reason: str


HandshakeEvent = KeyNeeded | ConnectionRequested | Established | HandshakeFailed | RequestEnded


# Keys during the connection.


@dataclass(frozen=True, slots=True)
class KeyStateChanged:
    """The state of one direction's keys changed."""

    is_send: bool
    state: int  # KmState
    reason: str = ""


CryptoEvent = KeyNeeded | KeyStateChanged


# The data path.


@dataclass(frozen=True, slots=True)
class DataReceived:
    """What has come, in order; the owner takes the list over.

    Live mode: packets whose play time has come. Message mode: whole messages. Stream mode: bytes,
    cut anywhere.
    """

    payloads: list[bytes]
    lost: int = 0  # packets that were given up right before the first of these


@dataclass(frozen=True, slots=True)
class SendRoom:
    """`send` refused something before and takes it now."""


@dataclass(frozen=True, slots=True)
class SendDropped:
    """Packets were given up before the peer had them: too old, or older than their lifetime."""

    packets: int


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """The end, and the last event. Slugs: `srt-closed`, `srt-peer-closed`, `srt-peer-idle`."""

    reason: str
    is_remote: bool


DataEvent = DataReceived | SendRoom | SendDropped | ConnectionClosed
ConnectionEvent = CryptoEvent | DataEvent
