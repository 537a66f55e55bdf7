"""Target duration and the promise of independent segments."""

from media.hls.segment import TIME_HZ
from media.hls.target import TargetDuration


def after_keys(*seconds: float, configured: float = 2.0) -> TargetDuration:
    """A target that has seen key frames at these times."""
    target = TargetDuration(configured, 10.0)
    target.use_tracks(has_video=True)
    for each in seconds:
        target.key_frame(round(each * TIME_HZ))
    return target


def test_one_gop_makes_it_known() -> None:
    assert not after_keys(0).is_known
    assert after_keys(0).limit == 11 * TIME_HZ
    assert after_keys(0, 1).seconds == 3
    assert after_keys(0, 2).seconds == 3
    assert after_keys(0, 2.1).seconds == 4
    assert after_keys(0, 1, configured=5.5).seconds == 7
    assert after_keys(0, 400).seconds == 11
    assert after_keys(0, 4).limit == 5 * TIME_HZ


def test_it_grows_until_a_playlist_goes_out() -> None:
    target = after_keys(0, 1, 5)
    assert target.seconds == 5
    target.freeze()
    target.key_frame(14 * TIME_HZ)
    target.segment_done(9 * TIME_HZ)
    assert target.seconds == 5


def test_independent_needs_a_rhythm() -> None:
    assert not after_keys(0, 2).is_independent
    assert after_keys(0, 2, 4).is_independent
    assert after_keys(0, 2, 4.1).is_independent
    assert not after_keys(0, 2, 3, 5).is_independent


def test_the_promise_stays_as_it_was_given() -> None:
    target = after_keys(0, 2, 4)
    target.freeze()
    target.starts_without_key()
    assert target.is_independent
    target = after_keys(0, 2)
    target.freeze()
    target.key_frame(4 * TIME_HZ)
    assert not target.is_independent


def test_a_segment_without_key_refutes_it() -> None:
    target = after_keys(0, 2, 4)
    target.starts_without_key()
    assert not target.is_independent


def test_a_break_is_no_gop() -> None:
    target = after_keys(0)
    target.timeline_broke()
    target.key_frame(7 * TIME_HZ)
    assert not target.is_known
    target.key_frame(8 * TIME_HZ)
    assert (target.seconds, target.gop) == (3, TIME_HZ)


def test_a_gop_that_does_not_end() -> None:
    target = after_keys(0)
    target.gop_too_long()
    assert target.seconds == 11
    target = after_keys(0, 2)
    target.gop_too_long()
    assert target.seconds == 3


def test_sound_alone() -> None:
    target = TargetDuration(2.0, 10.0)
    target.use_tracks(has_video=False)
    assert target.seconds == 3
    assert target.is_independent


def test_long_segments_from_before_it_was_known() -> None:
    target = after_keys(0)
    target.segment_done(round(7.6 * TIME_HZ))
    target.timeline_broke()
    target.key_frame(8 * TIME_HZ)
    target.key_frame(9 * TIME_HZ)
    assert target.seconds == 8
