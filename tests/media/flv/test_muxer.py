"""FLV: real clips there and back, time at its edges, changes of parameters."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.codecs.g711 import G711Parameters
from media.codecs.h264 import H264Parameters
from media.codecs.opus import OpusParameters
from media.flv.forms import Form, carries, carries_track
from media.flv.muxer import EXHAUSTED_AT_MS, HEADROOM_MS, FlvMuxer
from media.frame import Frame
from media.parameters import Parameters
from media.track import AAC, H264, H265, OPUS, PCMA, PCMU, Kind, Track
from tests.support import clips, flv_check, frames

CLIPS = [clips.BUNNY, clips.PYRAMID, clips.HDR]
NO_FRAME_RATE = bytes.fromhex("67640028acd940780227e5c05a808080a0000003002000000781e30632c0")
AVC = H264Parameters.build([NO_FRAME_RATE], [bytes.fromhex("68ebe3cb22c0")])
OTHER_AVC = replace(AVC, pps=(b"\x68\xeb\xe3\xcb\x22\xc1",), version=1)


def mux(clip: list[Frame]) -> bytes:
    """A whole file: the header of the start, then all frames."""
    muxer = FlvMuxer(clips.tracks_of(clip))
    return muxer.header() + b"".join(map(muxer.encode, clip))


def video(parameters: Parameters | None = AVC) -> Track:
    """An H.264 track."""
    return Track(0, Kind.VIDEO, H264, 90_000, parameters)


def frame_at(track: Track, ticks: int, *, cts: int = 0, key: bool = True) -> Frame:
    """A small frame."""
    payload = (b"\x65" + b"x" * 20,)
    return Frame(track, ticks + cts, ticks, 0, 0.0, key, False, track.parameters, payload)


@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.stem[:5])
def test_clip_comes_back_whole(path: Path) -> None:
    clip = clips.read(path)
    data = mux(clip)
    assert flv_check.check(data).problems == []
    assert frames.compare(frames.read(path), frames.read(data, "flv"), frames.FLV) == []


def test_legacy_h265_has_codec_id_12() -> None:
    clip = clips.read(clips.HDR)
    muxer = FlvMuxer(clips.tracks_of(clip), Form.LEGACY)
    report = flv_check.check(muxer.header() + b"".join(map(muxer.encode, clip)))
    assert report.problems == []
    assert report.metadata["videocodecid"] == 12
    sent = [frame.payload for frame in clip if frame.track.codec == H265]
    assert [tag.payload for tag in report.frames(flv_check.VIDEO)] == sent


def test_metadata_says_what_the_tracks_are() -> None:
    clip = clips.read(clips.BUNNY)
    assert flv_check.check(mux(clip)).metadata == {
        "width": 480.0,
        "height": 360.0,
        "framerate": 30.0,
        "videocodecid": 7.0,
        "audiocodecid": 10.0,
        "audiosamplerate": 44_100.0,
        "audiosamplesize": 16.0,
        "stereo": True,
    }


def test_metadata_of_fourcc_codecs_is_a_number() -> None:
    clip = clips.read(clips.HDR)
    metadata = flv_check.check(mux(clip)).metadata
    assert metadata["videocodecid"] == int.from_bytes(b"hvc1", "big")


def test_opus_is_enhanced_audio() -> None:
    parameters = OpusParameters(sample_rate=48_000, channels=2)
    track = Track(0, Kind.AUDIO, OPUS, 48_000, parameters)
    muxer = FlvMuxer([track])
    packets = [b"\xfc" + bytes([n]) * 50 for n in range(5)]
    sent = [
        Frame(track, n * 960, n * 960, 0, 0.0, True, False, parameters, (packet,))
        for n, packet in enumerate(packets)
    ]
    data = muxer.header() + b"".join(map(muxer.encode, sent))
    report = flv_check.check(data)
    assert report.problems == []
    assert [tag.payload[0] for tag in report.frames(flv_check.AUDIO)] == packets
    assert report.tags[1].payload[0].startswith(b"OpusHead\x01\x02")
    assert [tag.timestamp for tag in report.frames(flv_check.AUDIO)] == [
        HEADROOM_MS + 20 * n for n in range(5)
    ]
    read = frames.read(data, "flv")["audio"]
    assert [unit.pieces for unit in read.units] == [(packet,) for packet in packets]
    assert read.codec == "opus"


@pytest.mark.parametrize(("codec", "name"), [(PCMA, "pcm_alaw"), (PCMU, "pcm_mulaw")])
def test_g711_needs_no_sequence_header(codec: str, name: str) -> None:
    track = Track(0, Kind.AUDIO, codec, 8_000, G711Parameters(sample_rate=8_000, channels=1))
    muxer = FlvMuxer([track])
    sent = [
        Frame(track, n * 160, n * 160, 0, 0.0, True, False, None, (bytes([n]) * 160,))
        for n in range(5)
    ]
    data = muxer.header() + b"".join(map(muxer.encode, sent))
    assert flv_check.check(data).problems == []
    read = frames.read(data, "flv")["audio"]
    assert read.codec == name
    assert read.sample_rate == 8_000
    assert [unit.pieces for unit in read.units] == [frame.payload for frame in sent]


def test_metadata_comes_again_with_another_picture_size() -> None:
    track = video()
    muxer = FlvMuxer([track])
    frames = [frame_at(track, 3_000 * n) for n in range(4)]
    frames[2].parameters = replace(AVC, width=64, height=48, version=1, pps=OTHER_AVC.pps)
    frames[3].parameters = replace(frames[2].parameters, version=2)
    data = muxer.header() + b"".join(map(muxer.encode, frames))
    scripts = [tag for tag in flv_check.check(data).tags if tag.type == flv_check.SCRIPT]
    assert [tag.timestamp for tag in scripts] == [0, HEADROOM_MS + 67]
    assert flv_check.check(data).metadata["width"] == 64.0


def test_flags_follow_the_tracks() -> None:
    clip = clips.read(clips.BUNNY)
    by_kind = {track.kind: track for track in clips.tracks_of(clip)}
    sound = by_kind[Kind.AUDIO]
    picture = by_kind[Kind.VIDEO]
    unknown = Track(7, Kind.AUDIO, "rtp/speex", 8_000)
    assert FlvMuxer([picture, sound]).header()[4] == 5
    assert FlvMuxer([picture]).header()[4] == 1
    assert FlvMuxer([sound]).header()[4] == 4
    assert FlvMuxer([picture, unknown]).header()[4] == 1
    assert FlvMuxer([picture, unknown]).tracks == (picture,)


def test_one_track_of_each_kind_is_carried() -> None:
    first, second = video(), video()
    muxer = FlvMuxer([first, second])
    assert muxer.tracks == (first,)
    assert muxer.encode(frame_at(second, 0)) == b""


def test_carries_names_codecs() -> None:
    assert all(carries(codec) for codec in (H264, H265, AAC, OPUS, PCMA, PCMU))
    assert not carries("rtp/speex")
    assert not carries("ac3")


def test_nothing_comes_before_parameters_are_known() -> None:
    track = video(None)
    muxer = FlvMuxer([track])
    assert flv_check.check(muxer.header()).tags[0].type == flv_check.SCRIPT
    assert muxer.encode(frame_at(track, 0)) == b""
    frame = frame_at(track, 3_000)
    frame.parameters = AVC
    report = flv_check.check(FlvMuxer([video()]).header() + muxer.encode(frame))
    assert [tag.is_header for tag in report.tags] == [True, True, True, True, False]


def test_changed_parameters_come_before_their_frame() -> None:
    track = video()
    muxer = FlvMuxer([track])
    old_header = muxer.header()
    first = muxer.encode(frame_at(track, 0))
    frame = frame_at(track, 90_000)
    frame.parameters = OTHER_AVC
    second = muxer.encode(frame)
    report = flv_check.check(old_header + first + second)
    assert report.problems == []
    kinds = [(tag.is_header, tag.timestamp) for tag in report.tags[2:]]
    assert kinds == [(False, 2_000), (True, 3_000), (False, 3_000)]
    assert report.tags[3].payload[0] == OTHER_AVC.decoder_configuration()
    assert muxer.header() != old_header
    assert OTHER_AVC.decoder_configuration() in muxer.header()
    later = frame_at(track, 180_000)
    later.parameters = replace(OTHER_AVC, version=2)  # another version of the same content
    assert len(flv_check.check(muxer.header() + muxer.encode(later)).tags) == 3


def test_frame_of_parameters_only_gives_their_tag_alone() -> None:
    track = video()
    muxer = FlvMuxer([track])
    frame = frame_at(track, 0)
    frame.payload = ()
    assert muxer.encode(frame) == b""
    frame.parameters = OTHER_AVC
    assert OTHER_AVC.decoder_configuration() in muxer.encode(frame)


def test_composition_time_is_signed() -> None:
    track = video()
    muxer = FlvMuxer([track])
    sent = [frame_at(track, n * 3_000, cts=cts) for n, cts in enumerate((9_000, -4_500, 0))]
    report = flv_check.check(muxer.header() + b"".join(map(muxer.encode, sent)))
    assert [tag.cts for tag in report.frames(flv_check.VIDEO)] == [100, -50, 0]


def test_a_track_that_starts_before_the_first_frame_keeps_its_place() -> None:
    clip = clips.read(clips.BUNNY)
    picture, sound = clips.tracks_of(clip)
    muxer = FlvMuxer([picture, sound])
    sent = [
        Frame(picture, 900_000, 900_000, 0, 0.0, True, False, picture.parameters, (b"\x65a",)),
        Frame(sound, 9 * 44_100, 9 * 44_100, 0, 0.0, True, False, sound.parameters, (b"aac",)),
        Frame(sound, 44_100, 44_100, 0, 0.0, True, False, sound.parameters, (b"aac",)),
    ]
    report = flv_check.check(muxer.header() + b"".join(map(muxer.encode, sent)))
    assert [tag.timestamp for tag in report.frames(flv_check.VIDEO)] == [2_000]
    assert [tag.timestamp for tag in report.frames(flv_check.AUDIO)] == [1_000, 0]


def test_clamped_video_keeps_its_presentation_time() -> None:
    track = video()
    muxer = FlvMuxer([track])
    header = muxer.header() + muxer.encode(frame_at(track, 900_000))
    report = flv_check.check(header + muxer.encode(frame_at(track, 0, cts=891_000)))
    tag = report.tags[-1]
    assert (tag.timestamp, tag.timestamp + tag.cts) == (0, 1_900)


def test_extended_timestamp_at_four_hours_39() -> None:
    """24 bits of milliseconds end at 16777.215 s; the upper byte goes on."""
    track = video()
    muxer = FlvMuxer([track])
    header = muxer.header() + muxer.encode(frame_at(track, 0))
    edge = (1 << 24) - HEADROOM_MS
    sent = [frame_at(track, ms * 90) for ms in (edge - 1, edge, edge + 1)]
    data = header + b"".join(map(muxer.encode, sent))
    report = flv_check.check(data)
    assert report.problems == []
    assert [tag.timestamp for tag in report.tags[3:]] == [(1 << 24) + n for n in (-1, 0, 1)]
    assert [unit.dts for unit in frames.read(data, "flv")["video"].units][1:] == [
        (1 << 24) + n for n in (-1, 0, 1)
    ]


def test_the_end_of_time_is_announced() -> None:
    track = video()
    muxer = FlvMuxer([track])
    muxer.encode(frame_at(track, 0))
    seen = []
    for ms in (EXHAUSTED_AT_MS - 1, EXHAUSTED_AT_MS):
        muxer.encode(frame_at(track, (ms - HEADROOM_MS) * 90))
        seen.append(muxer.is_exhausted)
    assert seen == [False, True]
    last = muxer.encode(frame_at(track, ((1 << 31) - HEADROOM_MS - 1) * 90))
    report = flv_check.check(muxer.header() + last)
    assert report.problems == []
    assert report.tags[-1].timestamp == (1 << 31) - 1


def test_header_is_made_once() -> None:
    muxer = FlvMuxer([video()])
    assert muxer.header() is muxer.header()


@given(
    rate=st.sampled_from([8_000, 11_025, 22_050, 44_100, 48_000, 90_000]),
    start=st.integers(-(1 << 40), 1 << 40),
    steps=st.lists(st.integers(1, 20_000), min_size=1, max_size=50),
    offsets=st.lists(st.integers(0, 20_000), min_size=50, max_size=50),
)
def test_time_is_within_a_millisecond(
    rate: int, start: int, steps: list[int], offsets: list[int]
) -> None:
    track = Track(0, Kind.VIDEO, H264, rate, AVC)
    muxer = FlvMuxer([track])
    ticks, sent = start, [frame_at(track, start)]
    for step, offset in zip(steps, offsets, strict=False):
        ticks += step
        sent.append(frame_at(track, ticks, cts=offset))
    report = flv_check.check(muxer.header() + b"".join(map(muxer.encode, sent)))
    assert report.problems == []
    tags = report.frames(flv_check.VIDEO)
    for tag, frame in zip(tags, sent, strict=True):
        expected = (frame.pts - start) * 1000 / rate
        assert abs(tag.timestamp + tag.cts - tags[0].timestamp - expected) <= 1
        assert tag.cts >= 0
    for before, after, frame, other in zip(tags, tags[1:], sent, sent[1:], strict=False):
        if (other.dts - frame.dts) * 1000 >= rate:
            assert after.timestamp > before.timestamp


def test_flv_carries_g711_at_its_own_rate_only() -> None:
    for codec in (PCMA, PCMU):
        assert carries_track(Track(0, Kind.AUDIO, codec, 8000))
        assert not carries_track(Track(0, Kind.AUDIO, codec, 16_000))
