"""A stream: one name, its tracks, its timeline, its GOP cache and its outputs.

Theory of operation. A source run is a `Publisher` (`media/publisher.py`); each of its units comes
through `publish()`: timeline, parameters, GOP cache, outputs, in this order and without waiting.
The path outlives its source: when a run ends, readers are held for a grace period, and a returning
source with the same tracks goes on in the same timeline.

    idle      nobody publishes, no source is wanted
    starting  a source has been asked to come
    waiting   it publishes, but a track's parameters are not known yet
    ready     readers may attach
    lost      the source went away; readers are held for the grace period
    slate     as lost, with a filler publishing (not made yet by anyone)
    closed    for good
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from flux.base.errors import StateError, fault_of
from media.codecs.tracker import ParameterTracker, tracker_for
from media.events import (
    KeyFramesMissing,
    OutputFailed,
    ParametersChanged,
    StreamStateChanged,
    TimelineBroken,
    TrackDropped,
)
from media.feed_reader import FeedOptions
from media.frame import NO_TIME, Frame
from media.gop import GopCache, GopLimits
from media.parameters import Parameters
from media.timeline import Timeline
from media.track import OPAQUE_RTP, Kind, Track, TrackDescription

SILENCE = 2.0  # seconds after which a track that says nothing no longer delays the start
KEY_FRAME_PATIENCE = 10.0  # seconds without any key frame before readers start anyway

Emit = Callable[[object], None]


class State(StrEnum):
    """The states of a stream."""

    IDLE = "idle"
    STARTING = "starting"
    WAITING = "waiting-for-parameters"
    READY = "ready"
    LOST = "lost"
    SLATE = "slate"
    CLOSED = "closed"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.IDLE: frozenset({State.STARTING, State.WAITING, State.CLOSED}),
    State.STARTING: frozenset({State.IDLE, State.WAITING, State.CLOSED}),
    State.WAITING: frozenset({State.READY, State.STARTING, State.IDLE, State.CLOSED}),
    State.READY: frozenset({State.LOST, State.STARTING, State.IDLE, State.CLOSED}),
    State.LOST: frozenset({State.READY, State.WAITING, State.STARTING, State.IDLE, State.CLOSED}),
    State.SLATE: frozenset({State.READY, State.WAITING, State.STARTING, State.IDLE, State.CLOSED}),
    State.CLOSED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What configuration says of a stream; seconds and bytes."""

    gop: GopLimits = field(default_factory=GopLimits)
    feed: FeedOptions = field(default_factory=FeedOptions)
    grace: float = 10.0  # readers are held so long when the source goes away
    trust_source_clock: bool = False


class Output(Protocol):
    """Something that takes every frame of a stream: a set of feeds of one format, a segmenter."""

    name: str

    def frame(self, frame: Frame) -> None:
        """Take one frame; synchronous and cheap."""
        ...

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        """The codecs or the set of tracks changed before the next frame."""
        ...

    def close(self, reason: str) -> None:
        """The stream has ended for this output's readers."""
        ...

    @property
    def size_bytes(self) -> int:
        """Bytes that this output keeps."""
        ...


class Reader(Protocol):
    """One viewer as the API sees it."""

    id: str
    protocol: str
    address: str
    user_agent: str
    since: float  # Unix time

    @property
    def sent_bytes(self) -> int:
        """Bytes handed to its transport."""
        ...

    @property
    def dropped(self) -> int:
        """Chunks or segments that it missed."""
        ...

    def lag(self) -> float:
        """Seconds behind the live edge."""
        ...

    def end(self, reason: str) -> None:
        """Close it."""
        ...


@dataclass(slots=True, eq=False)
class TrackInput:
    """What a stream keeps of one track that is being published."""

    track: Track
    tracker: ParameterTracker
    first_at: float | None = None  # monotonic seconds of its first unit
    frames: int = 0
    size_bytes: int = 0
    is_broken: bool = False  # the next frame is marked as a discontinuity
    last_key: int = NO_TIME
    key_interval: float = 0.0  # seconds
    bitrate_bps: float = 0.0
    frames_per_second: float = 0.0
    counted: tuple[float, int, int] = (0.0, 0, 0)  # when, frames, bytes at the last measurement


