"""Cuts one stream into segments and keeps the playlists; sans-IO and synchronous.

**Cutting.** A segment starts with a key frame of the video, as soon as the one before it has its
configured duration, or earlier where waiting for one more GOP would make it longer than the target
duration. Audio alone is cut anywhere. Where no key frame comes in time the cut is made without
one; so it is where a segment gets too large. `media/hls/target.py` says what is promised about
that.

**Breaks.** A frame with `discontinuity` starts a new segment with EXT-X-DISCONTINUITY; the first
frames of the other tracks after it carry the same mark and belong to the same break. New parameters
on a key frame are a break for the playlist too, and so is a time that leaps by more than a segment
without any mark. After a break the video waits for a key frame if segments are called independent.

**Time** is the DTS in 90 kHz, the same clock for all tracks. Program date time is the NTP stamp of
a segment's first frame.
"""

from collections.abc import Callable, Iterable, Sequence

from flux.base.units import rescale
from media.frame import NO_TIME, Frame
from media.hls.container import Container, TsContainer
from media.hls.interleave import Interleaver
from media.hls.options import HlsOptions
from media.hls.parts import LISTED_TARGETS, Part, PartList
from media.hls.playlist import LowLatency, Playlist, media_playlist, multivariant_playlist
from media.hls.rendition import Rendition
from media.hls.segment import TIME_HZ, Initialization, Segment, SegmentBuilder
from media.hls.target import TargetDuration
from media.hls.window import Window
from media.parameters import Parameters
from media.track import Kind, Track

MEDIA_PLAYLIST_NAME = "media.m3u8"
INITIALIZATION_EXTENSION = "mp4"
EARLY = TIME_HZ // 20  # a key frame that jitters to this much before its time is in time
SKEW = TIME_HZ * 49 // 100  # other tracks may run ahead of the video without forcing a cut


def _no_part() -> None:
    """The same of parts."""


def _nobody(_segment: Segment | None) -> None:
    """The listener of a segmenter that nobody listens to."""


