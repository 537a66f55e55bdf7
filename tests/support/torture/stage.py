"""One stream with a player at each of its outputs, in virtual time; runs are played to it.

It only drives what FLUX has and keeps what comes out, as bodies: what one player got from its start
until it was closed. A player that is closed comes back, as players do. Judging is in `judges`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flux.base.units import NTP_SECOND
from flux.bridges.hls.output import HlsOutput
from flux.bridges.http.feeds import feed_output_of
from flux.bridges.httpflv import HTTP_FLV
from flux.bridges.httpmp4 import HTTP_MP4
from flux.bridges.httpts import HTTP_TS
from flux.bridges.rtp.output import RtpOutput, rtp_output_of
from flux.bridges.rtp.reports import ReaderReports
from flux.bridges.srt.output import SrtOutput, srt_output_of
from flux.net.udp_send import Run as Datagrams
from media.hls.container import FMP4, MPEGTS
from media.hls.options import HlsOptions
from media.publisher import Publisher
from media.router import Lease, Router
from media.stream import Stream, StreamOptions
from tests.support.conform.rtp import RtpLine
from tests.support.torture.camera import Run, Sent
from tests.support.virtual import MemorySink, VirtualScheduler

NAME = "cam"
WALL = 1_700_000_000.0  # Unix time at virtual time 0
START = 100.0  # virtual time of instant 0
TICK = 0.25
FAR = 600.0  # seconds without anything, which are gone through in one step
BACK = 0.02  # seconds after which a player that was closed is there again
REAL_OUTPUTS = ("flv", "ts", "srt", "fmp4", "rtp", "hls-ts", "hls-fmp4", "ll-hls")


@dataclass(slots=True)
class Look:
    """A playlist as it was at one moment; times in seconds."""

    at: float
    playlist: bytes


@dataclass(slots=True)
class Body:
    """What a player got in one go."""

    joined_at: float
    pieces: list[bytes] = field(default_factory=list)  # of FLV and TS
    lines: dict[int, RtpLine] = field(default_factory=dict)  # of RTP, by track
    packets: list[tuple[int, bytes]] = field(default_factory=list)  # channel and packet
    looks: list[Look] = field(default_factory=list)
    resources: dict[str, bytes] = field(default_factory=dict)
    multivariant: bytes = b""
    reason: str = ""  # why it was closed

    @property
    def data(self) -> bytes:
        """All bytes."""
        return b"".join(self.pieces)


class Player:
    """One viewer of one output. Satisfies `media.stream.Reader`."""

    address = "127.0.0.1"
    user_agent = ""
    sent_bytes = dropped = 0
    since = 0.0

    def __init__(self, stage: "Stage", protocol: str) -> None:
        self.id = self.protocol = protocol
        self.stage = stage
        self.bodies: list[Body] = []
        self.refusals: list[str] = []
        self._lease: Lease | None = None
        self.open()

    def open(self) -> None:
        """Ask for the stream."""
        stage = self.stage
        if not stage.is_over:
            self._lease = stage.router.open(NAME, self._ready, self._refused, stage.now)

    def lag(self) -> float:
        return 0.0

    def end(self, reason: str) -> None:
        self.ended(reason)

    def tick(self, now: float) -> None:
        """Some time has passed."""

    def attach(self, stream: Stream, body: Body) -> None:
        """Begin to read."""
        raise NotImplementedError

    def ended(self, reason: str) -> None:
        """The output has closed this player."""
        body = self.bodies[-1]
        if body.reason:
            return
        body.reason = reason
        stage = self.stage
        stage.stream.readers.pop(self.id, None)
        if self._lease is not None:
            self._lease.close()
        stage.scheduler.call_later(BACK, self.open)

    def _ready(self, stream: Stream) -> None:
        body = Body(self.stage.now)
        self.bodies.append(body)
        stream.readers[self.id] = self
        self.attach(stream, body)

    def _refused(self, reason: str, status: int) -> None:
        self.refusals.append(f"{status} {reason}")


class _Sink(MemorySink):
    """A sink whose bytes go to a body."""

    def __init__(self, player: Player, body: Body) -> None:
        super().__init__()
        self._player = player
        self.writes = body.pieces

    def end(self, reason: str) -> None:
        self._player.ended(reason)


KINDS = {"flv": HTTP_FLV, "ts": HTTP_TS, "fmp4": HTTP_MP4}


class FeedPlayer(Player):
    """HTTP-FLV, HTTP-TS and HTTP-fMP4."""

    def attach(self, stream: Stream, body: Body) -> None:
        stage = self.stage
        output = feed_output_of(stream, KINDS[self.protocol], stage.scheduler)
        output.feed.attach(_Sink(self, body))


class SrtPlayer(Player):
    """What SRT carries."""

    def attach(self, stream: Stream, body: Body) -> None:
        self._body = body
        output: SrtOutput = srt_output_of(stream, self.stage.scheduler)
        output.attach(self, "gop", self.ended)

    def send(self, run: Datagrams) -> bool:
        self._body.pieces.append(run.data)
        return True

    def send_rtcp(self, track_index: int, data: bytes) -> None:
        raise AssertionError


class _RtpSink(_Sink):
    """Interleaved frames."""

    def __init__(self, player: "RtpPlayer", body: Body) -> None:
        super().__init__(player, body)
        self._rtp = player

    def write(self, data: bytes) -> None:
        super().write(data)
        self._rtp.take()


class RtpPlayer(Player):
    """RTSP over TCP, with the sender reports that go with it."""

    def attach(self, stream: Stream, body: Body) -> None:
        output: RtpOutput = rtp_output_of(stream, self.stage.emit, self.stage.scheduler)
        for track in output.tracks:
            body.lines[track.index] = RtpLine(
                track.track.codec, track.clock_rate, track.payload_type, track.track.kind == "video"
            )
            wrap_at = self.stage.rtp_wraps_at
            if wrap_at and not track.is_known:
                ticks = round(wrap_at * track.clock_rate)
                track.timestamp_offset = (1 << 32) - ticks & 0xFFFF_FFFF
        points = output.start_points()
        ahead = {index: (point.packets, point.octets) for index, point in points.items()}
        self._reports = ReaderReports(output.tracks, "flux", ahead)
        self._body = body
        channels = {track.index: 2 * track.index for track in output.tracks}
        output.attach_stream(_RtpSink(self, body), channels)

    def take(self) -> None:
        """Interleaved frames came."""
        pieces, body = self._body.pieces, self._body
        data = b"".join(pieces)
        pieces.clear()
        at = 0
        while at < len(data):
            end = at + 4 + int.from_bytes(data[at + 2 : at + 4], "big")
            body.packets.append((data[at + 1], data[at + 4 : end]))
            at = end

    def ended(self, reason: str) -> None:
        """Its session says goodbye, as those of RTSP do."""
        body, now = self._body, self.stage.now
        for index in body.lines if not body.reason else ():
            compound = self._reports.goodbye(index, now)
            if compound is not None:
                body.packets.append((2 * index + 1, compound))
        super().ended(reason)

    def tick(self, now: float) -> None:
        if self.bodies and not self.bodies[-1].reason:
            for index, compound in self._reports.due(now):
                self._body.packets.append((2 * index + 1, compound))


HLS_OPTIONS = {
    "hls-ts": HlsOptions(container=MPEGTS, segment_duration=1.0, ready_wait=0.0),
    "hls-fmp4": HlsOptions(container=FMP4, segment_duration=1.0, ready_wait=0.0),
    "ll-hls": HlsOptions(container=FMP4, segment_duration=1.0, part_duration=0.5, ready_wait=0.0),
}


class HlsPlayer(Player):
    """One who looks at each change of a playlist, and fetches everything in it at once."""

    def __init__(self, stage: "Stage", protocol: str) -> None:
        self._next = (0, 0)
        super().__init__(stage, protocol)

    def attach(self, stream: Stream, body: Body) -> None:
        self._body = body
        prefix = f"run{len(self.bodies)}"
        self._output: HlsOutput | None = None
        output = HlsOutput(
            stream,
            HLS_OPTIONS[self.protocol],
            prefix,
            self._next,
            self._changed,
            self.stage.now,
        )
        output.name = self.protocol
        stream.outputs[self.protocol] = output
        self._changed(output)

    def _changed(self, output: HlsOutput) -> None:
        segmenter, body = output.segmenter, self._body
        for segment in segmenter.window.segments:
            body.resources[segment.name] = segment.data
            if segment.initialization is not None:
                body.resources[segment.initialization.name] = segment.initialization.data
        self._next = output.next
        now = self.stage.now
        if segmenter.is_ready(now):
            playlist = segmenter.media_playlist()
            if not body.looks or body.looks[-1].playlist != playlist:
                body.looks.append(Look(now, playlist))
                for line in playlist.decode().split('URI="')[1:]:
                    name = line.partition('"')[0]
                    found = segmenter.part(name) or segmenter.segment(name)
                    if found is not None:
                        body.resources[name] = found.data
            body.multivariant = segmenter.multivariant_playlist()
        if segmenter.is_ended:
            self.ended(self.stage.end_reason())


PLAYERS: Mapping[str, Callable[["Stage", str], Player]] = {
    "flv": FeedPlayer,
    "ts": FeedPlayer,
    "fmp4": FeedPlayer,
    "srt": SrtPlayer,
    "rtp": RtpPlayer,
    "hls-ts": HlsPlayer,
    "hls-fmp4": HlsPlayer,
    "ll-hls": HlsPlayer,
}


class Stage:
    """A router with one stream."""

    def __init__(
        self,
        outputs: tuple[str, ...] = REAL_OUTPUTS,
        options: StreamOptions | None = None,
        *,
        rtp_wraps_at: float = 0.0,
    ) -> None:
        """`rtp_wraps_at`: seconds of stream time at which the timestamps of RTP begin anew."""
        self.scheduler = VirtualScheduler()
        self.events: list[object] = []
        self.emit = self.events.append
        self.router = Router(self.emit)
        self.router.tick(self.now, WALL)
        self.rtp_wraps_at = rtp_wraps_at
        self.is_over = False
        declared = self.router.declare(
            NAME, options or StreamOptions(), start_timeout=1e9, take_over=True
        )
        self.stream: Stream = declared.stream
        self._ticked = self.now
        self.players = {name: PLAYERS[name](self, name) for name in outputs}

    @property
    def now(self) -> float:
        """Virtual time."""
        return self.scheduler.now()

    def end_reason(self) -> str:
        """Why outputs are closing: what the stream says of itself."""
        return "server-stopping" if self.is_over else self.stream.reason or "?"

    def play(self, runs: list[Run]) -> None:
        """All runs, one after the other, then the end."""
        for run in runs:
            self.play_run(run)
        self.finish()

    def play_run(self, run: Run) -> None:
        """One run of the source."""
        self.advance(START + run.begins)
        publisher = self.router.publish(NAME, run.descriptions, now=self.now, origin="test")
        tracks = publisher.tracks
        if run.anchor:
            publisher.anchor({tracks[index]: at for index, at in run.anchor.items()})
        self.write(publisher, run)
        if run.ends is not None:
            self.advance(START + run.ends)
            if not run.is_taken_over:
                publisher.close("source-ended", self.now)

    def write(self, publisher: Publisher, run: Run) -> None:
        """All that a run sends."""
        tracks = publisher.tracks
        for item in run.items:
            arrived = START + item.arrived
            if arrived > self.now:
                self.advance(arrived)
            track = tracks[item.track]
            if isinstance(item, Sent):
                publisher.write(track, item.timestamp, item.payload, arrived, item.dts)
            else:
                ntp = int(item.ntp * NTP_SECOND)
                publisher.sender_report(track, ntp, item.timestamp, arrived)

    def advance(self, until: float) -> None:
        """Let time pass; what is far off is gone to in one step."""
        while self._ticked + TICK <= until:
            step = self._ticked + TICK
            is_far = until - step > FAR
            if is_far:
                step = until
            self.scheduler.run(step - self.now)
            self._ticked = step
            self.router.tick(step, WALL)
            for player in () if is_far else self.players.values():
                player.tick(step)
        self.scheduler.run(until - self.now)

    def finish(self) -> None:
        """What is under way arrives; then all is over."""
        self.advance(self.now + 0.5)
        self.is_over = True
        self.router.close(self.now)
        self.scheduler.run(1.0)
