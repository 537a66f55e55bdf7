"""A stream: one name, its tracks, its timeline, its GOP cache and its outputs.

Theory of operation. A source run is a `Publisher` (`media/publisher.py`); each of its units comes
through `publish()`: timeline, parameters, GOP cache, outputs, in this order and without waiting.
The path outlives its source: when a run ends, a slate goes on in its place if there is one, else
readers are held for a grace period; a returning source with the same tracks goes on in the same
timeline. Who is on air is decided in `media/onair.py`.

    idle      nobody publishes, no source is wanted
    starting  a source has been asked to come
    waiting   it publishes, but a track's parameters are not known yet
    ready     readers may attach
    lost      the source went away; readers are held for the grace period
    slate     as lost, and a slate is published; readers may attach
    closed    for good
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from flux.base.errors import StateError, fault_of
from media.codecs.tracker import tracker_for
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
from media.output import Output as Output
from media.output import Reader as Reader
from media.parameters import Parameters
from media.readers import Readers
from media.recoding import NOBODY_ASKS, AudioPolicy, ByOutput, Recoding, Recodings
from media.timeline import Timeline
from media.track import OPAQUE_RTP, Kind, Track, TrackDescription, tracks_for
from media.track_input import TrackInput

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
    State.READY: frozenset(
        {State.LOST, State.SLATE, State.WAITING, State.STARTING, State.IDLE, State.CLOSED}
    ),
    State.LOST: frozenset(
        {State.READY, State.SLATE, State.WAITING, State.STARTING, State.IDLE, State.CLOSED}
    ),
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
    audio: AudioPolicy = "keep"  # what becomes of sound that an output cannot carry
    audio_by_output: ByOutput = field(
        default_factory=dict
    )  # and what single outputs have in its place


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
        self.readers = Readers(name, self.drops, emit)
        self.received_bytes = 0
        self.sent_bytes = 0  # by readers that have gone
        self.kept_bytes = 0  # of what was counted and not published, with its source
        self.keyless = False
        self.key_at: float | None = None  # when the last key frame came
        self.timeline = Timeline(trust_source_clock=options.trust_source_clock)
        self.gop = GopCache(options.gop, has_video=False)
        self.recodings = Recodings(options.audio, options.audio_by_output)
        self.on_ready: Callable[[Stream], None] | None = None
        self.on_recoding: Callable[[Stream, Recoding], None] | None = None  # an output uses one
        self._emit = emit
        self._run_at = 0.0

    # -- the life of a stream ----------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether readers may attach: frames come, be they the source's or a slate's."""
        return self.state is State.READY or self.state is State.SLATE

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

    def begin(
        self, descriptions: Sequence[TrackDescription], now: float, *, slate_for: str | None = None
    ) -> tuple[Track, ...]:
        """A run of a source starts with these tracks; answers them in the same order.

        `slate_for`: a slate's run, and why there is one; it has the tracks that are there.
        """
        published = tracks_for(descriptions, self.inputs)
        is_same = len(published) == len(self.inputs) == len(descriptions)
        if is_same:
            for track, description in zip(published, descriptions, strict=True):
                self._renew(self.inputs[track], description.parameters)
            self.gop.clear()  # what it brings next may not go on from there
        else:
            published = tuple(
                Track(index, d.kind, d.codec, d.clock_rate, d.parameters, d.language)
                for index, d in enumerate(descriptions)
            )
            self.inputs = {t: TrackInput(t, tracker_for(t)) for t in published}
            self.gop = GopCache(self.options.gop, has_video=any(map(_is_video, published)))
            if self.is_open or self.state is State.LOST:
                self.tracks = ()
        self.timeline.begin(published, now, joins=slate_for is not None)
        self._run_at = now
        self.keyless = False
        self.key_at = None
        if slate_for is not None:
            self.enter(State.SLATE, now, slate_for)
        else:
            goes_on = is_same and (self.is_open or self.state is State.LOST)
            self.enter(State.READY if goes_on else State.WAITING, now)
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
        elif self.state in (State.READY, State.WAITING, State.LOST, State.SLATE):
            self.release(reason, now)

    def release(self, reason: str, now: float) -> None:
        """Let go of the readers and of all media; the next run begins from nothing."""
        if self.state in (State.LOST, State.SLATE):
            self.readers.interruptions.cut(now, len(self.readers))
        self.end_outputs(reason)
        self.recodings.clear(reason)
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

    def choose(
        self,
        output: str,
        tracks: tuple[Track, ...],
        carries: Callable[[Track], bool],
        is_welcome: Callable[[Track], bool] = lambda _: True,
        *,
        form: str = "",
    ) -> tuple[Track, ...]:
        """What this output carries of these tracks; those that it has no place for are named.

        Where it can only carry what is made of a track, that is made from now on. `form`: what it
        is called where tracks are named, if not by the output's name.
        """
        chosen = self.recodings.choose(output, tracks, carries, is_welcome)
        for track in self.recodings.left_out(output, tracks, chosen):
            self.note_dropped_track(form or output, track)
        for track in chosen:
            recoding = self.recodings.of(track)
            if recoding is not None:
                recoding.users.add(output)
                if self.on_recoding is not None:
                    self.on_recoding(self, recoding)
        return chosen

    def use_audio(self, policy: AudioPolicy, now: float, by_output: ByOutput = NOBODY_ASKS) -> None:
        """What becomes of sound that an output cannot carry, from now on."""
        if (policy, by_output) != (self.options.audio, self.options.audio_by_output):
            self.options = replace(self.options, audio=policy, audio_by_output=by_output)
            self.recodings.clear("stream-changed")
            self.recodings = Recodings(policy, by_output)
            self.tracks = ()  # even if they stay the same, outputs may choose others of them
            if self.is_open:
                self._settle(now)

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
        if self.recodings.is_mute and track.kind is Kind.AUDIO:
            return
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
        if (
            state.is_broken
            and track.kind is Kind.AUDIO
            and timeline.is_behind(track, timestamp, arrived)
        ):
            self.drops["run-overlap"] += 1  # heard already: it ran ahead in the run before
            return
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
        if self.state is State.READY or self.state is State.SLATE:
            if track not in self.tracks:
                self._settle(arrived)
            if track.kind is Kind.AUDIO:
                self.recodings.feed(frame)
            for output in tuple(self.outputs.values()):
                self._give(output, frame)
        elif self.state is State.WAITING:
            self._settle(arrived)

    def publish_recoded(
        self, track: Track, pts: int, ntp: int, data: bytes, arrived: float, *, is_broken: bool
    ) -> None:
        """One unit that was made of a track of the source: its times are this stream's own."""
        recoding = self.recodings.of(track)
        if recoding is None or not self.is_open:
            return
        if pts <= recoding.last_pts:
            self.drops["recoding-overlap"] += 1  # of the sound before a break
            return
        recoding.last_pts = pts
        state = recoding.state
        is_broken = is_broken and state.frames > 0
        frame = Frame(track, pts, pts, ntp, arrived, True, is_broken, track.parameters, (data,))
        state.frames += 1
        state.size_bytes += len(data)
        self.gop.add(frame)
        for output in tuple(self.outputs.values()):
            self._give(output, frame)

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
            if self.recodings.is_mute and track.kind is Kind.AUDIO:
                continue
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
        tracks = self.recodings.extend(usable, len(self.inputs))
        if tracks == self.tracks and self.state is State.READY:
            return
        held = tuple(self.outputs.values())  # of the run before, or of fewer tracks
        is_start = not self.is_open
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
        """A few times a second: rates, tracks that stay silent, what readers do not get."""
        self.timeline.set_wall_offset(wall_offset)
        if self.state is State.WAITING:
            self._settle(now)
        for state in (*self.inputs.values(), *(each.state for each in self.recodings)):
            state.measure(now)
        if self.is_open or self.state is State.LOST:
            self.readers.look(now, self.inputs.values(), is_lost=self.state is not State.READY)
        else:
            self.readers.interruptions.rest()

    @property
    def size_bytes(self) -> int:
        """Bytes of media that this stream holds: cache, outputs, and what is only counted."""
        return (
            self.gop.size_bytes + self.kept_bytes + sum(o.size_bytes for o in self.outputs.values())
        )


def _is_video(track: Track) -> bool:
    return track.kind is Kind.VIDEO


def _is_data(track: Track) -> bool:
    return track.kind is Kind.DATA


def _is_opaque(track: Track) -> bool:
    return track.codec.startswith(OPAQUE_RTP)
