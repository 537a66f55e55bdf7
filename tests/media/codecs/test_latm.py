"""StreamMuxConfig and AudioMuxElement."""

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flux.base.errors import WireError
from media.codecs.aac import parse_config
from media.codecs.latm import AudioMuxReader, StreamMuxConfig
from tests.support.latm import ASC, SBR, element, mux_config

PLAIN = StreamMuxConfig(ASC)


def test_round_trip() -> None:
    for audio in (ASC, SBR, bytes.fromhex("139056e5a0")):
        made = StreamMuxConfig(audio, 3)
        assert StreamMuxConfig.parse(made.serialize()) == made


def test_what_ffmpeg_sends() -> None:
    assert StreamMuxConfig.parse(bytes.fromhex("400023203fc0")) == PLAIN
    assert PLAIN.serialize().hex() == "400023203fc0"


def test_a_configuration_that_ends_early() -> None:
    assert StreamMuxConfig.parse(bytes.fromhex("40002320")) == PLAIN


def test_an_extension_without_length() -> None:
    """SBR and PS signalled backward compatible, in a multiplex that tells no length."""
    audio = bytes.fromhex("131056e59d4880")
    found = StreamMuxConfig.parse(mux_config(audio, bits=16 + 21 + 12))
    config = parse_config(found.audio_config)
    assert (config.core_rate, config.sample_rate) == (24000, 48000)
    assert (config.has_sbr, config.has_ps) == (True, True)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"version": 1}, StreamMuxConfig(ASC)),
        ({"sub_frames": 4}, StreamMuxConfig(ASC, 4)),
        ({"frame_length": 100}, StreamMuxConfig(ASC, 1, 120)),
        ({"other_bits": 300}, StreamMuxConfig(ASC, 1, 0, 300)),
        ({"version": 1, "other_bits": 300}, StreamMuxConfig(ASC, 1, 0, 300)),
        ({"crc": 0x55}, StreamMuxConfig(ASC)),
    ],
)
def test_all_fields(options: dict[str, int], expected: StreamMuxConfig) -> None:
    assert StreamMuxConfig.parse(mux_config(ASC, **options)) == expected


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"version_a": 1, "version": 1}, "latm-unsupported"),
        ({"programs": 1}, "latm-unsupported"),
        ({"layers": 1}, "latm-unsupported"),
        ({"same_time": 0}, "latm-unsupported"),
        ({"length_type": 3}, "latm-unsupported"),
    ],
)
def test_what_is_not_understood(options: dict[str, int], reason: str) -> None:
    with pytest.raises(WireError) as caught:
        StreamMuxConfig.parse(mux_config(ASC, **options))
    assert caught.value.reason == reason


def test_a_length_that_only_the_decoder_knows() -> None:
    eld = bytes.fromhex("f8e85000")
    with pytest.raises(WireError) as caught:
        StreamMuxConfig.parse(mux_config(eld, bits=32))
    assert caught.value.reason == "aac-config-unsupported"
    assert StreamMuxConfig.parse(mux_config(eld, bits=32, version=1)).audio_config == eld


FRAMES = [b"a" * 10, b"", b"b" * 255, b"c" * 600]


def test_elements_one_after_another() -> None:
    reader = AudioMuxReader(PLAIN, is_in_band=False)
    assert reader.read(b"".join(element([frame]) for frame in FRAMES)) == FRAMES
    assert reader.read(b"") == []


def test_frames_of_one_element() -> None:
    reader = AudioMuxReader(StreamMuxConfig(ASC, 4), is_in_band=False)
    assert reader.read(element(FRAMES)) == FRAMES
    with pytest.raises(WireError, match="latm-malformed"):
        reader.read(element(FRAMES[:3]))


def test_frames_of_constant_size() -> None:
    reader = AudioMuxReader(StreamMuxConfig(ASC, 2, 30), is_in_band=False)
    assert reader.read(b"x" * 30 + b"y" * 30) == [b"x" * 30, b"y" * 30]


def test_other_data_is_skipped() -> None:
    reader = AudioMuxReader(StreamMuxConfig(ASC, 1, 0, 12), is_in_band=False)
    assert reader.read(element([b"abc"]) + b"\xff\xf0") == [b"abc"]


def test_the_configuration_in_band() -> None:
    reader = AudioMuxReader(None, is_in_band=True)
    with pytest.raises(WireError, match="latm-config-missing"):
        reader.read(element([b"abc"], config=""))
    assert reader.read(element([b"abc"], config=mux_config(ASC).hex())) == [b"abc"]
    assert reader.config == PLAIN
    assert reader.read(element([b"defg"], config="")) == [b"defg"]
    broken = element([b"abc"], config=mux_config(SBR).hex())[:-1]
    with pytest.raises(WireError):
        reader.read(broken)
    assert reader.config == PLAIN


def test_truncation() -> None:
    whole = element(FRAMES, config=mux_config(ASC, sub_frames=4).hex())
    for size in range(1, len(whole)):
        with pytest.raises(WireError):
            AudioMuxReader(None, is_in_band=True).read(whole[:size])
    plain = element(FRAMES)
    for size in range(1, len(plain)):
        with pytest.raises(WireError):
            AudioMuxReader(StreamMuxConfig(ASC, 4), is_in_band=False).read(plain[:size])


def test_floods_are_refused_quickly() -> None:
    for data in (b"\0" * 100_000, b"\xff" * 100_000, b"\x80\0" * 50_000, b"x" * 200_000):
        with pytest.raises(WireError):
            AudioMuxReader(PLAIN, is_in_band=False).read(data)
        with pytest.raises(WireError):
            AudioMuxReader(PLAIN, is_in_band=True).read(data)


@given(st.binary(max_size=80), st.booleans())
@example(bytes.fromhex("4000232080"), False)
def test_any_bytes_parse_or_raise(data: bytes, is_in_band: bool) -> None:
    with contextlib.suppress(WireError):
        assert StreamMuxConfig.parse(data).audio_config
    with contextlib.suppress(WireError):
        reader = AudioMuxReader(PLAIN, is_in_band)
        assert sum(map(len, reader.read(data))) <= len(data)


@given(st.integers(1, 8), st.binary(max_size=30))
def test_any_configuration_in_band_parses_or_raises(shift: int, data: bytes) -> None:
    """Behind a beginning that is right."""
    value = int.from_bytes(mux_config(ASC) + data, "big")
    mutated = value ^ 1 << shift * 5
    reader = AudioMuxReader(None, is_in_band=True)
    with contextlib.suppress(WireError):
        reader.read((mutated >> 1).to_bytes(len(mux_config(ASC)) + len(data), "big"))
