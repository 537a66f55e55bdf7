"""The segmenter in virtual time: real clips, cuts, breaks, promises, bounds."""

from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from media.frame import Frame
from media.hls.options import HlsOptions
from media.hls.rhythm import FIRST_SEQUENCE
from media.hls.segment import Segment
from media.hls.segmenter import Segmenter
from media.parameters import Parameters
from media.track import H264, PCMA, Kind, Track
from tests.support import clips, frames, hls_check, ts_check

CLIPS = [clips.BUNNY, clips.PYRAMID, clips.HDR]


@dataclass
class Viewer:
    """Plays frames into a segmenter at their time and reloads the playlist at every change."""

    tracks: tuple[Track, ...]
    options: HlsOptions = field(default_factory=HlsOptions)
    texts: list[str] = field(default_factory=list)
    done: list[Segment] = field(default_factory=list)
    ended: int = 0

    def __post_init__(self) -> None:
        self.now = 0.0
        self.segmenter = Segmenter(self.tracks, self.options, "run", on_change=self._changed)

    def _changed(self, segment: Segment | None) -> None:
        if segment is None:
            self.ended += 1
        else:
            self.done.append(segment)

    def play(self, clip: list[Frame]) -> None:
        for frame in clip:
            self.now = max(self.now, frame.arrived)
            before = len(self.done)
            self.segmenter.frame(frame, self.now)
            if len(self.done) != before and self.segmenter.is_ready(self.now):
                self.texts.append(self.segmenter.media_playlist().decode())

    def end(self) -> None:
        self.segmenter.end()
        self.texts.append(self.segmenter.media_playlist().decode())

    @property
    def data(self) -> bytes:
        return b"".join(segment.data for segment in self.done)

    @property
    def seconds(self) -> list[float]:
        return [round(segment.seconds, 3) for segment in self.done]

    def problems(self) -> list[str]:
        """What the judges say of everything so far; each segment is judged on its own too."""
        found = hls_check.check_media(self.texts)
        for segment in self.done:
            found += ts_check.check(segment.data, tables_within=0).problems
        return found


@cache
def picture_track() -> Track:
    """An H.264 track with real parameters."""
    return clips.read(clips.PYRAMID)[0].track


def changed(track: Track, **changes: int) -> Parameters:
    """Other parameters for a track."""
    assert track.parameters is not None
    return replace(track.parameters, version=1, **changes)


def steady(
    count: int, gop: int, *, fps: int = 25, track: Track | None = None, start: int = 0
) -> list[Frame]:
    """Pictures with a key frame every `gop` frames; `start` counts frames."""
    if track is None:
        track = picture_track()
    step = 90_000 // fps
    return [
        Frame(
            track=track,
            pts=n * step,
            dts=n * step,
            ntp=(n * step << 32) // 90_000 + (3_900_000_000 << 32),
            arrived=n / fps,
            key=(n - start) % gop == 0,
            discontinuity=False,
            parameters=track.parameters,
            payload=(b"\x65\x88" if (n - start) % gop == 0 else b"\x41\x9a",),
        )
        for n in range(start, start + count)
    ]


@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.stem[:5])
def test_clip_comes_back_whole(path: Path) -> None:
    clip = clips.read(path)
    viewer = Viewer(clips.tracks_of(clip))
    viewer.play(clip)
    viewer.end()
    assert viewer.problems() == []
    assert ts_check.check(viewer.data, tables_within=0).problems == []
    assert frames.compare(frames.read(path), frames.read(viewer.data, "mpegts"), frames.HLS) == []
    assert viewer.ended == 1


def test_a_long_run_of_a_real_clip() -> None:
    """A minute and a half of the pyramid clip: constant rhythm, claims kept, window moving."""
    clip = clips.read(clips.PYRAMID)
    viewer = Viewer(clips.tracks_of(clip))
    viewer.play(clips.looped(clip, 24, 4_000))
    assert viewer.problems() == []
    assert set(viewer.seconds) == {2.0}
    assert all(segment.is_independent for segment in viewer.done)
    last = hls_check.parse(viewer.texts[-1])
    assert (len(last.entries), last.sequence) == (7, FIRST_SEQUENCE + len(viewer.done) - 7)
    assert last.is_independent
    assert last.target == 3
    multivariant = viewer.segmenter.multivariant_playlist().decode()
    assert hls_check.check_multivariant(multivariant) == []
    assert 'CODECS="avc1.64001f"' in multivariant
    assert "RESOLUTION=800x640,FRAME-RATE=30.000" in multivariant


