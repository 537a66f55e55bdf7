"""Cuts one stream into segments and keeps the playlists; sans-IO and synchronous.

**Lanes.** Where there are several tracks of sound, each has segments and a playlist of its own
(`media/hls/lanes.py`), and all are cut at the same times.

**Cutting.** A segment starts with a key frame of the leading track where `media/hls/rhythm.py` says
so. Audio alone is cut anywhere. Where no key frame comes in time the cut is made without one,
before a picture that is shown after all that came; so it is where a segment gets too large, and
where other tracks run on while the leading one is silent.
What the playlists promise about that is in `media/hls/target.py`.

**Breaks.** A frame with `discontinuity` starts a new segment with EXT-X-DISCONTINUITY; the first
frames of the other tracks after it carry the same mark and belong to the same break. New parameters
on a key frame are a break for the playlist too, and so is a time that leaps by more than a segment
without any mark. After a break the video waits for a key frame if segments are called independent.

**Time** is presentation time in 90 kHz (`media/hls/presentation.py`), the same clock for all
tracks: EXTINF is what lies between the starts of two segments, and program date time is the NTP
stamp of a segment's start. Behind a break without a key frame that is when its first picture is
shown, which is known some pictures later.
"""

from collections.abc import Callable, Iterable, Sequence

from flux.base.units import NTP_SECOND, rescale
from media.frame import NO_TIME, Frame
from media.hls.container import Container, TsContainer
from media.hls.interleave import MAX_WAIT, MAX_WAIT_APART, NO_WAIT, Interleaver
from media.hls.lanes import Lanes
from media.hls.options import HlsOptions
from media.hls.parts import Part, PartClock, PartList
from media.hls.playlist import Variant
from media.hls.presentation import Presentation
from media.hls.presenter import Presenter
from media.hls.rhythm import FIRST_SEQUENCE, OwnRhythm, Rhythm
from media.hls.segment import TIME_HZ, Initialization, Segment
from media.hls.track_state import TrackState
from media.hls.window import Window
from media.parameters import Parameters
from media.track import Kind, Track

SKEW = TIME_HZ * 49 // 100  # other tracks force a cut where the leading one is so late: it rests


def _no_part() -> None:
    """The listener of a segmenter to whose parts nobody listens."""


def _nobody(_segment: Segment | None) -> None:
    """The listener of a segmenter that nobody listens to."""


