"""The state of the server at one moment, as the API and the metrics read it.

Whoever owns the state fills these on the loop, quickly and with plain values; everything slow
(JSON, Prometheus text) works on them afterwards, in a thread if need be. Instants are monotonic
seconds like everywhere on media paths; `ServerSnapshot.wall_time` turns them into Unix time.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flux.core.admission import AccessFigures
from flux.core.forward import ForwardSnapshot
from flux.core.histogram import HistogramSnapshot
from flux.core.hooks.status import HookStatus
from media.interruptions import Tallies, no_tallies
from media.link import LinkFigures

READY = "ready"  # the state of a stream that readers get its source's media from
SLATE = "slate"  # the state of one that shows a slate instead


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSnapshot:
    """Where a stream comes from."""

    kind: str  # protocol or maker: `rtsp`, `testcard`
    url: str = ""  # without secrets: `str(SourceUrl)`
    state: str = ""  # connecting, running, waiting, stopped
    reason: str = ""  # stable slug, empty if all is well
    since: float | None = None  # monotonic seconds of the last change of state


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatSnapshot:
    """One of several sources of a stream."""

    source: SourceSnapshot  # without a kind: somebody who publishes by himself
    is_active: bool = False  # it is on air
    is_chosen: bool = False  # by hand
    switches: int = 0  # how often it was put on air in place of another one


@dataclass(frozen=True, slots=True, kw_only=True)
class SlateSnapshot:
    """What a stream shows while its source is away."""

    slate: str = "off"  # off, builtin, the path of a file
    state: str = "off"  # off, waiting, making, ready, failed, shown
    reason: str = ""  # why it failed, or is shown
    size_bytes: int = 0
    shown: int = 0  # how often


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackSnapshot:
    """One track; 0 and "" mean not known or not of this kind."""

    id: int
    kind: str  # video, audio, data
    codec: str
    clock_rate: int  # Hz
    codec_string: str = ""  # RFC 6381
    width: int = 0  # pixels
    height: int = 0
    frame_rate: float = 0.0  # nominal, as the parameters say
    sample_rate: int = 0  # Hz
    channels: int = 0
    bitrate_bps: int = 0  # measured
    frames_per_second: float = 0.0  # measured
    frames: int = 0  # since the stream began
    recoded_from: int | None = None  # id of the track that this one is made of


@dataclass(slots=True, kw_only=True)  # as SessionSnapshot
class ReaderSnapshot:
    """One reader. Read-only."""

    id: str
    protocol: str  # http-flv, hls, rtsp
    lag: float = 0.0  # seconds behind the live edge
    sent_bytes: int = 0
    dropped: int = 0  # chunks or frames skipped for it


@dataclass(slots=True, kw_only=True)  # not frozen: there are thousands, made at once on the loop
class SessionSnapshot:
    """One reader or publisher, of any protocol. Read-only."""

    id: str
    role: str  # reader, publisher
    protocol: str
    stream: str
    address: str = ""  # of the peer, without the port
    user_agent: str = ""
    since: float = 0.0  # Unix seconds
    state: str = ""  # of a publisher: its source's state
    lag: float = 0.0  # seconds behind the live edge
    sent_bytes: int = 0
    received_bytes: int = 0
    dropped: int = 0
    interruptions: Tallies = field(default_factory=no_tallies)  # of a reader, since it came
    link: LinkFigures | None = None  # where its protocol measures the line


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedTrack:
    """A track that an output in use cannot carry."""

    track: int
    kind: str  # audio
    codec: str  # pcma
    output: str  # hls-ts
    reason: str = "codec-not-carried"

    def __str__(self) -> str:
        return f"{self.kind} dropped: {self.codec} not in {self.output}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RtpSnapshot:
    """What came in over RTP, all tracks together."""

    packets: int = 0
    lost: int = 0  # never arrived
    duplicates: int = 0
    reordered: int = 0  # came late, put in order
    jitter: float = 0.0  # seconds, the worst track's


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSnapshot:
    """One stream."""

    name: str
    state: str  # idle, starting, waiting-for-parameters, ready, lost, slate, closed
    reason: str = ""
    origin: str = "config"  # config, api, publisher
    source: SourceSnapshot | None = None
    tracks: tuple[TrackSnapshot, ...] = ()
    key_frame_interval: float | None = None  # seconds between the last two key frames
    key_frame_age: float | None = None  # seconds since the last key frame
    ready_since: float | None = None  # monotonic seconds
    received_bytes: int = 0
    received_bps: int = 0
    sent_bytes: int = 0
    readers: Mapping[str, int] = field(default_factory=dict)  # protocol -> readers
    reader_list: tuple[ReaderSnapshot, ...] = ()
    drops: Mapping[str, int] = field(default_factory=dict)  # reason -> frames or packets
    interruptions: Tallies = field(default_factory=no_tallies)  # of all readers
    dropped_tracks: tuple[DroppedTrack, ...] = ()
    memory_bytes: int = 0  # cache and feeds
    rtp: RtpSnapshot | None = None
    forwards: tuple[ForwardSnapshot, ...] = ()
    links: Mapping[str, LinkFigures] = field(default_factory=dict)  # protocol -> its readers' worst
    sources: tuple[SeatSnapshot, ...] = ()  # where there are several, the best first
    slate: SlateSnapshot = SlateSnapshot()
    members: tuple[str, ...] = ()  # of a group: the streams in it


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSnapshot:
    """One listener."""

    name: str  # http, api
    address: str  # as bound
    is_up: bool = True
    reason: str = ""  # why it is not up


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSnapshot:
    """The whole server."""

    now: float  # monotonic seconds of this snapshot
    wall: float  # Unix seconds of the same instant
    started: float  # monotonic seconds
    version: str
    phase: str  # flux.core.lifecycle.Phase
    streams: tuple[StreamSnapshot, ...] = ()
    listeners: tuple[ListenerSnapshot, ...] = ()
    loop_lag: HistogramSnapshot | None = None  # seconds
    joins: Mapping[str, HistogramSnapshot] = field(default_factory=dict)  # protocol -> seconds
    http_refusals: Mapping[str, int] = field(default_factory=dict)  # reason -> requests
    http_connections: int = 0  # on the media listener
    access: AccessFigures = AccessFigures()  # noqa: RUF009 - frozen
    tasks: int = 0  # of the event loop
    hooks: tuple[HookStatus, ...] = ()
    rtsp_refusals: Mapping[str, int] = field(default_factory=dict)  # reason -> how often
    rtsp_connections: int = 0
    srt_refusals: Mapping[str, int] = field(default_factory=dict)  # reason -> how often
    srt_connections: int = 0
    events_dropped: int = 0  # by full bus subscriptions
    event_faults: int = 0  # bus handlers that raised

    def wall_time(self, instant: float) -> float:
        """Unix seconds of a monotonic instant."""
        return self.wall + (instant - self.now)

    def sessions(self) -> Mapping[tuple[str, str], int]:
        """Sessions by (protocol, role); a running source is a publisher."""
        counts: Counter[tuple[str, str]] = Counter()
        for stream in self.streams:
            for protocol, readers in stream.readers.items():
                counts[protocol, "reader"] += readers
            if stream.source is not None and stream.source.state == "running":
                counts[stream.source.kind, "publisher"] += 1
        return counts

    def not_ready(self) -> tuple[str, ...]:
        """Why the server should get no new work; empty if it may."""
        reasons = [] if self.phase == "running" else [f"phase: {self.phase}"]
        reasons += [
            f"listener {listener.name} is not up" + (f": {listener.reason}" * bool(listener.reason))
            for listener in self.listeners
            if not listener.is_up
        ]
        return tuple(reasons)


SnapshotProvider = Callable[[], ServerSnapshot]  # called on the loop; must be quick