def test_each_segment_plays_alone() -> None:
    clip = clips.read(clips.PYRAMID)
    viewer = Viewer(clips.tracks_of(clip))
    viewer.play(clip)
    viewer.end()
    for segment in viewer.done:
        assert ts_check.check(segment.data, tables_within=0).problems == []
        units = frames.read(segment.data, "mpegts")["video"].units
        assert len(units) == segment.video_frames == 60


@pytest.mark.parametrize(
    ("gop", "duration", "expected", "target"),
    [
        (25, 2.0, 2.0, 3),  # two GOPs
        (50, 2.0, 2.0, 3),
        (75, 2.0, 3.0, 4),  # longer than configured
        (47, 2.0, 1.88, 3),  # a second GOP would be too much
        (23, 2.0, 2.76, 3),
        (250, 2.0, 10.0, 11),
        (25, 6.0, 6.0, 7),
    ],
)
def test_cuts_at_key_frames(gop: int, duration: float, expected: float, target: int) -> None:
    clip = steady(2_500, gop)
    viewer = Viewer(clips.tracks_of(clip), HlsOptions(segment_duration=duration))
    viewer.play(clip)
    assert viewer.problems() == []
    assert set(viewer.seconds) == {expected}
    last = hls_check.parse(viewer.texts[-1])
    assert last.target == target
    assert all(segment.is_independent for segment in viewer.done)


def test_a_gop_without_end_is_cut_without_key() -> None:
    clip = steady(2_000, 100_000)
    viewer = Viewer(clips.tracks_of(clip))
    viewer.play(clip)
    assert viewer.problems() == []
    assert set(viewer.seconds) == {11.0}
    assert [segment.is_independent for segment in viewer.done] == [True] + [False] * 6
    assert not hls_check.parse(viewer.texts[-1]).is_independent


def test_a_longer_gop_later_keeps_the_target() -> None:
    clip = steady(200, 25) + steady(300, 150, start=200)
    viewer = Viewer(clips.tracks_of(clip))
    viewer.play(clip)
    assert viewer.problems() == []
    assert max(viewer.seconds) <= 3
    assert not all(segment.is_independent for segment in viewer.done)


def test_durations_are_those_of_presentation() -> None:
    """Behind a gap in reordered pictures the DTS comes some frames later than the picture."""
    track = picture_track()
    order, step, gap = (0, 4, 2, 1, 3), 3_600, 20 * 3_600
    times = [
        (lap * 25 + each) * step + (gap if lap >= 4 else 0)
        for lap in range(12)
        for each in [*order, *[n + 5 * k for k in range(1, 5) for n in (4, 2, 1, 3, 0)]]
    ]
    ordered = sorted(times)
    clip = [
        replace(frame, pts=pts, dts=ordered[n - 3] if n >= 3 else (n - 3) * step)
        for n, (frame, pts) in enumerate(
            zip(steady(len(times), 25, track=track), times, strict=True)
        )
    ]
    for frame in clip:
        frame.ntp = (frame.pts << 32) // 90_000 + (3_900_000_000 << 32)
    viewer = Viewer(clips.tracks_of(clip), HlsOptions(segment_duration=1.0, ready_wait=0.0))
    viewer.play(clip)
    assert viewer.seconds[:8] == [1.0, 1.0, 1.0, 1.8, 1.0, 1.0, 1.0, 1.0]
    starts = [segment.ntp * 90_000 >> 32 for segment in viewer.done]
    told = [round((b - a) / 90_000, 3) for a, b in pairwise(starts)]
    assert told == viewer.seconds[:-1]


def test_sound_alone_is_cut_anywhere() -> None:
    clip = clips.only(clips.read(clips.BUNNY), Kind.AUDIO)
    viewer = Viewer(clips.tracks_of(clip))
    viewer.play(clip)
    viewer.end()
    assert viewer.problems() == []
    assert all(1.95 <= seconds < 1.98 for seconds in viewer.seconds[:-1])
    text = viewer.segmenter.multivariant_playlist().decode()
    assert 'CODECS="mp4a.40.2"' in text
    assert "RESOLUTION" not in text
    assert hls_check.parse(viewer.texts[-1]).is_independent


