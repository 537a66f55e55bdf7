"""What the API answers. Times are RFC 3339 in UTC, durations seconds, rates bit/s."""

from datetime import UTC, datetime
from typing import Self

from pydantic import BaseModel, ConfigDict

from flux.telemetry.snapshot import (
    DroppedTrack,
    ReaderSnapshot,
    RtpSnapshot,
    ServerSnapshot,
    SourceSnapshot,
    StreamSnapshot,
    TrackSnapshot,
)


class Model(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Info(Model):
    """The server."""

    name: str = "FLUX"
    version: str
    phase: str
    started: datetime
    uptime: float
    streams: int
    readers: int
    listeners: list["Listener"]

    @classmethod
    def of(cls, server: ServerSnapshot) -> Self:
        """From a snapshot."""
        return cls(
            version=server.version,
            phase=server.phase,
            started=_utc(server.wall_time(server.started)),
            uptime=round(server.now - server.started, 3),
            streams=len(server.streams),
            readers=sum(sum(stream.readers.values()) for stream in server.streams),
            listeners=[
                Listener(name=each.name, address=each.address, up=each.is_up, reason=each.reason)
                for each in server.listeners
            ],
        )


class Listener(Model):
    """One listener."""

    name: str
    address: str
    up: bool
    reason: str


class Source(Model):
    """Where a stream comes from; the URL has no credentials."""

    kind: str
    url: str
    state: str
    reason: str
    since: datetime | None

    @classmethod
    def of(cls, source: SourceSnapshot, server: ServerSnapshot) -> Self:
        """From a snapshot."""
        return cls(
            kind=source.kind,
            url=source.url,
            state=source.state,
            reason=source.reason,
            since=_instant(source.since, server),
        )


class Track(Model):
    """One track; what is not known, or not of its kind, is null."""

    id: int
    kind: str
    codec: str
    codec_string: str | None
    clock_rate: int
    width: int | None
    height: int | None
    frame_rate: float | None
    sample_rate: int | None
    channels: int | None
    bitrate_bps: int
    frames_per_second: float
    frames: int

    @classmethod
    def of(cls, track: TrackSnapshot) -> Self:
        """From a snapshot."""
        return cls(
            id=track.id,
            kind=track.kind,
            codec=track.codec,
            codec_string=track.codec_string or None,
            clock_rate=track.clock_rate,
            width=track.width or None,
            height=track.height or None,
            frame_rate=round(track.frame_rate, 3) or None,
            sample_rate=track.sample_rate or None,
            channels=track.channels or None,
            bitrate_bps=track.bitrate_bps,
            frames_per_second=round(track.frames_per_second, 2),
            frames=track.frames,
        )


class Reader(Model):
    """One reader."""

    id: str
    protocol: str
    lag: float
    sent_bytes: int
    dropped: int

    @classmethod
    def of(cls, reader: ReaderSnapshot) -> Self:
        """From a snapshot."""
        return cls(
            id=reader.id,
            protocol=reader.protocol,
            lag=round(reader.lag, 3),
            sent_bytes=reader.sent_bytes,
            dropped=reader.dropped,
        )


class TrackDropped(Model):
    """A track that an output in use cannot carry."""

    track: int
    kind: str
    codec: str
    output: str
    reason: str
    text: str

    @classmethod
    def of(cls, dropped: DroppedTrack) -> Self:
        """From a snapshot."""
        return cls(
            track=dropped.track,
            kind=dropped.kind,
            codec=dropped.codec,
            output=dropped.output,
            reason=dropped.reason,
            text=str(dropped),
        )


class Rtp(Model):
    """What came in over RTP."""

    packets: int
    lost: int
    duplicates: int
    reordered: int
    jitter: float

    @classmethod
    def of(cls, rtp: RtpSnapshot) -> Self:
        """From a snapshot."""
        return cls(
            packets=rtp.packets,
            lost=rtp.lost,
            duplicates=rtp.duplicates,
            reordered=rtp.reordered,
            jitter=round(rtp.jitter, 6),
        )


class Stream(Model):
    """One stream. A list leaves `reader_list` out (null)."""

    name: str
    state: str
    reason: str
    origin: str
    source: Source | None
    tracks: list[Track]
    key_frame_interval: float | None
    key_frame_age: float | None
    ready_since: datetime | None
    received_bytes: int
    received_bps: int
    sent_bytes: int
    readers: dict[str, int]
    reader_list: list[Reader] | None
    drops: dict[str, int]
    dropped_tracks: list[TrackDropped]
    memory_bytes: int
    rtp: Rtp | None

    @classmethod
    def of(cls, stream: StreamSnapshot, server: ServerSnapshot, *, whole: bool = True) -> Self:
        """From a snapshot; `whole` has every reader, too."""
        return cls(
            name=stream.name,
            state=stream.state,
            reason=stream.reason,
            origin=stream.origin,
            source=Source.of(stream.source, server) if stream.source else None,
            tracks=[Track.of(track) for track in stream.tracks],
            key_frame_interval=_rounded(stream.key_frame_interval),
            key_frame_age=_rounded(stream.key_frame_age),
            ready_since=_instant(stream.ready_since, server),
            received_bytes=stream.received_bytes,
            received_bps=stream.received_bps,
            sent_bytes=stream.sent_bytes,
            readers=dict(stream.readers),
            reader_list=[Reader.of(reader) for reader in stream.reader_list] if whole else None,
            drops=dict(stream.drops),
            dropped_tracks=[TrackDropped.of(dropped) for dropped in stream.dropped_tracks],
            memory_bytes=stream.memory_bytes,
            rtp=Rtp.of(stream.rtp) if stream.rtp else None,
        )


class StreamPage(Model):
    """One page of streams."""

    item_count: int
    page_count: int
    page: int
    items_per_page: int
    items: list[Stream]


def _utc(unix: float) -> datetime:
    return datetime.fromtimestamp(round(unix, 3), UTC)


def _instant(instant: float | None, server: ServerSnapshot) -> datetime | None:
    return None if instant is None else _utc(server.wall_time(instant))


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
