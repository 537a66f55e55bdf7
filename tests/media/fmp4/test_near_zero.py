"""A reader's MP4 begins near zero whenever it joins, and is the same for all that."""

from fractions import Fraction

import pytest

from media.feed import Feed
from media.feed_reader import FeedOptions
from media.fmp4.format import Fmp4Format
from media.fmp4.near_zero import LEAD, NearZero
from tests.support import clips, frames
from tests.support.conform.fmp4 import Fmp4Limits, read_fmp4
from tests.support.conform.problem import told
from tests.support.ten_minutes import playing
from tests.support.virtual import MemorySink, VirtualScheduler

LIMITS = Fmp4Limits(starts_with_sync=False)


@pytest.mark.parametrize("joins", [3, 200, 700])
def test_who_joins_late_gets_the_same_times_less_whole_seconds(joins: int) -> None:
    source = playing(clips.BUNNY)
    scheduler = VirtualScheduler()
    feed = Feed(Fmp4Format(source.tracks), source.tracks, FeedOptions(), scheduler, _nobody)
    plain, moved = MemorySink(), MemorySink()
    for index, frame in enumerate(source.play(20.0)):
        feed.frame(frame)
        scheduler.run(0.01)
        if index == joins:
            feed.attach(plain)
            feed.attach(moved, variant=NearZero(source.tracks))
    feed.close("source-ended")
    scheduler.run(1.0)
    content = read_fmp4(moved.data, LIMITS)
    assert content.problems == [], told(content.problems)
    assert len(moved.data) == len(plain.data)
    before, after = frames.read(plain.data, "mp4"), frames.read(moved.data, "mp4")
    shifts = {
        Fraction(one.dts - other.dts) * before[kind].time_base
        for kind in before
        for one, other in zip(before[kind].units, after[kind].units, strict=True)
    }
    (shift,) = shifts
    assert shift.denominator == 1
    first = min(track.units[0].dts * track.time_base for track in after.values())
    assert 0 <= first < LEAD + 1
    assert [u.pieces for u in before["video"].units] == [u.pieces for u in after["video"].units]


def test_sound_that_is_far_ahead_of_the_first_picture_does_not_go_below_zero() -> None:
    source = playing(clips.BUNNY)
    form, variant = Fmp4Format(source.tracks), NearZero(source.tracks)
    clip = [frame for frame in source.play(5.0) if frame.track is not source.tracks[0]]
    late = [form.encode(frame) for frame in clip]
    variant(form.header() + late[-1])
    early = variant(late[1])
    content = read_fmp4(form.header() + early, LIMITS)
    assert [each.dts for segment in content.segments for each in segment.samples] == [0]


def _nobody(*_: object) -> None:
    """No reader skips here."""
