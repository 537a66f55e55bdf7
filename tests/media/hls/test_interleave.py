"""Tracks are put in step, and what rested does not go before what waits."""

from media.frame import Frame
from media.hls.interleave import MAX_WAIT, Interleaver
from media.hls.segment import TIME_HZ
from media.track import AAC, H264, Kind, Track

VIDEO, AUDIO = Track(0, Kind.VIDEO, H264, TIME_HZ), Track(1, Kind.AUDIO, AAC, TIME_HZ)
MS = TIME_HZ // 1000


def order(frames: list[tuple[Track, int]]) -> list[tuple[Track, int]]:
    """What comes out; times in milliseconds."""
    interleaver = Interleaver(VIDEO, MAX_WAIT)
    found = []
    for track, time in frames:
        frame = Frame(track, time * MS, time * MS, 0, 0.0, True, False, None, ())
        found += [(each.track, when // MS) for each, when in interleaver.push(frame, time * MS)]
    return found


def test_pictures_wait_for_their_sound() -> None:
    assert order([(AUDIO, 0), (VIDEO, 0), (VIDEO, 40)]) == [(AUDIO, 0), (VIDEO, 0)]
    assert order([(AUDIO, 0), (VIDEO, 40), (AUDIO, 50)]) == [(AUDIO, 0), (AUDIO, 50), (VIDEO, 40)]


def test_sound_that_rested_comes_behind_the_pictures_that_waited() -> None:
    """Else it would begin a segment, and they would be in one that begins after them."""
    came = [(AUDIO, 0), (VIDEO, 40), (AUDIO, 3000)]
    assert order([*came, (VIDEO, 3000)]) == [*came, (VIDEO, 3000)]
