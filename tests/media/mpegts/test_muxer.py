"""MPEG-TS: real clips there and back, the clock, wraps, breaks, changes of tracks."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from media.codecs.aac import AacParameters
from media.frame import Frame
from media.mpegts.muxer import FIRST_DTS, TsMuxer, carries, carries_track
from media.track import AAC, H264, H265, OPUS, PCMA, Kind, Track
from tests.support import clips, frames, ts_check

CLIPS = [clips.BUNNY, clips.PYRAMID, clips.HDR]
WRAP = 1 << 33


def mux(clip: list[Frame]) -> bytes:
    """The packets of all frames."""
    return b"".join(map(TsMuxer(clips.tracks_of(clip)).encode, clip))


@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.stem[:5])
def test_clip_comes_back_whole(path: Path) -> None:
    clip = clips.read(path)
    data = mux(clip)
    report = ts_check.check(data)
    assert report.problems == []
    assert min(pes.dts for units in report.units.values() for pes in units) >= FIRST_DTS
    assert frames.compare(frames.read(path), frames.read(data, "mpegts"), frames.HLS) == []


def test_stream_types_and_clock() -> None:
    bunny = ts_check.check(mux(clips.read(clips.BUNNY)))
    assert bunny.streams == {0x100: 0x1B, 0x101: 0x0F}
    assert bunny.pcr_pid == 0x100
    hdr = ts_check.check(mux(clips.read(clips.HDR)))
    assert hdr.streams == {0x100: 0x24, 0x101: 0x0F}
    sound = ts_check.check(mux(clips.only(clips.read(clips.BUNNY), Kind.AUDIO)))
    assert sound.problems == []
    assert sound.pcr_pid == 0x100
    assert sound.streams == {0x100: 0x0F}


def test_parameter_sets_come_before_key_frames_only() -> None:
    clip = clips.read(clips.PYRAMID)
    units = ts_check.check(mux(clip)).units[0x100]
    keys = [nals[1:3] for unit in units if (nals := unit.nals)[1][0] & 31 == 7]
    parameters = clip[0].parameters
    assert keys == [(*parameters.sps, *parameters.pps)] * 4  # type: ignore[union-attr]  # H.264
    assert [unit.is_random_access for unit in units] == [frame.key for frame in clip]


def test_changed_parameters_come_with_their_key_frame() -> None:
    clip = clips.only(clips.read(clips.BUNNY), Kind.VIDEO)
    keys = [frame for frame in clip if frame.key]
    old = keys[0].parameters
    assert old is not None
    new = replace(old, version=1, pps=(b"\x68\xce\x3c\x80",))  # type: ignore[call-arg]  # H.264
    for frame in clip[clip.index(keys[1]) :]:
        frame.parameters = new
    units = ts_check.check(mux(clip)).units[0x100]
    found = [unit.nals[2] for unit in units if unit.is_random_access]
    assert found == [old.pps[0], b"\x68\xce\x3c\x80", b"\x68\xce\x3c\x80"]  # type: ignore[attr-defined]  # H.264


def test_wrap_at_33_bits() -> None:
    """Times, PCR and counters run on over the wrap after 26.5 hours."""
    clip = clips.read(clips.BUNNY)
    muxer = TsMuxer(clips.tracks_of(clip))
    muxer.encode(clip[0])
    hours = WRAP * 1000 // 90_000 - 15_000  # ten seconds of offset, five before the wrap
    late = clips.shifted(clip, hours)
    report = ts_check.check(b"".join(map(muxer.encode, late)))
    assert report.problems == []
    dts = [unit.dts for unit in report.units[0x100]]
    assert max(dts) > WRAP - 90_000
    assert min(dts) < 90_000 * 6
    assert report.pcrs[-1] > WRAP
    sent = [frame for frame in late if frame.track.kind is Kind.VIDEO]
    for frame, unit in zip(sent, report.units[0x100], strict=True):
        assert unit.dts == (frame.dts - clip[0].dts + FIRST_DTS) % WRAP


def test_wrap_is_read_back() -> None:
    clip = clips.read(clips.PYRAMID)
    muxer = TsMuxer(clips.tracks_of(clip))
    muxer.encode(clip[0])
    late = clips.shifted(clip, WRAP * 1000 // 90_000 - 12_000)
    data = b"".join(map(muxer.encode, late))
    read = frames.read(data, "mpegts")
    assert frames.compare(frames.read(clips.PYRAMID), read, frames.HLS) == []


def test_clock_goes_on_where_pictures_are_rare() -> None:
    """Two pictures a second: packets with only a PCR keep it within 100 ms."""
    clip = clips.only(clips.read(clips.PYRAMID), Kind.VIDEO)
    track = clip[0].track
    slow = [
        Frame(
            track, n * 45_000, n * 45_000, 0, 0.0, frame.key, False, frame.parameters, frame.payload
        )
        for n, frame in enumerate(clip[:20])
    ]
    report = ts_check.check(mux(slow), tables_within=0)
    assert report.problems == []
    assert len(report.pcrs) > 100


def test_clock_follows_sound_between_pictures() -> None:
    clip = clips.read(clips.BUNNY)
    count = 0
    rare = []
    for frame in clip:
        if frame.track.kind is Kind.VIDEO:
            count += 1
            if count % 8 != 1 and not frame.key:
                continue
        rare.append(frame)
    # PCRs are up to 90 ms apart here, so the judge knows the time of tables no better.
    assert ts_check.check(mux(rare), tables_within=18_000).problems == []


@pytest.mark.parametrize("skew_ms", [-700, -300, 300, 700])
def test_clock_stays_below_skewed_tracks(skew_ms: int) -> None:
    """The source begins to send one track later than its time; the clock waits for it."""
    clip = clips.read(clips.BUNNY)

    def sent_at(frame: Frame) -> float:
        time = frame.dts / frame.track.clock_rate
        is_late = time > 1 and frame.track.kind is Kind.AUDIO
        return max(1.0, time + skew_ms / 1000) if is_late else time

    assert ts_check.check(mux(sorted(clip, key=sent_at)), tables_within=0).problems == []


def test_break_marks_every_pid_once() -> None:
    clip = clips.read(clips.BUNNY)
    tracks = clips.tracks_of(clip)
    again = clips.shifted(clip, 60_000)
    marked = set()
    for frame in again:
        if frame.track not in marked:
            frame.discontinuity = True
            marked.add(frame.track)
    muxer = TsMuxer(tracks)
    data = b"".join(map(muxer.encode, clip + again))
    report = ts_check.check(data)
    assert report.problems == []
    for units in report.units.values():
        assert sum(unit.is_discontinuity for unit in units) == 1
    assert [unit.dts for unit in report.units[0x100] if unit.is_discontinuity] == [
        FIRST_DTS + 60 * 90_000
    ]


def test_first_frames_are_no_break() -> None:
    clip = clips.with_frames(
        clips.read(clips.PYRAMID)[:3], lambda frame: setattr(frame, "discontinuity", frame.key)
    )
    report = ts_check.check(mux(clip))
    assert not any(unit.is_discontinuity for unit in report.units[0x100])


def test_other_tracks_make_a_new_pmt() -> None:
    clip = clips.read(clips.BUNNY)
    picture, sound = clips.tracks_of(clip)
    muxer = TsMuxer([picture])
    half = len(clip) // 2
    first = b"".join(map(muxer.encode, clip[:half]))
    muxer.set_tracks([picture, sound])
    second = b"".join(map(muxer.encode, clip[half:]))
    report = ts_check.check(first + second)
    assert report.problems == []
    assert set(report.versions) == {0, 1}
    assert ts_check.check(first).streams == {0x100: 0x1B}
    assert report.streams == {0x100: 0x1B, 0x101: 0x0F}
    muxer.set_tracks([sound])
    assert muxer.tracks == (sound,)
    report = ts_check.check(b"".join(map(muxer.encode, clips.shifted(clip, 20_000))))
    assert report.problems == []
    assert (report.streams, report.pcr_pid) == ({0x101: 0x0F}, 0x101)


def test_tables_for_a_joiner_repeat_the_last_ones() -> None:
    clip = clips.read(clips.PYRAMID)
    muxer = TsMuxer(clips.tracks_of(clip))
    first = muxer.encode(clip[0])
    assert muxer.tables() == first[: 2 * 188]
    second = muxer.encode(clip[1])
    muxer.request_tables()
    third = muxer.encode(clip[2])
    assert third[:188] != first[:188]
    assert third[4:188] == first[4:188]
    assert ts_check.check(first + second + third).problems == []


def test_tables_only_where_asked_for() -> None:
    clip = clips.read(clips.PYRAMID)
    muxer = TsMuxer(clips.tracks_of(clip), tables_interval=0)
    report = ts_check.check(b"".join(map(muxer.encode, clip)), tables_within=0)
    assert report.problems == []
    assert report.tables == sum(frame.key for frame in clip)


def test_what_cannot_be_carried_gives_nothing() -> None:
    assert carries(H264)
    assert carries(H265)
    assert carries(AAC)
    assert not carries(OPUS)
    assert not carries(PCMA)
    clip = clips.read(clips.BUNNY)
    stranger = Track(5, Kind.AUDIO, PCMA, 8_000)
    muxer = TsMuxer([*clips.tracks_of(clip), stranger])
    assert stranger not in muxer.tracks
    assert muxer.encode(Frame(stranger, 0, 0, 0, 0.0, True, False, None, (b"x",))) == b""
    frame = clip[0]
    frame.payload = ()
    assert muxer.encode(frame) == b""


def test_sound_that_adts_cannot_describe() -> None:
    eld = AacParameters.build(bytes.fromhex("f8e85000"))  # AAC-ELD, 44.1 kHz
    assert not eld.is_adts_possible
    track = Track(0, Kind.AUDIO, AAC, 44_100, eld)
    assert not carries_track(track)
    unknown = Track(0, Kind.AUDIO, AAC, 44_100)
    assert carries_track(unknown)
    muxer = TsMuxer([unknown])
    assert muxer.encode(Frame(unknown, 0, 0, 0, 0.0, True, False, eld, (b"x",))) == b""
    lc = AacParameters.build(bytes.fromhex("1210"))
    assert muxer.encode(Frame(unknown, 0, 0, 0, 0.0, True, False, lc, (b"x",)))
    assert muxer.encode(Frame(unknown, 1, 1, 0, 0.0, True, False, lc, (b"x" * 9_000,))) == b""


def test_nothing_comes_before_parameters_are_known() -> None:
    clip = clips.read(clips.PYRAMID)
    track = Track(0, Kind.VIDEO, H264, 90_000)
    muxer = TsMuxer([track])
    frame = Frame(track, 0, 0, 0, 0.0, True, False, None, clip[0].payload)
    assert muxer.encode(frame) == b""
    frame.parameters = clip[0].parameters
    assert ts_check.check(muxer.encode(frame)).problems == []


def test_offset_between_tracks_is_exact() -> None:
    clip = clips.read(clips.HDR)
    report = ts_check.check(mux(clip))
    for pid, track in zip((0x100, 0x101), clips.tracks_of(clip), strict=True):
        sent = [frame for frame in clip if frame.track is track]
        for frame, unit in zip(sent, report.units[pid], strict=True):
            first = clip[0]
            due = Fraction(frame.pts, track.clock_rate) - Fraction(
                first.dts, first.track.clock_rate
            )
            assert abs(unit.pts - FIRST_DTS - due * 90_000) <= 1


def test_h265_has_its_own_delimiter() -> None:
    units = ts_check.check(mux(clips.read(clips.HDR))).units[0x100]
    assert {unit.nals[0] for unit in units} == {b"\x46\x01\x50"}
