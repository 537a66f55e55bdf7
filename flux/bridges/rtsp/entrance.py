"""Who enters the RTSP server: admission, leases, what DESCRIBE answers."""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import parse_qsl

from config.names import check_stream_name
from flux.base.errors import PeerError, WireError
from flux.bridges.rtp.description import Place, describe
from flux.bridges.rtp.output import Hold, RtpOutput, rtp_output_of
from flux.bridges.rtp.packer import RtpOutTrack, rtp_tracks
from flux.bridges.rtp.secure import SecureTrack, is_secure
from flux.bridges.rtp.tracks import RtpTrack
from flux.bridges.rtsp.play import PROTOCOL, PlaySession
from flux.bridges.rtsp.record import RecordSession
from flux.bridges.rtsp.secured import ntp_now
from flux.core.admission import TOKEN_KEYS, AccessRequest, Admission, Verdict
from media.feed_reader import Scheduler
from media.router import Lease, Router
from media.stream import Emit, Stream
from protocols.rtsp.server import RtspPeer
from protocols.rtsp.server_events import Asked, DescribeAsked, Description, Refusal, Unauthorized
from protocols.sdp import SessionDescription

MAX_USER_AGENT = 256  # characters kept
TOO_MANY = 429  # of HTTP; RTSP has 453, Not Enough Bandwidth


@dataclass(slots=True)
class GivenKeys:
    """What a description through TLS told of keys, and the output whose SSRCs they are for."""

    output: RtpOutput
    hold: Hold
    tracks: dict[int, SecureTrack]


@dataclass(slots=True)
class PeerState:
    """What is known of one connection."""

    admitted: set[tuple[str, str]] = field(default_factory=set)  # action, stream
    leases: dict[str, Lease] = field(default_factory=dict)  # by stream
    keys: dict[str, GivenKeys] = field(
        default_factory=dict
    )  # by stream, until a session takes them
    sessions: dict[str, PlaySession | RecordSession] = field(default_factory=dict)

    def close(self) -> None:
        """Give back what the connection held beside its sessions."""
        for lease in self.leases.values():
            lease.close()
        for keys in tuple(self.keys.values()):
            keys.output.release(keys.hold)


class Entrance:
    """The state of every connection. `refused` counts by reason."""

    def __init__(
        self, router: Router, admission: Admission, emit: Emit, scheduler: Scheduler
    ) -> None:
        self._router = router
        self._admission = admission
        self._emit = emit
        self._scheduler = scheduler
        self.peers: dict[RtspPeer, PeerState] = {}
        self.refused: Counter[str] = Counter()

    def refuse(self, peer: RtspPeer, asked: Asked, status: int, reason: str) -> None:
        """Answer with an error."""
        self.refused[reason] += 1
        peer.answer(asked.handle, Refusal(status, reason))

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
            self.refuse(peer, asked, 404, "stream-not-found")
            return
        proof = asked.credentials
        is_bearer = proof is not None and proof.scheme == "bearer"

        def done(verdict: Verdict) -> None:
            if self.peers.get(peer) is not state:
                return  # it left meanwhile
            if verdict.allowed:
                state.admitted.add((action, name))
                then()
            elif verdict.status == 401:
                peer.answer(asked.handle, Unauthorized())
            else:
                status = 453 if verdict.status == TOO_MANY else verdict.status
                self.refuse(peer, asked, status, verdict.reason)

        self._admission.admit(
            AccessRequest(
                action,
                name,
                PROTOCOL,
                peer.address,
                query=asked.target.query,
                user_agent=asked.user_agent[:MAX_USER_AGENT],
                user=proof.user if proof is not None else "",
                password=proof.password if proof is not None and not is_bearer else "",
                token=proof.password if proof is not None and is_bearer else query_token(asked),
                proof=proof.matches if proof is not None and not proof.password else None,
            ),
            done,
        )

    def claim(self, peer: RtspPeer, asked: Asked, ready: Callable[[Stream], None]) -> None:
        """Call `ready` once the stream can be read; the peer keeps the lease until it leaves."""
        state, name = self.peers[peer], asked.target.path
        old = state.leases.pop(name, None)
        has_failed = False

        def failed(reason: str, status: int) -> None:
            nonlocal has_failed
            has_failed = True
            if (lease := state.leases.pop(name, None)) is not None:
                lease.close()
            self.refuse(peer, asked, status, reason)

        try:
            if self._router.lookup(name) is None:
                raise PeerError("stream-not-found", 404, name)
            lease = self._router.open(name, ready, failed, time.monotonic())
        except PeerError as error:
            self.refuse(peer, asked, error.status, error.reason)
        else:
            if self.peers.get(peer) is state and not has_failed:
                state.leases[name] = lease
            else:
                lease.close()
        finally:
            if old is not None:
                old.close()

    def describe(self, peer: RtspPeer, asked: DescribeAsked) -> None:
        """Answer DESCRIBE, once the stream can be read."""
        self.claim(peer, asked, partial(self._describe, peer, asked))

    def _describe(self, peer: RtspPeer, asked: DescribeAsked, stream: Stream) -> None:
        places: dict[int, Place] = {}
        try:
            if peer.is_secure:
                tracks, places = self._describe_keys(peer, stream)
            else:
                tracks = rtp_tracks(stream.tracks, secrets.randbits)
        except PeerError as error:
            self.refuse(peer, asked, error.status, error.reason)
            return
        if not tracks:
            self.refuse(peer, asked, 415, "no-playable-track")
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
            old.output.release(old.hold)
        places = {
            index: Place(protocol="RTP/SAVP", attributes=keys.attributes(ntp_now()))
            for index, keys in tracks.items()
        }
        return output.tracks, places


def query_token(asked: Asked) -> str:
    """The token of a player that can send no headers; empty if there is none."""
    found = dict(parse_qsl(asked.target.query, max_num_fields=64))
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
