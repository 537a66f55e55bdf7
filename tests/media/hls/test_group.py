"""Groups in virtual time: one grid for members with their own GOPs, clocks and fates."""

import re

import pytest

from media.hls.container import FMP4, MPEGTS
from media.hls.options import HlsOptions
from tests.support.conform.hls import check_multivariant, check_reloads
from tests.support.conform.problem import told
from tests.support.group_stage import Feed, Stage

MAIN = {"size": (1280, 720), "frame_bytes": 4000, "has_audio": True}
SUB = {"size": (320, 180), "fps": 10, "gop": 1.0, "phase": 0.7, "clock": 0.03, "late": 0.15}


def main(**changes: object) -> Feed:
    return Feed(**{**MAIN, **changes})  # type: ignore[arg-type]  # as the fields are


def sub(**changes: object) -> Feed:
    return Feed(**{**SUB, "has_audio": True, **changes})  # type: ignore[arg-type]  # the same


def started(*feeds: Feed, **options: object) -> Stage:
    stage = Stage(feeds, **options)  # type: ignore[arg-type]  # the same
    for rank in range(len(feeds)):
        stage.join(rank)
    return stage


def starts(stage: Stage, uri: str) -> dict[int, str]:
    """Dates by media sequence numbers, over all that was seen."""
    found = {}
    for text in stage.viewed[uri].texts:
        number = int(re.search(r"MEDIA-SEQUENCE:(\d+)", text)[1])  # type: ignore[index]  # always
        for n, date in enumerate(re.findall(r"DATE-TIME:(\S+)", text)):
            found[number + n] = date
    return found


@pytest.mark.parametrize("container", [MPEGTS, FMP4])
def test_two_members_with_their_own_gops(container: str) -> None:
    stage = started(main(), sub(), container=container)
    stage.run(0.0, 60.0)
    assert stage.problems == []
    assert stage.clock_problems() == []
    for uri in ("v1.m3u8", "v2.m3u8"):
        problems = check_reloads(stage.viewed[uri].texts)
        assert problems == [], told(problems)
        assert len(stage.viewed[uri].segments) >= 28
    one, other = starts(stage, "v1.m3u8"), starts(stage, "v2.m3u8")
    assert set(one) - {min(one), max(one)} == set(other) - {min(one), max(one)}


def test_low_latency() -> None:
    stage = started(main(), sub(), options=HlsOptions(part_duration=0.2, ready_segments=1))
    stage.run(0.0, 30.0)
    assert stage.problems == []
    assert stage.clock_problems() == []
    for uri in ("v1.m3u8", "v2.m3u8"):
        text = stage.viewed[uri].texts[-1]
        assert "#EXT-X-PRELOAD-HINT" in text


@pytest.mark.parametrize("phase", [n / 25 for n in (0, 1, 2, 3, 7, 12, 24, 25, 27, 43, 48, 49)])
@pytest.mark.parametrize("gop", [1.0, 2.0])
def test_no_small_holes_wherever_key_frames_are(phase: float, gop: float) -> None:
    stage = started(main(), sub(fps=25, gop=gop, phase=phase, clock=0.0))
    stage.run(0.0, 16.0)
    assert stage.problems == []


@pytest.mark.parametrize("phase", [1.72, 1.84, 1.92])
def test_segments_begin_with_key_frames_that_come_shortly_before_the_others(phase: float) -> None:
    """These are of the span before, nearly to the end of the next: no reason to cut without one."""
    options = HlsOptions(part_duration=0.2, ready_segments=1)
    stage = started(main(), sub(fps=25, gop=2.0, phase=phase, clock=0.0), options=options)
    stage.run(0.0, 14.0)
    assert stage.problems == []
    for uri in ("v1.m3u8", "v2.m3u8"):
        text = stage.viewed[uri].texts[-1]
        first = re.findall(r"^#EXTINF.*\n.*\n(?:#EXT-X-PROGRAM.*\n)?(#EXT-X-PART:.*)", text, re.M)
        assert len(first) >= 2
        assert all("INDEPENDENT=YES" in each for each in first)


def test_a_gop_that_does_not_fit() -> None:
    stage = started(main(), sub(fps=25, gop=1.48))
    stage.run(0.0, 60.0)
    assert [each for each in stage.problems if "group-hole" not in each] == []
    problems = check_reloads(stage.viewed["v2.m3u8"].texts)
    assert problems == [], told(problems)


def test_a_drifting_clock_moves_the_grid() -> None:
    """Cameras' clocks are slow; in 50 virtual minutes their key frames pass more than a GOP."""
    drift, seconds = 800e-6, 3_000
    feeds = main(drift=drift, fps=2, has_audio=False), sub(drift=drift, fps=2, has_audio=False)
    stage = started(*feeds)
    for begin in range(0, seconds, 100):
        stage.run(begin, begin + 100)
    assert [each for each in stage.problems if "group-hole" not in each] == []
    for uri in ("v1.m3u8", "v2.m3u8"):
        problems = check_reloads(stage.viewed[uri].texts)
        assert problems == [], told(problems)


def test_the_multivariant_playlist() -> None:
    stage = started(sub(), main())
    stage.run(0.0, 12.0)
    assert stage.group.is_ready(stage.now)
    text = stage.multivariant()
    problems = check_multivariant(text)
    assert problems == [], told(problems)
    assert re.findall(r"^[^#].*$", text, re.M) == ["v2.m3u8", "v1.m3u8"]  # best first
    assert re.findall(r"RESOLUTION=(\S+?),FRAME-RATE=(\d+)", text) == [
        ("1280x720", "30"),
        ("320x180", "30"),
    ]
    peaks = [int(each) for each in re.findall(r":BANDWIDTH=(\d+)", text)]
    averages = [int(each) for each in re.findall(r"AVERAGE-BANDWIDTH=(\d+)", text)]
    assert peaks[0] > 800_000 > 150_000 > peaks[1]
    assert all(a <= p for a, p in zip(averages, peaks, strict=True))
    assert "TYPE=AUDIO" not in text
    as_configured = started(sub(), main(), keeps_order=True)
    as_configured.run(0.0, 12.0)
    text = as_configured.multivariant()
    assert re.findall(r"^[^#].*$", text, re.M) == ["v1.m3u8", "v2.m3u8"]


