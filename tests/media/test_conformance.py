"""Ten minutes of each output of each clip, in virtual time, before judges that know no FLUX."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from media.flv.muxer import FlvMuxer
from media.frame import Frame
from media.hls.container import Fmp4Container
from media.hls.options import HlsOptions
from media.mpegts.format import TsFormat
from media.track import Kind
from tests.support import clips
from tests.support.conform.flv import FlvLimits, check_flv
from tests.support.conform.hls import Follower, check_multivariant
from tests.support.conform.problem import told
from tests.support.conform.ts import TsLimits, read_ts
from tests.support.ten_minutes import (
    HlsViewer,
    Playing,
    flv_file,
    http_transport_stream,
    playing,
    rtp_session,
    transport_stream,
)

NAMES = [path.stem[-12:] for path in clips.JUDGED]
LIVE = TsLimits(tables_within=0.1, tables_at_keys=True)
TEN_MINUTES = 600.0
QUICK = 30.0  # what the others get where all is to be quick
FULL_BYTES = 4_000  # of a NAL unit; whole ones would be a gigabyte and a half


def judge_ts(source: Playing, seconds: float) -> None:
    content = read_ts(transport_stream(source, seconds), LIVE)
    assert content.problems == [], told(content.problems)
    assert len(content.streams) == len(source.tracks)
    assert len(content.pcrs) > 10 * (seconds - 10)
    assert content.versions == [0]


def judge_http_ts(source: Playing, seconds: float) -> None:
    content = read_ts(http_transport_stream(source, seconds), LIVE)
    assert content.problems == [], told(content.problems)
    assert len(content.streams) == len(source.tracks)
    units = sum(map(len, content.units.values()))
    assert units > 0.9 * len(source.frames) * seconds * 1000 / source.period_ms


def judge_rtp(source: Playing, seconds: float) -> None:
    content = rtp_session(source, seconds)
    assert content.problems == [], told(content.problems)
    assert content.reports >= len(source.tracks) * (seconds // 5 - 1)
    assert len(content.units) > 0.9 * len(source.frames) * seconds * 1000 / source.period_ms


def judge_flv(source: Playing, seconds: float) -> None:
    problems = check_flv(flv_file(source, seconds))
    assert problems == [], told(problems)
    if any(track.codec == "h265" for track in source.tracks):
        problems = check_flv(flv_file(source, seconds, legacy_h265=True))
        assert problems == [], told(problems)


def judge_hls(source: Playing, seconds: float, duration: float = 2.0) -> None:
    options = HlsOptions(segment_duration=duration, ready_wait=0.0)
    viewer = HlsViewer(source.tracks, options)
    problems = viewer.watch(source.play(seconds))
    problems += check_multivariant(viewer.multivariant)
    assert problems == [], told(problems)
    assert viewer.segments >= seconds / 18


def judge_fmp4_hls(source: Playing, seconds: float) -> None:
    options = HlsOptions(segment_duration=2.0, ready_wait=0.0)
    viewer = HlsViewer(source.tracks, options, container=Fmp4Container)
    problems = viewer.watch(source.play(seconds))
    problems += check_multivariant(viewer.multivariant)
    assert problems == [], told(problems)


def judge_low_latency(source: Playing, seconds: float) -> None:
    options = HlsOptions(segment_duration=1.0, part_duration=0.2, ready_wait=0.0)
    viewer = HlsViewer(source.tracks, options, container=Fmp4Container)
    viewer.follower = Follower(slack=0.3)  # sound and pictures wait for each other
    problems = viewer.watch(source.play(seconds))
    problems += check_multivariant(viewer.multivariant)
    assert problems == [], told(problems)


JUDGES = [
    judge_ts,
    judge_http_ts,
    judge_rtp,
    judge_flv,
    judge_hls,
    judge_fmp4_hls,
    judge_low_latency,
]


@pytest.mark.parametrize("path", clips.JUDGED, ids=NAMES)
def test_all_outputs_of_a_clip(path: Path) -> None:
    source = playing(path)
    judge_ts(source, QUICK)
    judge_http_ts(source, QUICK)
    judge_rtp(source, QUICK)
    judge_flv(source, QUICK)
    judge_hls(source, QUICK)
    judge_fmp4_hls(source, QUICK)
    judge_low_latency(source, QUICK)


@pytest.mark.parametrize("judge", JUDGES)
def test_ten_minutes_of_an_output(judge: object) -> None:
    assert callable(judge)
    # Of low latency, each part is a look at a playlist: two minutes of it take as long.
    judge(playing(clips.PYRAMID), TEN_MINUTES if judge is not judge_low_latency else 120.0)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("path", clips.JUDGED, ids=NAMES)
def test_ten_minutes_of_each_output_of_each_clip(path: Path, judge: object) -> None:
    assert callable(judge)
    # Low latency is judged with the thinned clip: what is large is not what is judged there.
    source = playing(path, FULL_BYTES) if judge is not judge_low_latency else playing(path)
    judge(source, TEN_MINUTES)


@pytest.mark.parametrize("kind", [Kind.AUDIO, Kind.VIDEO])
@pytest.mark.parametrize("duration", [1.0, 4.0])
def test_outputs_of_one_track(kind: Kind, duration: float) -> None:
    source = playing(clips.BUNNY, kind=kind)
    judge_ts(source, QUICK)
    judge_flv(source, QUICK)
    judge_hls(source, QUICK, duration)


def late(source: Playing, hours: float) -> list[Frame]:
    """The clip's start, then the same so much later: as if it had run all the time.

    Two steps, for of a step of more than half a turn nobody can tell which way it goes.
    """
    first = list(source.play(source.period_ms / 1000))
    gap = int(hours * 3_600_000) // 1000 * 1000
    times = (0, gap // 2 // 1000 * 1000, gap, gap + source.period_ms)
    return [frame for time in times for frame in clips.shifted(first, time)]


@pytest.mark.parametrize("path", [clips.BUNNY, clips.PYRAMID], ids=["bunny", "pyramid"])
def test_transport_times_wrap(path: Path) -> None:
    """33 bits of 90 kHz are 26 h 30 min 43.7 s; the muxer begins at 10 s."""
    source = playing(path)
    frames = late(source, ((1 << 33) / 90_000 - 12) / 3600)
    muxer = TsFormat(source.tracks)
    data = b"".join((muxer.header(), *map(muxer.encode, frames)))
    content = read_ts(data, replace(LIVE, pcr_within=0, pts_within=0, tables_within=0))
    assert content.problems == [], told(content.problems)
    times = [unit.dts for unit in next(iter(content.units.values()))]
    assert any(new < old - (1 << 32) for old, new in pairwise(times))


@pytest.mark.parametrize("hours", [(1 << 24) / 3_600_000 - 0.002, 300.0])
def test_flv_times_need_their_extension(hours: float) -> None:
    source = playing(clips.PYRAMID)
    muxer = FlvMuxer(source.tracks)
    data = b"".join((muxer.header(), *map(muxer.encode, late(source, hours))))
    problems = check_flv(data, FlvLimits(jump_ms=0))
    assert problems == [], told(problems)


def test_a_break_is_marked_everywhere() -> None:
    """The timeline jumps by an hour: a mark in TS and HLS, and everything after it is right."""
    source = playing(clips.BUNNY)
    before = list(source.play(21))
    after = clips.shifted(before, 3_600_000)
    kinds = {Kind.AUDIO, Kind.VIDEO}
    for frame in after:
        if frame.track.kind in kinds:
            kinds.discard(frame.track.kind)
            frame.discontinuity = True
        frame.arrived -= 3_580
    muxer = TsFormat(source.tracks)
    data = b"".join((muxer.header(), *map(muxer.encode, [*before, *after])))
    content = read_ts(data, LIVE)
    assert content.problems == [], told(content.problems)
    viewer = HlsViewer(source.tracks)
    problems = viewer.watch(iter([*before, *after]))
    assert problems == [], told(problems)
    newest = viewer.follower.newest
    assert newest is not None and newest.discontinuity_sequence == 1


def test_short_segments_make_a_long_enough_playlist() -> None:
    """Segments of a second under a target of three: seven of them would be too few."""
    judge_hls(playing(clips.HDR), QUICK, 1.0)
