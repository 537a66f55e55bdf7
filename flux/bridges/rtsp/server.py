"""The RTSP server: players and publishers, from their first request to their last packet.

`protocols/rtsp` speaks the protocol; here its questions are answered. Every request that names a
stream passes admission once a connection, stream and action. A stream that somebody describes or
sets up is claimed by a lease: an on-demand source starts, and DESCRIBE is held until its tracks
and parameter sets are known.
"""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from flux.base.errors import PeerError, WireError
from flux.bridges.rtp.output import rtp_output_of
from flux.bridges.rtp.tracks import tracks_from_sdp
from flux.bridges.rtsp.entrance import MAX_USER_AGENT, Entrance, announced_keys, refuse
from flux.bridges.rtsp.groups import MulticastGroups
from flux.bridges.rtsp.play import PlaySession
from flux.bridges.rtsp.play_ways import PlayContext
from flux.bridges.rtsp.ports import UdpPorts
from flux.bridges.rtsp.record import RecordSession, is_taken
from flux.bridges.rtsp.secured import ntp_now
from flux.bridges.rtsp.slices import Slices
from flux.bridges.rtsp.transport_stream import transport_stream_of
from flux.bridges.rtsp.ways import KEY_HEADER, MULTICAST, PROTOCOL, UDP
from flux.core.admission import PUBLISH, READ, Admission
from flux.core.scheduler import LoopScheduler
from flux.net.tls import ServerTls
from flux.net.turns import Turn, Turns
from media.events import ReaderClosed, ReaderJoined
from media.feed_reader import START_GOP, START_KEY, START_LIVE
from media.router import Router
from media.stream import Emit, Stream
from protocols.rtsp.server import RtspPeer, RtspServer, ServerLimits
from protocols.rtsp.server_events import (
    AnnounceAsked,
    Asked,
    DescribeAsked,
    Done,
    PauseAsked,
    PlayAsked,
    RecordAsked,
    Refusal,
    Reply,
    SessionEnded,
    SetupAsked,
    TrackEnded,
)
from protocols.rtsp.server_options import ServerOptions
from protocols.sdp import SessionDescription

STARTS = (START_GOP, START_KEY, START_LIVE)
REPORT_TICK = 0.5  # seconds between two looks at what reports are due
MAX_TRACKS = 16  # of a publisher
NO_SESSION = Refusal(454, "session-not-found")


@dataclass(frozen=True, slots=True)
class RtspUsage:
    """What is held for clients at this moment; all 0 when there is none."""

    connections: int
    players: int  # that have played and are there
    sessions: int  # theirs, those not begun, those of publishers
    claims: int  # of streams, by connections
    keys: int  # told, and not taken yet
    registrations: int  # at the UDP ports
    groups: int


@dataclass(frozen=True, slots=True)
class RtspBridgeOptions:
    """What configuration says of the server."""

    host: str = ""
    port: int = 8554
    tls_address: tuple[str, int] | None = None
    rtp: tuple[str, int] = ("", 8000)
    rtcp_port: int = 8001
    transports: frozenset[str] = frozenset({"udp", "multicast", "tcp"})
    start: str = START_GOP
    send_buffer: int = 256 << 10
    groups: str = "239.255.64.0/20"
    group_port: int = 8002
    group_ttl: int = 16
    group_interface: str = ""
    server: ServerOptions = field(default_factory=ServerOptions)
    limits: ServerLimits = field(default_factory=ServerLimits)


