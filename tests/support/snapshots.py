"""A server's snapshot as tests of metrics and API need it."""

from flux.core.admission import AccessFigures
from flux.core.histogram import HistogramSnapshot
from flux.core.hooks.status import HookStatus
from flux.telemetry.snapshot import (
    DroppedTrack,
    ListenerSnapshot,
    ReaderSnapshot,
    RtpSnapshot,
    ServerSnapshot,
    SourceSnapshot,
    StreamSnapshot,
    TrackSnapshot,
)
from media.causes import Cause
from media.interruptions import Tally, no_tallies
from media.link import LinkFigures

LAG = HistogramSnapshot((0.001, 0.01), (5, 3, 1), 0.05)


def make_stream(name: str = "live/cam1") -> StreamSnapshot:
    """A stream of a camera with two readers, some loss, and sound that HLS cannot carry."""
    return StreamSnapshot(
        name=name,
        state="ready",
        source=SourceSnapshot(kind="rtsp", url="rtsp://***@cam/1", state="running", since=40.0),
        tracks=(
            TrackSnapshot(
                id=0,
                kind="video",
                codec="h264",
                clock_rate=90000,
                codec_string="avc1.64001f",
                width=1280,
                height=720,
                frame_rate=29.97,
                bitrate_bps=4_000_000,
                frames_per_second=29.9701,
                frames=1000,
            ),
            TrackSnapshot(
                id=1, kind="audio", codec="pcma", clock_rate=8000, sample_rate=8000, channels=1
            ),
        ),
        key_frame_interval=2.0,
        key_frame_age=0.5,
        ready_since=41.5,
        received_bytes=5_000_000,
        received_bps=4_100_000,
        sent_bytes=9_000_000,
        readers={"http-flv": 1, "hls": 1},
        reader_list=(
            ReaderSnapshot(id="r1", protocol="http-flv", lag=0.01, sent_bytes=8_000_000),
            ReaderSnapshot(id="r2", protocol="hls", sent_bytes=1_000_000, dropped=7),
        ),
        drops={"h264-fu-loss": 3},
        interruptions=no_tallies() | {Cause.SOURCE: Tally(4, 2.5, 3)},
        dropped_tracks=(DroppedTrack(track=1, kind="audio", codec="pcma", output="hls-ts"),),
        memory_bytes=7_000_000,
        rtp=RtpSnapshot(packets=10_000, lost=12, duplicates=1, reordered=2, jitter=0.004),
        links={"rtsp": LinkFigures("", lost=3, jitter=0.002, round_trip=0.04)},
    )


def make_server(
    *streams: StreamSnapshot,
    phase: str = "running",
    listeners: tuple[ListenerSnapshot, ...] = (),
) -> ServerSnapshot:
    """A server that has been up for 90 s at 2026-11-20 12:00 UTC."""
    return ServerSnapshot(
        now=100.0,
        wall=1_795_176_000.0,
        started=10.0,
        version="1.2.3",
        phase=phase,
        streams=streams,
        listeners=listeners,
        loop_lag=LAG,
        joins={"http-flv": HistogramSnapshot((0.01, 0.1), (1, 1, 0), 0.06)},
        http_refusals={"not-found": 3},
        http_connections=7,
        rtsp_refusals={"name-taken": 2},
        srt_refusals={"srt-not-found": 3},
        rtsp_connections=5,
        hooks=(
            HookStatus(
                name="hooks[0]",
                kind="webhook",
                on=("ready",),
                waiting=1,
                running=0,
                done=4,
                failed=1,
                retries=2,
                dropped=0,
            ),
        ),
        access=AccessFigures(refused={("read", "credentials-wrong"): 2}, bans=1, banned=1),
        events_dropped=4,
    )
