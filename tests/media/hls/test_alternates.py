"""Several tracks of sound: playlists of their own, in step with the pictures, before the judges."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from media.frame import Frame
from media.hls.alternates import MOST_TRACKS, Sound, groups_of, offered
from media.hls.container import Container, Fmp4Container, TsContainer
from media.hls.languages import language_name, language_tag
from media.hls.options import HlsOptions
from media.track import AAC, AC3, EAC3, MP3, Kind, Track
from tests.support import clips
from tests.support.conform.hls import parse_media, parse_multivariant
from tests.support.conform.problem import told
from tests.support.hls_house import LOW, QUICK, House, tracks_of, with_sound
from tests.support.sound_frames import track_of
from tests.support.ten_minutes import playing

BUNNY = clips.read(clips.BUNNY)
PERIOD = playing(clips.BUNNY).period_ms
SOUNDS = {AC3: "ac3", MP3: "mp3", EAC3: "eac3"}


def rounds(clip: Sequence[Frame], count: int, period_ms: int = PERIOD) -> list[Frame]:
    return clips.looped(list(clip), count, period_ms)


def with_codecs(codecs: Sequence[str], seconds: float) -> list[Frame]:
    """Pictures and AAC, and sound in these codecs beside them."""
    found = rounds(BUNNY, int(seconds * 1000 / PERIOD) + 1)
    for number, codec in enumerate(codecs):
        track, frames = track_of(SOUNDS[codec], codec)
        track.id = 20 + number
        step = frames[1].pts
        for n in range(int(seconds * 90_000 / step)):
            frame = frames[n % len(frames)]
            found.append(replace(frame, pts=n * step, dts=n * step, arrived=n * step / 90_000))
    return sorted(found, key=lambda frame: frame.arrived)


KINDS = [
    pytest.param(TsContainer, QUICK, id="ts"),
    pytest.param(Fmp4Container, QUICK, id="fmp4"),
    pytest.param(Fmp4Container, LOW, id="low-latency"),
]


@pytest.mark.parametrize(("container", "options"), KINDS)
@pytest.mark.parametrize("path", [clips.BUNNY, clips.SOUND_FIRST, clips.FLASH])
def test_each_track_has_a_playlist_in_step(
    path: Path, container: Callable[[Sequence[Track]], Container], options: HlsOptions
) -> None:
    clip = with_sound(clips.read(path), ["eng", "deu"])
    house = House(tracks_of(clip), options, container)
    house.play(rounds(clip, 2, playing(path).period_ms))
    house.segmenter.end()
    assert house.problems == [], told(house.problems)
    assert list(house.texts) == ["media.m3u8", "audio1.m3u8", "audio2.m3u8"]
    media = [line.text("NAME") for line in parse_multivariant(house.multivariant).media]
    assert media == ["English", "Deutsch"]
    assert 'LANGUAGE="de",DEFAULT=NO,AUTOSELECT=YES,CHANNELS=' in house.multivariant
    numbers = {parse_media(house.text(name)).segments[-1].sequence for name in house.texts}
    assert len(numbers) == 1


def test_all_of_the_sound_is_there() -> None:
    """What one lane has to give back waits for it: no frame is lost at a cut, none comes twice."""
    clip = with_sound(BUNNY, ["eng", "deu"])
    house = House(tracks_of(clip), QUICK, TsContainer)
    house.play(clip)
    house.segmenter.end()
    seen = [unit.pts for unit in house.judges["audio2.m3u8"].units]
    sent = [frame for frame in clip if frame.track.language == "deu"]
    first = min(frame.dts / frame.track.clock_rate for frame in clip if frame.key)
    wanted = [f for f in sent if f.pts / f.track.clock_rate >= first]
    assert len(seen) == len(wanted)
    assert seen == sorted(seen)


@pytest.mark.parametrize(("container", "options"), KINDS)
def test_other_codecs_are_other_variants(
    container: Callable[[Sequence[Track]], Container], options: HlsOptions
) -> None:
    """A browser leaves out the variant with AC-3 and plays the one without."""
    clip = with_codecs([AC3, MP3], 8)
    house = House(tracks_of(clip), options, container)
    house.play(clip)
    house.segmenter.end()
    assert house.problems == [], told(house.problems)
    variants = parse_multivariant(house.multivariant).variants
    assert [(variant.audio, variant.codecs[1:]) for variant in variants] == [
        (AAC, ("mp4a.40.2",)),
        (AC3, ("ac-3",)),
        (MP3, ("mp4a.40.34",)),
    ]
    assert {variant.uri for variant in variants} == {"media.m3u8"}


@pytest.mark.parametrize("codec", [AC3, EAC3, MP3])
@pytest.mark.parametrize(("container", "options"), KINDS)
def test_one_track_goes_with_the_pictures(
    codec: str, container: Callable[[Sequence[Track]], Container], options: HlsOptions
) -> None:
    pictures = [f for f in with_codecs([codec], 8) if f.track.codec != AAC]
    house = House(tracks_of(pictures), options, container)
    house.play(pictures)
    house.segmenter.end()
    assert house.problems == [], told(house.problems)
    assert list(house.texts) == ["media.m3u8"]


def test_a_track_that_stops_leaves_gaps_and_comes_back() -> None:
    clip = with_sound(rounds(BUNNY, 4), ["eng", "deu"])
    end, back = 1.5 * PERIOD / 1000, 3 * PERIOD / 1000
    dies = [f for f in clip if f.track.language != "deu" or not end < f.arrived < back]
    for options, container in ((QUICK, TsContainer), (LOW, Fmp4Container)):
        house = House(tracks_of(clip), options, container)
        house.play(dies)
        house.segmenter.end()
        slugs = {problem.slug for problem in house.problems}
        # A segment in which sound ends or begins again is shorter by itself than it is listed.
        assert slugs <= {"segment-duration", "date-drift", "part-independent"}, told(house.problems)
        gaps = {n for text in house.texts["audio2.m3u8"] for n in _gaps(text)}
        assert len(gaps) >= 3
        assert not any("EXT-X-GAP" in text for text in house.texts["audio1.m3u8"])
        assert not parse_media(house.text("audio2.m3u8")).segments[-1].is_gap


def _gaps(text: str) -> list[int]:
    return [segment.sequence for segment in parse_media(text).segments if segment.is_gap]


def test_a_track_that_comes_later_gets_a_playlist_and_the_others_stay() -> None:
    clip = with_sound(rounds(BUNNY, 4), ["eng", "deu"])
    tracks = tracks_of(clip)
    early = tuple(track for track in tracks if track.language != "deu")
    house = House(early, QUICK, TsContainer)
    half = next(n for n, frame in enumerate(clip) if frame.arrived >= 2 * PERIOD / 1000)
    house.play(frame for frame in clip[:half] if frame.track in early)
    house.segmenter.set_tracks(tracks)
    house.play(clip[half:])
    house.segmenter.end()
    assert list(house.texts) == ["media.m3u8", "audio1.m3u8"]
    media = parse_multivariant(house.multivariant).media
    assert [(line.text("NAME"), line.text("URI")) for line in media] == [
        ("English", ""),
        ("Deutsch", "audio1.m3u8"),
    ]
    assert house.problems == [], told(house.problems)


def test_sound_alone_in_two_languages() -> None:
    clip = [f for f in with_sound(BUNNY, ["eng", "deu"]) if f.track.kind is Kind.AUDIO]
    house = House(tracks_of(clip), QUICK, TsContainer)
    house.play(clip)
    house.segmenter.end()
    assert house.problems == [], told(house.problems)
    assert list(house.texts) == ["media.m3u8", "audio1.m3u8"]
    assert "RESOLUTION" not in house.multivariant


def sounds(*tracks: tuple[str, str]) -> list[Track]:
    return [Track(n, Kind.AUDIO, codec, 48_000, None, tag) for n, (codec, tag) in enumerate(tracks)]


@pytest.mark.parametrize(
    ("tracks", "names"),
    [
        ([(AAC, "eng"), (AAC, "ger")], {"aac": ["English", "Deutsch"]}),
        ([(AAC, "eng"), (AAC, "eng")], {"aac": ["English 1", "English 2"]}),
        ([(AAC, ""), (AAC, "")], {"aac": ["Audio 1", "Audio 2"]}),
        ([(AAC, "eng"), (AC3, "eng")], {"aac": ["English"], "ac3": ["English"]}),
        ([(AAC, ""), (AC3, "eng")], {"aac": ["Audio 1"], "ac3": ["Audio 1"]}),
        (
            [(AAC, "eng"), (AAC, "deu"), (AC3, "deu")],
            {"aac": ["English", "Deutsch"], "ac3": ["English", "Deutsch"]},
        ),
        ([(AAC, "eng"), (AC3, "deu")], {"aac": ["English"]}),
    ],
)
def test_groups_have_the_same_members(
    tracks: list[tuple[str, str]], names: dict[str, list[str]]
) -> None:
    chosen = offered(sounds(*tracks))
    groups = groups_of([Sound(track, f"{track.id}.m3u8", None) for track in chosen])
    assert {g.name: [media.name for media in g.media] for g in groups} == names
    assert all(sum(media.is_default for media in group.media) == 1 for group in groups)


def test_there_are_not_too_many() -> None:
    tracks = sounds(*[(AAC, "")] * 40)
    assert len(offered(tracks)) == MOST_TRACKS
    assert offered(()) == ()
    assert groups_of([]) == ()


@pytest.mark.parametrize(
    ("code", "tag", "name"),
    [
        ("deu", "de", "Deutsch"),
        ("GER", "de", "Deutsch"),
        ("en", "en", "English"),
        ("fry", "fry", "fry"),
        ("und", "", ""),
        ("", "", ""),
        ("d!", "", ""),
        ("x\u00e4y", "", ""),
    ],
)
def test_languages(code: str, tag: str, name: str) -> None:
    assert language_tag(code) == tag
    assert language_name(tag) == name
