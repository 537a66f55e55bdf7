"""Who enters the RTSP server: admission, leases, what DESCRIBE answers."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import parse_qsl

from config.names import check_stream_name
from flux.base.errors import PeerError, WireError
from flux.bridges.rtp.description import Place, describe
from flux.bridges.rtp.output import Hold, RtpOutput, rtp_output_of, tracks_of
from flux.bridges.rtp.packer import RtpOutTrack, rtp_tracks
from flux.bridges.rtp.secure import SecureTrack, is_secure
from flux.bridges.rtp.tracks import RtpTrack
from flux.bridges.rtsp.play import PlaySession
from flux.bridges.rtsp.record import RecordSession
from flux.bridges.rtsp.secured import ntp_now
from flux.bridges.rtsp.ways import PROTOCOL
from flux.core.admission import TOKEN_KEYS, AccessRequest, Admission, Verdict
from media.feed_reader import Scheduler
from media.router import Lease, Router
from media.stream import Emit, Stream
from protocols.rtsp.server import RtspPeer
from protocols.rtsp.server_auth import BEARER
from protocols.rtsp.server_events import Asked, DescribeAsked, Description, Refusal, Unauthorized
from protocols.sdp import SessionDescription

MAX_USER_AGENT = 256  # characters kept
MAX_ADMITTED = 64  # streams that a connection needs not ask for again
MAX_CLAIMS = 8  # streams that a connection keeps alive at a time beside those that it plays
MAX_QUERY_FIELDS = 64
TOO_MANY = 429  # of HTTP; RTSP has 453, Not Enough Bandwidth


@dataclass(slots=True)
class GivenKeys:
    """What a description through TLS told of keys, and the output whose SSRCs they are for."""

    output: RtpOutput
    hold: Hold
    tracks: dict[int, SecureTrack]

    def close(self) -> None:
        """They are of no use any more, or a session has them."""
        self.output.release(self.hold)


class Claim:
    """A connection's lease of a stream, which may be given back before there is one."""

    __slots__ = ("_is_closed", "_lease")

    def __init__(self) -> None:
        self._lease: Lease | None = None
        self._is_closed = False

    @property
    def is_waiting(self) -> bool:
        """A request waits for the stream."""
        return self._lease is not None and self._lease.waiting

    def take(self, lease: Lease) -> None:
        """Here it is."""
        if self._is_closed:
            lease.close()
        else:
            self._lease = lease

    def close(self) -> None:
        """Give it back."""
        self._is_closed = True
        if self._lease is not None:
            self._lease.close()


@dataclass(slots=True)
class PeerState:
    """What is known of one connection."""

    admitted: dict[tuple[str, str], None] = field(default_factory=dict)  # action, stream
    claims: dict[str, Claim] = field(default_factory=dict)  # by stream
    # By stream, until a session takes them.
    keys: dict[str, GivenKeys] = field(default_factory=dict)
    sessions: dict[str, PlaySession | RecordSession] = field(default_factory=dict)

    def admit(self, action: str, name: str) -> None:
        """It may do that from now on."""
        self.admitted[action, name] = None
        if len(self.admitted) > MAX_ADMITTED:
            del self.admitted[next(iter(self.admitted))]

    def plays(self, name: str) -> bool:
        """Whether a session of it is about this stream."""
        return any(
            isinstance(session, PlaySession) and session.stream.name == name
            for session in self.sessions.values()
        )

    def give_back(self, name: str) -> None:
        """It has done with a stream."""
        if (claim := self.claims.pop(name, None)) is not None:
            claim.close()
        if (keys := self.keys.pop(name, None)) is not None:
            keys.close()

    def close(self) -> None:
        """Give back what the connection held beside its sessions."""
        for name in (*self.claims, *self.keys):
            self.give_back(name)


