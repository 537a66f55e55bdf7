"""AudioSpecificConfig and ADTS."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from media.codecs.aac import AacParameters, make_config, parse_config
from tests.support import nal
from tests.support.nal import u


def config(bits: str) -> bytes:
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


SBR_CORE_24 = config(u(5, 5) + u(6, 4) + u(2, 4) + u(3, 4) + u(2, 5) + "000")
PS_CORE_22 = config(u(29, 5) + u(7, 4) + u(1, 4) + u(4, 4) + u(2, 5) + "000")
COMPATIBLE_PS = config(
    u(2, 5)
    + u(6, 4)
    + u(1, 4)
    + "000"
    + u(0x2B7, 11)
    + u(5, 5)
    + "1"
    + u(3, 4)
    + u(0x548, 11)
    + "1"
)
SHORT_FRAMES = config(u(2, 5) + u(3, 4) + u(2, 4) + "100")
ESCAPED_RATE = config(u(2, 5) + u(15, 4) + u(50000, 24) + u(2, 4) + "000")
ELD = config(u(31, 5) + u(39 - 32, 6) + u(3, 4) + u(2, 4) + "1" + u(0, 10))
LD = config(u(23, 5) + u(3, 4) + u(1, 4) + "000")
# A program config element: front pair, side single, back pair, LFE; with a comment.
PCE = config(
    u(2, 5) + u(3, 4) + u(0, 4) + "000"
    + u(0, 4) + u(1, 2) + u(3, 4) + u(1, 4) + u(1, 4) + u(1, 4) + u(1, 2) + u(0, 3) + u(0, 4)
    + "1" + u(5, 4) + "0" + "1" + "011"
    + "1" + u(0, 4) + "0" + u(1, 4) + "1" + u(2, 4) + u(0, 4)
    + "0" * 1
)  # fmt: skip


@pytest.mark.parametrize(
    ("data", "name", "rate", "channels", "ticks"),
    [
        (bytes.fromhex("1210"), "mp4a.40.2", 44100, 2, 1024),
        (bytes.fromhex("11B056E500"), "mp4a.40.2", 48000, 6, 1024),
        (SBR_CORE_24, "mp4a.40.5", 48000, 2, 2048),
        (PS_CORE_22, "mp4a.40.29", 44100, 1, 2048),
        (COMPATIBLE_PS, "mp4a.40.29", 48000, 1, 2048),
        (SHORT_FRAMES, "mp4a.40.2", 48000, 2, 960),
        (ESCAPED_RATE, "mp4a.40.2", 50000, 2, 1024),
        (ELD, "mp4a.40.39", 48000, 2, 480),
        (LD, "mp4a.40.23", 48000, 1, 512),
    ],
)
def test_configurations(data: bytes, name: str, rate: int, channels: int, ticks: int) -> None:
    parameters = AacParameters.build(data, version=4)
    assert parameters.codec_string() == name
    assert (parameters.sample_rate, parameters.channels) == (rate, channels)
    assert parameters.frame_samples == ticks
    assert (parameters.config, parameters.version) == (data, 4)


def test_channels_of_a_program_config_element() -> None:
    padded = PCE + b"\0"  # the comment's length is read after the byte alignment
    parameters = AacParameters.build(padded)
    assert parameters.channels == 2 + 1 + 2 + 1
    assert not parameters.is_adts_possible


@pytest.mark.parametrize(
    ("data", "clock", "ticks"),
    [
        (SBR_CORE_24, 24000, 1024),
        (SBR_CORE_24, 48000, 2048),
        (bytes.fromhex("1310"), 48000, 2048),  # 24 kHz, SBR not signalled, clock of the output
        (bytes.fromhex("1210"), 90000, 2090),
    ],
)
def test_a_frame_lasts_as_long_as_the_clock_says(data: bytes, clock: int, ticks: int) -> None:
    assert AacParameters.build(data, clock).frame_samples == ticks


def test_adts_header() -> None:
    parameters = AacParameters.build(bytes.fromhex("1210"))
    bits = nal.Bits(parameters.adts_header(300))
    assert bits.u(12) == 0xFFF
    assert (bits.u(1), bits.u(2), bits.u(1)) == (0, 0, 1)  # MPEG-4, layer, no CRC
    assert (bits.u(2), bits.u(4), bits.u(1), bits.u(3)) == (1, 4, 0, 2)
    assert bits.u(4) == 0
    assert (bits.u(13), bits.u(11), bits.u(2)) == (307, 0x7FF, 0)
    assert bits.at == 56


def test_adts_of_sbr_tells_the_core() -> None:
    bits = nal.Bits(AacParameters.build(SBR_CORE_24).adts_header(0))
    bits.u(16)
    assert (bits.u(2), bits.u(4), bits.u(1), bits.u(3)) == (1, 6, 0, 2)


@pytest.mark.parametrize("data", [SHORT_FRAMES, ESCAPED_RATE, ELD, LD])
def test_what_adts_cannot_tell(data: bytes) -> None:
    assert not AacParameters.build(data).is_adts_possible


@pytest.mark.parametrize(("rate", "channels"), [(48000, 2), (44100, 1), (7350, 6), (96000, 8)])
def test_made_configurations_read_back(rate: int, channels: int) -> None:
    parsed = parse_config(make_config(rate, channels))
    assert (parsed.object_type, parsed.sample_rate, parsed.channels) == (2, rate, channels)


@pytest.mark.parametrize(("rate", "channels"), [(47999, 2), (48000, 0), (48000, 9), (0, 1)])
def test_impossible_configurations_are_not_made(rate: int, channels: int) -> None:
    with pytest.raises(WireError):
        make_config(rate, channels)


@pytest.mark.parametrize("data", [COMPATIBLE_PS, PCE + b"\0", ELD])
def test_truncation(data: bytes) -> None:
    for size in range(len(data)):
        with contextlib.suppress(WireError):
            parse_config(data[:size])


@given(st.binary(max_size=40))
def test_any_bytes_parse_or_raise(data: bytes) -> None:
    with contextlib.suppress(WireError):
        parameters = AacParameters.build(data)
        assert parameters.sample_rate > 0
        assert parameters.channels > 0
        if parameters.is_adts_possible:
            assert len(parameters.adts_header(8191 - 7)) == 7
