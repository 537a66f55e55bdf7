"""A clip played on and on in virtual time, and what its outputs come to.

Media are thinned: of each NAL unit only the beginning is kept, so that ten minutes of any clip are
some megabytes. Times, sizes of access units in NAL units, and what the units are stay the same.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path

from media.flv.muxer import FlvMuxer
from media.frame import Frame
from media.hls.container import Container, TsContainer
from media.hls.options import HlsOptions
from media.hls.segment import Segment
from media.hls.segmenter import Segmenter
from media.mpegts.format import TsFormat
from media.track import Kind, Track
from tests.support import clips
from tests.support.conform.hls import Follower, SegmentJudge, SegmentLimits, parse_multivariant
from tests.support.conform.problem import Problem

GRID_MS = 10  # whole ticks of all clocks, 44.1 kHz too
NAL_BYTES = 120


@dataclass(frozen=True, slots=True)
class Playing:
    """A clip that is played again and again without a gap."""

    frames: tuple[Frame, ...]
    period_ms: int

    @property
    def tracks(self) -> tuple[Track, ...]:
        """Its tracks."""
        return clips.tracks_of(list(self.frames))

    def play(self, seconds: float) -> Iterator[Frame]:
        """Its frames for so long, to the end of a round."""
        for n in range(-(-int(seconds * 1000) // self.period_ms)):
            yield from clips.shifted(list(self.frames), n * self.period_ms)


@cache
def playing(path: Path, nal_bytes: int = NAL_BYTES, kind: Kind | None = None) -> Playing:
    """A clip; `nal_bytes` are kept of each NAL unit, 0: all of it; `kind`: only these tracks."""

    def thin(frame: Frame) -> None:
        if nal_bytes and frame.track.kind is Kind.VIDEO:
            frame.payload = tuple(nal[:nal_bytes] for nal in frame.payload)

    clip = [frame for frame in clips.read(path) if kind in (None, frame.track.kind)]
    frames = tuple(clips.with_frames(clip, thin))
    spans = []
    for track in clips.tracks_of(clip):
        times = [frame.dts for frame in frames if frame.track is track]
        step = (times[-1] - times[0]) / (len(times) - 1)
        spans.append((times[-1] - times[0] + step) * 1000 / track.clock_rate)
    return Playing(frames, -(-int(max(spans)) // GRID_MS) * GRID_MS)


def transport_stream(source: Playing, seconds: float) -> bytes:
    """What a reader of the live transport stream gets."""
    muxer = TsFormat(source.tracks)
    return b"".join((muxer.header(), *map(muxer.encode, source.play(seconds))))


def flv_file(source: Playing, seconds: float, *, legacy_h265: bool = False) -> bytes:
    """What a reader of HTTP-FLV gets."""
    muxer = FlvMuxer(source.tracks, legacy_h265=legacy_h265)
    return b"".join((muxer.header(), *map(muxer.encode, source.play(seconds))))


class Served(Mapping[str, bytes]):
    """Segments, initialization sections and parts as they can be fetched at the moment."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter

    def __getitem__(self, name: str) -> bytes:
        found = self._segmenter.segment(name) or self._segmenter.part(name)
        if found is None:
            raise KeyError(name)
        return found.data

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@dataclass(slots=True)
class HlsViewer:
    """A player that looks at every change of a playlist and fetches everything in it.

    With parts, every other look asks for a delta update.
    """

    tracks: tuple[Track, ...]
    options: HlsOptions = field(default_factory=lambda: HlsOptions(ready_wait=0.0))
    limits: SegmentLimits = field(default_factory=SegmentLimits)
    container: Callable[[Sequence[Track]], Container] = TsContainer
    follower: Follower = field(default_factory=Follower)
    kept: dict[str, bytes] = field(default_factory=dict)  # the last segments
    segments: int = 0
    now: float = 0.0
    multivariant: bytes = b""
    playlist: bytes = b""  # the last one

    def watch(self, frames: Iterator[Frame]) -> list[Problem]:
        """Play until the stream ends; what is wrong with it."""
        judge = SegmentJudge(self.limits)
        looks = count()

        def look() -> None:
            if not segmenter.is_ready(self.now):
                return
            may_skip = bool(self.options.part_duration) and next(looks) % 2 == 1
            self.playlist = segmenter.media_playlist(may_skip=may_skip)
            judge.playlist(self.follower.reload(self.playlist, self.now), served)

        def changed(segment: Segment | None) -> None:
            if segment is not None:
                self.kept[segment.name] = segment.data
                self.kept.pop(f"run-{segment.sequence - 20}.ts", None)
                self.segments += 1
            look()

        segmenter = Segmenter(
            self.tracks,
            self.options,
            "run",
            container=self.container,
            on_change=changed,
            on_part=look,
        )
        served = Served(segmenter)
        for frame in frames:
            self.now = max(self.now, frame.arrived)
            segmenter.frame(frame, self.now)
        segmenter.end()
        self.multivariant = segmenter.multivariant_playlist()
        judge.multivariant(parse_multivariant(self.multivariant).variants[0])
        return [*self.follower.problems, *judge.problems]