class Entrance:
    """The state of every connection."""

    def __init__(
        self, router: Router, admission: Admission, emit: Emit, scheduler: Scheduler
    ) -> None:
        self._router = router
        self._admission = admission
        self._emit = emit
        self._scheduler = scheduler
        self.peers: dict[RtspPeer, PeerState] = {}

    def enter(self, peer: RtspPeer, asked: Asked, action: str, then: Callable[[], None]) -> None:
        """Ask who may enter, once for each stream and action of a connection."""
        state = self.peers.setdefault(peer, PeerState())
        name = asked.target.path
        if (action, name) in state.admitted:
            then()
            return
        try:
            check_stream_name(name)
        except ValueError:
            refuse(peer, asked, 404, "stream-not-found")
            return

        def done(verdict: Verdict) -> None:
            if self.peers.get(peer) is not state:
                return  # it left meanwhile
            if verdict.allowed:
                state.admit(action, name)
                then()
            elif verdict.status == 401:
                peer.answer(asked.handle, Unauthorized())
            else:
                status = 453 if verdict.status == TOO_MANY else verdict.status
                refuse(peer, asked, status, verdict.reason)

        self._admission.admit(access_request(peer, asked, action), done)

    def claim(self, peer: RtspPeer, asked: Asked, ready: Callable[[Stream], None]) -> None:
        """Call `ready` once the stream can be read; the peer keeps the lease until it leaves."""
        state, name = self.peers[peer], asked.target.path
        old, claim = state.claims.pop(name, None), Claim()
        state.claims[name] = claim

        def failed(reason: str, status: int) -> None:
            if state.claims.get(name) is claim:
                del state.claims[name]
            claim.close()
            refuse(peer, asked, status, reason)

        try:
            if self._router.lookup(name) is None:
                raise PeerError("stream-not-found", 404, name)
            claim.take(self._router.open(name, ready, failed, time.monotonic()))
        except PeerError as error:
            failed(error.reason, error.status)
        finally:
            if old is not None:
                old.close()
        idle = [each for each in state.claims if each != name and not state.plays(each)]
        for each in idle[: max(0, len(idle) + 1 - MAX_CLAIMS)]:
            state.give_back(each)

    def describe(self, peer: RtspPeer, asked: DescribeAsked) -> None:
        """Answer DESCRIBE, once the stream can be read."""
        self.claim(peer, asked, partial(self._describe, peer, asked))

    def _describe(self, peer: RtspPeer, asked: DescribeAsked, stream: Stream) -> None:
        places: dict[int, Place] = {}
        try:
            if peer.is_secure:
                tracks, places = self._describe_keys(peer, stream)
            else:
                tracks = rtp_tracks(tracks_of(stream, stream.tracks), secrets.randbits)
        except PeerError as error:
            refuse(peer, asked, error.status, error.reason)
            return
        if not tracks:
            refuse(peer, asked, 415, "no-playable-track")
            return
        is_v6 = ":" in peer.local_address
        description = describe(
            tracks,
            session_id=secrets.randbits(31),
            address=peer.local_address,
            connection="IN IP6 ::" if is_v6 else "IN IP4 0.0.0.0",
            title=stream.name,
            places=places,
        )
        peer.answer(asked.handle, Description(description.serialize()))

    def _describe_keys(
        self, peer: RtspPeer, stream: Stream
    ) -> tuple[tuple[RtpOutTrack, ...], dict[int, Place]]:
        """The tracks of a stream with new keys; raises `PeerError`."""
        state = self.peers[peer]
        output = rtp_output_of(stream, self._emit, self._scheduler)
        old = state.keys.get(stream.name)
        tracks = {track.index: SecureTrack(track.ssrc) for track in output.tracks}

        def ended(_reason: str) -> None:
            state.keys.pop(stream.name, None)

        state.keys[stream.name] = GivenKeys(output, output.hold(ended), tracks)
        if old is not None:
            old.close()
        places = {
            index: Place(protocol="RTP/SAVP", attributes=keys.attributes(ntp_now()))
            for index, keys in tracks.items()
        }
        return output.tracks, places


def refuse(peer: RtspPeer, asked: Asked, status: int, reason: str) -> None:
    """Answer with an error."""
    peer.answer(asked.handle, Refusal(status, reason))


def access_request(peer: RtspPeer, asked: Asked, action: str) -> AccessRequest:
    """What admission is asked."""
    known = asked.credentials
    is_bearer = known is not None and known.scheme == BEARER
    has_proof = known is not None and known.challenge is not None
    return AccessRequest(
        action,
        asked.target.path,
        PROTOCOL,
        peer.address,
        query=asked.target.query,
        user_agent=asked.user_agent[:MAX_USER_AGENT],
        user=known.user if known is not None else "",
        password=known.password if known is not None and not is_bearer else "",
        token=known.password if known is not None and is_bearer else query_token(asked),
        proof=known.matches if known is not None and has_proof else None,
    )


def query_token(asked: Asked) -> str:
    """The token of a player that can send no headers; empty if there is none."""
    try:
        found = dict(parse_qsl(asked.target.query, max_num_fields=MAX_QUERY_FIELDS))
    except ValueError:  # too many fields
        return ""
    return next((found[key] for key in TOKEN_KEYS if key in found), "")


def announced_keys(
    description: SessionDescription, tracks: Sequence[RtpTrack]
) -> dict[int, SecureTrack]:
    """Keys of the sections of SRTP, by track; raises `WireError` for those that cannot be used."""
    found: dict[int, SecureTrack] = {}
    for index, track in enumerate(tracks):
        media = description.media[track.media_index]
        if not is_secure(media.protocol):
            continue
        found[index] = keys = SecureTrack(secrets.randbits(32))
        try:
            keys.take_media(media, description)
        except WireError as error:
            if error.reason != "srtp-no-key":  # it may come with SETUP
                raise
    return found
