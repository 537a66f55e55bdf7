"""The playlists of a segmenter, rendered once for each change and shared by all who ask."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from media.hls.alternates import Sound, groups_of
from media.hls.lane import Lane
from media.hls.parts import PartClock
from media.hls.playlist import (
    LowLatency,
    Playlist,
    Report,
    Variant,
    media_playlist,
    multivariant_playlist,
)
from media.hls.segment import TIME_HZ
from media.hls.target import TargetDuration
from media.hls.track_state import TrackState
from media.track import Kind, Track


class Presenter:
    """Renders what lanes have; the first is the one that variants name."""

    def __init__(
        self,
        lanes: Sequence[Lane],
        target: TargetDuration,
        clock: PartClock | None,
    ) -> None:
        self._lanes = lanes
        self._target = target
        self._clock = clock
        self.states: Mapping[Track, TrackState] = {}  # of the tracks that are carried now
        self._rendered: dict[tuple[int, bool], Playlist] = {}  # by lane, whether it may skip
        self._multivariant: Playlist | None = None
        self._known: dict[int, dict[int, str]] = {}  # by lane: lines of its segments
        self.is_ended = False
        self.siblings: Callable[[], Sequence[Report]] = tuple  # of a group's other members

    def changed(self) -> None:
        """There is more to list; what was rendered is old."""
        self._rendered.clear()
        self._multivariant = None

    def variants(self) -> tuple[Variant, ...]:
        """What a multivariant playlist says of this stream: one for each codec of its sound."""
        main, *others = self._lanes
        present = [
            state.parameters
            for state in self.states.values()
            if state.lane is main and state.has_data
        ]
        variant = main.rendition.variant(chain(present, main.formats))
        if not others:
            return (variant,)
        found = []
        for group in groups_of(self._sounds()):
            codecs = tuple(dict.fromkeys([*variant.codecs, *group.codecs]))
            found.append(
                replace(
                    variant,
                    peak_bps=variant.peak_bps + group.peak_bps,
                    average_bps=variant.average_bps + group.average_bps,
                    codecs=codecs if variant.codecs and all(codecs) else (),
                    audio=group.name,
                )
            )
        return tuple(found) or (variant,)

    def multivariant(self) -> Playlist:
        """The playlist at the stream's own URL."""
        if self._multivariant is None:
            self.promise()
            groups = groups_of(self._sounds()) if len(self._lanes) > 1 else ()
            self._multivariant = multivariant_playlist(
                *self.variants(),
                version=self._lanes[0].container.version,
                is_independent=self._is_independent,
                media=[media for group in groups for media in group.media],
            )
        return self._multivariant

    def media(self, number: int, *, may_skip: bool) -> Playlist:
        """The playlist of a lane, or a delta update of it."""
        may_skip = may_skip and self._clock is not None
        playlist = self._rendered.get((number, may_skip))
        if playlist is None:
            playlist = self._rendered[number, may_skip] = self._render(number, may_skip)
        return playlist

    @property
    def _is_independent(self) -> bool:
        return self._target.is_known and self._target.is_independent

    def promise(self) -> None:
        """A playlist goes out: what must not change later stays as it is."""
        self._target.freeze()
        if self._clock is not None:
            self._clock.freeze()

    def _sounds(self) -> list[Sound]:
        sounds = []
        for lane in self._lanes:
            is_main = lane is self._lanes[0]
            for track in lane.tracks:
                if track.kind is not Kind.AUDIO:
                    continue
                figures = (
                    (0, 0) if is_main else (lane.rendition.peak_bps, lane.rendition.average_bps)
                )
                uri = "" if is_main else lane.playlist_name
                formats = () if is_main else tuple(lane.formats)
                sounds.append(Sound(track, uri, track.parameters, *figures, formats))
        return sounds

    def _render(self, number: int, may_skip: bool) -> Playlist:
        self.promise()
        lane, target = self._lanes[number], self._target.seconds
        low_latency = None
        clock, parts = self._clock, lane.parts
        if clock is not None and parts is not None:
            low_latency = LowLatency(
                clock.target_seconds,
                parts.listed(target * TIME_HZ),
                lane.open,
                parts.open,
                "" if self.is_ended else parts.next_name,
                self._reports(lane),
            )
        return media_playlist(
            lane.window,
            target_duration=target,
            version=lane.container.version,
            is_independent=self._is_independent,
            is_ended=self.is_ended,
            low_latency=low_latency,
            may_skip=may_skip,
            known=self._known.setdefault(number, {}),
        )

    def _reports(self, lane: Lane) -> list[Report]:
        reports = []
        for other in self._lanes:
            if other is not lane and other.parts is not None:
                sequence, part = other.parts.last
                if part >= 0:
                    reports.append(Report(other.playlist_name, sequence, part))
        return [*reports, *self.siblings()]