class Stream:
    """One name. All methods are synchronous; times are monotonic seconds."""

    def __init__(self, name: str, options: StreamOptions, emit: Emit) -> None:
        self.name = name
        self.options = options
        self.state = State.IDLE
        self.reason = ""
        self.since = 0.0
        self.tracks: tuple[Track, ...] = ()  # those that outputs see
        self.inputs: dict[Track, TrackInput] = {}
        self.drops: Counter[str] = Counter()
        self.dropped_tracks: dict[tuple[str, int], TrackDropped] = {}
        self.outputs: dict[str, Output] = {}
        self.readers: dict[str, Reader] = {}
        self.received_bytes = 0
        self.sent_bytes = 0  # by readers that have gone
        self.keyless = False
        self.key_at: float | None = None  # when the last key frame came
        self.timeline = Timeline(trust_source_clock=options.trust_source_clock)
        self.gop = GopCache(options.gop, has_video=False)
        self.on_ready: Callable[[Stream], None] | None = None
        self._emit = emit
        self._run_at = 0.0

    # -- the life of a stream ----------------------------------------------------------------

    def enter(self, state: State, now: float, reason: str = "") -> None:
        """Go to another state of the table; raises StateError for one that it does not allow."""
        before = self.state
        if state is before:
            self.reason = reason or self.reason
            return
        if state not in TRANSITIONS[before]:
            raise StateError(f"stream {self.name}: {before} -> {state}")
        self.state = state
        self.reason = reason
        self.since = now
        self._emit(StreamStateChanged(self.name, before, state, reason))

    def begin(self, descriptions: Sequence[TrackDescription], now: float) -> tuple[Track, ...]:
        """A source run starts with these tracks; answers them in the same order."""
        published = tuple(self.inputs)
        is_same = [(t.kind, t.codec, t.clock_rate) for t in published] == [
            (d.kind, d.codec, d.clock_rate) for d in descriptions
        ]
        if is_same:
            for track, description in zip(published, descriptions, strict=True):
                self._renew(self.inputs[track], description.parameters)
            self.gop.clear()  # what it brings next may not go on from there
        else:
            published = tuple(
                Track(index, d.kind, d.codec, d.clock_rate, d.parameters)
                for index, d in enumerate(descriptions)
            )
            self.inputs = {t: TrackInput(t, tracker_for(t)) for t in published}
            self.gop = GopCache(self.options.gop, has_video=any(map(_is_video, published)))
            if self.state is State.LOST:
                self.tracks = ()
        self.timeline.begin(published, now)
        self._run_at = now
        self.keyless = False
        self.key_at = None
        self.enter(State.READY if is_same and self.state is State.LOST else State.WAITING, now)
        return published

    def _renew(self, state: TrackInput, parameters: Parameters | None) -> None:
        """A returning track: its parameters count as changed only where they differ."""
        track = state.track
        old = track.parameters
        state.is_broken = state.frames > 0
        if parameters is None:
            return
        version = old.version if old is not None else 0
        if replace(parameters, version=version) != old:
            track.parameters = replace(parameters, version=version + 1)
            state.tracker = tracker_for(track)

    def lose(self, reason: str, now: float, *, hold: bool) -> None:
        """The source run has ended; `hold` its readers for the grace period or not."""
        if hold and self.state is State.READY and self.readers:
            self.enter(State.LOST, now, reason)
        elif self.state in (State.READY, State.WAITING, State.LOST):
            self.release(reason, now)

    def release(self, reason: str, now: float) -> None:
        """Let go of the readers and of all media; the next run begins from nothing."""
        self.end_outputs(reason)
        self.gop.clear()
        self.tracks = ()
        self.inputs = {}
        self.dropped_tracks.clear()
        if self.state not in (State.IDLE, State.STARTING, State.CLOSED):
            self.enter(State.STARTING, now, reason)

    def end_outputs(self, reason: str) -> None:
        """Close every output, and with it every reader."""
        outputs, self.outputs = self.outputs, {}
        for output in outputs.values():
            self._close_output(output, reason)

    def _close_output(self, output: Output, reason: str) -> None:
        try:
            output.close(reason)
        except Exception as error:  # see _give
            self._emit(OutputFailed(self.name, output.name, fault_of(error)))

    def _fail_output(self, output: Output, error: Exception) -> None:
        """Part with an output that has a fault; the next reader gets a new one."""
        self.drops["output-fault"] += 1
        self._emit(OutputFailed(self.name, output.name, fault_of(error)))
        if self.outputs.get(output.name) is output:
            del self.outputs[output.name]
        self._close_output(output, "output-fault")

    def note_dropped_track(self, output: str, track: Track) -> None:
        """An output cannot carry this track; said once, kept for the API."""
        key = (output, track.id)
        if key not in self.dropped_tracks:
            event = TrackDropped(self.name, output, track.kind, track.codec)
            self.dropped_tracks[key] = event
            self._emit(event)

    # -- the walk of a frame -----------------------------------------------------------------

    def publish(
        self, track: Track, timestamp: int, payload: tuple[bytes, ...], arrived: float, dts: int
    ) -> None:
        """One unit of the source: repaired, kept, and given to every output that is in use."""
        state = self.inputs.get(track)
        if state is None:
            return
        if state.first_at is None:
            state.first_at = arrived
        size = sum(map(len, payload))
        state.size_bytes += size
        self.received_bytes += size
        inspected = state.tracker.inspect(payload)
        if inspected.changed:
            self._take_parameters(state)
        if not inspected.payload:
            return
        if track.parameters is None and not _is_data(track) and not _is_opaque(track):
            self.drops["no-parameters"] += 1
            if self.state is State.WAITING:
                self._settle(arrived)
            return
        timeline = self.timeline
        pts, dts, ntp = timeline.place(track, timestamp, dts, arrived)
        if timeline.jump is not None:
            state.is_broken = True
            self.drops["timeline-jump"] += 1
            self._emit(TimelineBroken(self.name, track.id, "timeline-jump", timeline.jump.seconds))
        key = inspected.key
        frame = Frame(
            track, pts, dts, ntp, arrived, key, state.is_broken, track.parameters,
            inspected.payload,
        )  # fmt: skip
        state.is_broken = False
        state.frames += 1
        if track.kind is Kind.VIDEO:
            if key:
                if state.last_key != NO_TIME:
                    state.key_interval = (pts - state.last_key) / track.clock_rate
                state.last_key = pts
                self.key_at = arrived
                self.keyless = False
            elif not self.keyless and (self.key_at is None or not len(self.gop)):
                self._miss_key(arrived)
        self.gop.add(frame)
        if self.state is State.READY:
            if track not in self.tracks:
                self._settle(arrived)
            for output in tuple(self.outputs.values()):
                self._give(output, frame)
        elif self.state is State.WAITING:
            self._settle(arrived)

    def _give(self, output: Output, frame: Frame) -> None:
        try:
            output.frame(frame)
        except Exception as error:  # a fault in one must reach neither the others nor the source
            self._fail_output(output, error)

    def _take_parameters(self, state: TrackInput) -> None:
        track = state.track
        is_first = track.parameters is None
        track.parameters = state.tracker.parameters
        if track.parameters is None:
            return
        self.timeline.configure(track, track.parameters)
        if not is_first:
            state.is_broken = True
            self._emit(ParametersChanged(self.name, track.id, track.parameters.version))

    def _miss_key(self, now: float) -> None:
        """There is no GOP that a reader could start with; how long will it wait?"""
        since = self._run_at if self.key_at is None else self.key_at
        if now - since > KEY_FRAME_PATIENCE:
            self.keyless = True
            self._emit(KeyFramesMissing(self.name))

    def _settle(self, now: float) -> None:
        """Become ready when every track that speaks is known; a silent one delays that a little."""
        usable: list[Track] = []
        has_media = not all(map(_is_data, self.inputs))
        for track, state in self.inputs.items():
            if has_media and _is_data(track):
                usable.append(track)  # it may say nothing for hours
            elif state.first_at is None:
                if self.state is State.WAITING and now - self._run_at < SILENCE:
                    return
            elif track.parameters is None and not _is_opaque(track) and not _is_data(track):
                if self.state is State.WAITING and now - self._run_at < KEY_FRAME_PATIENCE:
                    return
            else:
                usable.append(track)
        if not usable or (has_media and all(map(_is_data, usable))):
            return
        tracks = tuple(usable)
        if tracks == self.tracks and self.state is State.READY:
            return
        held = tuple(self.outputs.values())  # of the run before, or of fewer tracks
        is_start = self.state is not State.READY
        self.tracks = tracks
        if is_start:
            self.enter(State.READY, now)
        for output in held:
            self._change_tracks(output, tracks)
            if is_start and self.outputs.get(output.name) is output:
                for frame in self.gop.frames():
                    self._give(output, frame)
        if self.on_ready is not None:
            self.on_ready(self)

    def _change_tracks(self, output: Output, tracks: tuple[Track, ...]) -> None:
        try:
            output.tracks_changed(tracks)
        except Exception as error:  # see _give
            self._fail_output(output, error)

    # -- time and figures --------------------------------------------------------------------

    def tick(self, now: float, wall_offset: float) -> None:
        """About once a second: rates, and tracks that stay silent."""
        self.timeline.set_wall_offset(wall_offset)
        if self.state is State.WAITING:
            self._settle(now)
        for state in self.inputs.values():
            then, frames, size = state.counted
            if then and now - then >= 0.5:
                state.bitrate_bps = (state.size_bytes - size) * 8 / (now - then)
                state.frames_per_second = (state.frames - frames) / (now - then)
            if not then or now - then >= 0.5:
                state.counted = (now, state.frames, state.size_bytes)

    @property
    def size_bytes(self) -> int:
        """Bytes of media that this stream holds: cache and outputs."""
        return self.gop.size_bytes + sum(o.size_bytes for o in self.outputs.values())


def _is_video(track: Track) -> bool:
    return track.kind is Kind.VIDEO


def _is_data(track: Track) -> bool:
    return track.kind is Kind.DATA


def _is_opaque(track: Track) -> bool:
    return track.codec.startswith(OPAQUE_RTP)