class Segmenter:
    """One HLS output of one stream.

    `prefix` must be new for each run of a stream: it makes segment names unique for ever.
    `on_change` hears of every finished segment, and of the end with None, `on_part` of parts that
    end no segment. A run under the same URL
    as an earlier one continues it with `first_sequence` and `first_discontinuity` from the earlier
    window's `next_sequence` and `next_discontinuity`.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        options: HlsOptions,
        prefix: str,
        *,
        container: Callable[[Sequence[Track]], Container] = TsContainer,
        on_change: Callable[[Segment | None], None] = _nobody,
        on_part: Callable[[], None] = _no_part,
        first_sequence: int = 0,
        first_discontinuity: int = 0,
    ) -> None:
        self._options = options
        self._prefix = prefix
        self._on_change = on_change
        self._on_part = on_part
        self._container = container(())
        self._window = Window(options.window_segments, first_sequence, first_discontinuity)
        self._target = TargetDuration(options.segment_duration, options.max_gop)
        self._parts = PartList(options.part_duration) if options.part_duration else None
        self._interleaver: Interleaver | None = None  # with parts
        self._now = 0.0
        self._rendition = Rendition(MEDIA_PLAYLIST_NAME)
        self._wanted = max(1, round(options.segment_duration * TIME_HZ) - EARLY)
        self._states: dict[Track, _TrackState] = {}
        self._lead: Track | None = None
        self._left_out: tuple[Track, ...] = ()
        self._open: SegmentBuilder | None = None
        self._initialization: Initialization | None = None
        self._is_break_due = first_sequence > 0  # EXT-X-DISCONTINUITY before the next segment
        self._is_change_due = False  # parameters changed: a break at the next key frame
        self._waits_since: float | None = None  # for a key frame
        self._needs_key = True
        self._started_at: float | None = None
        self._playlists: tuple[Playlist, Playlist, Playlist] | None = None
        self.is_ended = False
        self.dropped = 0  # frames that came while waiting for a key frame
        self._use_tracks(self._choose(tracks))
        self._left_out = tuple(track for track in tracks if track not in self._states)

    # -- frames in -------------------------------------------------------------------------

    def seed(self, frames: Iterable[Frame], now: float) -> None:
        """Take the frames of a GOP cache, oldest first, so that the start does not wait."""
        for frame in frames:
            self.frame(frame, now)

    def frame(self, frame: Frame, now: float) -> None:
        """Take the next frame of the stream; those of tracks left out are ignored."""
        if self._interleaver is None:
            self._take(frame, now)
            return
        self._now = now
        for each in self._interleaver.push(frame):
            self._take(each, now)

    def _take_rest(self) -> None:
        """Take what still waits for other tracks."""
        if self._interleaver is not None:
            for frame in self._interleaver.flush():
                self._take(frame, self._now)

    def _take(self, frame: Frame, now: float) -> None:
        state = self._states.get(frame.track)
        if state is None or self.is_ended:
            return
        if self._started_at is None:
            self._started_at = now
        if frame.discontinuity and state.last_dts != NO_TIME:
            self._break_timeline()
        dts = rescale(frame.dts, frame.track.clock_rate, TIME_HZ)
        is_key = frame.key and state.is_lead
        if self._needs_key and not self._is_key_wait_over(frame, is_key, now):
            self.dropped += 1
            return
        if frame.parameters is not state.parameters:
            self._change_parameters(state, frame.parameters)
        if is_key and state.is_video:
            self._target.key_frame(dts)
        self._cut_if_due(frame, state, dts, is_key)
        segment = self._open or self._begin(frame, dts, is_key)
        state.step(dts)
        parts = self._parts
        if parts is not None and state.is_lead:
            if parts.is_due(dts, state.duration):
                self._cut_part(segment, parts, frame, dts)
            parts.frame(is_key=frame.key)
        data = self._container.encode(frame)
        if data is not None:
            if state.is_video:
                if not (is_key or segment.video_frames):
                    segment.is_independent = False
                    self._target.starts_without_key()
                segment.video_frames += 1
            if data:
                segment.add(data, dts + state.duration)
            else:
                segment.hold(frame.size_bytes, dts + state.duration)
            state.has_data = True

    def set_tracks(self, tracks: Sequence[Track]) -> None:
        """Another set of tracks or codecs from the next frame on: a break, if any of it is ours."""
        chosen = self._choose(tracks)
        if tuple(chosen.values()) != self.tracks:
            self._take_rest()
            self._break_timeline()
            self._waits_since = None
            self._use_tracks(chosen)
        self._left_out = tuple(track for track in tracks if track not in self._states)

    def end(self) -> None:
        """The stream is over: what is open becomes the last segment, the playlist is closed."""
        if self.is_ended:
            return
        self._take_rest()
        if self._open is not None:
            self._close(self._open.end - self._open.start)
        self._target.finish()
        self.is_ended = True
        self._playlists = None
        self._on_change(None)
        self._on_change, self._on_part = _nobody, _no_part  # their owner holds this one

    # -- playlists and segments out --------------------------------------------------------

    @property
    def content_type(self) -> str:
        """The media type of the segments."""
        return self._container.content_type

    @property
    def name(self) -> str:
        """The output's name in counts and logs."""
        return self._container.name

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks in the segments."""
        return tuple(self._states)

    @property
    def left_out(self) -> tuple[Track, ...]:
        """Tracks that segments of this kind cannot carry, and seconds of a kind."""
        return self._left_out

    @property
    def window(self) -> Window:
        """The segments, for reading."""
        return self._window

    @property
    def target_duration(self) -> int:
        """EXT-X-TARGETDURATION in seconds; 0 until it is known."""
        return self._target.seconds

    @property
    def is_independent(self) -> bool:
        """Whether playlists call their segments independent."""
        return self._target.is_known and self._target.is_independent

    @property
    def ready_at(self) -> float | None:
        """When one segment will be enough; None before the first frame."""
        if self._started_at is None:
            return None
        return self._started_at + self._options.ready_wait

    def is_ready(self, now: float) -> bool:
        """Whether a first playlist can be given out; until then requests should be held."""
        count = len(self._window)
        if not count or not self._target.is_known:
            return False
        if self.is_ended or count >= self._options.ready_segments:
            return True
        return self.ready_at is not None and now >= self.ready_at

    def segment(self, name: str) -> Segment | Initialization | None:
        """What has this name in playlists, also for a while after it left them."""
        own = self._initialization  # named by parts before the window has a segment with it
        if own is not None and own.name == name:
            return own
        return self._window.find(name)

    def part(self, name: str) -> Part | None:
        """The part of this name, while it is kept."""
        return self._parts.find(name) if self._parts is not None else None

    @property
    def parts(self) -> PartList | None:
        """What blocking requests ask for; None without low latency."""
        return self._parts

    def multivariant_playlist(self, token: str = "") -> bytes:
        """The playlist at the stream's own URL; call it when `is_ready`."""
        return self._render()[0].render(token)

    def media_playlist(self, token: str = "", *, may_skip: bool = False) -> bytes:
        """The playlist with the segments, or a delta update of it; call it when `is_ready`."""
        return self._render()[2 if may_skip else 1].render(token)

    # -- inside ----------------------------------------------------------------------------

    def _choose(self, tracks: Sequence[Track]) -> dict[Kind, Track]:
        """The first track of each kind that the segments can carry."""
        chosen: dict[Kind, Track] = {}
        for track in tracks:
            if self._container.carries(track):
                chosen.setdefault(track.kind, track)
        return chosen

    def _use_tracks(self, chosen: dict[Kind, Track]) -> None:
        self._lead = chosen.get(Kind.VIDEO, chosen.get(Kind.AUDIO))
        self._states = {track: _TrackState(track, self._lead) for track in chosen.values()}
        self._container.set_tracks(tuple(self._states))
        if self._parts is not None:
            self._interleaver = Interleaver(self._lead)
        has_video = Kind.VIDEO in chosen
        self._needs_key = has_video
        self._target.use_tracks(has_video)

    def _is_key_wait_over(self, frame: Frame, is_key: bool, now: float) -> bool:
        """Whether this frame may pass while the video waits for a key frame."""
        if self._waits_since is None:
            self._waits_since = now
        if is_key or now - self._waits_since >= self._options.key_wait:
            self._needs_key = False
            return True
        # Before the first picture sound has nothing to go with; after a break it goes on.
        return frame.track is not self._lead and len(self._window) > 0

    def _break_timeline(self) -> None:
        for state in self._states.values():
            state.last_dts = NO_TIME
        self._target.timeline_broke()
        if self._open is not None:
            self._close(self._open.end - self._open.start)
        self._is_break_due = self._is_break_due or len(self._window) > 0
        if self._target.is_independent and self._lead and self._lead.kind is Kind.VIDEO:
            self._needs_key = True
            self._waits_since = None

    def _change_parameters(self, state: "_TrackState", parameters: Parameters | None) -> None:
        if parameters is None:
            return
        is_news = state.parameters is not None or self._container.has_initialization
        if is_news and parameters != state.parameters:
            self._is_change_due = self._open is not None or len(self._window) > 0
        state.parameters = parameters
        self._playlists = None

    def _cut_if_due(self, frame: Frame, state: "_TrackState", dts: int, is_key: bool) -> None:
        """Close the open segment if the frame at `dts` has to start a new one."""
        segment = self._open
        if segment is None:
            return
        elapsed = dts - segment.start
        limit = self._target.limit
        if is_key and (
            self._is_change_due
            or elapsed >= self._wanted
            or (self._target.is_known and elapsed + self._target.gop > limit)
        ):
            is_due = elapsed > 0
        else:
            end = elapsed + state.duration
            is_due = elapsed > 0 and end > (limit if state.is_lead else limit + SKEW)
        if is_due and not is_key:
            self._target.gop_too_long()
        if not is_due and segment.size_bytes < self._options.max_segment_bytes:
            return
        if elapsed > limit + SKEW:  # an unmarked gap
            self._close(segment.end - segment.start)
            self._is_break_due = True
        else:
            self._close(elapsed, None if is_key and self._is_change_due else frame)

    def _begin(self, frame: Frame, dts: int, is_key: bool) -> SegmentBuilder:
        is_break = self._is_break_due or (self._is_change_due and is_key)
        self._is_break_due = False
        self._is_change_due = self._is_change_due and not is_key
        self._container.begin({track: state.parameters for track, state in self._states.items()})
        data = self._container.initialization()
        if data and (self._initialization is None or self._initialization.data != data):
            name = f"{self._stem}.{INITIALIZATION_EXTENSION}"
            self._initialization = Initialization(name, data)
        if self._parts is not None:
            self._parts.begin(self._stem, self._window.next_sequence, dts)
        self._open = segment = SegmentBuilder(dts, frame.ntp, is_break, self._initialization)
        return segment

    def _cut_part(
        self, segment: SegmentBuilder, parts: PartList, following: Frame, dts: int
    ) -> None:
        data = self._container.part(following)
        if data:
            segment.write(data)
            parts.add(data, dts)
            self._playlists = None
            self._on_part()

    def _close(self, duration: int, following: Frame | None = None) -> None:
        builder, self._open = self._open, None
        if builder is None:
            return
        rest = self._container.finish(following)
        if rest:
            builder.write(rest)
            if self._parts is not None:
                self._parts.add(rest, builder.start + duration)
        if not builder.chunks:
            self._is_break_due = self._is_break_due or builder.is_discontinuity
            return
        sequence = self._window.next_sequence
        name = f"{self._stem}.{self._container.extension}"
        # No segment may round to more than the target, wherever its frames say they end.
        duration = max(1, min(duration, self._target.limit + SKEW))
        segment = builder.build(name, sequence, duration)
        self._target.segment_done(segment.duration)
        self._window.add(segment, 3 * self._target.seconds * TIME_HZ)
        target = max(self._target.seconds * TIME_HZ, self._wanted)
        self._rendition.add(segment, target)
        if self._parts is not None:
            self._parts.close(LISTED_TARGETS * target, self._stem)
        self._playlists = None
        self._on_change(segment)

    @property
    def _stem(self) -> str:
        """What the next segment to be finished is called, without an extension."""
        return f"{self._prefix}-{self._window.next_sequence}"

    def _render(self) -> tuple[Playlist, Playlist, Playlist]:
        if self._playlists is None:
            self._target.freeze()
            if self._parts is not None:
                self._parts.freeze()
            version = self._container.version
            is_independent = self.is_independent
            present = [state.parameters for state in self._states.values() if state.has_data]
            self._playlists = (
                multivariant_playlist(
                    self._rendition.variant(present),
                    version=version,
                    is_independent=is_independent,
                ),
                self._media_playlist(version, is_independent, may_skip=False),
                self._media_playlist(version, is_independent, may_skip=True),
            )
        return self._playlists

    def _media_playlist(self, version: int, is_independent: bool, *, may_skip: bool) -> Playlist:
        low_latency = None
        parts, target = self._parts, self._target.seconds
        if parts is not None:
            hint = "" if self.is_ended else parts.next_name
            listed = parts.listed(target * TIME_HZ)
            low_latency = LowLatency(parts.target_seconds, listed, self._open, parts.open, hint)
        return media_playlist(
            self._window,
            target_duration=target,
            version=version,
            is_independent=is_independent,
            is_ended=self.is_ended,
            low_latency=low_latency,
            may_skip=may_skip and parts is not None,
        )


class _TrackState:
    """What the segmenter remembers of a track."""

    __slots__ = ("duration", "has_data", "is_lead", "is_video", "last_dts", "parameters")

    def __init__(self, track: Track, lead: Track | None) -> None:
        self.is_video = track.kind is Kind.VIDEO
        self.is_lead = track is lead
        self.parameters = track.parameters
        self.last_dts = NO_TIME  # since the last break
        self.duration = 0  # ticks of a frame, as last seen
        self.has_data = False

    def step(self, dts: int) -> None:
        """Note a frame's time."""
        if self.last_dts != NO_TIME and dts > self.last_dts:
            self.duration = dts - self.last_dts
        self.last_dts = dts
