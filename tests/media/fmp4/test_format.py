"""The endless fragmented MP4: judged by the checker and by PyAV, and joined at key frames."""

from dataclasses import replace
from pathlib import Path

import pytest

from media.feed import Feed
from media.feed_reader import FeedOptions
from media.fmp4.format import Fmp4Format
from media.frame import Frame
from media.parameters import Parameters, VideoParameters
from media.track import Kind
from tests.support import clips, frames
from tests.support.conform.fmp4 import Fmp4Limits, read_fmp4
from tests.support.conform.problem import told
from tests.support.ten_minutes import playing
from tests.support.virtual import MemorySink, VirtualScheduler

CLIPS = [clips.BUNNY, clips.PYRAMID, clips.HDR, clips.VARIABLE, clips.SOUND_FIRST, clips.FLASH]
NAMES = [path.stem[-12:] for path in CLIPS]
# A fragment holds one frame: most begin with one that depends on others.
LIMITS = Fmp4Limits(starts_with_sync=False)


def written(clip: list[Frame]) -> tuple[bytes, Fmp4Format]:
    form = Fmp4Format(clips.tracks_of(clip))
    return b"".join((form.header(), *map(form.encode, clip), form.trailer())), form


@pytest.mark.parametrize("path", CLIPS, ids=NAMES)
def test_a_file_is_right_and_has_every_frame(path: Path) -> None:
    clip = clips.read(path)
    data, _ = written(clip)
    content = read_fmp4(data, LIMITS)
    assert content.problems == [], told(content.problems)
    expected = frames.Expectation(
        tolerance=frames.HLS.tolerance, offset_tolerance=frames.HLS.offset_tolerance
    )
    frames.assert_same(frames.read(path), frames.read(data, "mp4"), expected)


@pytest.mark.parametrize("path", CLIPS, ids=NAMES)
def test_half_a_minute_of_it(path: Path) -> None:
    source = playing(path)
    form = Fmp4Format(source.tracks)
    data = b"".join((form.header(), *map(form.encode, source.play(30.0)), form.trailer()))
    content = read_fmp4(data, LIMITS)
    assert content.problems == [], told(content.problems)


def test_who_joins_begins_with_a_key_frame() -> None:
    source = playing(clips.BUNNY)
    scheduler = VirtualScheduler()
    form = Fmp4Format(source.tracks)
    feed = Feed(form, source.tracks, FeedOptions(), scheduler, lambda *_: None)
    sinks: list[MemorySink] = []
    for index, frame in enumerate(source.play(10.0)):
        feed.frame(frame)
        scheduler.run(0.01)
        if index % 37 == 36:
            sinks.append(MemorySink())
            feed.attach(sinks[-1])
    feed.close("source-ended")
    scheduler.run(1.0)
    assert len(sinks) > 10
    (video,) = (number for number, each in enumerate(source.tracks, 1) if each.kind is Kind.VIDEO)
    for sink in sinks:
        content = read_fmp4(sink.data, LIMITS)
        assert content.problems == [], told(content.problems)
        samples = [each for segment in content.segments for each in segment.samples]
        assert next(each for each in samples if each.track == video).is_sync
        assert len(samples) > 2


def ended(form: Fmp4Format) -> bool:
    return form.is_exhausted


def with_parameters(frame: Frame, parameters: Parameters) -> Frame:
    (made,) = clips.with_frames([frame], lambda one: setattr(one, "parameters", parameters))
    return made


def test_other_parameters_end_the_body_and_the_same_ones_do_not() -> None:
    clip = clips.read(clips.BUNNY)
    track = next(frame.track for frame in clip if frame.track.kind is Kind.VIDEO)
    form = Fmp4Format(clips.tracks_of(clip))
    parameters = track.parameters
    assert isinstance(parameters, VideoParameters)
    again, other = replace(parameters, version=7), replace(parameters, version=8, width=320)
    pictures = [frame for frame in clip if frame.track is track][:9]
    for frame, each in zip(pictures[:6], [parameters] * 3 + [again] * 3, strict=True):
        form.encode(with_parameters(frame, each))
    assert not ended(form)
    form.encode(with_parameters(pictures[6], other))  # in band: the group of pictures goes on
    assert not ended(form)
    key = next(frame for frame in clip if frame.track is track and frame.key)
    assert form.encode(with_parameters(key, other)) != b""  # the frame that waited
    assert ended(form)
    assert form.encode(pictures[7]) == b""
    assert form.trailer() == b""


def test_who_begins_with_older_parameters_than_those_of_now_gets_these() -> None:
    """The sets changed within the group of pictures that a joiner gets."""
    clip = clips.read(clips.BUNNY)
    pictures = [frame for frame in clip if frame.track.kind is Kind.VIDEO][:9]
    track = pictures[0].track
    old = track.parameters
    assert isinstance(old, VideoParameters)
    form = Fmp4Format([track])
    before = form.header()
    for frame in pictures:
        form.encode(with_parameters(frame, replace(old, version=9, width=320)))
    assert not ended(form)
    assert len(form.header()) == len(before)
    assert form.header() != before


def test_a_frame_of_a_track_that_rests_does_not_wait_for_ever() -> None:
    clip = clips.read(clips.BUNNY)
    sound = next(frame for frame in clip if frame.track.kind is Kind.AUDIO)
    form = Fmp4Format(clips.tracks_of(clip))
    assert form.encode(sound) == b""
    late = sound.dts / sound.track.clock_rate + 0.6
    pictures = [frame for frame in clip if frame.track.kind is Kind.VIDEO]
    first = next(each for each in pictures if each.dts / each.track.clock_rate > late)
    data = form.header() + form.encode(first)
    content = read_fmp4(data, LIMITS)
    assert content.problems == [], told(content.problems)
    assert [each.samples[0].dts for each in content.segments] == [
        sound.dts + 10 * sound.track.clock_rate
    ]


def test_pictures_a_second_apart_are_starts_though_they_rest() -> None:
    """Each is written when half a second of sound has come behind it: a key frame all the same."""
    clip = clips.read(clips.BUNNY)
    picture = next(frame for frame in clip if frame.track.kind is Kind.VIDEO)
    sound = [frame for frame in clip if frame.track.kind is Kind.AUDIO and frame.arrived < 5]
    rate = picture.track.clock_rate
    pictures = [
        replace(picture, dts=second * rate, pts=second * rate, arrived=float(second))
        for second in range(5)
    ]
    scheduler, sinks = VirtualScheduler(), [MemorySink(), MemorySink()]
    tracks = tuple(clips.tracks_of(clip))
    feed = Feed(Fmp4Format(tracks), tracks, FeedOptions(), scheduler, lambda *_: None)
    feed.attach(sinks[0])
    for frame in sorted(sound + pictures, key=lambda each: each.arrived):
        feed.frame(frame)
        scheduler.run(0.01)
    feed.attach(sinks[1])
    track = tracks.index(picture.track) + 1
    for sink, number in zip(sinks, (5, 1), strict=True):
        content = read_fmp4(sink.data, LIMITS)
        samples = [each for segment in content.segments for each in segment.samples]
        shown = [each for each in samples if each.track == track]
        assert len(shown) == number
        assert shown[0].is_sync
        assert samples[0].dts * 90_000 >= shown[0].dts * 44_100, "no sound from before"
