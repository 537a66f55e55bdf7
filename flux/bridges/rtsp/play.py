"""A player's session: tracks set up, then a reader of the stream's RTP output.

set up --PLAY--> playing --PAUSE--> paused --PLAY--> playing
any --TEARDOWN, timeout, kick, end of the stream, lost connection--> ended

A request may be about one track only. Then the others go on as they are: the reader that is there
gets other tracks. It begins anew, at a key frame, only where a video track joins.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

from flux.base.errors import PeerError, WireError
from flux.bridges.rtp.datagrams import DatagramReader
from flux.bridges.rtp.output import RtpOutput
from flux.bridges.rtp.reports import ReaderReports
from flux.bridges.rtp.secure import SecureTrack, is_secure
from flux.bridges.rtsp.groups import Group, MulticastGroups
from flux.bridges.rtsp.ports import Receiver, UdpPorts
from flux.bridges.rtsp.secured import SecuredFrames, open_reports, secured_runs
from flux.bridges.rtsp.slices import Slices
from flux.bridges.rtsp.ways import (
    INTERLEAVED,
    MULTICAST,
    PROTOCOL,
    STALLED,
    UDP,
    UNSUPPORTED,
    PeerSink,
    exchange_keys,
    is_possible,
    mode_of,
    track_number,
    write_frame,
)
from flux.net.udp import Address
from flux.net.udp_send import Run
from media.feed_reader import START_KEY, START_LIVE, FeedReader
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
from protocols.rtsp.transport import PortPair, Transport

RTCP_MALFORMED = "rtcp-malformed"


@dataclass(frozen=True, slots=True)
class PlayContext:
    """What every session of a server shares."""

    ports: UdpPorts | None  # None: no UDP
    groups: MulticastGroups
    transports: frozenset[str]
    send_buffer: int
    cname: str
    start: str
    slices: Slices
    drops: Counter[str]


@dataclass(slots=True)
class _Way:
    """How one track goes out."""

    channel: int = -1  # of RTP; -1: not interleaved
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
        self.mode = ""  # udp, multicast or tcp, from the first SETUP on
        self.is_over = False
        self._output = output
        self._context = context
        self._start = start
        self._keys = keys
        self._is_secured = False  # SRTP, from the first SETUP on
        self._ways: dict[int, _Way] = {}
        self._playing: set[int] = set()  # tracks
        self._group: Group | None = None
        self._reader: FeedReader | DatagramReader | None = None
        self._reports: ReaderReports | None = None  # from the first PLAY on, but for multicast
        self._has_played = self._is_ending = False
        self._before = (0, 0)  # bytes and drops of the readers before this one
        self._hold = output.hold(self._output_ended)

    # -- as a reader -------------------------------------------------------------------------

    @property
    def sent_bytes(self) -> int:
        """Bytes handed to its transport."""
        return self._before[0] + (self._reader.sent_bytes if self._reader is not None else 0)

    @property
    def dropped(self) -> int:
        """Chunks (TCP) or packets (UDP) that it missed."""
        return self._before[1] + _dropped_by(self._reader)

    def lag(self) -> float:
        """Seconds behind the live edge."""
        if isinstance(self._reader, FeedReader):
            return self._output.feed.lag(self._reader)
        return 0.0

    def link(self) -> LinkFigures:
        """What its receiver reports say."""
        reports = self._reports
        if reports is None:
            return LinkFigures(self.mode)
        return LinkFigures(self.mode, reports.lost, reports.jitter, reports.round_trip)

    def end(self, reason: str) -> None:
        """End the session, and the connection if it has no other: players take that for the end."""
        if self.is_over or self._is_ending or self._is_owed():
            return
        self._is_ending = True
        self.peer.end_session(self.session_id, reason)
        if not self.peer.sessions:
            self.peer.close(reason)

    # -- requests ----------------------------------------------------------------------------

    def set_up(self, asked: SetupAsked) -> Reply:
        """Choose a transport for one track."""
        track = track_number(asked.target.control, len(self._output.tracks))
        if track is None:
            return Refusal(404, "track-not-found")
        is_alone = not self._ways.keys() - {track}
        mode, secured = ("", None) if is_alone else (self.mode, self._is_secured)
        for offer in asked.offers:
            if not is_possible(self.peer, offer, self._context.transports, mode, secured):
                continue
            is_secured = is_secure(offer.profile)
            try:
                headers = self._exchange_keys(track, asked) if is_secured else ()
                transport = self._choose(track, offer)
            except PeerError as error:
                return Refusal(error.status, error.reason)
            except WireError as error:
                return Refusal(400, error.reason)
            if transport is not None:
                self.mode, self._is_secured = mode_of(offer), is_secured
                return Chosen(track, transport, headers)
        return UNSUPPORTED

    def play(self, asked: PlayAsked, answer: Callable[[Reply], bool]) -> bool:
        """Begin to send; the answer goes first. Whether it plays from now on for the first time."""
        joining = self._ways.keys() & set(asked.tracks) - self._playing
        if not joining:
            answer(Started())
            return False
        start = START_KEY if self._has_played else self._start
        can_go_on = bool(self._playing) and not self._has_video(joining)
        is_flowing = self._group is not None and self._group.reader is not None
        points = {}
        if not can_go_on and not is_flowing and not self._playing:
            found = self._output.start_points(start)
            points = {index: found[index] for index in joining if index in found}
        reply = Started(
            {index: PlayPoint(p.sequence, p.timestamp) for index, p in points.items()}
            if points.keys() == joining
            else {}
        )
        if not answer(reply) or self.is_over:
            return False
        is_first, self._has_played = not self._has_played, True
        self._playing |= joining
        if self._group is not None:
            if is_flowing:
                self._group.greet(time.monotonic())
            else:
                self._group.begin(self._output, self._context.cname, start)
            return is_first
        if self._reports is None:
            self._reports = ReaderReports((), self._context.cname, {})
        for index in joining:
            point = points.get(index)
            ahead = (point.packets, point.octets) if point is not None else (0, 0)
            self._reports.begin(self._output.tracks[index], *ahead)
            if point is not None:
                self._reports.start_at(index, point.begins)
        self.tell(time.monotonic())
        if can_go_on:
            self._change_tracks()
        else:
            self._detach()
            self._attach(start)
        return is_first

    def pause(self, tracks: Iterable[int]) -> None:
        """Send no more of these tracks until their next PLAY."""
        self._rest(tracks)

    def drop_track(self, track: int) -> None:
        """TEARDOWN of one track."""
        self._rest((track,))
        self._forget(track)

    def close(self, reason: str) -> None:
        """Nothing of it is left after this."""
        if reason != STALLED and (self.mode == UDP or self._is_ending):
            self._say_goodbye()
        self.is_over = True
        self._playing.clear()
        self._detach()
        for track in tuple(self._ways):
            self._forget(track)
        self._output.release(self._hold)

    # -- media and reports -------------------------------------------------------------------

    def send(self, run: Run) -> bool:
        """As a datagram target: a run of one track."""
        ports, way = self._context.ports, self._ways.get(run.track)
        if ports is None or way is None or run.track not in self._playing:
            return False
        if not self._is_secured:
            return ports.rtp.send(run, way.rtp)
        runs = secured_runs(self._keys[run.track], run)
        taken = [ports.rtp.send(secured, way.rtp) for secured in runs]
        return all(taken)

    def send_rtcp(self, track_index: int, data: bytes) -> None:
        """A compound, the way that its track goes."""
        way = self._ways[track_index]
        if self._is_secured:
            data = self._keys[track_index].sender.protect_rtcp(data)
        if self.mode == INTERLEAVED:
            write_frame(self.peer, way.channel + 1, data)
        elif self._context.ports is not None:
            self._context.ports.rtcp.send(Run(track_index, data, len(data), 1), way.rtcp)

    def tell(self, now: float) -> None:
        """Send what reports are due."""
        if self._reports is not None and not self.is_over:
            for index, compound in self._reports.due(now):
                self.send_rtcp(index, compound)

    @property
    def channels(self) -> frozenset[int]:
        """The interleaved channels that are its own."""
        return frozenset(
            channel
            for way in self._ways.values()
            if way.channel >= 0
            for channel in (way.channel, way.channel + 1)
        )

    def take_packets(self, packets: list[tuple[int, bytes]], now: float) -> None:
        """What the player sends in the connection: its RTCP."""
        tracks = {way.channel + 1: index for index, way in self._ways.items()}
        for channel, data in packets:
            if channel in tracks:
                self._take_reports((tracks[channel],), [data], now)

    def _take_reports(self, tracks: Iterable[int], packets: list[bytes], now: float) -> None:
        """RTCP of one of these tracks."""
        if self._is_secured:
            keys = [self._keys[track] for track in tracks]
            packets = open_reports(keys, packets, self._context.drops)
        reports = self._reports
        if reports is None:
            return
        broken = reports.broken
        for data in packets:
            reports.receive(data, now)
        if reports.broken != broken:
            self._context.drops[RTCP_MALFORMED] += reports.broken - broken

    def _hear(self, tracks: tuple[int, ...], datagrams: list[bytes], now: float) -> None:
        """RTCP by UDP."""
        self.peer.touch(self.session_id, now)
        self._take_reports(tracks, datagrams, now)

    def _hear_anywhere(self, datagrams: list[bytes], now: float) -> None:
        """RTCP from a port that it did not name; it is of any track."""
        self._hear(tuple(self._ways), datagrams, now)

    # -- transports --------------------------------------------------------------------------

    def _exchange_keys(self, track: int, asked: SetupAsked) -> tuple[tuple[str, str], ...]:
        keys = self._keys.setdefault(track, SecureTrack(self._output.tracks[track].ssrc))
        return exchange_keys(keys, asked, is_publisher=False)

    def _choose(self, track: int, offer: Transport) -> Transport | None:
        mode, ssrc = mode_of(offer), self._output.tracks[track].ssrc
        if mode == INTERLEAVED and offer.interleaved is not None:
            self._forget(track)
            self._ways[track] = _Way(channel=offer.interleaved.rtp)
            return replace(offer, ssrc=ssrc)
        if mode == MULTICAST:
            group = self._group
            if group is None:
                group = self._context.groups.enter(self.stream, self._output)
            self._forget(track, is_leaving=False)
            self._group = group
            self._ways[track] = _Way()
            return group.offer(offer, track, ssrc)
        ports, client, host = self._context.ports, offer.client_port, self.peer.address
        if mode != UDP or ports is None or client is None or not ports.reaches(host):
            return None
        self._forget(track)
        receiver = partial(self._hear, (track,))
        self._ways[track] = _Way(
            rtp=ports.address(host, client.rtp),
            rtcp=ports.address(host, client.rtcp),
            client=client,
            receiver=receiver,
        )
        ports.listen(host, client.rtp, _ignore, is_rtcp=False)  # what opens a NAT
        ports.listen(host, client.rtcp, receiver, is_rtcp=True)
        ports.listen_anywhere(host, self._hear_anywhere)
        return replace(offer, server_port=PortPair(*ports.numbers), ssrc=ssrc)

    def _forget(self, track: int, *, is_leaving: bool = True) -> None:
        """Undo what SETUP of a track did; the group is left with its last track."""
        way = self._ways.pop(track, None)
        if not self._ways and is_leaving and self._group is not None:
            self._context.groups.leave(self._output, self._group)
            self._group = None
        ports = self._context.ports
        if way is None or way.receiver is None or way.client is None or ports is None:
            return
        host = self.peer.address
        ports.forget(host, way.client.rtp, _ignore, is_rtcp=False)
        ports.forget(host, way.client.rtcp, way.receiver, is_rtcp=True)
        if not self._ways:
            ports.forget_anywhere(host, self._hear_anywhere)

    # -- the reader --------------------------------------------------------------------------

    def _attach(self, start: str) -> None:
        if self.mode == INTERLEAVED:
            sink = PeerSink(self.peer, self._sink_ended, self._context.send_buffer)
            channels = self._channels()
            variant = SecuredFrames(self._keys, channels) if self._is_secured else None
            reader = self._output.attach_stream(sink, channels, start, variant)
            self._output.names[reader] = (PROTOCOL, self.id)
            self._reader = reader
        else:
            self._reader = self._output.attach_datagrams(
                self, frozenset(self._playing), self._output_ended, start, (PROTOCOL, self.id)
            )

    def _change_tracks(self) -> None:
        """Go on with the tracks that play now."""
        reader = self._reader
        if isinstance(reader, DatagramReader):
            reader.tracks = frozenset(self._playing)
        elif reader is not None:
            channels = self._channels()
            is_secured = self._is_secured
            reader.variant = (
                SecuredFrames(self._keys, channels) if is_secured else self._output.dress(channels)
            )

    def _channels(self) -> dict[int, int]:
        return {index: self._ways[index].channel for index in self._playing}

    def _rest(self, tracks: Iterable[int]) -> None:
        """Send nothing of these tracks from now on."""
        resting = self._playing.intersection(tracks)
        if not resting:
            return
        self._playing -= resting
        if self._reports is not None:
            for index in resting:
                self._reports.rest(index)
        if self._playing:
            self._change_tracks()
        else:
            self._detach()

    def _detach(self) -> None:
        self._before = self.sent_bytes, self.dropped
        reader, self._reader = self._reader, None
        if reader is not None:
            self._output.detach(reader)

    def _has_video(self, tracks: Iterable[int]) -> bool:
        if self._start == START_LIVE:
            return False
        out = self._output
        return any(out.feed.is_video(out.tracks[index].track) for index in tracks)

    def _say_goodbye(self) -> None:
        """RTCP BYE, RFC 3550 section 6.6."""
        now = time.monotonic()
        for index in self._playing if self._reports is not None else ():
            farewell = self._reports.goodbye(index, now) if self._reports is not None else None
            if farewell is not None:
                self.send_rtcp(index, farewell)

    def _is_owed(self) -> bool:
        """The output has ended and the feed will end this reader, after what is still its."""
        reader = self._reader
        return self._output.closed and isinstance(reader, FeedReader) and not reader.closed

    def _sink_ended(self, reason: str) -> None:
        """The feed ends it; a connection that takes nothing is cut by the sink."""
        if reason == STALLED:
            self.peer.end_session(self.session_id, reason)
        else:
            self.end(reason)

    def _output_ended(self, reason: str) -> None:
        """The output ends, of all its sessions at once."""
        self._context.slices.add(partial(self.end, reason))


def _dropped_by(reader: FeedReader | DatagramReader | None) -> int:
    if reader is None:
        return 0
    return reader.dropped_chunks if isinstance(reader, FeedReader) else reader.dropped


def _ignore(datagrams: list[bytes], now: float) -> None:
    """What a player sends to the RTP port opens the way for what comes back, no more."""
