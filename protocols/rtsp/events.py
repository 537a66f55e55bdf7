"""What the pull machine tells its owner."""

from dataclasses import dataclass

from protocols.rtsp.rtp_info import RtpInfo
from protocols.rtsp.transport import PortPair


@dataclass(frozen=True, slots=True)
class Described:
    """The DESCRIBE reply is here; the machine now waits for `set_up`."""

    base_url: str  # for relative control attributes
    sdp: bytes


@dataclass(frozen=True, slots=True)
class TransportRefused:
    """The server does not want this transport; the machine waits for another `set_up`."""

    status: int
    is_udp: bool  # what was refused


@dataclass(frozen=True, slots=True)
class TrackRefused:
    """One track could not be set up; the others go on."""

    track_index: int
    status: int


@dataclass(frozen=True, slots=True)
class TrackTransport:
    """How one track comes."""

    track_index: int
    url: str
    server_port: PortPair | None  # over UDP, where the server said it
    ssrc: int | None


@dataclass(frozen=True, slots=True)
class TracksReady:
    """Every SETUP is answered and PLAY is on its way: the moment for NAT punches."""

    tracks: tuple[TrackTransport, ...]
    is_udp: bool


@dataclass(frozen=True, slots=True)
class Playing:
    """PLAY was accepted. `infos` has the RTP-Info entry of each track of `set_up`, or None."""

    infos: tuple[RtpInfo | None, ...]


@dataclass(frozen=True, slots=True)
class Announced:
    """The server sent a new description in mid-session (RFC 2326 section 10.3)."""

    sdp: bytes


@dataclass(frozen=True, slots=True)
class Redirected:
    """The stream is elsewhere; `Closed("rtsp-redirected")` follows."""

    location: str  # as the server wrote it


@dataclass(frozen=True, slots=True)
class Closed:
    """The last event. `reason` is a stable slug, `status` the RTSP status behind it or 0."""

    reason: str
    status: int = 0


Event = (
    Described
    | TransportRefused
    | TrackRefused
    | TracksReady
    | Playing
    | Announced
    | Redirected
    | Closed
)
