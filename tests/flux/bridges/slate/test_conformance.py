"""Loss, slate and return, before judges that know no FLUX: FLV, MPEG-TS, HLS of both containers.

Clips are published in virtual time, the slate is encoded for real; what a reader gets from before
the loss to after the return has to be right as a whole, in the same tracks.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from flux.bridges.slate.order import wish_for
from media.frame import NO_TIME, Frame
from media.hls.container import Container, Fmp4Container, TsContainer
from media.publisher import Publisher
from media.stream import State
from media.track import Kind, Track, TrackDescription
from tests.support import clips
from tests.support.conform.flv import FlvLimits, read_flv
from tests.support.conform.problem import told
from tests.support.conform.ts import TsLimits, read_ts
from tests.support.slate_house import House
from tests.support.slate_worker import make_loop
from tests.support.ten_minutes import HlsViewer, Playing, flv_file, playing, transport_stream

LIVE = TsLimits(tables_within=0.1, tables_at_keys=True)
SECONDS = 6.0  # of each part


@dataclass(frozen=True)
class Recorded:
    """Frames as if they were a clip that is played once."""

    frames: tuple[Frame, ...]
    tracks: tuple[Track, ...]
    period_ms: int = 1

    def play(self, seconds: float) -> Iterator[Frame]:
        """All of them."""
        del seconds
        return iter(self.frames)


def playing_clip(house: House, path: Path, offset: float) -> "Film":
    source = playing(path, 0)
    descriptions = [
        TrackDescription(t.kind, t.codec, t.clock_rate, t.parameters) for t in source.tracks
    ]
    publisher = house.router.publish("cam", descriptions, now=house.now, origin="test")
    return Film(house.now, offset, publisher, source)


class Film:
    """A clip that is published as time passes; satisfies what a house's cameras are."""

    def __init__(self, started: float, offset: float, publisher: Publisher, clip: Playing) -> None:
        self.publisher = publisher
        self._started = started
        self._offset = offset
        self._own = dict(zip(clip.tracks, publisher.tracks, strict=True))
        self._frames = clip.play(600.0)
        self._next = next(self._frames)
        self._first = self._next.arrived

    def run(self, now: float) -> None:
        """Write what is due."""
        while not self.publisher.closed:
            frame = self._next
            at = self._started + frame.arrived - self._first
            if at > now:
                return
            track = self._own[frame.track]
            shift = round(self._offset * track.clock_rate)
            self.publisher.write(track, frame.pts + shift, frame.payload, at, NO_TIME)
            self._next = next(self._frames)


def recorded(first: Path, second: Path) -> tuple[House, Recorded]:
    """A clip, the slate, a clip, as one reader got them."""
    house = House()
    house.cameras.append(playing_clip(house, first, 0.0))  # type: ignore[arg-type] # it runs
    house.run(1.0)
    assert house.state() is State.READY
    wish = wish_for(house.stream, "builtin")
    assert wish is not None
    house.onair.set_loop(make_loop(house.stream, wish), house.now)
    house.watch()
    house.run(SECONDS)
    house.cameras[-1].publisher.finish("peer-gone", house.now)
    assert house.state() is State.SLATE
    house.run(SECONDS)
    house.cameras.append(playing_clip(house, second, 5000.0))  # type: ignore[arg-type] # as above
    house.run(SECONDS)
    assert house.state() is State.READY and house.log.changes == []
    return house, Recorded(tuple(house.log.frames), house.stream.tracks)


PAIRS = [
    pytest.param(clips.BUNNY, clips.BUNNY, id="h264"),
    pytest.param(clips.PYRAMID, clips.PYRAMID, id="b-frames"),
    pytest.param(clips.HDR, clips.HDR, id="h265"),
    pytest.param(clips.BUNNY, clips.SOUND_FIRST, id="another-size"),
]


@pytest.fixture(scope="module")
def runs() -> dict[tuple[Path, Path], tuple[House, Recorded]]:
    """Each pair, once."""
    return {}


@pytest.fixture
def run(
    runs: dict[tuple[Path, Path], tuple[House, Recorded]], pair: tuple[Path, Path]
) -> tuple[House, Recorded]:
    if pair not in runs:
        runs[pair] = recorded(*pair)
    return runs[pair]


pairs = pytest.mark.parametrize("pair", [pytest.param(p.values, id=p.id) for p in PAIRS])


@pairs
def test_flv(run: tuple[House, Recorded]) -> None:
    file = flv_file(run[1], SECONDS)  # type: ignore[arg-type] # it plays
    content = read_flv(file, FlvLimits())
    assert content.problems == [], told(content.problems)


@pairs
def test_mpeg_ts(run: tuple[House, Recorded]) -> None:
    content = read_ts(transport_stream(run[1], SECONDS), LIVE)  # type: ignore[arg-type] # it plays
    assert content.problems == [], told(content.problems)
    assert content.versions == [0]


@pairs
@pytest.mark.parametrize("container", [TsContainer, Fmp4Container], ids=["ts", "fmp4"])
def test_hls(
    run: tuple[House, Recorded], container: Callable[[Sequence[Track]], Container]
) -> None:
    viewer = HlsViewer(run[1].tracks, container=container)
    problems = viewer.watch(iter(run[1].frames))
    assert problems == [], told(problems)
    assert viewer.playlist.count(b"EXT-X-DISCONTINUITY\n") >= 1


@pairs
def test_sound_and_picture(run: tuple[House, Recorded]) -> None:
    house, source = run
    house.log.check()
    by_kind = {
        kind: [f.pts / f.track.clock_rate for f in source.frames if f.track.kind is kind]
        for kind in (Kind.VIDEO, Kind.AUDIO)
    }
    if by_kind[Kind.AUDIO]:
        assert abs(by_kind[Kind.VIDEO][-1] - by_kind[Kind.AUDIO][-1]) < 0.2
    pictures = sorted(by_kind[Kind.VIDEO])
    assert max(b - a for a, b in pairwise(pictures)) < 0.5
    assert len(set(pictures)) == len(pictures)
