"""MPEG audio frame headers."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from media.codecs.mp3 import Mp3Parameters, parse_header


@pytest.mark.parametrize(
    ("header", "size", "layer", "rate", "channels", "samples"),
    [
        ("fffb9064", 417, 3, 44100, 2, 1152),  # MPEG-1 layer III, 128 kbit/s
        ("fffb9264", 418, 3, 44100, 2, 1152),  # padded
        ("fffbe4c4", 960, 3, 48000, 1, 1152),
        ("fffb1864", 144, 3, 32000, 2, 1152),
        ("fff34084", 104, 3, 22050, 2, 576),  # MPEG-2
        ("ffe318c4", 72, 3, 8000, 1, 576),  # MPEG 2.5
        ("fffde404", 1152, 2, 48000, 2, 1152),
        ("fff580c4", 417, 2, 22050, 1, 1152),
        ("ffff1404", 32, 1, 48000, 2, 384),
        ("fff7e204", 560, 1, 22050, 2, 384),
    ],
)
def test_headers(
    header: str, size: int, layer: int, rate: int, channels: int, samples: int
) -> None:
    found = parse_header(b"x" + bytes.fromhex(header), 1)
    assert (found.size_bytes, found.layer) == (size, layer)
    assert (found.sample_rate, found.channels, found.samples) == (rate, channels, samples)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("", "mp3-malformed"),
        ("fffb90", "mp3-malformed"),
        ("fefb9064", "mp3-malformed"),
        ("ffdb9064", "mp3-malformed"),
        ("ffeb9064", "mp3-malformed"),  # version
        ("fff99064", "mp3-malformed"),  # layer
        ("fffb9c64", "mp3-malformed"),  # sample rate
        ("fffbf064", "mp3-malformed"),  # bit rate
        ("fffb0064", "mp3-free-format-unsupported"),
    ],
)
def test_what_is_no_header(header: str, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        parse_header(bytes.fromhex(header))
    assert caught.value.reason == reason


def test_parameters() -> None:
    made = Mp3Parameters.from_frame(bytes.fromhex("fffb9064"), 90000, 3)
    assert (made.version, made.sample_rate, made.channels) == (3, 44100, 2)
    assert (made.layer, made.is_mpeg1, made.frame_samples) == (3, True, 2351)
    assert made.codec_string() == "mp4a.40.34"
    low = Mp3Parameters.from_frame(bytes.fromhex("fff580c4"), 22050)
    assert (low.layer, low.is_mpeg1, low.frame_samples) == (2, False, 1152)
    assert low.codec_string() == "mp4a.40.33"


@given(st.binary(max_size=6), st.integers(0, 3))
def test_any_bytes_parse_or_raise(data: bytes, at: int) -> None:
    with contextlib.suppress(WireError):
        found = parse_header(b"\xff" * at + data, at)
        assert 4 < found.size_bytes < 4096
