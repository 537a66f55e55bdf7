"""Opus packets and header."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from media.codecs.opus import OpusParameters, packet_samples


@pytest.mark.parametrize(
    ("packet", "milliseconds"),
    [
        (bytes((0 << 3,)), 10),
        (bytes((3 << 3,)), 60),
        (bytes((11 << 3 | 1,)), 120),
        (bytes((13 << 3,)), 20),
        (bytes((16 << 3,)), 2.5),
        (bytes((31 << 3 | 2,)), 40),
        (bytes((31 << 3 | 3, 0x80 | 6)), 120),
    ],
)
def test_lengths(packet: bytes, milliseconds: float) -> None:
    assert packet_samples(packet) == milliseconds * 48


@pytest.mark.parametrize(
    "packet", [b"", bytes((31 << 3 | 3,)), bytes((31 << 3 | 3, 0)), bytes((31 << 3 | 3, 7))]
)
def test_what_is_no_packet(packet: bytes) -> None:
    with pytest.raises(WireError) as caught:
        packet_samples(packet)
    assert caught.value.reason == "opus-malformed"


@given(st.binary(max_size=4))
def test_any_bytes_parse_or_raise(packet: bytes) -> None:
    with contextlib.suppress(WireError):
        assert 120 <= packet_samples(packet) <= 5760


def test_id_header() -> None:
    header = OpusParameters(sample_rate=48000, channels=2).id_header()
    assert header == b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0"
    assert OpusParameters().codec_string() == "opus"
