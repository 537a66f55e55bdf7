"""The table of payload formats."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.codecs.aac import AacParameters
from media.codecs.g711 import G711Parameters
from media.codecs.h264 import H264Parameters
from media.codecs.h265 import H265Parameters
from media.parameters import Parameters
from media.payloads.aac import AacDepacketizer
from media.payloads.formats import fmtp_for, packetizer_for, payload_format
from media.payloads.h265 import H265Depacketizer
from media.payloads.opaque import OpaqueDepacketizer
from media.track import Kind
from tests.support import nal
from tests.support.payloads import Drops, deliver, number, packets_of

AAC = {"mode": "AAC-hbr", "sizelength": "13", "indexlength": "3", "indexdeltalength": "3"}


@pytest.mark.parametrize(
    ("encoding", "rate", "channels", "fmtp", "kind", "codec", "clock"),
    [
        ("H264", 90000, 1, {}, Kind.VIDEO, "h264", 90000),
        ("h265", 90000, 1, {}, Kind.VIDEO, "h265", 90000),
        ("MPEG4-GENERIC", 44100, 2, AAC | {"config": "1210"}, Kind.AUDIO, "aac", 44100),
        ("opus", 48000, 2, {}, Kind.AUDIO, "opus", 48000),
        ("PCMU", 8000, 1, {}, Kind.AUDIO, "pcmu", 8000),
        ("pcma", 0, 0, {}, Kind.AUDIO, "pcma", 8000),
        ("VP8", 90000, 1, {}, Kind.DATA, "rtp/vp8", 90000),
        ("MP4A-LATM", 48000, 2, {}, Kind.DATA, "rtp/mp4a-latm", 48000),
        # what is described, but cannot be used, is not known
        ("mpeg4-generic", 8000, 1, {"mode": "CELP-cbr"}, Kind.DATA, "rtp/mpeg4-generic", 8000),
        ("mpeg4-generic", 8000, 1, AAC | {"config": "F"}, Kind.DATA, "rtp/mpeg4-generic", 8000),
        ("mpeg4-generic", 8000, 1, AAC | {"sizelength": "x"}, Kind.DATA, "rtp/mpeg4-generic", 8000),
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
    found = payload_format("AV1", 90000, 1, {}, Kind.VIDEO)
    assert (found.kind, found.codec) == (Kind.VIDEO, "rtp/av1")
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
        ("opus", (b"\xfcabc",)),
        ("PCMU", (b"a" * 160,)),
        ("x", (b"abc", b"")),
    ],
)
def test_each_packetizer_fits_its_depacketizer(encoding: str, unit: tuple[bytes, ...]) -> None:
    found = payload_format(encoding, 48000, 2, AAC)
    drops = Drops()
    packets = packets_of(packetizer_for(found.codec, 1200), [unit])
    assert [u.payload for u in deliver(found.depacketizer(drops), packets)] == [unit]
    assert drops.reasons == []


@given(
    st.sampled_from(["h264", "h265", "mpeg4-generic", "opus", "pcma", "\u0130"]),
    st.integers(0, 100000),
    st.integers(0, 9),
    st.dictionaries(
        st.sampled_from(
            ["mode", "config", "sizelength", "constantsize", "sprop-parameter-sets", "sprop-sps"]
        ),
        st.text(max_size=12),
    ),
)
def test_any_description_has_a_format(
    encoding: str, rate: int, channels: int, fmtp: dict[str, str]
) -> None:
    found = payload_format(encoding, rate, channels, fmtp)
    found.depacketizer(Drops()).push(b"abc", True, 0, 0)
