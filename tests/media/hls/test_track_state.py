"""What a segmenter remembers of a track: how long frames last, and whose break a mark is."""

from media.hls.lane import Lane
from media.hls.track_state import SAME_BREAK, TrackState
from media.track import AAC, H264, Kind, Track

FRAME = 3000


def states() -> tuple[TrackState, TrackState]:
    video, audio = Track(0, Kind.VIDEO, H264, 90_000), Track(1, Kind.AUDIO, AAC, 48_000)
    lane: Lane = None  # type: ignore[assignment]  # nothing is written here
    return TrackState(video, video, lane), TrackState(audio, video, lane)


def test_a_pause_is_no_frame_that_lasts_so_long() -> None:
    state, _ = states()
    for number in range(5):
        state.step(number * FRAME)
    assert state.duration == FRAME
    state.step(100 * FRAME)
    assert state.duration == FRAME
    state.step(101 * FRAME)
    assert state.duration == FRAME


def test_a_rate_that_became_low_is_believed_at_the_second_frame() -> None:
    state, _ = states()
    for number in range(5):
        state.step(number * FRAME)
    state.step(90_000)
    state.step(180_000)
    assert state.duration == 90_000


def test_frames_that_are_lost_make_none_that_last_longer() -> None:
    state, _ = states()
    for number in (0, 1, 2, 4, 5, 6, 9, 10, 16, 17):
        state.step(number * FRAME)
        assert state.duration in (0, FRAME)


def test_a_picture_between_others_is_known() -> None:
    state, _ = states()
    found = []
    for number in (0, 4, 2, 1, 3, 8):
        state.show(number * FRAME)
        found.append(state.is_between)
    assert found == [False, False, True, True, True, False]
    state.timeline_broke()
    state.show(0)
    assert not state.is_between


def test_a_mark_of_another_track_belongs_to_the_break_that_has_begun() -> None:
    video, audio = states()
    for state in (video, audio):
        state.step(0)
    assert video.is_break(FRAME)
    for state in (video, audio):
        state.owes_mark(FRAME, video)
    for state in (video, audio):
        state.step(2 * FRAME)
    assert not audio.is_break(3 * FRAME)
    assert audio.is_break(4 * FRAME)  # its own, this time
    assert video.is_break(4 * FRAME)


def test_a_mark_that_comes_much_later_is_a_break_of_its_own() -> None:
    video, audio = states()
    for state in (video, audio):
        state.step(0)
        state.owes_mark(0, video)
    assert audio.is_break(SAME_BREAK)


def test_first_frames_are_no_break() -> None:
    video, _ = states()
    assert not video.is_break(0)
