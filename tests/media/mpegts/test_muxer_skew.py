"""Tracks that come apart: the clock waits, is set anew once, and sound waits for pictures."""

from itertools import pairwise

import pytest

from media.frame import Frame
from media.mpegts.format import TsFormat
from media.track import Kind
from tests.support import clips
from tests.support.conform.problem import slugs, told
from tests.support.conform.ts import TsContent, TsLimits, read_ts

LIVE = TsLimits(tables_within=0.15, tables_at_keys=True)
SECONDS = 20


def played() -> list[Frame]:
    return clips.looped(clips.read(clips.BUNNY), SECONDS // 10, 10_000)


def skewed(kind: Kind, seconds: float) -> list[Frame]:
    """What is of one kind comes so much later than its time."""

    def sent_at(frame: Frame) -> float:
        late = seconds if frame.track.kind is kind else 0.0
        return frame.dts / frame.track.clock_rate + late

    return sorted(played(), key=sent_at)


def judged(frames: list[Frame], limits: TsLimits = LIVE) -> TsContent:
    muxer = TsFormat(clips.tracks_of(frames))
    data = b"".join((muxer.header(), *map(muxer.encode, frames), muxer.trailer()))
    return read_ts(data, limits)


@pytest.mark.parametrize("kind", [Kind.AUDIO, Kind.VIDEO])
@pytest.mark.parametrize("seconds", [0.5, 1.2, 2.5, 5.0])
def test_a_track_that_lags_arrives_in_time(kind: Kind, seconds: float) -> None:
    frames = skewed(kind, seconds)
    content = judged(frames)
    assert content.problems == [], told(content.problems)
    assert sum(map(len, content.units.values())) == len(frames)


def test_the_clock_is_set_anew_once_for_a_lag_and_not_again() -> None:
    content = judged(skewed(Kind.AUDIO, 2.5), LIVE)
    back = [(b - a) / 27_000_000 for a, b in pairwise(content.pcrs) if b < a]
    assert len(back) == 1
    assert -2.6 < back[0] < -2.2


def test_sound_waits_for_pictures_that_lag() -> None:
    """Not more of it is ahead than a decoder keeps, 2.4.2.6; the rule sees it where it is."""
    frames = skewed(Kind.VIDEO, 1.5)
    muxer = TsFormat(clips.tracks_of(frames))
    ahead = 0.0
    sent: dict[Kind, float] = {}
    waiting = 0
    for frame in frames:
        data = muxer.encode(frame)
        waiting += not data
        sent[frame.track.kind] = frame.dts / frame.track.clock_rate
        if data and len(sent) == 2 and frame.track.kind is Kind.AUDIO:
            ahead = max(ahead, sent[Kind.AUDIO] - sent[Kind.VIDEO])
    assert waiting > 300
    assert ahead < 0.7


def test_a_track_that_dies_holds_the_clock_for_less_than_a_second() -> None:
    frames = [
        frame
        for frame in played()
        if frame.track.kind is Kind.AUDIO or frame.dts < 5 * frame.track.clock_rate
    ]
    content = judged(frames)
    assert content.problems == [], told(content.problems)


def test_a_track_that_rests_and_comes_back_late_arrives_in_time() -> None:
    frames = [
        frame
        for frame in skewed(Kind.AUDIO, 1.5)
        if frame.track.kind is Kind.VIDEO or not 5 < frame.dts / frame.track.clock_rate < 9
    ]
    content = judged(frames, TsLimits(tables_within=0.15, pts_within=0))
    assert content.problems == [], told(content.problems)


def test_what_lags_beyond_all_measure_moves_no_clock() -> None:
    """Eight seconds are made up for; more would take more than ten seconds of pictures."""
    frames = skewed(Kind.AUDIO, 9.0)
    last = max(n for n, frame in enumerate(frames) if frame.track.kind is Kind.VIDEO)
    content = judged(frames[:last])
    assert "pcr-after-dts" in slugs(content.problems)
    assert not any(b < a for a, b in pairwise(content.pcrs))


def test_a_picture_is_never_shown_before_it_is_decoded() -> None:
    """DTS may exceed PTS where B-frames come that nothing told of."""
    frames = clips.only(played(), Kind.VIDEO)[:60]
    frames[20].dts = frames[20].pts + 2
    content = judged(frames)
    assert content.problems == [], told(content.problems)
