"""What multivariant playlists say where the playlist holds segments of several formats."""

import re
from dataclasses import replace

from media.codecs.aac import AacParameters
from media.codecs.h264 import H264Parameters
from media.frame import Frame
from media.hls.options import HlsOptions
from media.hls.rendition import Rendition
from media.hls.segment import TIME_HZ, Segment
from media.hls.segmenter import Segmenter
from media.parameters import Parameters
from media.track import AAC, H264, Kind, Track

LARGE = H264Parameters(
    sps=(b"\x67",),
    pps=(b"\x68",),
    profile_idc=100,
    constraint_flags=0,
    level_idc=31,
    width=1280,
    height=720,
    frame_rate_num=25,
)
SMALL = replace(LARGE, profile_idc=66, level_idc=30, width=640, height=360, frame_rate_num=50)
SOUND = AacParameters.build(b"\x11\x90")  # AAC-LC, 48 kHz, two channels
RATE, GOP = 25, 50  # pictures a second, and between key frames
OPTIONS = HlsOptions(window_segments=4, ready_wait=0.0)


def pictures(
    track: Track, parameters: Parameters, start: int, count: int, size: int
) -> list[Frame]:
    """Pictures in order; `start` counts them from the beginning of all."""
    return [
        Frame(
            track=track,
            pts=n * 3_600,
            dts=n * 3_600,
            ntp=0,
            arrived=n / RATE,
            key=n % GOP == 0,
            discontinuity=False,
            parameters=parameters,
            payload=(b"\x65" if n % GOP == 0 else b"\x41", b"\x88" * size),
        )
        for n in range(start, start + count)
    ]


def line(segmenter: Segmenter) -> str:
    """What stands of the only variant."""
    text = segmenter.multivariant_playlist().decode()
    return next(each for each in text.splitlines() if each.startswith("#EXT-X-STREAM-INF"))


def told(segmenter: Segmenter, name: str) -> int:
    found = re.search(rf"[:,]{name}=(\d+)", line(segmenter))
    assert found
    return int(found[1])


def play(segmenter: Segmenter, frames: list[Frame]) -> None:
    for frame in frames:
        segmenter.frame(frame, frame.arrived)


def test_every_format_of_the_window_is_named() -> None:
    track = Track(0, Kind.VIDEO, H264, 90_000, LARGE)
    segmenter = Segmenter([track], OPTIONS, "run")
    play(segmenter, pictures(track, LARGE, 0, 250, 2_000))  # 10 s
    assert 'CODECS="avc1.64001f",RESOLUTION=1280x720,FRAME-RATE=25.000' in line(segmenter)
    heavy = told(segmenter, "BANDWIDTH")
    play(segmenter, pictures(track, SMALL, 250, 155, 200))
    both = 'CODECS="avc1.42001e,avc1.64001f",RESOLUTION=1280x720,FRAME-RATE=50.000'
    assert both in line(segmenter)
    assert told(segmenter, "BANDWIDTH") == heavy
    # The last one of the first format leaves the window, and with it goes what was measured of it.
    play(segmenter, pictures(track, SMALL, 405, 100, 200))
    assert 'CODECS="avc1.42001e",RESOLUTION=640x360,FRAME-RATE=50.000' in line(segmenter)
    assert told(segmenter, "BANDWIDTH") < heavy / 5
    assert told(segmenter, "AVERAGE-BANDWIDTH") < heavy / 5


def test_the_open_segment_is_named_too() -> None:
    """With low latency its parts are in the playlist."""
    track = Track(0, Kind.VIDEO, H264, 90_000, LARGE)
    segmenter = Segmenter([track], replace(OPTIONS, part_duration=0.2), "run")
    play(segmenter, pictures(track, LARGE, 0, 200, 100))
    play(segmenter, pictures(track, SMALL, 200, 10, 100))
    assert 'CODECS="avc1.42001e,avc1.64001f"' in line(segmenter)


def test_sound_in_a_playlist_of_its_own() -> None:
    picture = Track(0, Kind.VIDEO, H264, 90_000, LARGE)
    sounds = [Track(n, Kind.AUDIO, AAC, 48_000, SOUND) for n in (1, 2)]
    segmenter = Segmenter([picture, *sounds], OPTIONS, "run")
    frames = pictures(picture, LARGE, 0, 500, 100)
    other = replace(SOUND, has_sbr=True)
    for n in range(937):  # 20 s
        parameters = SOUND if n < 560 else other
        for sound in sounds:
            pts, arrived = n * 1024, n * 1024 / 48_000
            frame = Frame(sound, pts, pts, 0, arrived, True, False, parameters, (b"x" * 100,))
            frames.append(frame)
    frames.sort(key=lambda frame: frame.arrived)
    play(segmenter, frames)
    assert {"avc1.64001f", "mp4a.40.2", "mp4a.40.5"} <= set(
        re.findall(r"[a-z0-9]+\.[0-9a-f.]+", line(segmenter).partition("CODECS=")[2])
    )


def test_a_track_that_is_silent_for_a_while_is_the_same_format() -> None:
    """What was measured before goes on counting."""
    rendition = Rendition("media.m3u8")

    def add(number: int, size: int, *formats: Parameters) -> None:
        data = b"x" * size
        segment = Segment(
            f"{number}.ts", data, number, 2 * TIME_HZ, 0, False, True, 50, formats=formats
        )
        rendition.add(segment, 2 * TIME_HZ, max(0, number - 1))

    add(0, 1_000_000, LARGE, SOUND)
    for number in (1, 3, 5):
        add(number, 250_000, LARGE)
        add(number + 1, 250_000, LARGE, SOUND)
    assert rendition.peak_bps == 4_000_000
    add(7, 250_000, SMALL, SOUND)
    assert rendition.peak_bps == 4_000_000
    add(8, 250_000, SMALL, SOUND)
    assert rendition.peak_bps == rendition.average_bps == 1_000_000


def test_what_has_no_name_leaves_codecs_out() -> None:
    rendition = Rendition("media.m3u8")
    assert rendition.variant([LARGE, None]).codecs == ()
    assert rendition.variant([SOUND, LARGE, LARGE]).codecs == ("mp4a.40.2", "avc1.64001f")
