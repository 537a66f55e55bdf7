"""Prometheus metrics, made from a snapshot each time they are asked for.

Nothing is counted here: hot paths count plain integers, a snapshot carries them. Labels are
bounded (stream, protocol, direction, reason, codec) and go away with their stream; never a
session, an address or an id. The text is made in a thread: a thousand streams take 100 ms.
"""

import asyncio
import sys
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from flux.core.admission import AccessFigures
from flux.core.histogram import HistogramSnapshot
from flux.core.hooks.status import HookStatus
from flux.telemetry.snapshot import READY, SLATE, ServerSnapshot, SnapshotProvider, StreamSnapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
NO_LAG = HistogramSnapshot((1.0,), (0, 0), 0.0)


class Metrics:
    """Answers `/metrics`."""

    def __init__(self, provider: SnapshotProvider) -> None:
        self._provider = provider
        # Not the library's global registry: two servers in one process (tests) must not meet.
        unregistered = CollectorRegistry()
        self._process: tuple[Collector, ...] = (
            ProcessCollector(registry=unregistered),
            PlatformCollector(registry=unregistered),
            GCCollector(registry=unregistered),
        )

    async def render(self) -> bytes:
        """The text in Prometheus' exposition format; only the snapshot is taken on the loop."""
        return await asyncio.to_thread(self.render_snapshot, self._provider())

    def render_snapshot(self, snapshot: ServerSnapshot) -> bytes:
        """The text of one snapshot and of the process as it is now."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Families(snapshot, self._process))
        return generate_latest(registry)


class _Families(Collector):
    """What the library wants to see: something that is collected."""

    def __init__(self, snapshot: ServerSnapshot, others: tuple[Collector, ...]) -> None:
        self._snapshot = snapshot
        self._others = others

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        yield from families(self._snapshot)
        for other in self._others:
            yield from other.collect()


def families(snapshot: ServerSnapshot) -> Iterator[Metric]:
    """All metric families of a snapshot, those without a sample too (HELP and TYPE remain)."""
    yield from _server_families(snapshot)
    yield from _access_families(snapshot.access)
    yield from _hook_families(snapshot.hooks)
    yield from _stream_families(snapshot.streams)
    yield from _interruption_families(snapshot.streams)
    yield from _rtp_families(snapshot.streams)
    yield from _link_families(snapshot.streams)


def _server_families(snapshot: ServerSnapshot) -> Iterator[Metric]:
    build = GaugeMetricFamily(
        "flux_build_info", "Version of FLUX and of Python; always 1.", labels=("version", "python")
    )
    build.add_metric((snapshot.version, sys.version.split()[0]), 1)
    yield build
    yield GaugeMetricFamily(
        "flux_ready", "1 if the server may get new work (/readyz).", not snapshot.not_ready()
    )
    states: dict[str, int] = {}
    for stream in snapshot.streams:
        states[stream.state] = states.get(stream.state, 0) + 1
    yield _gauge("flux_streams", "Streams by state.", ("state",), states)
    sessions = GaugeMetricFamily(
        "flux_sessions", "Readers and publishers by protocol.", labels=("protocol", "role")
    )
    for (protocol, role), count in sorted(snapshot.sessions().items()):
        sessions.add_metric((protocol, role), count)
    yield sessions
    lag = HistogramMetricFamily(
        "flux_event_loop_lag_seconds", "How late a timer of the event loop was, sampled."
    )
    _add_histogram(lag, (), snapshot.loop_lag or NO_LAG)
    yield lag
    joins = HistogramMetricFamily(
        "flux_join_seconds",
        "Time from a reader's request to its first bytes of media.",
        labels=("protocol",),
    )
    for protocol, histogram in sorted(snapshot.joins.items()):
        _add_histogram(joins, (protocol,), histogram)
    yield joins
    yield GaugeMetricFamily("flux_tasks", "Tasks of the event loop.", snapshot.tasks)
    yield GaugeMetricFamily(
        "flux_http_connections", "Connections to the media listener.", snapshot.http_connections
    )
    refusals = CounterMetricFamily(
        "flux_http_refusals", "Requests that the media listener refused.", labels=("reason",)
    )
    for reason, count in sorted(snapshot.http_refusals.items()):
        refusals.add_metric((reason,), count)
    yield refusals
    yield GaugeMetricFamily(
        "flux_rtsp_connections", "Connections to the RTSP listeners.", snapshot.rtsp_connections
    )
    refusals = CounterMetricFamily(
        "flux_rtsp_refusals",
        "What the RTSP server refused or ignored, by reason.",
        labels=("reason",),
    )
    for reason, count in sorted(snapshot.rtsp_refusals.items()):
        refusals.add_metric((reason,), count)
    yield refusals
    yield GaugeMetricFamily(
        "flux_srt_connections", "Connections to the SRT listener.", snapshot.srt_connections
    )
    refusals = CounterMetricFamily(
        "flux_srt_refusals",
        "What the SRT listener refused or ignored, by reason.",
        labels=("reason",),
    )
    for reason, count in sorted(snapshot.srt_refusals.items()):
        refusals.add_metric((reason,), count)
    yield refusals
    yield CounterMetricFamily(
        "flux_events_dropped", "Events that full bus subscriptions let go.", snapshot.events_dropped
    )
    yield CounterMetricFamily(
        "flux_event_faults", "Bus handlers that failed.", snapshot.event_faults
    )


def _hook_families(hooks: tuple[HookStatus, ...]) -> Iterator[Metric]:
    outcomes = CounterMetricFamily(
        "flux_hook_calls",
        "What became of a hook's occurrences: done, failed, dropped; and its retries.",
        labels=("hook", "outcome"),
    )
    pending = GaugeMetricFamily(
        "flux_hook_pending", "Occurrences that wait or run now.", labels=("hook",)
    )
    for hook in hooks:
        for outcome, count in (
            ("done", hook.done),
            ("failed", hook.failed),
            ("dropped", hook.dropped),
            ("retried", hook.retries),
        ):
            outcomes.add_metric((hook.name, outcome), count)
        pending.add_metric((hook.name,), hook.waiting + hook.running)
    yield outcomes
    yield pending


def _access_families(access: AccessFigures) -> Iterator[Metric]:
    refused = CounterMetricFamily(
        "flux_access_refused",
        "Requests refused for want of credentials or permission.",
        labels=("action", "reason"),
    )
    for labels, count in sorted(access.refused.items()):
        refused.add_metric(labels, count)
    yield refused
    yield CounterMetricFamily(
        "flux_access_bans", "Addresses banned for repeated failures.", access.bans
    )
    yield GaugeMetricFamily("flux_access_banned", "Addresses that are banned now.", access.banned)
    yield GaugeMetricFamily(
        "flux_access_delayed", "Refusals that are held back now.", access.delayed
    )
    yield CounterMetricFamily(
        "flux_password_checks", "Passwords checked against a hash.", access.password_checks
    )


def _stream_families(streams: tuple[StreamSnapshot, ...]) -> Iterator[Metric]:
    by_name = {stream.name: stream for stream in streams}
    yield _gauge(
        "flux_stream_ready",
        "1 if readers get media from the stream's source.",
        ("stream",),
        {name: int(stream.state == READY) for name, stream in by_name.items()},
    )
    yield _gauge(
        "flux_stream_slate",
        "1 while the stream shows its slate.",
        ("stream",),
        {name: int(stream.state == SLATE) for name, stream in by_name.items()},
    )
    yield _counter(
        "flux_slates_shown",
        "How often the stream's source was lost and its slate shown.",
        {name: stream.slate.shown for name, stream in by_name.items()},
    )
    yield _counter(
        "flux_source_switches",
        "How often another of the stream's sources was put on air.",
        {name: sum(s.switches for s in each.sources) for name, each in by_name.items()},
    )
    yield _counter(
        "flux_received_bytes",
        "Media bytes received from the stream's source.",
        {name: stream.received_bytes for name, stream in by_name.items()},
    )
    yield _counter(
        "flux_sent_bytes",
        "Bytes sent to the stream's readers.",
        {name: stream.sent_bytes for name, stream in by_name.items()},
    )
    yield _gauge(
        "flux_stream_memory_bytes",
        "Memory of the stream's cache and feeds.",
        ("stream",),
        {name: stream.memory_bytes for name, stream in by_name.items()},
    )
    yield _gauge(
        "flux_gop_seconds",
        "Time between the last two key frames.",
        ("stream",),
        {n: s.key_frame_interval for n, s in by_name.items() if s.key_frame_interval is not None},
    )
    yield _gauge(
        "flux_keyframe_age_seconds",
        "Time since the last key frame.",
        ("stream",),
        {n: s.key_frame_age for n, s in by_name.items() if s.key_frame_age is not None},
    )
    readers = GaugeMetricFamily(
        "flux_stream_readers", "Readers of the stream.", labels=("stream", "protocol")
    )
    drops = CounterMetricFamily(
        "flux_dropped_frames",
        "Frames, units or packets not passed on, by reason.",
        labels=("stream", "reason"),
    )
    tracks = GaugeMetricFamily(
        "flux_dropped_tracks",
        "Tracks that an output in use cannot carry.",
        labels=("stream", "protocol", "codec", "reason"),
    )
    for name, stream in by_name.items():
        for protocol, count in sorted(stream.readers.items()):
            readers.add_metric((name, protocol), count)
        for reason, count in sorted(stream.drops.items()):
            drops.add_metric((name, reason), count)
        left_out: dict[tuple[str, ...], int] = {}
        for track in stream.dropped_tracks:
            key = (name, track.output, track.codec, track.reason)
            left_out[key] = left_out.get(key, 0) + 1
        for labels, count in left_out.items():
            tracks.add_metric(labels, count)
    yield readers
    yield drops
    yield tracks


def _interruption_families(streams: tuple[StreamSnapshot, ...]) -> Iterator[Metric]:
    interruptions = CounterMetricFamily(
        "flux_reader_interruptions",
        "Interruptions that readers saw, each counted once a reader.",
        labels=("stream", "cause"),
    )
    seconds = CounterMetricFamily(
        "flux_reader_interruption_seconds",
        "How long these were, in seconds of all readers together.",
        labels=("stream", "cause"),
    )
    caused = CounterMetricFamily(
        "flux_dropped_by_cause",
        "Frames, units or packets not passed on, by cause.",
        labels=("stream", "cause"),
    )
    for stream in streams:
        for cause, tally in stream.interruptions.items():
            interruptions.add_metric((stream.name, cause), tally.count)
            seconds.add_metric((stream.name, cause), tally.seconds)
            caused.add_metric((stream.name, cause), tally.dropped)
    yield interruptions
    yield seconds
    yield caused


def _link_families(streams: tuple[StreamSnapshot, ...]) -> Iterator[Metric]:
    labels = ("stream", "protocol")
    lost = GaugeMetricFamily(
        "flux_reader_lost_packets",
        "Packets lost on the way to the readers that are there, as they report.",
        labels=labels,
    )
    jitter = GaugeMetricFamily(
        "flux_reader_jitter_seconds", "Interarrival jitter at the worst reader.", labels=labels
    )
    trip = GaugeMetricFamily(
        "flux_reader_round_trip_seconds", "Round trip to the farthest reader.", labels=labels
    )
    for stream in streams:
        for protocol, link in sorted(stream.links.items()):
            lost.add_metric((stream.name, protocol), link.lost)
            jitter.add_metric((stream.name, protocol), link.jitter)
            if link.round_trip is not None:
                trip.add_metric((stream.name, protocol), link.round_trip)
    yield lost
    yield jitter
    yield trip


def _rtp_families(streams: tuple[StreamSnapshot, ...]) -> Iterator[Metric]:
    by_name = {stream.name: stream.rtp for stream in streams if stream.rtp is not None}
    for name, help_text, values in (
        ("flux_rtp_packets", "RTP packets received.", {n: r.packets for n, r in by_name.items()}),
        (
            "flux_rtp_lost_packets",
            "RTP packets that never arrived.",
            {n: r.lost for n, r in by_name.items()},
        ),
        (
            "flux_rtp_duplicate_packets",
            "RTP packets that arrived again.",
            {n: r.duplicates for n, r in by_name.items()},
        ),
        (
            "flux_rtp_reordered_packets",
            "RTP packets that arrived late and were put in order.",
            {n: r.reordered for n, r in by_name.items()},
        ),
    ):
        yield _counter(name, help_text, values)
    yield _gauge(
        "flux_rtp_jitter_seconds",
        "Interarrival jitter (RFC 3550 A.8) of the stream's worst track.",
        ("stream",),
        {name: rtp.jitter for name, rtp in by_name.items()},
    )


def _gauge(
    name: str, help_text: str, labels: tuple[str], values: Mapping[str, float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for label, value in values.items():
        family.add_metric((label,), value)
    return family


def _counter(name: str, help_text: str, values: Mapping[str, int]) -> CounterMetricFamily:
    """A counter by stream; the library appends `_total` to its name."""
    family = CounterMetricFamily(name, help_text, labels=("stream",))
    for label, value in values.items():
        family.add_metric((label,), value)
    return family


def _add_histogram(
    family: HistogramMetricFamily, labels: tuple[str, ...], histogram: HistogramSnapshot
) -> None:
    """Prometheus' buckets are cumulative, ours are not."""
    buckets, seen = [], 0
    for bound, count in zip(histogram.bounds, histogram.counts, strict=False):
        seen += count
        buckets.append((str(bound), seen))
    buckets.append(("+Inf", histogram.count))
    family.add_metric(labels, buckets, histogram.total)
