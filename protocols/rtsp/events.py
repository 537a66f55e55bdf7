"""What the clients' machines tell their owner."""

from dataclasses import dataclass

from protocols.rtsp.rtp_info import RtpInfo
from protocols.rtsp.transport import Group, PortPair, Way


@dataclass(frozen=True, slots=True)
class Described:
    """The DESCRIBE reply is here; the machine now waits for `set_up`."""

    base_url: str  # for relative control attributes
    sdp: bytes


@dataclass(frozen=True, slots=True)
class AnnounceAccepted:
    """The server took our description; the machine now waits for `set_up`."""

    keys: str = ""  # KeyMgmt headers of the answer, joined by commas


@dataclass(frozen=True, slots=True)
class TransportRefused:
    """The server does not want this transport; the machine waits for another `set_up`."""

    status: int
    way: Way  # what was refused


@dataclass(frozen=True, slots=True)
class TrackRefused:
    """One track could not be set up; the others go on."""

    track_index: int
    status: int


@dataclass(frozen=True, slots=True)
class TrackTransport:
    """How one track travels."""

    track_index: int
    url: str
    server_port: PortPair | None  # over UDP, where the server said it
    ssrc: int | None  # of the one who sends, where the server said it
    source: str  # host that sends, where the server said it
    channels: PortPair  # the server's, interleaved
    group: Group | None  # of multicast
    keys: str = ""  # KeyMgmt headers of the answer, joined by commas


@dataclass(frozen=True, slots=True)
class TracksReady:
    """Every SETUP is answered and PLAY or RECORD on its way: the moment for NAT punches."""

    tracks: tuple[TrackTransport, ...]
    way: Way


@dataclass(frozen=True, slots=True)
class Playing:
    """PLAY was accepted. `infos` has the RTP-Info entry of each track of `set_up`, or None."""

    infos: tuple[RtpInfo | None, ...]
    range: str = ""  # the Range header of the answer


@dataclass(frozen=True, slots=True)
class Recording:
    """RECORD was accepted: the media may go out."""


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
    | AnnounceAccepted
    | TransportRefused
    | TrackRefused
    | TracksReady
    | Playing
    | Recording
    | Announced
    | Redirected
    | Closed
)