def test_starts_with_a_key_frame() -> None:
    clip = clips.read(clips.BUNNY)
    viewer = Viewer(clips.tracks_of(clip))
    viewer.play(clip[5:])  # the first key frame is missing
    viewer.end()
    first = ts_check.check(viewer.done[0].data, tables_within=0)
    assert first.problems == []
    assert first.units[0x100][0].is_random_access
    assert viewer.segmenter.dropped > 0
    assert min(unit.dts for unit in first.units[0x101]) >= first.units[0x100][0].dts - 2_500


def test_no_key_frame_for_ten_seconds_starts_anyway() -> None:
    clip = [frame for frame in steady(500, 100_000) if not frame.key]
    viewer = Viewer(clips.tracks_of(clip))
    viewer.play(clip)
    viewer.end()
    assert not viewer.done[0].is_independent
    assert sum(segment.video_frames for segment in viewer.done) == 499 - 250
    assert not viewer.segmenter.is_independent


def test_seeding_makes_a_segment_at_once() -> None:
    clip = clips.read(clips.PYRAMID)
    viewer = Viewer(clips.tracks_of(clip))
    viewer.segmenter.seed(clip[:100], now=50.0)
    assert viewer.seconds == [2.0]
    assert [viewer.segmenter.is_ready(now) for now in (50.0, 54.9, 55.0)] == [False, False, True]


def test_ready_with_three_segments() -> None:
    clip = steady(500, 25)
    viewer = Viewer(clips.tracks_of(clip), HlsOptions(ready_wait=1_000))
    viewer.play(clip)
    assert len(hls_check.parse(viewer.texts[0]).entries) == 3
    assert hls_check.check_media(viewer.texts) == []


def test_ready_when_ended() -> None:
    clip = steady(30, 25)
    viewer = Viewer(clips.tracks_of(clip), HlsOptions(ready_wait=1_000))
    viewer.play(clip)
    seen = [viewer.segmenter.is_ready(2.0)]
    viewer.end()
    seen.append(viewer.segmenter.is_ready(2.0))
    assert seen == [False, True]
    assert hls_check.parse(viewer.texts[-1]).is_ended
    assert viewer.problems() == []
    viewer.segmenter.end()
    viewer.play(steady(30, 25, start=30))
    assert viewer.ended == 1
    assert viewer.seconds == [1.2]


def test_nothing_at_all_is_never_ready() -> None:
    segmenter = Segmenter([], HlsOptions(), "run")
    segmenter.end()
    assert not segmenter.is_ready(1_000.0)
    assert segmenter.tracks == ()


def test_break_is_marked_once_for_all_tracks() -> None:
    clip = clips.read(clips.PYRAMID)
    bunny = clips.read(clips.BUNNY)
    again = clips.shifted(bunny, 60_000)
    for track in clips.tracks_of(bunny):
        next(frame for frame in again if frame.track is track).discontinuity = True
    viewer = Viewer(clips.tracks_of(bunny), HlsOptions(window_segments=20))
    viewer.play(bunny)
    viewer.play(again)
    viewer.end()
    assert viewer.problems() == []
    assert sum(segment.is_discontinuity for segment in viewer.done) == 1
    assert sum(viewer.seconds) == pytest.approx(20, abs=0.05)
    assert len(clip) == 120


def test_break_with_a_rhythm_waits_for_the_next_key_frame() -> None:
    clip = steady(310, 25)  # 12.4 s
    late = steady(300, 25, start=1_013)
    late = [replace_key(frame, n % 25 == 10) for n, frame in enumerate(late)]
    late[0].discontinuity = True
    viewer = Viewer(clips.tracks_of(clip), HlsOptions(window_segments=30))
    viewer.play(clip)
    viewer.play(late)
    assert viewer.problems() == []
    assert hls_check.parse(viewer.texts[-1]).is_independent
    assert all(segment.is_independent for segment in viewer.done)
    assert [segment.is_discontinuity for segment in viewer.done].count(True) == 1
    assert viewer.segmenter.dropped == 10
    assert viewer.seconds[6] == 0.4


def replace_key(frame: Frame, key: bool) -> Frame:
    """The frame, a key frame or not."""
    frame.key = key
    frame.payload = (b"\x65\x88" if key else b"\x41\x9a",)
    return frame


