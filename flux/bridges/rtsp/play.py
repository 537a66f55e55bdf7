"""A player's session: tracks set up, then a reader of the stream's RTP output.

set up --PLAY--> playing --PAUSE--> paused --PLAY--> playing
any --TEARDOWN, timeout, kick, end of the stream, lost connection--> ended

A request may be about one track only. Then the others go on as they are: the reader that is there
gets other tracks. It begins anew, at a key frame, only where a video track joins.
"""

import time
from collections.abc import Callable, Iterable
from functools import partial

from flux.bridges.rtp.datagrams import DatagramReader
from flux.bridges.rtp.output import RtpOutput
from flux.bridges.rtp.reports import ReaderReports
from flux.bridges.rtp.secure import SecureTrack
from flux.bridges.rtsp.play_ways import PlayContext, PlayWays
from flux.bridges.rtsp.secured_sink import SecuredSink
from flux.bridges.rtsp.ways import INTERLEAVED, PROTOCOL, STALLED, UDP, PeerSink
from flux.net.udp_send import Run
from media.feed_reader import START_KEY, START_LIVE, FeedReader, Sink
from media.link import Linked, LinkFigures
from media.stream import Stream
from protocols.rtsp.server import RtspPeer
from protocols.rtsp.server_events import PlayAsked, PlayPoint, Reply, SetupAsked, Started

RTCP_MALFORMED = "rtcp-malformed"


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
        self.is_over = False
        self._output = output
        self._context = context
        self._start = start
        self._ways = PlayWays(peer, stream, output, context, keys, self._hear)
        self._playing: set[int] = set()  # tracks
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
            return LinkFigures(self._ways.mode)
        return LinkFigures(self._ways.mode, reports.lost, reports.jitter, reports.round_trip)

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
        return self._ways.set_up(asked)

    def play(self, asked: PlayAsked, answer: Callable[[Reply], bool]) -> bool:
        """Begin to send; the answer goes first. Whether it plays from now on for the first time."""
        group = self._ways.group
        joining = self._ways.tracks & set(asked.tracks) - self._playing
        if not joining:
            answer(Started())
            return False
        start = START_KEY if self._has_played else self._start
        can_go_on = bool(self._playing) and not self._has_video(joining)
        is_flowing = group is not None and group.reader is not None
        points = {}
        if not can_go_on and not is_flowing and not self._playing:
            found = self._output.start_points(start)
            points = {index: found[index] for index in joining if index in found}
        told = {index: PlayPoint(p.sequence, p.timestamp) for index, p in points.items()}
        if not answer(Started(told)) or self.is_over:  # unless all are known, nothing is told
            return False
        is_first, self._has_played = not self._has_played, True
        self._playing |= joining
        if group is not None:
            if is_flowing:
                group.greet(time.monotonic())
            else:
                group.begin(self._output, self._context.cname, start)
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
        self._ways.forget(track)

    def close(self, reason: str) -> None:
        """Nothing of it is left after this."""
        if reason != STALLED and (self._ways.mode == UDP or self._is_ending):
            self._say_goodbye()
        self.is_over = True
        self._playing.clear()
        self._detach()
        self._ways.close()
        self._output.release(self._hold)

    # -- media and reports -------------------------------------------------------------------

    def send(self, run: Run) -> bool:
        """As a datagram target: a run of one track."""
        return run.track in self._playing and self._ways.send(run)

    def send_rtcp(self, track_index: int, data: bytes) -> None:
        """A compound, the way that its track goes."""
        self._ways.send_rtcp(track_index, data)

    def tell(self, now: float) -> None:
        """Send what reports are due."""
        if self._reports is not None and not self.is_over:
            for index, compound in self._reports.due(now):
                self.send_rtcp(index, compound)

    @property
    def channels(self) -> frozenset[int]:
        """The interleaved channels that are its own."""
        first = self._ways.channels.values()
        return frozenset((*first, *(channel + 1 for channel in first)))

    def take_packets(self, packets: list[tuple[int, bytes]], now: float) -> None:
        """What the player sends in the connection: its RTCP."""
        tracks = {channel + 1: index for index, channel in self._ways.channels.items()}
        for channel, data in packets:
            if channel in tracks:
                self._take_reports((tracks[channel],), [data], now)

    def _hear(self, tracks: Iterable[int], datagrams: list[bytes], now: float) -> None:
        """RTCP by UDP, of one of these tracks."""
        self.peer.touch(self.session_id, now)
        self._take_reports(tracks, datagrams, now)

    def _take_reports(self, tracks: Iterable[int], packets: list[bytes], now: float) -> None:
        opened = self._ways.open(tracks, packets)
        reports = self._reports
        if reports is None:
            return
        broken, lost = reports.broken, reports.lost
        for data in opened:
            reports.receive(data, now)
        if reports.lost > lost:
            self.stream.readers.lost(self.id)
        if reports.broken != broken:
            self._context.drops[RTCP_MALFORMED] += reports.broken - broken

    # -- the reader --------------------------------------------------------------------------

    def _attach(self, start: str) -> None:
        if self._ways.mode == INTERLEAVED:
            reader = self._output.attach_stream(self._make_sink(), self._dressed_channels(), start)
            self._output.names[reader] = (PROTOCOL, self.id)
            self._reader = reader
        else:
            self._reader = self._output.attach_datagrams(
                self, frozenset(self._playing), self._output_ended, start
            )

    def _make_sink(self) -> Sink:
        send_buffer = self._context.send_buffer
        if not self._ways.is_secured:
            return PeerSink(self.peer, self._sink_ended, send_buffer)
        keys, slices = self._ways.keys, self._context.slices
        sink = SecuredSink(self.peer, self._sink_ended, send_buffer, keys, slices)
        sink.channels = self._channels()
        return sink

    def _change_tracks(self) -> None:
        """Go on with the tracks that play now."""
        reader = self._reader
        if isinstance(reader, DatagramReader):
            reader.tracks = frozenset(self._playing)
        elif reader is not None:
            if isinstance(reader.sink, SecuredSink):
                reader.sink.channels = self._channels()
            else:
                reader.variant = self._output.dress(self._channels())

    def _channels(self) -> dict[int, int]:
        channels = self._ways.channels
        return {index: channels[index] for index in self._playing}

    def _dressed_channels(self) -> dict[int, int]:
        """Those that the feed sees to: a sink of SRTP takes all frames as they are."""
        if self._ways.is_secured:
            return {track.index: 2 * track.index for track in self._output.tracks}
        return self._channels()

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
        reports, now = self._reports, time.monotonic()
        if reports is None:
            return
        for index in self._playing:
            farewell = reports.goodbye(index, now)
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
