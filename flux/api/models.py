"""What the API answers. Times are RFC 3339 in UTC, durations seconds, rates bit/s."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, JsonValue

from flux.api.forward_model import ForwardTarget
from flux.api.interruption_model import Interruptions
from flux.api.source_model import Seat, Slate
from flux.base import twins
from flux.telemetry.redact import redact_text
from flux.telemetry.snapshot import (
    DroppedTrack,
    ReaderSnapshot,
    RtpSnapshot,
    ServerSnapshot,
    SessionSnapshot,
    SourceSnapshot,
    StreamSnapshot,
    TrackSnapshot,
)
from media.link import LinkFigures


class Model(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Info(Model):
    """The server."""

    name: str = "FLUX"
    version: str
    compiled: bool
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
            compiled=twins.are_compiled(),
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
    recoded_from: int | None
    """The track of the source that this one is made of, while an output uses it."""

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
            recoded_from=track.recoded_from,
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
    """One stream. A list leaves `settings` and `reader_list` out (null).

    `settings` are null for a stream that nobody declared.
    """

    name: str
    state: str
    reason: str
    origin: str
    settings: dict[str, JsonValue] | None
    source: Source | None
    sources: list[Seat]
    members: list[str]
    slate: Slate
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
    interruptions: Interruptions
    dropped_tracks: list[TrackDropped]
    memory_bytes: int
    rtp: Rtp | None
    forwards: list[ForwardTarget]

    @classmethod
    def of(
        cls,
        stream: StreamSnapshot,
        server: ServerSnapshot,
        settings: dict[str, JsonValue] | None = None,
        readers: Sequence[ReaderSnapshot] | None = None,
    ) -> Self:
        """From a snapshot."""
        return cls(
            name=stream.name,
            state=stream.state,
            reason=stream.reason,
            origin=stream.origin,
            settings=settings,
            source=Source.of(stream.source, server) if stream.source else None,
            sources=[Seat.of(place, seat, server) for place, seat in enumerate(stream.sources)],
            members=list(stream.members),
            slate=Slate.of(stream.slate),
            tracks=[Track.of(track) for track in stream.tracks],
            key_frame_interval=_rounded(stream.key_frame_interval),
            key_frame_age=_rounded(stream.key_frame_age),
            ready_since=_instant(stream.ready_since, server),
            received_bytes=stream.received_bytes,
            received_bps=stream.received_bps,
            sent_bytes=stream.sent_bytes,
            readers=dict(stream.readers),
            reader_list=None if readers is None else [Reader.of(each) for each in readers],
            drops=dict(stream.drops),
            interruptions=Interruptions.of(stream.interruptions),
            dropped_tracks=[TrackDropped.of(dropped) for dropped in stream.dropped_tracks],
            memory_bytes=stream.memory_bytes,
            rtp=Rtp.of(stream.rtp) if stream.rtp else None,
            forwards=[ForwardTarget.of(forward) for forward in stream.forwards],
        )


class PageModel(Model):
    """Base of all pages; `item_count` is of the whole list as it is filtered."""

    item_count: int
    page_count: int
    page: int
    items_per_page: int


class StreamPage(PageModel):
    """One page of streams."""

    items: list[Stream]


class Settings(Model):
    """What a stream was declared with. The answer to every change, with the new ETag."""

    name: str
    settings: dict[str, JsonValue]


class Link(Model):
    """The line to a peer, where its protocol measures it (RTCP); times in seconds."""

    transport: str
    lost: int
    jitter: float
    round_trip: float | None

    @classmethod
    def of(cls, link: LinkFigures) -> Self:
        """From figures."""
        trip = link.round_trip
        return cls(
            transport=link.transport,
            lost=link.lost,
            jitter=round(link.jitter, 6),
            round_trip=round(trip, 6) if trip is not None else None,
        )


class Session(Model):
    """One reader or publisher."""

    id: str
    role: Literal["reader", "publisher"]
    protocol: str
    stream: str
    address: str
    user_agent: str
    since: datetime
    state: str
    lag: float
    sent_bytes: int
    received_bytes: int
    dropped: int
    interruptions: Interruptions
    """Of a reader, since it came."""
    link: Link | None

    @classmethod
    def of(cls, session: SessionSnapshot) -> Self:
        """From a snapshot."""
        return cls(
            id=session.id,
            role="publisher" if session.role == "publisher" else "reader",
            protocol=session.protocol,
            stream=session.stream,
            address=session.address,
            user_agent=session.user_agent,
            since=_utc(session.since),
            state=session.state,
            lag=round(session.lag, 3),
            sent_bytes=session.sent_bytes,
            received_bytes=session.received_bytes,
            dropped=session.dropped,
            interruptions=Interruptions.of(session.interruptions),
            link=Link.of(session.link) if session.link is not None else None,
        )


class SessionPage(PageModel):
    """One page of sessions."""

    items: list[Session]


class Event(Model):
    """Something that happened; `data` are the fields of the event, `text` its words if it has any.

    `id` is for this run of the server: what begins behind it gets what came after it.
    """

    id: str
    kind: str
    time: datetime
    text: str | None
    data: dict[str, JsonValue]

    @classmethod
    def of(cls, identity: str, kind: str, wall: float, event: object) -> Self:
        """From an event of the bus."""
        names = [field.name for field in fields(event) if field.repr] if is_dataclass(event) else []
        return cls(
            id=identity,
            kind=kind,
            time=_utc(wall),
            text=redact_text(str(event)) if type(event).__str__ is not object.__str__ else None,
            data={name: _plain(getattr(event, name)) for name in names},
        )


class EventsMissed(Model):
    """Events, of any kind, that were let go before this client took them."""

    kind: Literal["events-missed"] = "events-missed"
    count: int


class Health(Model):
    """The loop turns."""

    status: Literal["ok"] = "ok"


class Readiness(Model):
    """Whether the server may get new work, and why not."""

    status: Literal["ready", "not ready"]
    reasons: list[str]


class FaultModel(Model):
    """One thing that is wrong with a request."""

    detail: str
    pointer: str | None = None
    """Into the body, RFC 6901."""
    parameter: str | None = None
    """Of the query."""


class Problem(Model):
    """Why a request was refused, RFC 9457; `reason` is stable, `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    reason: str
    errors: list[FaultModel] = []


def _plain(value: object) -> JsonValue:
    """A field of an event as JSON has it, without secrets."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return redact_text(str(value))


def _utc(unix: float) -> datetime:
    return datetime.fromtimestamp(round(unix, 3), UTC)


def _instant(instant: float | None, server: ServerSnapshot) -> datetime | None:
    return None if instant is None else _utc(server.wall_time(instant))


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
