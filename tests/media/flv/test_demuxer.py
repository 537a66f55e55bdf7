"""FLV to frames: clips there and back in each form, time at its edges, changes, broken tags."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.codecs.aac import AacParameters, make_config
from media.codecs.av1 import Av1Parameters
from media.codecs.g711 import G711Parameters
from media.codecs.h264 import H264Parameters
from media.codecs.opus import OpusParameters
from media.flv import tags
from media.flv.demuxer import FlvDemuxer, FlvEvent, FlvUnit, MetaData, TrackDescribed, TrackRefused
from media.flv.forms import Form
from media.flv.muxer import HEADROOM_MS, FlvMuxer
from media.flv.reader import FlvReader
from media.frame import Frame
from media.track import AAC, H264, MP3, OPUS, PCMA, PCMU, VP8, VP9, Kind, Track
from tests.support import clips
from tests.support.conform import samples
from tests.support.h264_sets import PPS, SPS

CLIPS = [clips.BUNNY, clips.PYRAMID, clips.HDR]


class Demuxed:
    """What came of some bytes."""

    def __init__(self) -> None:
        self.drops: Counter[str] = Counter()
        self.demuxer = FlvDemuxer(lambda reason: self.drops.update([reason]))
        self.events: list[FlvEvent] = []
        self.described: list[tuple[str, int]] = []

    def feed(self, data: bytes) -> "Demuxed":
        for tag in FlvReader().feed(data):
            self.take(tag.type, tag.timestamp, tag.body)
        return self

    def take(self, kind: int, time: int, body: bytes) -> list[FlvEvent]:
        found = self.demuxer.take(kind, time, body)
        self.events += found
        for event in found:
            if isinstance(event, TrackDescribed):
                self.described.append((event.track.codec, event.track.clock_rate))
        return found

    @property
    def units(self) -> list[FlvUnit]:
        return [event for event in self.events if isinstance(event, FlvUnit)]


def mux(clip: Sequence[Frame], form: Form) -> bytes:
    muxer = FlvMuxer(clips.tracks_of(list(clip)), form)
    return muxer.header() + b"".join(map(muxer.encode, clip)) + muxer.trailer()


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.stem[:5])
def test_clip_comes_back_whole(path: Path, form: Form) -> None:
    clip = clips.read(path)
    found = Demuxed().feed(mux(clip, form))
    assert found.drops == Counter()
    first = clip[0].dts / clip[0].track.clock_rate - HEADROOM_MS / 1000
    for track in clips.tracks_of(clip):
        sent = [frame for frame in clip if frame.track is track]
        got = [unit for unit in found.units if unit.track.codec == track.codec]
        assert [unit.payload for unit in got] == [frame.payload for frame in sent]
        assert {unit.track.parameters for unit in got} == {track.parameters}
        for unit, frame in zip(got, sent, strict=True):
            rate = unit.track.clock_rate
            assert abs(unit.pts / rate - (frame.pts / track.clock_rate - first)) < 0.004
            assert abs(unit.dts / rate - (frame.dts / track.clock_rate - first)) < 0.004


@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.stem[:5])
def test_what_ffmpeg_writes_is_read(path: Path) -> None:
    clip = clips.read(path)
    found = Demuxed().feed(samples.flv(path.name))
    assert found.drops == Counter()
    for track in clips.tracks_of(clip):
        sent = [frame.payload for frame in clip if frame.track is track]
        got = [unit.payload for unit in found.units if unit.track.codec == track.codec]
        assert list(map(len, got)) == list(map(len, sent)) or got == sent
    assert isinstance(found.events[0], MetaData)


@pytest.mark.parametrize(("name", "codec"), [(samples.OPUS, OPUS), (samples.VP9, VP9)])
def test_other_codecs_of_ffmpeg_are_read(name: str, codec: str) -> None:
    found = Demuxed().feed(samples.flv(name))
    assert found.drops == Counter()
    assert [each for each, _ in found.described] == [codec]
    assert len(found.units) > 80


def sound(codec: str, rate: int, payloads: Sequence[bytes], samples: int) -> list[Frame]:
    parameters = {
        PCMA: G711Parameters(sample_rate=8000, channels=1),
        PCMU: G711Parameters(sample_rate=8000, channels=2),
        OPUS: OpusParameters(sample_rate=48_000, channels=2),
    }.get(codec)
    track = Track(0, Kind.AUDIO, codec, rate, parameters)
    return [
        Frame(track, n * samples, n * samples, 0, 0.0, True, False, parameters, (data,))
        for n, data in enumerate(payloads)
    ]


def test_sound_goes_on_where_it_ended() -> None:
    clip = clips.only(clips.read(clips.BUNNY), Kind.AUDIO)
    got = Demuxed().feed(mux(clip, Form.AUTO)).units
    steps = {b.pts - a.pts for a, b in pairwise(got)}
    assert steps == {1024}
    assert abs((got[-1].pts - got[0].pts) - (clip[-1].pts - clip[0].pts)) <= 3 * 44.1


@pytest.mark.parametrize("codec", [PCMA, PCMU])
def test_g711(codec: str) -> None:
    clip = sound(codec, 8000, [bytes([n]) * 160 for n in range(20)], 160)
    found = Demuxed().feed(mux(clip, Form.AUTO))
    assert found.described == [(codec, 8000)]
    assert [unit.payload for unit in found.units] == [frame.payload for frame in clip]


def test_opus_without_a_header_is_guessed_from_its_first_packet() -> None:
    found = Demuxed()
    found.take(8, 0, b"\x91Opus\xfc\xff\xfe")
    track = found.units[0].track
    assert track.parameters == OpusParameters(sample_rate=48_000, channels=2)


def test_several_mp3_frames_in_one_tag() -> None:
    frame = bytes.fromhex("fffb9000") + bytes(413)
    found = Demuxed()
    found.take(8, 0, b"\x2f" + frame * 3)
    assert found.described == [(MP3, 44_100)]
    assert [unit.pts for unit in found.units] == [0, 1152, 2304]


def avc(record: bytes) -> bytes:
    return b"\x17\x00\x00\x00\x00" + record


def avcc(*pps: bytes) -> bytes:
    head = b"\x01" + SPS[1:4] + b"\xff\xe1" + pack(">H", len(SPS)) + SPS + bytes((len(pps),))
    return head + b"".join(pack(">H", len(each)) + each for each in pps)


def picture(nal: bytes = b"\x65\x88", cts: int = 0) -> bytes:
    return b"\x17\x01" + (cts & 0xFFFFFF).to_bytes(3, "big") + pack(">I", len(nal)) + nal


def test_a_changed_sequence_header_travels_with_the_next_picture() -> None:
    found = Demuxed()
    other = PPS + b"\x80"
    found.take(9, 0, avc(avcc(PPS)))
    found.take(9, 0, picture())
    found.take(9, 40, avc(avcc(PPS)))
    found.take(9, 40, picture())
    found.take(9, 80, avc(avcc(other)))
    found.take(9, 80, picture())
    found.take(9, 120, picture())
    payloads = [unit.payload for unit in found.units]
    assert payloads == [(b"\x65\x88",), (b"\x65\x88",), (SPS, other, b"\x65\x88"), (b"\x65\x88",)]
    assert len(found.described) == 1


def test_a_changed_configuration_of_sound_travels_with_the_next_frame() -> None:
    found = Demuxed()
    stereo, mono = make_config(44_100, 2), make_config(44_100, 1)
    for config in (stereo, stereo, mono):
        found.take(8, 0, b"\xaf\x00" + config)
        found.take(8, 0, b"\xaf\x01\x21")
    assert [unit.payload for unit in found.units] == [(b"\x21",), (b"\x21",), (mono, b"\x21")]


def test_another_sample_rate_is_another_description() -> None:
    found = Demuxed()
    for rate in (44_100, 48_000):
        found.take(8, 0, b"\xaf\x00" + make_config(rate, 2))
        found.take(8, 0, b"\xaf\x01\x21")
    assert found.described == [(AAC, 44_100), (AAC, 48_000)]


def test_another_codec_is_another_track() -> None:
    found = Demuxed()
    found.take(8, 0, b"\xaf\x00" + make_config(44_100, 2))
    found.take(8, 10, b"\x7e" + bytes(160))
    assert found.described == [(AAC, 44_100), (PCMA, 8000)]


def times(*stamps: int) -> list[int]:
    found = Demuxed()
    found.take(9, stamps[0], avc(avcc(PPS)))
    for stamp in stamps:
        found.take(9, stamp, picture())
    return [unit.dts // 90 for unit in found.units]


def test_time_wraps_at_32_bits() -> None:
    top = 1 << 32
    assert times(top - 40, 0, 40) == [top - 40, top, top + 40]


def test_time_without_its_high_byte_goes_on() -> None:
    top = 1 << 24
    assert times(top - 40, 0, top - 20, 20) == [top - 40, top, top - 20, top + 20]


def test_time_that_crosses_24_bits_properly_is_left_alone() -> None:
    top = 1 << 24
    assert times(top - 40, top, top + 40) == [top - 40, top, top + 40]


def test_jumps_are_the_timelines_matter() -> None:
    assert times(1000, 500_000_000, 40) == [1000, 500_000_000, 40]


def test_composition_time_is_signed() -> None:
    found = Demuxed()
    found.take(9, 0, avc(avcc(PPS)))
    found.take(9, 1000, picture(cts=-40))
    assert (found.units[0].pts, found.units[0].dts) == (960 * 90, 1000 * 90)


def test_av1_in_enhanced_flv() -> None:
    record = bytes.fromhex("81050c000a0b0000000424c6abdf00")
    found = Demuxed()
    found.take(9, 0, b"\x90av01" + record)
    found.take(9, 0, b"\x91av01" + bytes.fromhex("1200320110"))
    unit = found.units[0]
    assert unit.payload == (b"\x30\x10",)
    assert isinstance(unit.track.parameters, Av1Parameters) or unit.track.parameters is None


def test_vp8_needs_no_header() -> None:
    found = Demuxed()
    found.take(9, 0, b"\x91vp08\x10\x02\x00\x9d\x01\x2a")
    assert found.described == [(VP8, 90_000)]


def test_modifiers_are_stepped_over() -> None:
    found = Demuxed()
    found.take(8, 20, b"\x97\x02\x01\x00\x00\x01Opus\xfc")
    assert [unit.payload for unit in found.units] == [(b"\xfc",)]


def test_metadata_behind_a_name_is_read() -> None:
    from media.flv.amf import ecma_array, string

    body = string("@setDataFrame") + string("onMetaData") + ecma_array({"width": 640.0})
    assert Demuxed().take(18, 0, body) == [MetaData({"width": 640.0})]


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        (9, b"", "flv-tag-truncated"),
        (9, b"\x17\x01\x00", "flv-tag-truncated"),
        (9, picture(), "flv-no-sequence-header"),
        (9, avc(avcc(PPS)[:-2]), "flv-sequence-header"),
        (9, avc(b"\x01\x42\x00\x1e\xfe" + avcc(PPS)[5:]), "flv-sequence-header"),
        (9, b"\x96\x00hvc1", "flv-multitrack-refused"),
        (9, b"\x91hv", "flv-tag-truncated"),
        (9, b"\x22\x00", "flv-codec-unsupported"),
        (9, b"\x91vvc1\0\0\0x", "flv-codec-unsupported"),
        (8, b"\xaf", "flv-tag-truncated"),
        (8, b"\xaf\x01\x21", "flv-no-sequence-header"),
        (8, b"\xb2x", "flv-codec-unsupported"),
        (8, b"\x95\x00Opus", "flv-multitrack-refused"),
        (8, b"\x97" + b"\x00x\x07" * 9, "flv-modifiers"),
        (8, b"\x2f\x00\x01\x02\x03\x04", "mp3-malformed"),
        (18, b"\x02\x00\x0a", "amf-malformed"),
    ],
)
def test_what_cannot_be_used_is_counted(kind: int, body: bytes, reason: str) -> None:
    found = Demuxed()
    assert all(isinstance(event, TrackRefused) for event in found.take(kind, 0, body))
    assert found.drops == Counter([reason])


def test_lengths_that_do_not_fit_lose_one_picture() -> None:
    found = Demuxed()
    found.take(9, 0, avc(avcc(PPS)))
    found.take(9, 0, picture()[:-1])
    found.take(9, 40, picture())
    assert found.drops == Counter(["flv-nal-lengths"])
    assert len(found.units) == 1


def test_a_codec_nobody_knows_is_named_once() -> None:
    found = Demuxed()
    for _ in range(3):
        found.take(8, 0, b"\xb2x")
    assert found.events == [TrackRefused(Kind.AUDIO, "flv/11")]


def test_truncation_of_every_tag_at_every_length() -> None:
    for tag in FlvReader().feed(samples.flv(samples.HDR))[:8]:
        for size in range(min(len(tag.body), 300)):
            Demuxed().take(tag.type, 0, tag.body[:size])


@given(st.sampled_from((8, 9, 18)), st.binary(max_size=60))
def test_any_body_is_taken(kind: int, body: bytes) -> None:
    Demuxed().take(kind, 0, body)


def test_parameters_are_those_that_were_written() -> None:
    clip = clips.read(clips.BUNNY)
    track = clips.tracks_of(clip)[0]
    assert isinstance(track.parameters, H264Parameters)
    muxer = FlvMuxer([track], Form.ENHANCED)
    found = Demuxed().feed(muxer.header())
    event = next(each for each in found.events if isinstance(each, TrackDescribed))
    assert event.track.parameters == replace(track.parameters, version=0)
    assert event.track.codec == H264
    assert tags.TAG_VIDEO == 9
    assert isinstance(AacParameters.build(make_config(48_000, 2)), AacParameters)
