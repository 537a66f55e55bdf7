"""How media may travel between an RTSP client and us, and who keeps its own rules about it."""

from collections.abc import Callable, Container

from flux.base.errors import WireError
from flux.bridges.rtp.secure import SecureTrack, is_secure
from flux.bridges.rtsp.secured import ntp_now
from flux.net.sink import TransportSink
from protocols.rtsp.server import RtspPeer
from protocols.rtsp.server_events import Refusal, SetupAsked
from protocols.rtsp.transport import TCP, Transport

PROTOCOL = "rtsp"
UDP, MULTICAST, INTERLEAVED = "udp", "multicast", "tcp"
KEY_HEADER = "KeyMgmt"  # RFC 4567 section 4.1
STALLED = "reader-stalled"
MAX_FRAME_BYTES = 0xFFFF  # RFC 2326 section 10.12

UNSUPPORTED = Refusal(461, "transport-not-offered")


def mode_of(offer: Transport) -> str:
    """udp, multicast or tcp."""
    if offer.lower == TCP:
        return INTERLEAVED
    return MULTICAST if offer.is_multicast else UDP


def is_possible(
    peer: RtspPeer, offer: Transport, allowed: Container[str], mode: str, secured: bool | None
) -> bool:
    """Whether an offer may be taken.

    `mode` and `secured` are those of the session's other tracks: one session does not mix. What
    came through TLS does not leave in the clear, and keys do not travel in the clear.
    """
    offered = mode_of(offer)
    is_secured = is_secure(offer.profile)
    if offered not in allowed or mode not in ("", offered):
        return False
    if secured is not None and is_secured is not secured:
        return False
    if is_secured and not peer.is_secure:
        return False
    if offered == INTERLEAVED:
        return True
    if peer.is_tunnelled or (is_secured and offered == MULTICAST):
        return False
    return is_secured is peer.is_secure


def exchange_keys(
    keys: SecureTrack, asked: SetupAsked, *, is_publisher: bool
) -> tuple[tuple[str, str], ...]:
    """Take the client's key, tell ours; raises `WireError` for one that cannot be used."""
    theirs = asked.headers.get(KEY_HEADER)
    if theirs:
        keys.take_header(theirs)
    if is_publisher and keys.receiver is None:
        raise WireError("srtp-no-key")
    return ((KEY_HEADER, keys.header(asked.target.url, ntp_now())),)


def write_frame(peer: RtspPeer, channel: int, data: bytes) -> None:
    """Send one packet within the connection."""
    if len(data) <= MAX_FRAME_BYTES and not peer.transport.is_closing():
        peer.transport.write(b"$" + bytes((channel,)) + len(data).to_bytes(2, "big") + data)


class PeerSink(TransportSink):
    """The connection of one player as the sink of a feed.

    Its end is that of a session. The connection may have others; if not, the peer's machine closes
    it, with a limit to the time that the last bytes have.
    """

    __slots__ = ("_end_session",)

    def __init__(self, peer: RtspPeer, end: Callable[[str], None], send_buffer: int) -> None:
        super().__init__(peer.transport, end, send_buffer)
        self._end_session = end

    def end(self, reason: str) -> None:
        """The feed is over; a connection that takes nothing is cut."""
        if reason == STALLED:
            super().end(reason)
        else:
            self._end_session(reason)


def track_number(control: str, count: int) -> int | None:
    """The index in `trackID=N`; without one, that of the only track."""
    if not control:
        return 0 if count == 1 else None
    number = control.rpartition("=")[2]
    if not number.isascii() or not number.isdigit() or len(number) > 3:
        return None
    return int(number) if int(number) < count else None
