"""The forms of FLV: every codec in each of them, judged, and what they cannot carry."""

import pytest

from media.codecs.aac import AacParameters
from media.codecs.ac3 import Ac3Parameters
from media.codecs.av1 import Av1Parameters
from media.codecs.eac3 import Eac3Parameters
from media.codecs.g711 import G711Parameters
from media.codecs.mp3 import Mp3Parameters
from media.codecs.obu import SEQUENCE_HEADER, obu_type, split_obus
from media.codecs.opus import OpusParameters, multistream
from media.codecs.vp8 import Vp8Parameters
from media.codecs.vp9 import Vp9Parameters
from media.flv.demuxer import FlvDemuxer, FlvUnit
from media.flv.enhanced import multichannel
from media.flv.forms import Form, carries_track, is_same_in_auto
from media.flv.muxer import FlvMuxer
from media.flv.reader import FlvReader
from media.frame import Frame
from media.parameters import Parameters
from media.track import (
    AAC,
    AC3,
    AV1,
    EAC3,
    H264,
    H265,
    KLV,
    MP3,
    OPUS,
    PCMA,
    VP8,
    VP9,
    Kind,
    Track,
)
from tests.support import clips, frames
from tests.support.coded import AV1_CLIP, packets_of_clip
from tests.support.conform.flv import check_flv, read_flv
from tests.support.conform.problem import told

LC_51 = bytes.fromhex("11b0")  # 48 kHz, channelConfiguration 6
AC3_51 = Ac3Parameters(sample_rate=48_000, channels=6, frame_samples=1536, acmod=7, has_lfe=True)


def track_of(codec: str, parameters: Parameters | None) -> Track:
    kind = Kind.VIDEO if codec in (H264, H265, AV1, VP8, VP9) else Kind.AUDIO
    return Track(0, kind, codec, 90_000 if kind is Kind.VIDEO else 48_000, parameters)


SOUNDS: dict[str, tuple[Parameters, bytes]] = {
    AAC: (AacParameters.build(LC_51), b"\x21\x00"),
    MP3: (Mp3Parameters(sample_rate=48_000, channels=2), bytes.fromhex("fffb9400") + bytes(20)),
    OPUS: (OpusParameters(sample_rate=48_000, channels=2), b"\xfc\xff\xfe"),
    AC3: (AC3_51, b"\x0b\x77" + bytes(40)),
    EAC3: (
        Eac3Parameters(sample_rate=48_000, channels=2, acmod=2, substreams=1),
        b"\x0b\x77" + bytes(40),
    ),
}
PICTURES: dict[str, tuple[Parameters, bytes]] = {
    VP8: (Vp8Parameters(width=64, height=48), b"\x10\x02\x00\x9d\x01\x2a\x40\x00\x30\x00"),
    VP9: (Vp9Parameters(width=64, height=48), b"\x82\x49\x83\x42"),
}
ALL = {**SOUNDS, **PICTURES}
EXPECTED: dict[Form, dict[str, float | bytes]] = {
    Form.LEGACY: {AAC: 10.0, MP3: 2.0},
    Form.AUTO: {AAC: 10.0, MP3: 2.0, OPUS: b"Opus", VP8: b"vp08", VP9: b"vp09"},
    Form.ENHANCED: {
        AAC: b"mp4a",
        MP3: b".mp3",
        OPUS: b"Opus",
        AC3: b"ac-3",
        EAC3: b"ec-3",
        VP8: b"vp08",
        VP9: b"vp09",
    },
}


def mux(codec: str, form: Form) -> bytes:
    parameters, payload = ALL[codec]
    track = track_of(codec, parameters)
    muxer = FlvMuxer([track], form)
    step = track.clock_rate // 40
    sent = [
        Frame(track, n * step, n * step, 0, 0.0, True, False, parameters, (payload,))
        for n in range(5)
    ]
    return muxer.header() + b"".join(map(muxer.encode, sent)) + muxer.trailer()


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("codec", list(ALL))
def test_every_codec_in_every_form_is_good(codec: str, form: Form) -> None:
    track = track_of(codec, ALL[codec][0])
    number = EXPECTED[form].get(codec)
    assert carries_track(track, form) == (number is not None)
    if number is None:
        return
    content = read_flv(mux(codec, form))
    assert content.problems == [], told(content.problems)
    name = "videocodecid" if track.kind is Kind.VIDEO else "audiocodecid"
    wanted = float(int.from_bytes(number, "big")) if isinstance(number, bytes) else number
    assert content.metadata[name] == wanted
    assert len([tag for tag in content.tags if tag.is_frame]) == 5


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("path", [clips.BUNNY, clips.HDR, clips.PYRAMID], ids=lambda p: p.stem[:5])
def test_clips_in_every_form_are_good(path: str, form: Form) -> None:
    clip = clips.read(clips.FOLDER / path)
    muxer = FlvMuxer(clips.tracks_of(clip), form)
    data = muxer.header() + b"".join(map(muxer.encode, clip)) + muxer.trailer()
    problems = check_flv(data)
    assert problems == [], told(problems)
    assert sum(tag.is_frame for tag in read_flv(data).tags) == len(clip)


