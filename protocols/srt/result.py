"""What a handshake agreed on: all that the connection, its crypto and its group start from."""

from dataclasses import dataclass, field
from enum import IntEnum

from protocols.srt.keys import KeyRing, KmState
from protocols.srt.options import GroupOffer, Mode
from protocols.srt.packet import Address


class Role(IntEnum):
    """Which part of the handshake was ours."""

    CALLER = 0
    LISTENER = 1
    RENDEZVOUS = 2


@dataclass(frozen=True, slots=True)
class Secrets:
    """The state of encryption both ways after the handshake."""

    send_state: KmState = KmState.UNSECURED
    receive_state: KmState = KmState.UNSECURED
    ring: KeyRing | None = field(default=None, repr=False)  # one for both directions; None: no keys

    @property
    def is_sending_encrypted(self) -> bool:
        """Whether our packets are encrypted, be the peer able to read them or not."""
        return self.ring is not None and self.send_state != KmState.UNSECURED


@dataclass(frozen=True, slots=True)
class HandshakeResult:
    """An agreed connection. Sequence numbers have 31 bits, latencies are milliseconds."""

    role: Role
    peer: Address
    socket_id: int  # ours: what the peer's packets are addressed to
    peer_socket_id: int
    send_sequence: int  # of our first data packet
    receive_sequence: int  # of the peer's first
    mode: Mode
    receive_latency_ms: int  # packets are played out that long after they were sent
    send_latency_ms: int  # the peer's
    peer_version: int  # of its library: major << 16 | minor << 8 | patch
    peer_flags: int  # HsFlag: what the peer does
    mtu: int  # the smaller of both, IP and UDP headers included
    peer_window: int  # packets in flight at most until the first ACK says more
    congestion: str  # "live", "file"
    started_at: float  # `now` at our timestamp 0
    peer_started_at: float  # `now` at the peer's timestamp 0, by its HSREQ or HSRSP: TSBPD's base
    established_at: float
    # Seconds: the shortest exchange of the handshake, counted from its first copy, so that a loss
    # makes it longer and nothing makes it shorter. None: no exchange of ours.
    rtt: float | None = None
    stream_id: str = ""  # of the caller
    filter: str = ""  # merged configuration of the packet filter; empty: none
    peer_group: GroupOffer | None = None  # of the peer: its group id, kind and weight of this link
    group_id: int = 0  # ours, as the peer was told
    secrets: Secrets = field(default_factory=Secrets)
    # What came before the last word of the handshake: (arrival, datagram), for the connection.
    early: tuple[tuple[float, bytes], ...] = ()
