"""What the server's machine asks and tells its application, and what the application answers.

An `Asked` waits for its answer: exactly one of `Reply`, given to `ServerConnection.answer` with the
event's handle, at once or later; further requests of the connection wait behind it. One that stays
unanswered for `ServerOptions.answer_timeout` is answered 503. `SessionEnded` and `TrackEnded` want
no answer: TEARDOWN is done by the machine, and the application is told before its reply leaves, so
that no media follows the reply.

Every session that was begun (the first `Chosen`, or the `Done` of an ANNOUNCE, and the verb gave
True) ends with one `SessionEnded`, before the last event of all, `ConnectionEnded`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from protocols.rtsp.message import Headers
from protocols.rtsp.server_auth import Credentials
from protocols.rtsp.server_target import Target
from protocols.rtsp.transport import Transport

LIVE_RANGE = "npt=now-"


# Questions.


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that needs the application."""

    handle: int
    target: Target
    headers: Headers  # of the request: User-Agent, KeyMgmt, Bandwidth, ...
    credentials: Credentials | None  # None: none given, or of a nonce that is too old
    session_id: str  # of DESCRIBE: the session it names, mostly none

    @property
    def user_agent(self) -> str:
        """What the client calls itself."""
        return self.headers.get("User-Agent")


@dataclass(frozen=True, slots=True)
class DescribeAsked(Asked):
    """DESCRIBE. Answers: `Description`, `Refusal`, `Unauthorized`, `Moved`."""


@dataclass(frozen=True, slots=True)
class AnnounceAsked(Asked):
    """ANNOUNCE: somebody wants to publish. Answers: `Done` (the session `session_id` begins with
    it), `Refusal`, `Unauthorized`. A relative control attribute hangs on `target.base`."""

    sdp: bytes


@dataclass(frozen=True, slots=True)
class SetupAsked(Asked):
    """SETUP of one track. Answers: `Chosen`, `Refusal` (461: none of the offers), `Unauthorized`.

    `offers` are in the client's order of preference and are only what can be had: interleaved
    offers have channels that are free, unicast offers have client ports and lead to nobody but the
    client itself, multicast offers carry no address of the client's. A reply to a SETUP that is
    refused leaves earlier tracks of the session alone.
    """

    offers: tuple[Transport, ...]
    is_record: bool
    is_new: bool  # the session begins with the answer to this request


@dataclass(frozen=True, slots=True)
class PlayAsked(Asked):
    """PLAY. Answers: `Started`, `Refusal`, `Unauthorized`. Media may be written as soon as the
    answer was given: the reply is in front of it."""

    tracks: tuple[int, ...]  # those that the URL covers: all, or the one whose URL it is
    range: str  # the Range header, or empty
    scale: str
    speed: str
    was_playing: bool  # a second PLAY: nothing is to be sent again
    was_paused: bool  # a PLAY after PAUSE


@dataclass(frozen=True, slots=True)
class PauseAsked(Asked):
    """PAUSE of a session that plays or records. Answers: `Done`, `Refusal`."""

    tracks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RecordAsked(Asked):
    """RECORD. Answers: `Done`, `Refusal`, `Unauthorized`. Interleaved packets that come before the
    answer wait for it."""

    tracks: tuple[int, ...]  # those that were set up


# News.


@dataclass(frozen=True, slots=True)
class TrackEnded:
    """TEARDOWN of one track of several; the session goes on with the others."""

    session_id: str
    track: int


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The session is over: `teardown`, `session-timeout`, `media-timeout`, `peer-closed`, a reason
    of `end_session` or `close`, or the slug of a fault."""

    session_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class ConnectionEnded:
    """The last event. What is still to be sent leaves, then the connection is closed."""

    reason: str


News = TrackEnded | SessionEnded | ConnectionEnded
Event = Asked | News


# Answers.


@dataclass(frozen=True, slots=True)
class PlayPoint:
    """Where one track begins: the next packet that is really sent (RFC 2326 section 12.33)."""

    sequence: int  # 16 bits
    rtptime: int  # 32 bits


@dataclass(frozen=True, slots=True)
class Description:
    """200 with this SDP. `base` is the Content-Base; empty means the request's URL."""

    sdp: bytes
    base: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Chosen:
    """200 with this transport. `track` is the application's number of the track, by which later
    events name it; a track that was set up already is set up anew.

    `transport` is one of `offers` with what the server adds (`dataclasses.replace`): server_port,
    source, ssrc; destination, port and ttl for multicast.
    """

    track: int
    transport: Transport
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Started:
    """200 to PLAY. RTP-Info is sent when `points` has all of the question's tracks."""

    points: Mapping[int, PlayPoint] = field(default_factory=dict)
    range: str = LIVE_RANGE
    scale: str = "1"  # sent where the client asked for one
    speed: str = "1"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """200 to ANNOUNCE, PAUSE and RECORD."""

    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Any error status. `reason` is a stable slug; clients see it as the phrase."""

    status: int
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """401 with the challenges of the options; `schemes` narrows them (see `ServerOptions`)."""

    schemes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Moved:
    """The stream is elsewhere: 302, or 301 for good."""

    location: str
    status: int = 302


Reply = Description | Chosen | Started | Done | Refusal | Unauthorized | Moved
