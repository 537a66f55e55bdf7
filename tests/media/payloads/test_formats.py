"""The table of payload formats."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.codecs.aac import AacParameters
from media.codecs.av1 import Av1Parameters
from media.codecs.g711 import G711Parameters
from media.codecs.h264 import H264Parameters
from media.codecs.h265 import H265Parameters
from media.codecs.mjpeg import Picture, scaled_tables
from media.codecs.vp9 import Vp9Parameters
from media.parameters import Parameters
from media.payloads.aac import AacDepacketizer
from media.payloads.encodings import Encoding, encoding_for
from media.payloads.formats import fmtp_for, packetizer_for, payload_format
from media.payloads.h265 import H265Depacketizer
from media.payloads.opaque import OpaqueDepacketizer
from media.track import Kind, Track
from tests.support import nal
from tests.support.dolby import ac3_frame, eac3_frame
from tests.support.payloads import Drops, deliver, number, packets_of

AAC = {"mode": "AAC-hbr", "sizelength": "13", "indexlength": "3", "indexdeltalength": "3"}

LATM = {"cpresent": "0", "config": "400023203fc0"}
SIX = {"channel_mapping": "0,4,1,2,3,5", "num_streams": "4", "coupled_streams": "2"}


@pytest.mark.parametrize(
    ("encoding", "rate", "channels", "fmtp", "kind", "codec", "clock"),
    [
        ("H264", 90000, 1, {}, Kind.VIDEO, "h264", 90000),
        ("h265", 90000, 1, {}, Kind.VIDEO, "h265", 90000),
        ("MPEG4-GENERIC", 44100, 2, AAC | {"config": "1210"}, Kind.AUDIO, "aac", 44100),
        ("opus", 48000, 2, {}, Kind.AUDIO, "opus", 48000),
        ("PCMU", 8000, 1, {}, Kind.AUDIO, "pcmu", 8000),
        ("pcma", 0, 0, {}, Kind.AUDIO, "pcma", 8000),
        ("VP8", 90000, 1, {}, Kind.VIDEO, "vp8", 90000),
        ("VP9", 90000, 1, {}, Kind.VIDEO, "vp9", 90000),
        ("AV1", 90000, 1, {}, Kind.VIDEO, "av1", 90000),
        ("JPEG", 0, 1, {}, Kind.VIDEO, "mjpeg", 90000),
        ("SMPTE336M", 90000, 1, {}, Kind.DATA, "klv", 90000),
        ("vnd.onvif.metadata", 90000, 1, {}, Kind.DATA, "onvif", 90000),
        ("vnd.onvif.metadata.gzip", 90000, 1, {}, Kind.DATA, "rtp/vnd.onvif.metadata.gzip", 90000),
        ("MP4A-LATM", 48000, 2, {}, Kind.AUDIO, "aac", 48000),
        ("MP4A-LATM", 90000, 1, LATM, Kind.AUDIO, "aac", 90000),
        ("multiopus", 48000, 6, SIX, Kind.AUDIO, "opus", 48000),
        ("G722", 8000, 1, {}, Kind.AUDIO, "g722", 8000),
        ("G726-24", 8000, 1, {}, Kind.AUDIO, "g726", 8000),
        ("AAL2-G726-40", 0, 1, {}, Kind.AUDIO, "g726", 8000),
        ("L16", 44100, 2, {}, Kind.AUDIO, "l16", 44100),
        ("MPA", 90000, 1, {}, Kind.AUDIO, "mp3", 90000),
        ("AC3", 44100, 6, {}, Kind.AUDIO, "ac3", 44100),
        ("eac3", 48000, 1, {}, Kind.AUDIO, "eac3", 48000),
        ("mpa-robust", 90000, 1, {}, Kind.DATA, "rtp/mpa-robust", 90000),
        # what is described, but cannot be used, is not known
        ("mpeg4-generic", 8000, 1, {"mode": "CELP-cbr"}, Kind.DATA, "rtp/mpeg4-generic", 8000),
        ("mpeg4-generic", 8000, 1, AAC | {"config": "F"}, Kind.DATA, "rtp/mpeg4-generic", 8000),
        ("mpeg4-generic", 8000, 1, AAC | {"sizelength": "x"}, Kind.DATA, "rtp/mpeg4-generic", 8000),
        ("MP4A-LATM", 8000, 1, {"cpresent": "0"}, Kind.DATA, "rtp/mp4a-latm", 8000),
        ("MP4A-LATM", 8000, 1, {"config": "4000"}, Kind.DATA, "rtp/mp4a-latm", 8000),
        ("MP4A-LATM", 0, 1, LATM, Kind.DATA, "rtp/mp4a-latm", 0),
        ("multiopus", 48000, 2, SIX, Kind.DATA, "rtp/multiopus", 48000),
        ("ac3", 0, 1, {}, Kind.DATA, "rtp/ac3", 0),
    ],
)
def test_formats(
    encoding: str,
    rate: int,
    channels: int,
    fmtp: dict[str, str],
    kind: Kind,
    codec: str,
    clock: int,
) -> None:
    found = payload_format(encoding, rate, channels, fmtp)
    assert (found.kind, found.codec, found.clock_rate) == (kind, codec, clock)
    assert found.depacketizer(Drops()) is not found.depacketizer(Drops())


def test_an_unknown_format_is_of_the_kind_of_its_media_line() -> None:
    found = payload_format("H263", 90000, 1, {}, Kind.VIDEO)
    assert (found.kind, found.codec) == (Kind.VIDEO, "rtp/h263")
    assert isinstance(found.depacketizer(Drops()), OpaqueDepacketizer)


def test_parameter_names_are_in_any_case() -> None:
    fmtp = {"Mode": "AAC-hbr", "SizeLength": "13", "IndexLength": "3", "IndexDeltaLength": "3"}
    found = payload_format("mpeg4-generic", 24000, 2, fmtp | {"Config": "1310"})
    assert isinstance(found.parameters, AacParameters)
    assert found.parameters.core_rate == 24000


def test_frames_of_a_core_with_sbr_last_twice_as_long_on_the_output_clock() -> None:
    found = payload_format("mpeg4-generic", 48000, 2, AAC | {"config": "1310"})
    depacketizer = found.depacketizer(Drops())
    assert isinstance(depacketizer, AacDepacketizer)
    units = deliver(depacketizer, number(b"\0\x20\x00\x08\x00\x08ab"))
    assert [unit.timestamp for unit in units] == [0, 2048]


def test_decoding_order_numbers_are_taken_from_the_description() -> None:
    drops = Drops()
    depacketizer = payload_format("H265", 90000, 1, {"sprop-max-don-diff": "2"}).depacketizer(drops)
    assert isinstance(depacketizer, H265Depacketizer)
    unit = nal.h265_slice(19)
    units = deliver(depacketizer, number(unit[:2] + b"\0\1" + unit[2:]))
    assert [made.payload for made in units] == [(unit,)]


@pytest.mark.parametrize(
    ("encoding", "rate", "channels", "parameters"),
    [
        ("H264", 90000, 1, H264Parameters.build([nal.h264_sps()], [nal.h264_pps()])),
        (
            "H265",
            90000,
            1,
            H265Parameters.build([nal.h265_vps()], [nal.h265_sps()], [nal.h265_pps()]),
        ),
        ("mpeg4-generic", 44100, 2, AacParameters.build(bytes.fromhex("1210"))),
        ("PCMA", 8000, 1, G711Parameters(sample_rate=8000, channels=1)),
    ],
)
def test_descriptions_come_back(
    encoding: str, rate: int, channels: int, parameters: Parameters
) -> None:
    assert payload_format(encoding, rate, channels, fmtp_for(parameters)).parameters == parameters
    assert fmtp_for(None) == {}


@pytest.mark.parametrize(
    ("encoding", "unit"),
    [
        ("H264", (nal.h264_slice(5, size_bytes=5000),)),
        ("H265", (nal.h265_slice(19, size_bytes=5000),)),
        ("mpeg4-generic", (b"a" * 3000,)),
        ("VP8", (b"\x11" * 5000,)),
        ("VP9", (b"\x86" * 5000,)),
        ("AV1", (b"\x30" * 5000, b"\x18\xc8")),
        ("JPEG", (Picture(320, 240, 0x22, scaled_tables(80), 0, b"s" * 5000).serialize(),)),
        ("SMPTE336M", (b"\x06\x0e\x2b\x34" * 1000,)),
        ("vnd.onvif.metadata", (b"<?xml" + b" " * 5000,)),
        ("opus", (b"\xfcabc",)),
        ("PCMU", (b"a" * 160,)),
        ("G722", (b"a" * 160,)),
        ("AAL2-G726-24", (b"a" * 60,)),
        ("L16", (b"a" * 960,)),
        ("MPA", (bytes.fromhex("fffbe404") * 240,)),
        ("ac3", (ac3_frame(code=36),)),
        ("eac3", (eac3_frame(size=3000),)),
        ("x", (b"abc", b"")),
    ],
)
def test_each_packetizer_fits_its_depacketizer(encoding: str, unit: tuple[bytes, ...]) -> None:
    found = payload_format(encoding, 48000, 2, AAC)
    drops = Drops()
    packets = packets_of(packetizer_for(found.codec, 1200), [unit])
    assert [u.payload for u in deliver(found.depacketizer(drops), packets)] == [unit]
    assert drops.reasons == []


def test_units_that_no_packet_can_carry_are_counted() -> None:
    drops = Drops()
    assert packetizer_for("mjpeg", 1200, drops).packetize((b"no JPEG",)) == []
    assert drops.reasons == ["mjpeg-malformed"]
    assert packetizer_for("mjpeg", 1200).packetize((b"no JPEG",)) == []


@pytest.mark.parametrize(
    ("codec", "kind", "name", "payload_type"),
    [
        ("vp8", Kind.VIDEO, "VP8", None),
        ("vp9", Kind.VIDEO, "VP9", None),
        ("av1", Kind.VIDEO, "AV1", None),
        ("mjpeg", Kind.VIDEO, "JPEG", 26),
        ("klv", Kind.DATA, "SMPTE336M", None),
        ("onvif", Kind.DATA, "vnd.onvif.metadata", None),
    ],
)
def test_names_for_receivers_are_those_of_senders(
    codec: str, kind: Kind, name: str, payload_type: int | None
) -> None:
    found = encoding_for(Track(0, kind, codec, 90000))
    assert found == Encoding(name, 90000, payload_type=payload_type)
    form = payload_format(found.name, found.clock_rate, 1, {})
    assert (form.codec, form.kind) == (codec, kind)


def test_descriptions_of_video_without_parameter_sets() -> None:
    vp9 = Vp9Parameters(profile=2)
    assert fmtp_for(vp9) == {"profile-id": "2"}
    av1 = Av1Parameters.build(bytes.fromhex("080000002d4c37b3dfff9804"))
    assert fmtp_for(av1) == {"profile": "0", "level-idx": "5", "tier": "0"}


ENCODINGS = (
    "h264 h265 mpeg4-generic opus pcma \u0130 mp4a-latm multiopus g722 g726-16 aal2-g726-40 l16 "
    "mpa ac3 eac3"
)
NAMES = (
    "mode config sizelength constantsize sprop-parameter-sets sprop-sps cpresent channel_mapping "
    "num_streams coupled_streams"
)


@given(
    st.sampled_from(ENCODINGS.split()),
    st.integers(0, 100000),
    st.integers(0, 9),
    st.dictionaries(st.sampled_from(NAMES.split()), st.text(max_size=12)),
)
def test_any_description_has_a_format(
    encoding: str, rate: int, channels: int, fmtp: dict[str, str]
) -> None:
    found = payload_format(encoding, rate, channels, fmtp)
    found.depacketizer(Drops()).push(b"abc", True, 0, 0)
