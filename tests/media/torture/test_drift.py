"""Crystals that are off, for a week: the timeline alone, one picture and one sound in seconds."""

import random

import pytest

from flux.base.units import NTP_SECOND, unix_from_ntp
from media.frame import NO_TIME
from media.parameters import AudioParameters, VideoParameters
from media.timeline import Timeline
from media.track import AAC, H264, Kind, Track

WEEK = 7 * 24 * 3600.0
WALL = 1_700_000_000.0
APART = 0.020


def tracks() -> tuple[Track, Track]:
    video = VideoParameters(frame_rate_num=25, frame_rate_den=1, reorder_frames=0)
    audio = AudioParameters(sample_rate=48_000, channels=2, frame_samples=1024)
    return (
        Track(0, Kind.VIDEO, H264, 90_000, video),
        Track(1, Kind.AUDIO, AAC, 48_000, audio),
    )


def worst_offset(
    seconds: float, every: float, picture_ppm: float, sound_ppm: float, *, has_reports: bool
) -> tuple[float, float, int]:
    """A source whose clocks are off by so much.

    Answers by how much picture and sound were apart at most, by how much the wall clock of
    pictures was off their capture, and how often the timeline saw a jump.
    """
    video, audio = tracks()
    timeline = Timeline()
    timeline.set_wall_offset(WALL)
    timeline.begin((video, audio), 0.0)
    chance = random.Random(5)
    apart = wall = 0.0
    jumps = 0
    for number in range(int(seconds / every)):
        t = number * every
        late = 0.05 + chance.random() * 0.03
        stamps = {
            video: round((5_000 + t * (1 + picture_ppm / 1e6)) * 90_000),
            audio: round((90 + t * (1 + sound_ppm / 1e6)) * 48_000),
        }
        if number == 0:
            timeline.anchor(stamps)
        v, _, ntp = timeline.place(video, stamps[video], NO_TIME, t + late)
        jumps += timeline.jump is not None
        a, _, _ = timeline.place(audio, stamps[audio], NO_TIME, t + late)
        jumps += timeline.jump is not None
        if has_reports:
            for track, stamp in stamps.items():
                timeline.sender_report(track, round((3_000_000 + t) * NTP_SECOND), stamp)
        apart = max(apart, abs(a / 48_000 - v / 90_000))
        wall = max(wall, abs(unix_from_ntp(ntp) - WALL - t))
    return apart, wall, jumps


@pytest.mark.parametrize("ppm", [100, -100])
def test_a_week_of_one_crystal_that_is_off(ppm: float) -> None:
    """Picture and sound drift together; capture times follow the system's clock."""
    apart, wall, jumps = worst_offset(WEEK, 20.0, ppm, ppm, has_reports=False)
    assert apart < 0.001
    assert wall < 0.15
    assert jumps == 0


@pytest.mark.parametrize("ppm", [100, -100])
def test_a_week_of_two_crystals_with_reports(ppm: float) -> None:
    """Each report tells how far sound has gone: 2 ms in 20 s, and it is slewed to there."""
    apart, wall, jumps = worst_offset(WEEK, 20.0, 0, ppm, has_reports=True)
    assert apart < APART
    assert wall < 0.15
    assert jumps == 0


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("has_reports", [False, True])
def test_a_week_of_a_picture_each_second(has_reports: bool) -> None:
    sound = 100 if not has_reports else -50
    apart, wall, jumps = worst_offset(WEEK, 1.0, 100, sound, has_reports=has_reports)
    assert apart < APART
    assert wall < 0.15
    assert jumps == 0
