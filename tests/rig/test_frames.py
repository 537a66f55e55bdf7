"""The judge of captures finds every fault that it is there to find."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import pytest

from tests.support import frames
from tests.support.frames import FLV, HLS, Expectation, TrackUnits, Unit

MEDIA = Path(__file__).parent.parent / "data" / "media"
CLIP = MEDIA / "sample_fragmented.mp4"
WITH_B_FRAMES = MEDIA / "bbb_800x640_768kbps_30fps_avc_pyramid_3b.mp4"
EXACT = Expectation(tolerance=Fraction(0), offset_tolerance=Fraction(0))
Tracks = dict[str, TrackUnits]


@pytest.fixture(scope="module")
def clip() -> Tracks:
    """A clip with both kinds of tracks, in the ticks that RTP would use."""
    return {kind: track.in_rtp_ticks() for kind, track in frames.read(CLIP).items()}


def remux(source: Path, container: str) -> bytes:
    """The clip's packets in another container, written by FFmpeg."""
    target = BytesIO()
    with av.open(str(source)) as opened, av.open(target, mode="w", format=container) as written:
        streams = {
            stream.index: written.add_stream_from_template(stream)
            for stream in opened.streams
            if stream.type in ("video", "audio")
        }
        for packet in opened.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                written.mux(packet)
    return target.getvalue()


@pytest.mark.parametrize("container", ["flv", "mpegts"])
@pytest.mark.parametrize(
    "name",
    [
        "sample_fragmented.mp4",
        "bbb_800x640_768kbps_30fps_avc_pyramid_3b.mp4",
        "hdr10-video-with-sdr-container.mp4",
        "video_big_buck_bunny.mp4",
    ],
)
def test_a_remuxed_clip_is_the_same(name: str, container: str) -> None:
    """Length prefixes and start codes, raw AAC and ADTS: both are read as the same units."""
    clip = frames.read(MEDIA / name)
    capture = frames.read(remux(MEDIA / name, container), container)
    assert frames.compare(clip, capture, FLV if container == "flv" else HLS) == []


def test_what_wraps_a_picture_does_not_count() -> None:
    nals = [b"\x09\xf0", b"\x67sps", b"\x68pps", b"\x06sei", b"\x65idr", b"\x0c\xff\x80"]
    assert [nal for nal in nals if frames.counts(nal, "h264")] == [b"\x06sei", b"\x65idr"]
    nals = [b"\x46\x01", b"\x40\x01v", b"\x42\x01s", b"\x44\x01p", b"\x26\x01idr", b"\x4c\x01\xff"]
    assert [nal for nal in nals if frames.counts(nal, "hevc")] == [b"\x26\x01idr"]


def test_start_codes_of_three_and_four_bytes_and_trailing_zeros() -> None:
    data = b"\0\0\0\1\x65a\0\0\0\1\x41b\0\0\1\x41c\0\0\0"
    assert frames.split_start_codes(data) == [b"\x65a", b"\x41b", b"\x41c"]


def test_a_length_beyond_the_end_is_an_error() -> None:
    with pytest.raises(frames.FormatError, match="9 bytes, 2 are left"):
        frames.split_lengths(b"\0\0\0\x09ab", 4)


def test_adts_is_taken_off_and_raw_units_stay() -> None:
    raw = b"\x21\x10unit"
    size = len(raw) + 7
    header = bytes([0xFF, 0xF1, 0x50, 0x80 | size >> 11, size >> 3 & 255, (size & 7) << 5, 0xFC])
    assert frames.strip_adts(header + raw) == raw
    assert frames.strip_adts(raw) == raw


def changed(clip: Tracks, kind: str, change: Callable[[tuple[Unit, ...]], list[Unit]]) -> Tracks:
    """The clip with one track's units changed."""
    track = clip[kind]
    return {**clip, kind: replace(track, units=tuple(change(track.units)))}


def shifted(units: tuple[Unit, ...], ticks: int, start: int = 0) -> list[Unit]:
    """Units with later times from number `start` on."""
    return [
        replace(unit, pts=unit.pts + ticks, dts=unit.dts + ticks) if number >= start else unit
        for number, unit in enumerate(units)
    ]


def test_the_clip_equals_itself(clip: Tracks) -> None:
    assert frames.compare(clip, clip, EXACT) == []


def test_a_flipped_bit_is_seen(clip: Tracks) -> None:
    def flip(units: tuple[Unit, ...]) -> list[Unit]:
        broken = bytearray(units[7].pieces[-1])
        broken[20] ^= 1
        pieces = (*units[7].pieces[:-1], bytes(broken))
        return [*units[:7], replace(units[7], pieces=pieces), *units[8:]]

    (problem,) = frames.compare(clip, changed(clip, "video", flip), EXACT)
    assert "video: unit 7" in problem
    assert "from byte 20 on" in problem


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_a_missing_unit_is_seen(clip: Tracks, kind: str) -> None:
    problems = frames.compare(
        clip, changed(clip, kind, lambda units: [*units[:20], *units[21:]]), EXACT
    )
    assert f"{kind}: unit 20: 1 units are missing before it" in problems
    assert any("units, at least" in problem for problem in problems)