def test_new_parameters_are_a_discontinuity() -> None:
    clip = clips.looped(clips.read(clips.PYRAMID), 6, 4_000)
    track = clip[0].track
    new = changed(track, width=400)
    for frame in clip[210:]:  # the change comes with the key frame at 7 s
        frame.parameters = new
    viewer = Viewer((track,))
    viewer.play(clip)
    assert viewer.problems() == []
    assert [segment.is_discontinuity for segment in viewer.done].index(True) == 4
    assert viewer.seconds[:5] == [2.0, 2.0, 2.0, 1.0, 2.0]
    assert sum(segment.is_discontinuity for segment in viewer.done) == 1
    assert "RESOLUTION=400x640" in viewer.segmenter.multivariant_playlist().decode()


def test_change_between_key_frames_waits_for_the_next() -> None:
    clip = clips.looped(clips.read(clips.PYRAMID), 5, 4_000)
    track = clip[0].track
    new = changed(track)
    for frame in clip[195:]:  # 6.5 s
        frame.parameters = new
    viewer = Viewer((track,))
    viewer.play(clip)
    assert viewer.problems() == []
    assert [segment.is_discontinuity for segment in viewer.done].index(True) == 4
    assert viewer.seconds[:5] == [2.0, 2.0, 2.0, 1.0, 2.0]


def test_other_tracks_are_a_discontinuity() -> None:
    bunny = clips.read(clips.BUNNY)
    picture, sound = clips.tracks_of(bunny)
    viewer = Viewer((picture,))
    viewer.play(bunny)
    viewer.segmenter.set_tracks([picture, sound])
    viewer.play(clips.shifted(bunny, 12_000))
    viewer.end()
    assert viewer.problems() == []
    assert ts_check.check(viewer.done[0].data, tables_within=0).streams == {0x100: 0x1B}
    changed = [segment for segment in viewer.done if segment.is_discontinuity]
    assert len(changed) == 1
    assert ts_check.check(changed[0].data, tables_within=0).streams == {0x100: 0x1B, 0x101: 0x0F}
    assert 'CODECS="avc1.42c01e,mp4a.40.2"' in viewer.segmenter.multivariant_playlist().decode()


def test_an_unmarked_leap_does_not_make_a_huge_segment() -> None:
    clip = steady(250, 25) + steady(250, 25, start=1_000_000)
    viewer = Viewer(clips.tracks_of(clip))
    viewer.play(clip)
    assert viewer.problems() == []
    assert max(viewer.seconds) <= 3
    assert sum(segment.is_discontinuity for segment in viewer.done) == 1


def test_sound_goes_on_when_the_picture_stops() -> None:
    bunny = clips.looped(clips.read(clips.BUNNY), 3, 10_000)
    clip = [frame for frame in bunny if frame.track.kind is Kind.AUDIO or frame.arrived < 5]
    viewer = Viewer(clips.tracks_of(clip))
    viewer.play(clip)
    viewer.end()
    # The judge of a segment wants a picture's clock; here only the playlist can be whole.
    assert hls_check.check_media(viewer.texts) == []
    assert sum(viewer.seconds) == pytest.approx(30, abs=1)


@pytest.mark.parametrize("ahead", [0.6, 1.5])
def test_sound_ahead_of_the_picture_forces_no_cut(ahead: float) -> None:
    bunny = clips.looped(clips.read(clips.BUNNY), 4, 10_000)
    options = HlsOptions(ready_wait=20, segment_duration=4.0)

    def played(skew: float) -> Viewer:
        def came(frame: Frame) -> float:
            return frame.arrived - (skew if frame.track.kind is Kind.AUDIO else 0)

        viewer = Viewer(clips.tracks_of(bunny), options)
        viewer.play(sorted(bunny, key=came))
        return viewer

    viewer, even = played(ahead), played(0.0)
    assert hls_check.check_media(viewer.texts) == []
    video = [segment for segment in viewer.done[3:] if segment.seconds < 5]
    assert all(segment.is_independent for segment in video[:-1])
    assert viewer.seconds == even.seconds
    assert [each.ntp for each in viewer.done] == [each.ntp for each in even.done]


def test_a_segment_that_gets_too_large_is_cut() -> None:
    clip = clips.read(clips.HDR)
    options = HlsOptions(max_segment_bytes=500_000)
    viewer = Viewer(clips.tracks_of(clip), options)
    viewer.play(clip)
    viewer.end()
    largest = max(frame.size_bytes for frame in clip)
    assert max(len(segment.data) for segment in viewer.done) < 500_000 + largest * 1.1
    assert hls_check.check_media(viewer.texts) == []
    assert (
        frames.compare(frames.read(clips.HDR), frames.read(viewer.data, "mpegts"), frames.HLS) == []
    )


