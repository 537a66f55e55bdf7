"""Takes the snapshot that API and metrics read: plain values, quickly, on the loop."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import flux
from flux.core.admission import AccessFigures
from flux.core.bus import Bus
from flux.core.forward import ForwardSnapshot
from flux.core.histogram import Histogram
from flux.core.hooks.status import HookStatus
from flux.core.lifecycle import Phase
from flux.core.looplag import LoopLag
from flux.telemetry.snapshot import (
    DroppedTrack,
    ListenerSnapshot,
    ReaderSnapshot,
    RtpSnapshot,
    SeatSnapshot,
    ServerSnapshot,
    SessionSnapshot,
    SlateSnapshot,
    SourceSnapshot,
    StreamSnapshot,
    TrackSnapshot,
)
from media.events import ReaderJoined, ReaderRefused
from media.link import Linked, LinkFigures
from media.parameters import AudioParameters, VideoParameters
from media.priority import Priority
from media.publisher import Publisher
from media.router import Router
from media.source import Declared, SourceStatus
from media.stream import State, Stream
from media.track_input import TrackInput

JOIN_BOUNDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds


class RtpCounters(Protocol):
    """What a source counts of its RTP; `jitter` is seconds."""

    packets: int
    lost: int
    duplicates: int
    reordered: int
    jitter: float


RtpFigures = Callable[[], RtpCounters]


class Collector:
    """Knows where everything is; `snapshot` is the provider that telemetry and API are given."""

    def __init__(self, router: Router, bus: Bus, loop_lag: LoopLag) -> None:
        self._router = router
        self._bus = bus
        self._loop_lag = loop_lag
        self._joins: dict[str, Histogram] = {}
        self._started = time.monotonic()
        self.rtp_sources: dict[str, RtpFigures] = {}
        self.phase: Callable[[], str] = lambda: Phase.STARTING
        self.listeners: Callable[[], Sequence[ListenerSnapshot]] = tuple
        self.http_refusals: Callable[[], Mapping[str, int]] = dict
        self.forwards: Callable[[str], Iterable[ForwardSnapshot]] = _no_forwards
        self.hooks: Callable[[], tuple[HookStatus, ...]] = tuple
        self.rtsp_refusals: Callable[[], Mapping[str, int]] = dict
        self.rtsp_connections: Callable[[], int] = int
        self.srt_refusals: Callable[[], Mapping[str, int]] = dict
        self.srt_connections: Callable[[], int] = int
        self.srt_statistics: Callable[[str, bool, bool], Mapping[str, object] | None]
        self.srt_statistics = _no_statistics
        self.http_connections: Callable[[], int] = int
        self.access: Callable[[], AccessFigures] = AccessFigures
        self.slates: Callable[[str], tuple[str, str, str, int]] = _no_slate
        bus.subscribe(ReaderJoined, self._joined)
        bus.subscribe(ReaderRefused, self._refused)

    def _joined(self, event: ReaderJoined) -> None:
        histogram = self._joins.get(event.protocol)
        if histogram is None:
            histogram = self._joins[event.protocol] = Histogram(JOIN_BOUNDS)
        histogram.observe(event.seconds)

    def _refused(self, event: ReaderRefused) -> None:
        stream = self._router.find(event.stream)
        if stream is not None:
            stream.readers.refused(event.reason)

    def snapshot(self) -> ServerSnapshot:
        """The server as it is now."""
        now = time.monotonic()
        return ServerSnapshot(
            now=now,
            wall=time.time(),
            started=self._started,
            version=flux.__version__,
            phase=str(self.phase()),
            streams=tuple(self._stream(stream, now) for stream in self._router.streams()),
            listeners=tuple(self.listeners()),
            loop_lag=self._loop_lag.snapshot(),
            joins={name: histogram.snapshot() for name, histogram in self._joins.items()},
            http_refusals=dict(self.http_refusals()),
            http_connections=self.http_connections(),
            access=self.access(),
            tasks=len(asyncio.all_tasks()),
            hooks=self.hooks(),
            rtsp_refusals=dict(self.rtsp_refusals()),
            rtsp_connections=self.rtsp_connections(),
            srt_refusals=dict(self.srt_refusals()),
            srt_connections=self.srt_connections(),
            events_dropped=self._bus.counters.dropped,
            event_faults=self._bus.counters.faults,
        )

    def srt(
        self, session: str, *, is_clearing: bool, is_tool: bool = False
    ) -> Mapping[str, object] | None:
        """What an SRT session has measured; None if there is no such session."""
        return self.srt_statistics(session, is_clearing, is_tool)

    def sessions(self) -> tuple[SessionSnapshot, ...]:
        """Every reader and publisher."""
        found: list[SessionSnapshot] = []
        for stream in self._router.streams():
            declared = self._router.declared(stream.name)
            shared = stream.readers.interruptions.shared()
            found += [
                SessionSnapshot(
                    id=publisher.session,
                    role="publisher",
                    protocol=publisher.origin,
                    stream=stream.name,
                    address=publisher.address,
                    user_agent=publisher.user_agent,
                    since=publisher.since,
                    link=publisher.link() if publisher.link is not None else None,
                    state=_publisher_state(declared, publisher),
                    received_bytes=stream.received_bytes,
                )
                for publisher in self._publishers(stream)
            ]
            found += [
                SessionSnapshot(
                    id=reader.id,
                    role="reader",
                    protocol=reader.protocol,
                    stream=stream.name,
                    address=reader.address,
                    user_agent=reader.user_agent,
                    since=reader.since,
                    lag=reader.lag(),
                    sent_bytes=reader.sent_bytes,
                    dropped=reader.dropped,
                    interruptions=stream.readers.interruptions.of(
                        reader.id, reader.dropped, shared
                    ),
                    link=reader.link() if isinstance(reader, Linked) else None,
                )
                for reader in stream.readers.values()
            ]
        return tuple(found)

    def _publishers(self, stream: Stream) -> tuple[Publisher, ...]:
        """Who is on air, and who stands by."""
        onair = self._router.onair(stream.name)
        return onair.publishers if onair is not None else ()

    def address_of(self, stream: str, session: str) -> str:
        """The address of a reader; empty if it is not known."""
        found = self._router.find(stream)
        reader = found.readers.get(session) if found is not None else None
        return reader.address if reader is not None else ""

    def reader_list(self, name: str) -> tuple[ReaderSnapshot, ...]:
        """The readers of one stream; empty if there is no such stream."""
        stream = self._router.find(name)
        if stream is None:
            return ()
        return tuple(
            ReaderSnapshot(
                id=reader.id,
                protocol=reader.protocol,
                lag=reader.lag(),
                sent_bytes=reader.sent_bytes,
                dropped=reader.dropped,
            )
            for reader in stream.readers.values()
        )

    def _stream(self, stream: Stream, now: float) -> StreamSnapshot:
        declared = self._router.declared(stream.name)
        source = None
        if declared is not None and declared.status.kind:
            source = _source(declared.status)
        onair = self._router.onair(stream.name)
        slate, slate_state, slate_reason, slate_bytes = self.slates(stream.name)
        video = [state for state in stream.inputs.values() if state.key_interval]
        rtp = self.rtp_sources.get(stream.name)
        return StreamSnapshot(
            name=stream.name,
            state=str(stream.state),
            reason=stream.reason or ("no-key-frames" if stream.keyless else ""),
            origin=declared.origin if declared is not None else "publisher",
            source=source,
            tracks=(
                *map(_track, stream.inputs.values()),
                *(_track(each.state) for each in stream.recodings),
            ),
            key_frame_interval=video[0].key_interval if video else None,
            key_frame_age=now - stream.key_at if stream.key_at is not None else None,
            ready_since=stream.since if stream.state is State.READY else None,
            received_bytes=stream.received_bytes,
            received_bps=round(sum(state.bitrate_bps for state in stream.inputs.values())),
            sent_bytes=stream.sent_bytes + sum(r.sent_bytes for r in stream.readers.values()),
            readers=Counter(reader.protocol for reader in stream.readers.values()),
            drops=_drops(stream),
            interruptions=stream.readers.interruptions.total(),
            dropped_tracks=tuple(
                DroppedTrack(track=track, kind=event.kind, codec=event.codec, output=event.output)
                for (_, track), event in stream.dropped_tracks.items()
            ),
            memory_bytes=stream.size_bytes,
            rtp=_rtp(rtp()) if rtp is not None else None,
            links=_links(stream),
            forwards=tuple(self.forwards(stream.name)),
            sources=_sources(onair.priority if onair is not None else None),
            members=declared.members if declared is not None else (),
            slate=SlateSnapshot(
                slate=slate,
                state=slate_state,
                reason=slate_reason,
                size_bytes=slate_bytes,
                shown=onair.shown if onair is not None else 0,
            ),
        )


def _source(status: SourceStatus) -> SourceSnapshot:
    return SourceSnapshot(
        kind=status.kind,
        url=status.url,
        state=status.state,
        reason=status.reason,
        since=status.since or None,
    )


def _sources(priority: Priority | None) -> tuple[SeatSnapshot, ...]:
    """Where there are several: each of them, the best first."""
    if priority is None:
        return ()
    return tuple(
        SeatSnapshot(
            source=_source(seat.status),
            is_active=place == priority.active,
            is_chosen=place == priority.chosen,
            switches=seat.switches,
        )
        for place, seat in enumerate(priority.seats)
    )


def _track(state: TrackInput) -> TrackSnapshot:
    track, parameters = state.track, state.track.parameters
    width = height = sample_rate = channels = 0
    frame_rate = 0.0
    if isinstance(parameters, VideoParameters):
        width, height = parameters.width, parameters.height
        frame_rate = parameters.frame_rate_num / parameters.frame_rate_den
    elif isinstance(parameters, AudioParameters):
        sample_rate, channels = parameters.sample_rate, parameters.channels
    return TrackSnapshot(
        id=track.id,
        kind=str(track.kind),
        codec=track.codec,
        clock_rate=track.clock_rate,
        codec_string=parameters.codec_string() if parameters is not None else "",
        width=width,
        height=height,
        frame_rate=frame_rate,
        sample_rate=sample_rate,
        channels=channels,
        bitrate_bps=round(state.bitrate_bps),
        frames_per_second=round(state.frames_per_second, 2),
        frames=state.frames,
        recoded_from=track.recoded_from.id if track.recoded_from is not None else None,
    )


def _rtp(figures: RtpCounters) -> RtpSnapshot:
    return RtpSnapshot(
        packets=figures.packets,
        lost=figures.lost,
        duplicates=figures.duplicates,
        reordered=figures.reordered,
        jitter=figures.jitter,
    )


def _publisher_state(declared: Declared | None, publisher: Publisher) -> str:
    """What its source says; who came by himself is there, and that is all."""
    if publisher.standby is not None:
        return "standby"
    is_fetched = declared is not None and declared.status.kind
    return declared.status.state if declared is not None and is_fetched else "running"


def _no_statistics(
    _session: str, _is_clearing: bool, _is_tool: bool
) -> Mapping[str, object] | None:
    return None


def _no_slate(_stream: str) -> tuple[str, str, str, int]:
    return "off", "off", "", 0


def _no_forwards(_stream: str) -> tuple[ForwardSnapshot, ...]:
    """Nothing is sent on."""
    return ()


def _links(stream: Stream) -> dict[str, LinkFigures]:
    """By protocol: packets lost by all readers that are there, the worst of their other figures."""
    found: dict[str, LinkFigures] = {}
    for reader in stream.readers.values():
        if not isinstance(reader, Linked):
            continue
        link = reader.link()
        worst = found.setdefault(reader.protocol, LinkFigures(""))
        worst.lost += link.lost
        worst.jitter = max(worst.jitter, link.jitter)
        if link.round_trip is not None:
            worst.round_trip = max(worst.round_trip or 0.0, link.round_trip)
    return found


def _drops(stream: Stream) -> dict[str, int]:
    """What was not passed on, by reason, from all the places that count."""
    counts = dict(stream.drops)
    for reason, count in (
        ("gop-cache-overflow", stream.gop.overflows),
        ("parameter-set-broken", sum(each.tracker.broken for each in stream.inputs.values())),
        ("sender-report-implausible", stream.timeline.implausible_reports),
    ):
        if count:
            counts[reason] = counts.get(reason, 0) + count
    return counts