def test_a_missing_nal_unit_is_seen(clip: Tracks) -> None:
    def cut(units: tuple[Unit, ...]) -> list[Unit]:
        return [replace(units[0], pieces=units[0].pieces[1:]), *units[1:]]

    (problem,) = frames.compare(clip, changed(clip, "video", cut), EXACT)
    assert "1 pieces instead of 2" in problem


def test_swapped_units_are_seen(clip: Tracks) -> None:
    def swap(units: tuple[Unit, ...]) -> list[Unit]:
        return [*units[:4], units[5], units[4], *units[6:]]

    problems = frames.compare(clip, changed(clip, "video", swap), EXACT)
    assert any("missing before it" in problem for problem in problems)
    assert any("DTS" in problem for problem in problems)


def test_a_repeated_unit_is_seen(clip: Tracks) -> None:
    def repeat(units: tuple[Unit, ...]) -> list[Unit]:
        return [*units[:4], units[3], *units[4:]]

    problems = frames.compare(clip, changed(clip, "video", repeat), EXACT)
    assert any("DTS" in problem for problem in problems)


def test_the_end_cut_off_is_seen(clip: Tracks) -> None:
    problems = frames.compare(clip, changed(clip, "video", lambda units: [*units[:-1]]), EXACT)
    assert problems == ["video: 29 units, at least 30 were due"]


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_a_shifted_pts_is_seen(clip: Tracks, kind: str) -> None:
    broken = changed(clip, kind, lambda units: shifted(units, 2, start=10))
    rate = clip[kind].rtp_rate
    tolerant = Expectation(tolerance=Fraction(2, rate), offset_tolerance=Fraction(0))
    strict = Expectation(tolerance=Fraction(1, rate), offset_tolerance=Fraction(0))
    assert frames.compare(clip, broken, tolerant) == []
    assert "unit 10: PTS" in frames.compare(clip, broken, strict)[0]


def test_one_track_against_the_other_is_seen(clip: Tracks) -> None:
    broken = changed(clip, "audio", lambda units: shifted(units, 100))
    assert frames.compare(clip, broken, FLV) == ["audio - video: -64.466 ms, -66.733 ms was due"]
    assert frames.compare(clip, changed(clip, "audio", lambda u: shifted(u, 40)), FLV) == []


def test_a_standing_dts_is_seen(clip: Tracks) -> None:
    def stand(units: tuple[Unit, ...]) -> list[Unit]:
        return [*units[:6], replace(units[6], dts=units[5].dts), *units[7:]]

    (problem,) = frames.compare(clip, changed(clip, "video", stand), EXACT)
    assert "DTS" in problem


def test_a_dts_after_its_pts_is_seen(clip: Tracks) -> None:
    def late(units: tuple[Unit, ...]) -> list[Unit]:
        return [*units[:-1], replace(units[-1], dts=units[-1].pts + 1)]

    (problem,) = frames.compare(clip, changed(clip, "video", late), EXACT)
    assert "before DTS" in problem


def test_tracks_that_are_missing_too_many_or_of_another_codec_are_seen(clip: Tracks) -> None:
    video = {"video": clip["video"]}
    assert frames.compare(clip, video, EXACT) == ["audio: the track is missing"]
    assert frames.compare(video, clip, EXACT) == ["audio: a track that was not sent"]
    other = {"video": replace(clip["video"], codec="hevc")}
    assert frames.compare(video, other, EXACT) == ["video: codec hevc, sent was h264"]


def test_rounds_of_a_loop_continue_by_its_period(clip: Tracks) -> None:
    period = Fraction(3, 2)
    looped = {}
    for kind, track in clip.items():
        ticks = int(period * track.rtp_rate)
        looped[kind] = replace(track, units=(*track.units, *shifted(track.units, ticks)))
    expected = replace(EXACT, period=period)
    assert frames.compare(clip, looped, expected) == []
    assert frames.compare(clip, looped, replace(expected, period=period + 1)) != []
    (first, *_) = frames.compare(clip, looped, EXACT)
    assert "after the clip's end" in first


def test_b_frames_keep_pts_and_dts_apart() -> None:
    track = frames.read(WITH_B_FRAMES)["video"].in_rtp_ticks()
    assert [unit.pts for unit in track.units[:4]] == [0, 12000, 6000, 3000]
    assert [unit.dts for unit in track.units[:4]] == [-6000, -3000, 0, 3000]