def test_sound_of_one_member_is_everybodys() -> None:
    stage = started(main(has_audio=False), sub(has_audio=True))
    stage.run(0.0, 20.0)
    text = stage.multivariant()
    problems = check_multivariant(text)
    assert problems == [], told(problems)
    assert 'AUDIO,GROUP-ID="sound"' in text
    assert 'URI="sound.m3u8"' in text
    assert text.count('AUDIO="sound"') == 2
    assert all("mp4a" in each for each in re.findall(r'CODECS="(\S+?)"', text))
    assert stage.problems == []
    assert stage.clock_problems() == []
    assert len(stage.viewed["sound.m3u8"].segments) >= 8


def test_a_member_that_dies_and_returns() -> None:
    stage = started(main(), sub())
    stage.run(0.0, 20.0)
    assert stage.multivariant().count("STREAM-INF") == 2
    stage.leave(1)
    stage.run(20.0, 30.0)
    assert stage.group.playlist("v2.m3u8") is None
    text = stage.multivariant()
    assert "v2.m3u8" not in text
    assert text.count("STREAM-INF") == 1
    stage.join(1)
    stage.run(30.0, 46.0)
    assert stage.multivariant().count("STREAM-INF") == 2
    assert stage.problems == []
    assert stage.clock_problems(room=0.025) == []  # it may begin again with its sound
    one, other = starts(stage, "v1.m3u8"), starts(stage, "v2.m3u8")
    assert max(one) - max(other) in (-1, 0, 1)
    assert all("#EXT-X-DISCONTINUITY" not in text for text in stage.viewed["v1.m3u8"].texts)


def test_a_member_that_stops_is_not_listed() -> None:
    """Its source is silent, but nobody has said that it is gone."""
    stage = started(main(), sub())
    stage.run(0.0, 20.0)
    silent = stage.members.pop(1)
    stage.run(20.0, 28.0)
    assert stage.group.playlist("v2.m3u8") is None
    assert stage.multivariant().count("STREAM-INF") == 1
    stage.members[1] = silent
    stage.run(28.0, 40.0, broken=[1])
    assert stage.multivariant().count("STREAM-INF") == 2
    assert stage.problems == []
    assert all("#EXT-X-DISCONTINUITY" not in text for text in stage.viewed["v1.m3u8"].texts)


def test_a_clock_that_is_wrong() -> None:
    """One member's capture times are off by a day: it is placed by arrival."""
    stage = started(main(), sub(clock=86_400.0))
    stage.run(0.0, 20.0)
    assert stage.problems == []
    assert stage.clock_problems() == []
    assert stage.multivariant().count("STREAM-INF") == 2


def test_the_lead_dies() -> None:
    stage = started(main(), sub(), sub(phase=0.0, clock=0.0))
    stage.run(0.0, 20.0)
    stage.leave(0)
    stage.run(20.0, 40.0)
    stage.join(0)
    stage.run(40.0, 60.0)
    assert stage.problems == []
    assert stage.multivariant().count("STREAM-INF") == 3
    for uri in ("v2.m3u8", "v3.m3u8"):
        problems = check_reloads(stage.viewed[uri].texts)
        assert problems == [], told(problems)


def test_breaks_are_in_step() -> None:
    """Both streams of a camera that restarts; the numbers go on, all mark one discontinuity."""
    stage = started(main(), sub())
    stage.run(0.0, 20.0)
    stage.run(21.5, 40.0, broken=[0, 1])
    assert stage.problems == []
    for uri in ("v1.m3u8", "v2.m3u8"):
        texts = stage.viewed[uri].texts
        assert max(text.count("#EXT-X-DISCONTINUITY\n") for text in texts) == 1
        problems = check_reloads(texts)
        assert problems == [], told(problems)


def test_one_members_break_is_everybodys() -> None:
    """Other parameters in one member: its segment ends early, the others' end with it."""
    stage = started(main(), sub())
    stage.run(0.0, 20.0)
    changed = main(size=(1920, 1080))
    stage.feeds[0].video.parameters = changed.video.parameters
    stage.run(20.0, 40.0)
    assert stage.problems == []
    for uri in ("v1.m3u8", "v2.m3u8"):
        assert max(text.count("#EXT-X-DISCONTINUITY\n") for text in stage.viewed[uri].texts) == 1
    assert "1920x1080" in stage.multivariant()


def test_a_group_that_goes_on() -> None:
    """A later run under the same URL has higher numbers, behind a discontinuity."""
    stage = started(main(), sub(), first=(12, 3))
    stage.run(0.0, 12.0)
    for uri in ("v1.m3u8", "v2.m3u8"):
        text = stage.viewed[uri].texts[-1]
        assert "#EXT-X-MEDIA-SEQUENCE:13\n#EXT-X-DISCONTINUITY-SEQUENCE:4\n" in text
    assert stage.group.next[1] == 4


def test_the_end() -> None:
    stage = started(main(), sub())
    stage.run(0.0, 20.0)
    stage.group.end()
    for uri in ("v1.m3u8", "v2.m3u8"):
        segmenter = stage.group.playlist(uri)
        assert segmenter is not None
        assert segmenter.media_playlist().decode().endswith("#EXT-X-ENDLIST\n")