def test_av1_comes_back_from_a_reader_that_is_not_ours() -> None:
    packets = [(split_obus(data), is_key) for data, is_key in packets_of_clip(AV1_CLIP.name)]
    header = next(obu for obu in packets[0][0] if obu_type(obu) == SEQUENCE_HEADER)
    parameters = Av1Parameters.build(header)
    track = track_of(AV1, parameters)
    muxer = FlvMuxer([track])
    bare = [  # as the tracker leaves them
        (tuple(obu for obu in units if obu_type(obu) != SEQUENCE_HEADER), is_key)
        for units, is_key in packets
    ]
    assert [units for units, _ in bare] != [units for units, _ in packets]
    sent = [
        Frame(track, 3000 * n, 3000 * n, 0, 0.0, is_key, False, parameters, units)
        for n, (units, is_key) in enumerate(bare)
    ]
    data = muxer.header() + b"".join(map(muxer.encode, sent)) + muxer.trailer()
    content = read_flv(data)
    assert content.problems == [], told(content.problems)
    got = frames.read(data, "flv")["video"]
    wanted = frames.read(AV1_CLIP)["video"]
    assert [unit.pieces for unit in got.units] == [unit.pieces for unit in wanted.units]
    demuxer = FlvDemuxer(lambda reason: pytest.fail(reason))
    events = [
        event
        for tag in FlvReader().feed(data)
        for event in demuxer.take(tag.type, tag.timestamp, tag.body)
    ]
    units = [event for event in events if isinstance(event, FlvUnit)]
    assert [unit.payload for unit in units] == [units for units, _ in packets]
    assert units[0].track.parameters == parameters


def test_an_end_of_sequence_follows_the_last_frame() -> None:
    for codec in (OPUS, VP9):
        assert read_flv(mux(codec, Form.AUTO)).tags[-1].is_end


CHANNELS = [
    (AacParameters.build(LC_51), "01060000003f"),
    (AacParameters.build(bytes.fromhex("1190")), ""),  # stereo
    (AC3_51, "01060000060f"),
    (OpusParameters(sample_rate=48_000, channels=2), ""),
    (multistream(6, 4, 2, bytes((0, 4, 1, 2, 3, 5))), "0206000201040503"),
    (multistream(9, 9, 0, bytes(range(9))), ""),
    (G711Parameters(sample_rate=8000, channels=2), ""),
    (None, ""),
]


@pytest.mark.parametrize(("parameters", "expected"), CHANNELS)
def test_channels_are_told_where_there_are_many(
    parameters: Parameters | None, expected: str
) -> None:
    assert multichannel(parameters).hex() == expected


def test_channels_are_told_in_the_enhanced_form_alone() -> None:
    parameters = multistream(6, 4, 2, bytes((0, 4, 1, 2, 3, 5)))
    track = track_of(OPUS, parameters)
    assert b"\x94Opus" in FlvMuxer([track], Form.ENHANCED).header()
    assert b"\x94Opus" not in FlvMuxer([track]).header()


@pytest.mark.parametrize(
    ("codecs", "form", "expected"),
    [
        ((H264, AAC), Form.LEGACY, True),
        ((H264, AC3, KLV), Form.LEGACY, True),
        ((H264, OPUS), Form.LEGACY, False),
        ((H265,), Form.LEGACY, False),
        ((H265,), Form.ENHANCED, True),
        ((H264,), Form.ENHANCED, False),
        ((VP9, PCMA), Form.ENHANCED, True),
        ((H265, AC3), Form.ENHANCED, False),
        ((H264, AC3), Form.AUTO, True),
    ],
)
def test_forms_that_come_to_the_same_are_known(
    codecs: tuple[str, ...], form: Form, expected: bool
) -> None:
    tracks = tuple(track_of(codec, None) for codec in codecs)
    for track in tracks:
        track.clock_rate = 8000 if track.codec == PCMA else track.clock_rate
    assert is_same_in_auto(tracks, form) is expected