class RtspBridge:
    """Owns the listeners, the UDP ports and every session."""

    def __init__(
        self,
        router: Router,
        admission: Admission,
        emit: Emit,
        options: RtspBridgeOptions,
        tls: ServerTls | None = None,
    ) -> None:
        self._router = router
        self._emit = emit
        self.options = options
        self._tls = tls
        self._numbers = count(1)
        self._players: dict[PlaySession, None] = {}
        self._ticker: Turn | None = None
        self._scheduler = LoopScheduler()
        self._slices = Slices(self._scheduler)
        self._drops: Counter[str] = Counter()
        self._entrance = Entrance(router, admission, emit, self._scheduler)
        self._ports: UdpPorts | None = None
        self._server = RtspServer(self, options.server, options.limits)
        self._groups = MulticastGroups(
            options.groups, options.group_port, options.group_ttl, options.group_interface
        )
        self._context = self._make_context()
        self.addresses: list[tuple[str, int]] = []  # as bound: RTSP, RTSPS

    def _make_context(self) -> PlayContext:
        options = self.options
        return PlayContext(
            self._ports,
            self._groups,
            options.transports,
            options.send_buffer,
            f"flux-{secrets.token_hex(8)}",
            options.start,
            self._slices,
            self._drops,
        )

    async def start(self) -> None:
        """Bind everything. Raises OSError or PeerError."""
        options = self.options
        if UDP in options.transports:
            ports = UdpPorts()
            ports.start(*options.rtp, options.rtcp_port)
            self._ports = ports
            self._context = self._make_context()
        try:
            self.addresses.append(await self._server.start(options.host or None, options.port))
            if options.tls_address is not None and self._tls is not None:
                host, port = options.tls_address
                self.addresses.append(await self._server.start(host or None, port, self._tls))
        except BaseException:
            await self.stop()
            raise
        self._tick()

    async def stop(self) -> None:
        """End every session, then everything that is bound."""
        if self._ticker is not None:
            self._ticker.cancel()
        await self._server.stop()
        if self._ports is not None:
            self._ports.close()
            self._ports = None

    @property
    def connections(self) -> int:
        """How many peers are connected."""
        return self._server.connections

    @property
    def udp_ports(self) -> tuple[int, int] | None:
        """Of RTP and RTCP, as bound."""
        return self._ports.numbers if self._ports is not None else None

    def refusals(self) -> Counter[str]:
        """What was refused or ignored, by reason."""
        found = self._server.all_drops() + self._server.refusals + self._drops
        if self._ports is not None:
            found += self._ports.strangers
            if self._ports.errors:
                found["udp-error"] += self._ports.errors
        return found

    def usage(self) -> RtspUsage:
        """What clients hold."""
        states = self._entrance.peers.values()
        return RtspUsage(
            self._server.connections,
            len(self._players),
            sum(len(state.sessions) for state in states),
            sum(len(state.claims) for state in states),
            sum(len(state.keys) for state in states),
            self._ports.registrations if self._ports is not None else 0,
            len(self._groups),
        )

    # -- what the machine asks ---------------------------------------------------------------

    def on_request(self, peer: RtspPeer, event: Asked) -> None:
        """Answer, now or later."""
        match event:
            case DescribeAsked():
                self._entrance.enter(
                    peer, event, READ, partial(self._entrance.describe, peer, event)
                )
            case AnnounceAsked():
                self._entrance.enter(peer, event, PUBLISH, partial(self._announced, peer, event))
            case SetupAsked(is_record=False, is_new=True):
                self._entrance.enter(peer, event, READ, partial(self._set_up_first, peer, event))
            case SetupAsked():
                session = self._session(peer, event.session_id)
                peer.answer(event.handle, session.set_up(event) if session else NO_SESSION)
            case PlayAsked():
                self._play(peer, event)
            case PauseAsked():
                self._pause(peer, event)
            case RecordAsked():
                session = self._session(peer, event.session_id)
                if isinstance(session, RecordSession):
                    session.record(partial(peer.answer, event.handle))
                else:
                    peer.answer(event.handle, NO_SESSION)
            case _:
                peer.answer(event.handle, Refusal(501, "not-implemented"))

    def on_ended(self, peer: RtspPeer, event: SessionEnded | TrackEnded) -> None:
        """A session is over, or one of its tracks."""
        state = self._entrance.peers.get(peer)
        session = state.sessions.get(event.session_id) if state is not None else None
        if session is None or state is None:
            return
        if isinstance(event, TrackEnded):
            session.drop_track(event.track)
            return
        del state.sessions[event.session_id]
        self._close_session(session, event.reason)
        if isinstance(session, PlaySession):
            name = session.stream.name
            claim = state.claims.get(name)
            if claim is not None and not claim.is_waiting and not state.plays(name):
                state.give_back(name)

    def on_packets(self, peer: RtspPeer, packets: list[tuple[int, bytes]], now: float) -> None:
        """Interleaved packets of a publisher, or a player's RTCP."""
        state = self._entrance.peers.get(peer)
        if state is None:
            return
        if len(state.sessions) == 1:
            next(iter(state.sessions.values())).take_packets(packets, now)
            return
        for session in tuple(state.sessions.values()):
            channels = session.channels
            own = [packet for packet in packets if packet[0] in channels]
            if own:
                session.take_packets(own, now)

    def on_closed(self, peer: RtspPeer, reason: str) -> None:
        """The connection is gone."""
        state = self._entrance.peers.pop(peer, None)
        if state is None:
            return
        for session in tuple(state.sessions.values()):
            self._close_session(session, reason)
        state.close()

    # -- beginning a session -----------------------------------------------------------------

    def _announced(self, peer: RtspPeer, asked: AnnounceAsked) -> None:
        try:
            description = SessionDescription.parse(asked.sdp)
            found = tracks_from_sdp(description, is_secure=peer.is_secure)
            stream = transport_stream_of(found.tracks)  # it holds everything
            tracks = (stream,) if stream is not None else found.tracks[:MAX_TRACKS]
            keys = announced_keys(description, tracks)
        except WireError as error:
            refuse(peer, asked, 400, error.reason)
            return
        if not tracks:
            reason = found.refused[0].reason if found.refused else "no-usable-track"
            refuse(peer, asked, 415, reason)
            return
        name, router = asked.target.path, self._router
        if router.find(name) is None and not router.resolve_published(name):
            refuse(peer, asked, 404, "stream-not-found")
            return
        if is_taken(router, name):
            refuse(peer, asked, 403, "name-taken")
            return
        session = RecordSession(
            asked.session_id,
            asked,
            tracks,
            peer,
            router,
            self._ports,
            self.options.transports - {MULTICAST},
            keys,
            asked.user_agent[:MAX_USER_AGENT],
        )
        url = asked.target.url
        told = tuple((KEY_HEADER, each.header(url, ntp_now())) for each in keys.values())
        self._answer_first(peer, asked, session, Done(told))

    def _answer_first(
        self, peer: RtspPeer, asked: Asked, session: PlaySession | RecordSession, reply: Reply
    ) -> None:
        """The answer with which a session begins, if it is no refusal.

        The session has to be known before: what stands behind the request in the same read is
        handled before the answer returns, and may be its end.
        """
        sessions = self._entrance.peers[peer].sessions
        sessions[asked.session_id] = session
        has_begun = peer.answer(asked.handle, reply) and not isinstance(reply, Refusal)
        if not has_begun and sessions.pop(asked.session_id, None) is not None:
            session.close("refused")

    def _set_up_first(self, peer: RtspPeer, asked: SetupAsked) -> None:
        self._entrance.claim(peer, asked, partial(self._begin, peer, asked))

    def _begin(self, peer: RtspPeer, asked: SetupAsked, stream: Stream) -> None:
        """The first SETUP of a player."""
        state = self._entrance.peers.get(peer)
        if state is None:
            return
        try:
            output = rtp_output_of(stream, self._emit, self._scheduler)
        except PeerError as error:
            refuse(peer, asked, error.status, error.reason)
            return
        given = state.keys.pop(stream.name, None)
        wanted = dict(part.partition("=")[::2] for part in asked.target.query.split("&"))
        start = wanted.get("start", self.options.start)
        session = PlaySession(
            f"{PROTOCOL}-{next(self._numbers)}",
            asked.session_id,
            peer,
            stream,
            output,
            self._context,
            asked.user_agent[:MAX_USER_AGENT],
            start if start in STARTS else self.options.start,
            given.tracks if given is not None and given.output is output else {},
        )
        if given is not None:  # the session holds the output by now
            given.close()
        self._answer_first(peer, asked, session, session.set_up(asked))

    # -- sessions ----------------------------------------------------------------------------

    def _session(self, peer: RtspPeer, session_id: str) -> PlaySession | RecordSession | None:
        state = self._entrance.peers.get(peer)
        return state.sessions.get(session_id) if state is not None else None

    def _play(self, peer: RtspPeer, asked: PlayAsked) -> None:
        session = self._session(peer, asked.session_id)
        if not isinstance(session, PlaySession):
            peer.answer(asked.handle, NO_SESSION)
            return
        answer: Callable[[Reply], bool] = partial(peer.answer, asked.handle)
        if session.play(asked, answer):
            self._players[session] = None
            session.stream.readers.enter(session)
            seconds = time.monotonic() - session.began
            self._emit(ReaderJoined(session.stream.name, PROTOCOL, session.id, seconds))

    def _pause(self, peer: RtspPeer, asked: PauseAsked) -> None:
        session = self._session(peer, asked.session_id)
        if isinstance(session, PlaySession):
            session.pause(asked.tracks)
            peer.answer(asked.handle, Done())
        else:  # a publisher that pauses sends nothing: the media timeout decides
            peer.answer(asked.handle, Done() if session is not None else NO_SESSION)

    def _close_session(self, session: PlaySession | RecordSession, reason: str) -> None:
        if isinstance(session, RecordSession):
            session.close(reason)
            return
        was_reader = self._players.pop(session, 0) is None
        session.close(reason)
        if was_reader:
            stream = session.stream
            stream.readers.leave(session.id, reason)
            stream.sent_bytes += session.sent_bytes
            self._emit(ReaderClosed(stream.name, PROTOCOL, session.id, reason, session.sent_bytes))

    def _tick(self) -> None:
        turns = Turns.of(asyncio.get_running_loop())
        self._ticker = turns.after(REPORT_TICK, REPORT_TICK / 2, self._tick)
        now = time.monotonic()
        self._slices.add(*(partial(session.tell, now) for session in self._players))
        self._slices.add(*(partial(group.tell, now) for group in self._groups.all()))