class Segmenter:
    """One HLS output of one stream.

    `prefix` must be new for each run of a stream: it makes segment names unique for ever.
    `on_change` hears of every finished segment, and of the end with None, `on_part` of parts that
    end no segment. A run under the same URL
    as an earlier one continues it with `first_sequence` and `first_discontinuity` from the earlier
    window's `next_sequence` and `next_discontinuity`. `rhythm`: who decides where segments begin
    and how they are numbered. `uri`: the name of the only playlist where there is to be no other.
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
        first_sequence: int = FIRST_SEQUENCE,
        first_discontinuity: int = 0,
        rhythm: Rhythm | None = None,
        uri: str = "",
    ) -> None:
        self._options = options
        self._on_change = on_change
        self._on_part = on_part
        self._rhythm = rhythm or OwnRhythm(options)
        self._target = self._rhythm.target
        self._wanted = max(1, round(options.segment_duration * TIME_HZ))
        self._clock = PartClock(options.part_duration) if options.part_duration else None
        self._presentation = Presentation()
        self._interleaver: Interleaver | None = None  # of several tracks
        self._now = 0.0
        first = (first_sequence, first_discontinuity)
        self.lanes = Lanes(options, prefix, container, first, uri)
        self._states: dict[Track, TrackState] = {}
        self._lead: Track | None = None
        self._left_out: tuple[Track, ...] = ()
        # EXT-X-DISCONTINUITY before the next segment
        self._is_break_due = first_sequence > FIRST_SEQUENCE
        self._is_change_due = False  # parameters changed: a break at the next key frame
        self._waits_since: float | None = None  # for a key frame
        self._needs_key = True
        self._started_at: float | None = None
        self.presenter = Presenter(self.lanes.all, self._target, self._clock)
        self.dropped = 0  # frames that came while waiting for a key frame
        self._use_tracks(tracks)

    # -- frames in -------------------------------------------------------------------------

    def seed(self, frames: Iterable[Frame], now: float) -> None:
        """Take the frames of a GOP cache, oldest first, so that the start does not wait."""
        for frame in frames:
            self.frame(frame, now)

    def frame(self, frame: Frame, now: float) -> None:
        """Take the next frame of the stream; those of tracks left out are ignored."""
        if frame.track not in self._states or self.is_ended:
            return
        start = self._place(frame)
        if self._interleaver is None:
            self._take(frame, start, now)
            return
        self._now = now
        for each, when in self._interleaver.push(frame, start):
            self._take(each, when, now)

    def _place(self, frame: Frame) -> int:
        """When the media from this frame on are shown."""
        pts = rescale(frame.pts, frame.track.clock_rate, TIME_HZ)
        if frame.track is not self._lead or frame.track.kind is not Kind.VIDEO:
            return pts
        if frame.discontinuity:
            self._presentation.reset()
        dts = rescale(frame.dts, frame.track.clock_rate, TIME_HZ)
        return self._presentation.place(pts, dts, is_key=frame.key)

    def _take_rest(self) -> None:
        """Take what still waits for other tracks."""
        if self._interleaver is not None:
            for frame, start in self._interleaver.flush():
                self._take(frame, start, self._now)

    def _take(self, frame: Frame, start: int, now: float) -> None:
        state = self._states[frame.track]
        if self._started_at is None:
            self._started_at = now
        if frame.discontinuity and state.is_break(start):
            self._break_timeline()
            for each in self._states.values():
                each.owes_mark(start, state)
        is_key = frame.key and state.is_lead
        pts = rescale(frame.pts, frame.track.clock_rate, TIME_HZ) if state.is_video else start
        state.show(pts)
        if state.is_lead and not state.is_between:
            self._settle_start()
        if self._needs_key and not self._is_key_wait_over(frame, is_key, now):
            self.dropped += 1
            return
        if frame.parameters is not state.parameters:
            self._change_parameters(state, frame.parameters)
        if is_key and state.is_video:
            self._target.key_frame(start)
        if self._is_gap(start) and (state.is_lead or not self._is_lead_held()):
            if not is_key:
                self._target.gop_too_long()
            self._close()
            self._is_break_due = True
        begin = self._cut_if_due(frame, state, start, is_key=is_key)
        if self.lanes.main.open is None:
            self._begin(frame, begin, pts, is_key=is_key)
        state.step(rescale(frame.dts, frame.track.clock_rate, TIME_HZ))
        if self._clock is not None and state.is_lead and not self._is_start_open:
            self._cut_parts(self._clock, frame, start, state.duration)
        if state.lane.add(frame, pts + state.duration, state.parameters):
            segment = state.lane.open
            if state.is_lead and segment is not None and segment.lowest != NO_TIME:
                segment.lowest = min(segment.lowest, pts)
            if state.is_video and segment is not None:
                if not (is_key or segment.video_frames):
                    segment.is_independent = False
                    self._target.starts_without_key()
                segment.video_frames += 1
            state.has_data = True

    def set_tracks(self, tracks: Sequence[Track]) -> None:
        """Another set of tracks or codecs from the next frame on: a break, if any of it is ours."""
        ours = {track for track in (*self._states, *self._left_out) if self.lanes.carries(track)}
        if {track for track in tracks if self.lanes.carries(track)} == ours:
            self._left_out = tuple(track for track in tracks if track not in self._states)
            return
        self._take_rest()
        self._break_timeline()
        self._waits_since = None
        self._use_tracks(tracks)

    def end(self) -> None:
        """The stream is over: what is open becomes the last segment, the playlist is closed."""
        if self.is_ended:
            return
        self._take_rest()
        self._close()
        self._target.finish()
        self.presenter.is_ended = True
        self.presenter.changed()
        self._on_change(None)
        self._on_change, self._on_part = _nobody, _no_part  # their owner holds this one

    # -- playlists and segments out --------------------------------------------------------

    @property
    def is_ended(self) -> bool:
        """Whether there will be nothing more."""
        return self.presenter.is_ended

    @property
    def content_type(self) -> str:
        """The media type of the segments."""
        return self.lanes.main.container.content_type

    @property
    def name(self) -> str:
        """The output's name in counts and logs."""
        return self.lanes.main.container.name

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks in the segments."""
        return tuple(self._states)

    @property
    def left_out(self) -> tuple[Track, ...]:
        """Tracks that segments of this kind cannot carry, and those of which there is no choice."""
        return self._left_out

    @property
    def window(self) -> Window:
        """The segments of the first playlist, for reading."""
        return self.lanes.main.window

    @property
    def target_duration(self) -> int:
        """EXT-X-TARGETDURATION in seconds; 0 until it is known."""
        return self._target.seconds

    @property
    def is_independent(self) -> bool:
        """Whether playlists call their segments independent."""
        return self._target.is_known and self._target.is_independent

    def is_ready(self, now: float) -> bool:
        """Whether a first playlist can be given out; until then requests should be held."""
        count = len(self.window)
        if not count or not self._target.is_known:
            return False
        if self.is_ended or count >= self._options.ready_segments:
            return True
        return self._started_at is not None and now >= self._started_at + self._options.ready_wait

    def segment(self, name: str) -> Segment | Initialization | None:
        """What has this name in playlists, also for a while after it left them."""
        return self.lanes.segment(name)

    def part(self, name: str) -> Part | None:
        """The part of this name, while it is kept."""
        return self.lanes.part(name)

    @property
    def parts(self) -> PartList | None:
        """What blocking requests ask for, the same in all playlists; None without low latency."""
        return self.lanes.main.parts

    @property
    def version(self) -> int:
        """EXT-X-VERSION that playlists with these segments need."""
        return self.lanes.main.container.version

    def variant(self) -> Variant:
        """What a multivariant playlist of several streams says of this one."""
        return self.presenter.variants()[0]

    def multivariant_playlist(self, token: str = "") -> bytes:
        """The playlist at the stream's own URL; call it when `is_ready`."""
        return self.presenter.multivariant().render(token)

    def media_playlist(self, token: str = "", *, may_skip: bool = False, number: int = 0) -> bytes:
        """The playlist with the segments, or a delta update of it; call it when `is_ready`."""
        return self.presenter.media(number, may_skip=may_skip).render(token)

    # -- cutting ---------------------------------------------------------------------------

    def _use_tracks(self, tracks: Sequence[Track]) -> None:
        self._states = self.presenter.states = self.lanes.assign(tracks)
        self._lead = next(iter(self._states), None)
        self._left_out = tuple(track for track in tracks if track not in self._states)
        is_apart = len(self.lanes) > 1
        wait = MAX_WAIT if self._clock is not None else NO_WAIT
        self._interleaver = (
            Interleaver(self._lead, MAX_WAIT_APART if is_apart else wait)
            if len(self._states) > 1
            else None
        )
        self._presentation.reset()
        has_video = self._lead is not None and self._lead.kind is Kind.VIDEO
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
        return frame.track is not self._lead and len(self.window) > 0

    def _break_timeline(self) -> None:
        for state in self._states.values():
            state.timeline_broke()
        self._target.timeline_broke()
        self._close()
        self._is_break_due = self._is_break_due or len(self.window) > 0
        if self._target.is_independent and self._lead and self._lead.kind is Kind.VIDEO:
            self._needs_key = True
            self._waits_since = None

    def _change_parameters(self, state: TrackState, parameters: Parameters | None) -> None:
        if parameters is None:
            return
        is_news = state.parameters is not None or state.lane.container.has_initialization
        if is_news and parameters != state.parameters:
            is_open = state.lane.open is not None
            self._is_change_due = is_open or len(self.window) > 0
            state.lane.has_changed = is_open
        state.parameters = parameters
        self.presenter.changed()

    def _is_gap(self, start: int) -> bool:
        """Whether a frame at `start` is beyond all that the open segment may hold: a break."""
        segment = self.lanes.main.open
        return segment is not None and start - segment.start > self._target.limit + SKEW

    def _cut_if_due(self, frame: Frame, state: TrackState, start: int, *, is_key: bool) -> int:
        """Close the open segment if the frame at `start` has to begin a new one: answers where."""
        segment = self.lanes.main.open
        if segment is None:
            return start
        elapsed = start - segment.start
        is_due = False
        if elapsed > 0 and is_key and (self._is_change_due or self._rhythm.is_due(frame, elapsed)):
            is_due = True
        elif elapsed > 0 and not state.is_between and (state.is_lead or not self._is_lead_held()):
            # Pictures that come later and are shown before this one go with it.
            end = max(elapsed, state.latest - segment.start) + state.duration
            is_due = self._rhythm.is_late(frame, end - (0 if state.is_lead else SKEW))
            if is_due and not is_key:
                self._target.gop_too_long()
        if not is_due and segment.size_bytes < self._options.max_segment_bytes:
            return start
        return self._close(start, frame)

    def _is_lead_held(self) -> bool:
        return self._interleaver is not None and self._interleaver.is_holding

    def _begin(self, frame: Frame, start: int, pts: int, *, is_key: bool) -> None:
        is_break = self._is_break_due or (self._is_change_due and is_key)
        self._is_break_due = False
        self._is_change_due = self._is_change_due and not is_key
        ntp = frame.ntp + (start - pts) * NTP_SECOND // TIME_HZ if frame.ntp else 0
        parameters = {track: state.parameters for track, state in self._states.items()}
        following = self.window.next_sequence
        number, is_break = self._rhythm.begin(frame, following, is_break=is_break)
        for lane in self.lanes:
            if number != following:
                lane.window.restart(number, self._rhythm.breaks_before(number))
            lane.begin(start, ntp, is_break, parameters)
        is_first = is_break or not len(self.window)
        if is_first and not is_key and self._states[frame.track].is_lead and self.lanes.main.open:
            self.lanes.main.open.lowest = pts
        if self._clock is not None:
            self._clock.begin(start)

    def _settle_start(self) -> None:
        """Where nothing goes before a segment it begins with what is shown first, known by now."""
        segment = self.lanes.main.open
        if segment is None or segment.lowest == NO_TIME:
            return
        ticks, segment.lowest = max(0, segment.lowest - segment.start), NO_TIME
        for lane in self.lanes:
            lane.start_later(ticks)
        if self._clock is not None:
            self._clock.begin(segment.start)

    @property
    def _is_start_open(self) -> bool:
        segment = self.lanes.main.open
        return segment is not None and segment.lowest != NO_TIME

    def _cut_parts(self, clock: PartClock, frame: Frame, start: int, duration: int) -> None:
        """End the parts that end before this frame of the leading track."""
        cuts = list(clock.frame(frame, start, duration, is_key=frame.key))
        for cut in cuts:
            for lane in self.lanes:
                lane.cut_part(cut)
        if cuts:
            self.presenter.changed()
            self._on_part()

    def _close(self, end: int | None = None, following: Frame | None = None) -> int:
        """End the open segment at `end`, before this frame; None: it just ends. Answers where."""
        main, clock = self.lanes.main, self._clock
        if main.open is None:
            return 0
        self._settle_start()
        goes_on = end is not None
        longest = self._target.limit + SKEW
        if end is None:
            end = max(lane.open.end for lane in self.lanes if lane.open is not None)
            end = min(end, main.open.start + longest)
        has_key = True
        if clock is not None:
            end = max(end, clock.start + 1)
            is_lead = following is not None and self._states[following.track].is_lead
            for cut in list(clock.finish(end, following if is_lead else None)):
                for lane in self.lanes:
                    lane.cut_part(cut)
            end, has_key = clock.last(end), clock.has_key
        for lane in self.lanes:
            lane.stop(following, end, goes_on=goes_on, has_key=has_key)
        is_kept = any(lane.has_media for lane in self.lanes)
        if not is_kept:
            self._is_break_due = self._is_break_due or main.open.is_discontinuity
        target = max(self._target.seconds * TIME_HZ, self._wanted)
        segment = None
        is_break = self._rhythm.is_break(main.window.next_sequence)
        for lane in self.lanes:
            if lane.open is not None:
                lane.open.is_discontinuity = lane.open.is_discontinuity or is_break
            done = lane.close(end, target, longest, is_kept=is_kept)
            segment = segment or done
        if segment is not None:
            self._target.segment_done(segment.duration)
            self.presenter.changed()
            self._on_change(segment)
        return end