def test_memory_is_bounded() -> None:
    clip = steady(20_000, 25)
    viewer = Viewer(clips.tracks_of(clip))
    viewer.play(clip)
    assert sum(viewer.segmenter.segment(each.name) is not None for each in viewer.done) == 15
    assert viewer.segmenter.window.size_bytes == sum(len(each.data) for each in viewer.done[-15:])


def test_tracks_that_do_not_fit_are_named() -> None:
    clip = clips.read(clips.PYRAMID)
    (picture,) = clips.tracks_of(clip)
    sound = Track(1, Kind.AUDIO, PCMA, 8_000)
    viewer = Viewer((picture, sound))
    assert viewer.segmenter.name == "hls-ts"
    assert viewer.segmenter.content_type == "video/mp2t"
    assert viewer.segmenter.left_out == (sound,)
    assert viewer.segmenter.tracks == (picture,)
    viewer.segmenter.frame(Frame(sound, 0, 0, 0, 0.0, True, False, None, (b"x",)), 0.0)
    assert not viewer.segmenter.is_ready(1_000.0)


def test_a_silent_track_is_not_in_codecs() -> None:
    bunny = clips.read(clips.BUNNY)
    viewer = Viewer(clips.tracks_of(bunny))
    viewer.play(clips.only(bunny, Kind.VIDEO))
    assert 'CODECS="avc1.42c01e"' in viewer.segmenter.multivariant_playlist().decode()


def test_numbers_go_on_after_a_restart() -> None:
    clip = steady(600, 25)
    clip[200].discontinuity = True
    tracks = clips.tracks_of(clip)
    first = Segmenter(tracks, HlsOptions(), "a")
    first.seed(clip, 0.0)
    texts = [first.media_playlist().decode()]
    window = first.window
    second = Segmenter(
        tracks,
        HlsOptions(),
        "b",
        first_sequence=window.next_sequence,
        first_discontinuity=window.next_discontinuity,
    )
    second.seed(steady(150, 25), 0.0)
    texts.append(second.media_playlist().decode())
    assert hls_check.check_media(texts) == []
    last = hls_check.parse(texts[-1])
    assert last.sequence == hls_check.parse(texts[0]).entries[-1].sequence + 1
    assert last.entries[0].discontinuities == 2
    assert last.entries[0].is_discontinuity
    name = last.entries[0].uri
    assert name.startswith("b-")
    assert second.segment(name) is second.window.segments[0]
    assert first.segment(name) is None


def test_key_frames_that_jitter_are_in_time() -> None:
    clip = steady(1_000, 25)
    for number, frame in enumerate(clip):
        frame.dts += (number * 7_919) % 1_200  # up to 13 ms, as a camera's clock does
        frame.pts = frame.dts
    viewer = Viewer(clips.tracks_of(clip))
    viewer.play(clip)
    assert viewer.problems() == []
    assert all(1.98 < seconds < 2.02 for seconds in viewer.seconds)


def test_playlists_are_rendered_once() -> None:
    clip = steady(250, 25)
    viewer = Viewer(clips.tracks_of(clip))
    viewer.play(clip)
    segmenter = viewer.segmenter
    assert segmenter.media_playlist() is segmenter.media_playlist()
    assert segmenter.multivariant_playlist() is segmenter.multivariant_playlist()
    assert segmenter.media_playlist("abc").count(b".ts?s=abc\n") == 4
    assert segmenter.multivariant_playlist("abc").endswith(b"media.m3u8?s=abc\n")


def test_program_date_time_is_the_capture_time() -> None:
    clip = clips.looped(clips.read(clips.BUNNY), 2, 10_000)
    viewer = Viewer(clips.tracks_of(clip), HlsOptions(window_segments=20))
    viewer.play(clip)
    parsed = hls_check.parse(viewer.texts[-1])
    starts = [entry.date.timestamp() - clips.EPOCH for entry in parsed.entries if entry.date]
    total = 0.0
    for start, entry in zip(starts, parsed.entries, strict=True):
        assert start == pytest.approx(total, abs=0.002)
        total += entry.duration


def test_a_track_without_parameters_waits_silently() -> None:
    track = Track(0, Kind.VIDEO, H264, 90_000)
    viewer = Viewer((track,))
    viewer.play(steady(100, 25, track=track))
    assert viewer.done == []
    assert not viewer.segmenter.is_ready(100.0)
