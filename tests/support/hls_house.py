"""A segmenter with all of its playlists, and a player that reads every version of each of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from media.frame import Frame
from media.hls.container import Container, TsContainer
from media.hls.options import HlsOptions
from media.hls.segment import Segment
from media.hls.segmenter import Segmenter
from media.track import Kind, Track
from tests.support import clips
from tests.support.conform.hls import (
    Follower,
    SegmentJudge,
    check_multivariant,
    check_renditions,
    parse_multivariant,
)
from tests.support.conform.problem import Problem
from tests.support.ten_minutes import Served

QUICK = HlsOptions(segment_duration=1.0, ready_segments=1, ready_wait=0.0)
LOW = replace(QUICK, part_duration=0.2)


def with_sound(clip: Sequence[Frame], languages: Sequence[str]) -> list[Frame]:
    """The clip with its sound once for each language."""
    (sound,) = {frame.track for frame in clip if frame.track.kind is Kind.AUDIO}
    copies = [
        Track(10 + n, sound.kind, sound.codec, sound.clock_rate, sound.parameters, language)
        for n, language in enumerate(languages)
    ]
    found: list[Frame] = []
    for frame in clip:
        tracks = copies if frame.track is sound else [frame.track]
        found += [replace(frame, track=track) for track in tracks]
    return found


@dataclass
class House:
    """Feeds a segmenter; at each change all playlists are read and judged."""

    tracks: Sequence[Track]
    options: HlsOptions = QUICK
    container: Callable[[Sequence[Track]], Container] = TsContainer
    slack: float = 0.5
    texts: dict[str, list[str]] = field(default_factory=dict)
    followers: dict[str, Follower] = field(default_factory=dict)
    judges: dict[str, SegmentJudge] = field(default_factory=dict)
    done: list[Segment] = field(default_factory=list)
    others: list[Problem] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.now = 0.0
        self.segmenter = Segmenter(
            self.tracks,
            self.options,
            "run",
            container=self.container,
            on_change=self._changed,
            on_part=self._look,
        )

    def play(self, frames: Iterable[Frame]) -> None:
        """Feed frames at their time."""
        for frame in frames:
            self.now = max(self.now, frame.arrived)
            self.segmenter.frame(frame, self.now)

    def text(self, name: str = "media.m3u8") -> str:
        """The last version of a playlist."""
        return self.texts[name][-1]

    @property
    def multivariant(self) -> str:
        """The first playlist."""
        return self.segmenter.multivariant_playlist().decode()

    @property
    def problems(self) -> list[Problem]:
        """All that is wrong with any of it."""
        found = [*self.others, *check_multivariant(self.multivariant)]
        for follower in self.followers.values():
            found += follower.problems
        read = parse_multivariant(self.multivariant)
        for name, judge in self.judges.items():
            if len(self.judges) == 1:
                judge.multivariant(read.variants[0])
            found += [replace(each, where=f"{name}: {each.where}") for each in judge.problems]
        return found

    def _changed(self, segment: Segment | None) -> None:
        if segment is not None:
            self.done.append(segment)
        self._look()

    def _look(self) -> None:
        if not self.segmenter.is_ready(self.now):
            return
        now: dict[str, bytes | str] = {}
        for number, name in enumerate(self.segmenter.lanes.playlist_names):
            text = self.segmenter.media_playlist(number=number).decode()
            self.texts.setdefault(name, []).append(text)
            follower = self.followers.setdefault(name, Follower(name, slack=self.slack))
            judge = self.judges.setdefault(name, SegmentJudge())
            judge.playlist(follower.reload(text, self.now), Served(self.segmenter))
            now[name] = text
        if len(now) > 1:
            is_low = bool(self.options.part_duration)
            self.others += check_renditions(now, low_latency=is_low)


def tracks_of(clip: Sequence[Frame]) -> tuple[Track, ...]:
    """The tracks of a clip in the order of their ids."""
    return clips.tracks_of(list(clip))
