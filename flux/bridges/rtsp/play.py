"""A player's session: tracks set up, then a reader of the stream's RTP output.

set up --PLAY--> playing --PAUSE--> paused --PLAY--> playing
any --TEARDOWN, timeout, kick, end of the stream, lost connection--> ended
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from flux.base.errors import PeerError, WireError
from flux.bridges.rtp.datagrams import DatagramReader
from flux.bridges.rtp.output import RtpOutput
from flux.bridges.rtp.reports import REPORT_INTERVAL, ReaderReports
from flux.bridges.rtp.secure import SecureTrack, is_secure
from flux.bridges.rtsp.groups import Group, MulticastGroups
from flux.bridges.rtsp.ports import Receiver, UdpPorts
from flux.bridges.rtsp.secured import SecuredFrames, ntp_now, secured_runs
from flux.net.sink import TransportSink
from flux.net.udp import Address
from flux.net.udp_send import Run
from media.feed_reader import START_KEY, FeedReader
from media.link import Linked, LinkFigures
from media.stream import Stream
from protocols.rtsp.server import RtspPeer
from protocols.rtsp.server_events import (
    Chosen,
    PlayAsked,
    PlayPoint,
    Refusal,
    Reply,
    SetupAsked,
    Started,
)
from protocols.rtsp.transport import TCP, PortPair, Transport

PROTOCOL = "rtsp"
UDP, MULTICAST, INTERLEAVED = "udp", "multicast", "tcp"
KEY_HEADER = "KeyMgmt"  # RFC 4567 section 4.1
UNSUPPORTED = Refusal(461, "transport-not-offered")


@dataclass(frozen=True, slots=True)
class PlayContext:
    """What every session of a server shares."""

    ports: UdpPorts | None  # None: no UDP
    groups: MulticastGroups
    transports: frozenset[str]
    send_buffer: int
    cname: str
    start: str


@dataclass(slots=True)
class _Way:
    """How one track goes out."""

    channel: int = 0
    rtp: Address = ()
    rtcp: Address = ()
    client: PortPair | None = None
    receiver: Receiver | None = None


class PlaySession(Linked):
    """One session; satisfies `media.stream.Reader` while it plays, and a `DatagramTarget`."""

    def __init__(
        self,
        name: str,
        session_id: str,
        peer: RtspPeer,
        stream: Stream,
        output: RtpOutput,
        context: PlayContext,
        user_agent: str,
        start: str,
        keys: dict[int, SecureTrack],
    ) -> None:
        """`keys`: by track index, those that the description told."""
        self.id = name
        self.protocol = PROTOCOL
        self.address = peer.address
        self.user_agent = user_agent
        self.since = time.time()
        self.began = time.monotonic()
        self.session_id = session_id
        self.peer = peer
        self.stream = stream
        self.output = output
        self.mode = ""  # udp, multicast or tcp, from the first SETUP on
        self.reports: ReaderReports | None = None
        self.is_playing = False
        self._context = context
        self._start = start
        self._keys = keys
        self._is_secured = False  # SRTP, from the first SETUP on
        self._ways: dict[int, _Way] = {}
        self._group: Group | None = None
        self._reader: FeedReader | DatagramReader | None = None
        self._sent_before = self._dropped_before = 0  # by readers before a PAUSE
        self._hold = output.hold(self.end)
        self.is_over = False

    # -- as a reader -------------------------------------------------------------------------

    @property
    def sent_bytes(self) -> int:
        """Bytes handed to its transport."""
        return self._sent_before + (self._reader.sent_bytes if self._reader is not None else 0)

    @property
    def dropped(self) -> int:
        """Chunks (TCP) or packets (UDP) that it missed."""
        reader = self._reader
        now = 0
        if isinstance(reader, FeedReader):
            now = reader.dropped_chunks
        elif reader is not None:
            now = reader.dropped
        return self._dropped_before + now

    def lag(self) -> float:
        """Seconds behind the live edge."""
        if isinstance(self._reader, FeedReader):
            return self.output.feed.lag(self._reader)
        return 0.0

    def link(self) -> LinkFigures:
        """What its receiver reports say."""
        reports = self.reports
        if reports is None:
            return LinkFigures(self.mode)
        return LinkFigures(self.mode, reports.lost, reports.jitter, reports.round_trip)

    def end(self, reason: str) -> None:
        """Say goodbye and close the connection: players take that for the end."""
        if self.is_over:
            return
        if self.mode == UDP and self.reports is not None:
            for index in self._ways:
                farewell = self.reports.goodbye(index, time.monotonic())
                if farewell is not None:
                    self.send_rtcp(index, farewell)
        self.peer.end_session(self.session_id, reason)
        self.peer.close(reason)

    # -- requests ----------------------------------------------------------------------------

    def set_up(self, asked: SetupAsked) -> Reply:
        """Choose a transport for one track."""
        track = track_number(asked.target.control, len(self.output.tracks))
        if track is None:
            return Refusal(404, "track-not-found")
        for offer in asked.offers:
            mode = mode_of(offer)
            if mode not in self._context.transports or self.mode not in ("", mode):
                continue
            if not may_carry(self.peer, mode, offer):
                continue
            is_secured = is_secure(offer.profile)
            if self.mode and is_secured is not self._is_secured:
                continue
            try:
                headers = self._exchange_keys(track, asked) if is_secured else ()
                transport = self._choose(track, mode, offer)
            except PeerError as error:
                return Refusal(error.status, error.reason)
            except WireError as error:
                return Refusal(400, error.reason)
            if transport is not None:
                self.mode, self._is_secured = mode, is_secured
                return Chosen(track, transport, headers)
        return UNSUPPORTED

    def play(self, asked: PlayAsked, answer: Callable[[Reply], bool]) -> bool:
        """Begin to send; the answer goes first. Whether it plays from now on for the first time."""
        if self.is_playing:
            answer(Started())
            return False
        start = START_KEY if asked.was_paused else self._start
        is_joining = self._group is not None and self._group.reader is not None
        points = {} if is_joining else self.output.start_points(start)
        mine = {index: points[index] for index in self._ways if index in points}
        reply = Started(
            {index: PlayPoint(p.sequence, p.timestamp) for index, p in mine.items()}
            if len(mine) == len(self._ways)
            else {}
        )
        if not answer(reply) or self.is_over:
            return False
        is_first = self.reports is None
        self.is_playing = True
        if self._group is not None:
            self._context.groups.play(self.output, self._group, self._context.cname, start)
        else:
            self.reports = ReaderReports(
                [self.output.tracks[index] for index in self._ways],
                self._context.cname,
                {index: (point.packets, point.octets) for index, point in mine.items()},
            )
            self.report(time.monotonic())
            self._attach(start)
        return is_first

    def pause(self) -> None:
        """Send no more until the next PLAY."""
        self.is_playing = False
        self._detach()

    def drop_track(self, track: int) -> None:
        """TEARDOWN of one track."""
        self._forget(track)
        if self.is_playing and self._group is None:
            self._detach()
            self._attach(START_KEY)

    def close(self) -> None:
        """Nothing of it is left after this."""
        self.is_over = True
        self.is_playing = False
        self._detach()
        for track in tuple(self._ways):
            self._forget(track)
        if self._group is not None:
            self._context.groups.leave(self.output, self._group)
            self._group = None
        self.output.release(self._hold)

    # -- media and reports -------------------------------------------------------------------

    def send(self, run: Run) -> bool:
        """As a datagram target: a run of one track."""
        ports, address = self._context.ports, self._ways[run.track].rtp
        if ports is None:
            return False
        if not self._is_secured:
            return ports.rtp.send(run, address)
        runs = secured_runs(self._keys[run.track], run)
        taken = [ports.rtp.send(secured, address) for secured in runs]
        return all(taken)

    def send_rtcp(self, track_index: int, data: bytes) -> None:
        """A compound, the way that its track goes."""
        way = self._ways[track_index]
        if self._is_secured:
            data = self._keys[track_index].sender.protect_rtcp(data)
        if self.mode == INTERLEAVED:
            if not self.peer.transport.is_closing():
                frame = b"$" + bytes((way.channel + 1,)) + len(data).to_bytes(2, "big") + data
                self.peer.transport.write(frame)
        elif self._context.ports is not None:
            self._context.ports.rtcp.send(Run(track_index, data, len(data), 1), way.rtcp)

    def report(self, now: float) -> None:
        """Send what reports are due."""
        reports = self.reports
        if reports is None or now < reports.due_at:
            return
        is_complete = True
        for index in self._ways:
            compound = reports.make(index, now)
            if compound is None:
                is_complete = False
            else:
                self.send_rtcp(index, compound)
        if is_complete:
            reports.due_at = now + REPORT_INTERVAL

    def take_packets(self, packets: list[tuple[int, bytes]], now: float) -> None:
        """What the player sends in the connection: its RTCP."""
        tracks = {way.channel + 1: index for index, way in self._ways.items()}
        for channel, data in packets:
            if channel in tracks:
                self._take_reports(tracks[channel], [data], now)

    def _take_reports(self, track: int, packets: list[bytes], now: float) -> None:
        if self._is_secured:
            receiver = self._keys[track].receiver
            packets = receiver.unprotect_rtcp(packets) if receiver is not None else []
        if self.reports is not None:
            for data in packets:
                self.reports.receive(data, now)

    # -- inside ------------------------------------------------------------------------------

    def _exchange_keys(self, track: int, asked: SetupAsked) -> tuple[tuple[str, str], ...]:
        """Take the player's key, tell ours; raises `WireError` for one that cannot be used."""
        keys = self._keys.setdefault(track, SecureTrack(self.output.tracks[track].ssrc))
        theirs = asked.headers.get(KEY_HEADER)
        if theirs:
            keys.take_header(theirs)
        return ((KEY_HEADER, keys.header(asked.target.url, ntp_now())),)

    def _choose(self, track: int, mode: str, offer: Transport) -> Transport | None:
        ssrc = self.output.tracks[track].ssrc
        if mode == INTERLEAVED and offer.interleaved is not None:
            self._forget(track)
            self._ways[track] = _Way(channel=offer.interleaved.rtp)
            return replace(offer, ssrc=ssrc)
        if mode == MULTICAST:
            if self._group is None:
                self._group = self._context.groups.enter(self.output)
            group = self._group
            self._ways[track] = _Way()
            rtp, rtcp = group.ports(track)
            return replace(
                offer,
                destination=group.address,
                port=PortPair(rtp, rtcp),
                client_port=None,
                ttl=group.ttl,
                ssrc=ssrc,
            )
        ports, client = self._context.ports, offer.client_port
        if mode != UDP or ports is None or client is None:
            return None
        self._forget(track)
        host = self.peer.address

        def receive(datagrams: list[bytes], now: float) -> None:
            self.peer.touch(self.session_id, now)
            self._take_reports(track, datagrams, now)

        way = _Way(
            rtp=ports.address(host, client.rtp),
            rtcp=ports.address(host, client.rtcp),
            client=client,
            receiver=receive,
        )
        ports.listen(host, client.rtp, _ignore, is_rtcp=False)  # what opens a NAT
        ports.listen(host, client.rtcp, receive, is_rtcp=True)
        self._ways[track] = way
        return replace(offer, server_port=PortPair(*ports.numbers), ssrc=ssrc)

    def _forget(self, track: int) -> None:
        way = self._ways.pop(track, None)
        ports = self._context.ports
        if way is None or way.receiver is None or way.client is None or ports is None:
            return
        host = self.peer.address
        ports.forget(host, way.client.rtp, _ignore, is_rtcp=False)
        ports.forget(host, way.client.rtcp, way.receiver, is_rtcp=True)

    def _attach(self, start: str) -> None:
        if self.mode == INTERLEAVED:
            sink = TransportSink(self.peer.transport, self._sink_ended, self._context.send_buffer)
            channels = {index: way.channel for index, way in self._ways.items()}
            variant = SecuredFrames(self._keys, channels) if self._is_secured else None
            reader = self.output.attach_stream(sink, channels, start, variant)
            self.output.names[reader] = (PROTOCOL, self.id)
            self._reader = reader
        else:
            self._reader = self.output.attach_datagrams(
                self, frozenset(self._ways), self.end, start
            )

    def _detach(self) -> None:
        reader, self._reader = self._reader, None
        if reader is None:
            return
        self._sent_before += reader.sent_bytes
        if isinstance(reader, FeedReader):
            self._dropped_before += reader.dropped_chunks
        else:
            self._dropped_before += reader.dropped
        self.output.detach(reader)

    def _sink_ended(self, reason: str) -> None:
        """The feed ends it: the sink closes the transport after what is pending."""
        if not self.is_over:
            self.peer.end_session(self.session_id, reason)


def may_carry(peer: RtspPeer, mode: str, offer: Transport) -> bool:
    """Whether media may go this way: what came through TLS does not leave in the clear."""
    is_secured = is_secure(offer.profile)
    if is_secured and not peer.is_secure:
        return False  # the keys would travel in the clear
    if mode == INTERLEAVED:
        return True
    if peer.is_tunnelled or (is_secured and mode == MULTICAST):
        return False
    return is_secured is peer.is_secure


def mode_of(offer: Transport) -> str:
    """udp, multicast or tcp."""
    if offer.lower == TCP:
        return INTERLEAVED
    return MULTICAST if offer.is_multicast else UDP


def track_number(control: str, count: int) -> int | None:
    """The index in `trackID=N`; without one, that of the only track."""
    if not control:
        return 0 if count == 1 else None
    number = control.rpartition("=")[2]
    if not number.isascii() or not number.isdigit() or len(number) > 3:
        return None
    return int(number) if int(number) < count else None


def _ignore(datagrams: list[bytes], now: float) -> None:
    """What a player sends to the RTP port opens the way for what comes back, no more."""
