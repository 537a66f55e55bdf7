"""Several streams as the variants of one multivariant playlist; sans-IO and synchronous.

Each member has a segmenter of its own, fed with frames on the group's clock (`group_clock.py`) and
cut on the group's grid (`grid.py`). Where every member brings sound, each variant carries its own.
Where one does not, pictures and sound are apart: all variants hold pictures alone, and the first
member with sound gives the rendition that they share. Players change from one to the other
without a gap only if all variants are alike in this.

A member that falls behind by more than one segment is not listed and its playlist is not given
out, so players go to another one. One that comes back goes on under the same URI.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from media.frame import Frame
from media.hls.container import FMP4, MPEGTS, container_for
from media.hls.grid import Grid, GroupRhythm
from media.hls.group_clock import GroupClock, Retimer
from media.hls.options import HlsOptions
from media.hls.playlist import AudioMedia, Playlist, Report, Variant, multivariant_playlist
from media.hls.rhythm import FIRST_SEQUENCE
from media.hls.segment import Segment
from media.hls.segmenter import Segmenter
from media.parameters import AudioParameters
from media.track import Kind, Track

VARIANT_NAME = "v"  # and the member's number: playlists of variants
SOUND_URI = "sound.m3u8"
SOUND_GROUP, SOUND_NAME = "sound", "Sound"
BEHIND = 1  # segments that a member may be behind the newest
WAIT = 5.0  # seconds that a first playlist waits for members without any segment


@dataclass(frozen=True, slots=True)
class GroupOptions:
    """What a group is made with."""

    segmenter: HlsOptions
    span: int  # ticks of the grid; see `grid.plan`
    target_seconds: int
    container: str
    has_shared_audio: bool
    keeps_order: bool = False  # variants as configured, not best first


class GroupMember:
    """One stream in a group: a variant, and maybe the sound of all."""

    def __init__(self, rank: int, segmenters: Sequence[Segmenter], retime: Retimer) -> None:
        self.rank = rank
        self.segmenters = tuple(segmenters)
        self._kinds = [{track.kind for track in each.tracks} for each in segmenters]
        self._retime = retime

    def frame(self, frame: Frame, now: float) -> None:
        """The next frame of the stream."""
        placed = self._retime(frame)
        for segmenter in self.segmenters:
            segmenter.frame(placed, now)

    def set_tracks(self, tracks: Sequence[Track]) -> None:
        """Other codecs, or another set of tracks: each segmenter takes those of its kinds."""
        for segmenter, kinds in zip(self.segmenters, self._kinds, strict=True):
            segmenter.set_tracks([track for track in tracks if track.kind in kinds])


@dataclass(slots=True, eq=False)
class _Rendition:
    """What stands under one URI."""

    uri: str
    rank: int
    segmenter: Segmenter
    rhythm: GroupRhythm
    is_sound: bool
    is_gone: bool = False  # its stream has ended; it may come back

    def let_go(self) -> None:
        """It is over: it knows its group no longer."""
        self.rhythm.close()
        self.segmenter.presenter.siblings = tuple


class SegmentGroup:
    """The variants of one group.

    `make_prefix` gives a name that is new for ever, for each run of a member. `first` is the media
    and the discontinuity sequence number to begin with. `on_change` hears of each segment and part.
    """

    def __init__(
        self,
        options: GroupOptions,
        make_prefix: Callable[[], str],
        on_change: Callable[[], None],
        now: float,
        first: tuple[int, int] = (FIRST_SEQUENCE, 0),
    ) -> None:
        self._options = options
        self._make_prefix = make_prefix
        self._on_change = on_change
        self._began_at = now
        self._clock = GroupClock()
        self.grid = Grid(options.span, options.target_seconds, *first)
        self._renditions: dict[str, _Rendition] = {}
        self._by_prefix: dict[str, Segmenter] = {}  # also of runs before, for late requests
        self.is_ended = False

    # -- members -----------------------------------------------------------------------------

    def join(
        self, rank: int, tracks: Sequence[Track], gop: int, frames: Sequence[Frame], now: float
    ) -> GroupMember | None:
        """A member's stream is there; `rank` is its place in the configuration, from 0.

        `gop` is in ticks of 90 kHz, as far as it is known; `frames` those of its GOP cache. None
        if it has nothing that the group's segments carry.
        """
        shared = self._options.has_shared_audio
        kinds = [Kind.VIDEO] if shared else [Kind.VIDEO, Kind.AUDIO]
        made = []
        retime = Retimer(self._clock)
        variant = [track for kind in kinds for track in _first(tracks, kind)]
        if variant:
            has_video = any(track.kind is Kind.VIDEO for track in variant)
            uri = f"{VARIANT_NAME}{rank + 1}.m3u8"
            gop = (gop or self._options.span) if has_video else 0
            made.append(self._obtain(uri, rank, variant, gop, is_sound=False))
        sound = _first(tracks, Kind.AUDIO)
        if shared and sound and self._gives_sound(rank):
            made.append(self._obtain(SOUND_URI, rank, sound, 0, is_sound=True))
        made = [each for each in made if each.segmenter.tracks]
        if not made:
            return None
        for rendition in made:
            self._put(rendition)
            rendition.is_gone = False
        member = GroupMember(rank, [each.segmenter for each in made], retime)
        for frame in frames:
            member.frame(frame, now)
        return member

    def leave(self, member: GroupMember) -> None:
        """A member's stream has ended; what it has stays until it comes back."""
        for rendition in tuple(self._renditions.values()):
            if rendition.segmenter in member.segmenters:
                rendition.is_gone = True
                rendition.rhythm.rest()

    def end(self) -> None:
        """The group is over: all playlists say so."""
        self.is_ended = True
        for rendition in self._renditions.values():
            rendition.segmenter.end()
            rendition.let_go()
        self._on_change()
        self._on_change = _nobody

    def _gives_sound(self, rank: int) -> bool:
        present = self._renditions.get(SOUND_URI)
        return present is None or present.rank == rank or self._is_away(present)

    def _obtain(
        self, uri: str, rank: int, tracks: Sequence[Track], gop: int, *, is_sound: bool
    ) -> _Rendition:
        """What was there before, if it may go on behind a discontinuity; else a new one."""
        before = self._renditions.get(uri)
        if before is None or before.rank != rank or not before.is_gone:
            return self._make(uri, rank, tracks, gop, is_sound=is_sound)
        before.segmenter.set_tracks(tracks)
        return before

    def _make(
        self, uri: str, rank: int, tracks: Sequence[Track], gop: int, *, is_sound: bool
    ) -> _Rendition:
        rhythm = GroupRhythm(self.grid, gop, is_lead=lambda: self._is_lead(uri))
        prefix = self._make_prefix()
        container = container_for(tracks, self._options.container)
        segmenter = Segmenter(
            tracks,
            self._options.segmenter,
            prefix,
            container=container,
            on_change=self._segment_done,
            on_part=self._on_change,
            rhythm=rhythm,
            uri=uri,
        )
        self._by_prefix[prefix] = segmenter
        return _Rendition(uri, rank, segmenter, rhythm, is_sound)

    def _put(self, rendition: _Rendition) -> None:
        before = self._renditions.get(rendition.uri)
        if before is rendition:
            return
        if before is not None:
            before.let_go()
            before.segmenter.end()
        self._renditions[rendition.uri] = rendition
        rendition.segmenter.presenter.siblings = lambda: self._reports_for(rendition)
        current = {each.segmenter for each in self._renditions.values()}
        for prefix, segmenter in tuple(self._by_prefix.items()):
            if segmenter not in current and len(self._by_prefix) > 2 * len(current):
                del self._by_prefix[prefix]

    def _segment_done(self, segment: Segment | None) -> None:
        if segment is not None:
            self._on_change()

    def _reports_for(self, own: _Rendition) -> list[Report]:
        """How far the others are; rfc8216bis section 4.4.5.4."""
        reports = []
        for other in self._renditions.values():
            parts = other.segmenter.parts
            if other is own or parts is None or parts.last[1] < 0 or self._is_away(other):
                continue
            reports.append(Report(other.uri, *parts.last))
        return reports

    def _is_away(self, rendition: _Rendition) -> bool:
        if rendition.is_gone and not all(each.is_gone for each in self._renditions.values()):
            return True
        return 0 <= rendition.rhythm.number < self.grid.newest - BEHIND

    def _is_lead(self, uri: str) -> bool:
        there = [each for each in self._renditions.values() if not self._is_away(each)]
        videos = [each for each in there if not each.is_sound]
        return min(videos or there, key=lambda each: each.rank).uri == uri if there else False

    # -- playlists and segments ----------------------------------------------------------------

    @property
    def next(self) -> tuple[int, int]:
        """Numbers with which a later run under the same URL goes on."""
        number = self.grid.newest + 1
        return number, self.grid.breaks_before(number)

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments that can be fetched."""
        return sum(each.lanes.size_bytes for each in self._by_prefix.values())

    def playlist(self, uri: str) -> Segmenter | None:
        """The segmenter whose playlist is at this URI, while it is in step."""
        rendition = self._renditions.get(uri)
        if rendition is None or (self._is_away(rendition) and not self.is_ended):
            return None
        return rendition.segmenter

    def owner(self, segment_name: str) -> Segmenter | None:
        """The segmenter that has a segment or part of this name."""
        return self._by_prefix.get(segment_name.partition("-")[0])

    def is_ready(self, now: float) -> bool:
        """Whether the multivariant playlist can be given out."""
        there = self._listed()
        if not any(not each.is_sound for each in there):
            return False
        missing = [each for each in self._renditions.values() if not self._has_enough(each, now)]
        return not missing or now - self._began_at >= WAIT

    def _has_enough(self, rendition: _Rendition, now: float) -> bool:
        return rendition.segmenter.is_ready(now)

    def _listed(self) -> list[_Rendition]:
        return [
            each
            for each in sorted(self._renditions.values(), key=lambda each: each.rank)
            if len(each.segmenter.window) and (self.is_ended or not self._is_away(each))
        ]

    def multivariant(self) -> Playlist:
        """The playlist of all members that are in step; call it when `is_ready`."""
        listed = self._listed()
        for each in listed:
            each.segmenter.presenter.promise()
        variants = [_variant(each.segmenter) for each in listed if not each.is_sound]
        if not self._options.keeps_order:
            variants = best_first(variants)
        media = []
        sound = next((each.segmenter for each in listed if each.is_sound), None)
        if sound is not None:
            variants = [_with_sound(variant, _variant(sound)) for variant in variants]
            parameters = sound.tracks[0].parameters
            channels = parameters.channels if isinstance(parameters, AudioParameters) else 0
            media.append(
                AudioMedia(SOUND_GROUP, SOUND_NAME, SOUND_URI, channels=channels, is_default=True)
            )
        return multivariant_playlist(
            *variants,
            version=max(each.segmenter.version for each in listed),
            is_independent=all(each.segmenter.is_independent for each in listed),
            media=media,
        )


def _nobody() -> None:
    """Of a group that has ended."""


def best_first(variants: Sequence[Variant]) -> list[Variant]:
    """By picture, then by bit rate; what came first stays first where all is equal."""

    def worth(variant: Variant) -> tuple[int, int, int]:
        return variant.width * variant.height, round(variant.frame_rate), variant.average_bps

    return sorted(variants, key=worth, reverse=True)


def _first(tracks: Sequence[Track], kind: Kind) -> list[Track]:
    return [track for track in tracks if track.kind is kind][:1]


def _variant(segmenter: Segmenter) -> Variant:
    return segmenter.variant()


def _with_sound(variant: Variant, sound: Variant) -> Variant:
    """BANDWIDTH and CODECS are of the variant with its renditions; RFC 8216 section 4.3.4.2."""
    is_known = variant.codecs and sound.codecs
    return replace(
        variant,
        peak_bps=variant.peak_bps + sound.peak_bps,
        average_bps=variant.average_bps + sound.average_bps,
        codecs=(*variant.codecs, *sound.codecs) if is_known else (),
        audio=SOUND_GROUP,
    )


def shares_audio(members: Sequence[Sequence[Track]]) -> bool:
    """Whether sound has to be apart from the pictures: some members have none."""
    with_sound = [any(track.kind is Kind.AUDIO for track in tracks) for tracks in members]
    with_video = [any(track.kind is Kind.VIDEO for track in tracks) for tracks in members]
    return any(with_sound) and any(with_video) and not all(with_sound)


def common_container(members: Sequence[Sequence[Track]], options: HlsOptions) -> str:
    """One container for all members: MP4 if one of them needs it."""
    if options.part_duration:
        return FMP4
    made = {container_for(tracks, options.container) for tracks in members}
    return FMP4 if any(each.has_initialization for each in made) else MPEGTS
