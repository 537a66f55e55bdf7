"""Opus packets and header."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from media.codecs.opus import OpusParameters, multistream, packet_samples, parse_id_header


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


SURROUND = multistream(6, 4, 2, bytes((0, 4, 1, 2, 3, 5)))


@pytest.mark.parametrize(
    ("made", "family"),
    [
        (OpusParameters(sample_rate=48000, channels=1, pre_skip=0), 0),
        (OpusParameters(sample_rate=48000, channels=2), 0),
        (SURROUND, 1),
        (multistream(10, 10, 0, bytes((*range(9), 255))), 255),
    ],
)
def test_id_headers_come_back(made: OpusParameters, family: int) -> None:
    header = made.id_header()
    assert header[18] == family
    assert parse_id_header(header) == made
    for size in range(len(header)):
        with pytest.raises(WireError, match="opus-malformed"):
            parse_id_header(header[:size])


@pytest.mark.parametrize(
    ("channels", "streams", "coupled", "mapping"),
    [(2, 0, 0, b"\0\0"), (2, 1, 2, b"\0\1"), (2, 1, 1, b"\0\2"), (2, 1, 1, b"\0"), (0, 1, 1, b"")],
)
def test_streams_that_do_not_fit(channels: int, streams: int, coupled: int, mapping: bytes) -> None:
    with pytest.raises(WireError, match="opus-malformed"):
        multistream(channels, streams, coupled, mapping)


@given(st.binary(max_size=40))
def test_any_id_header_parses_or_raises(data: bytes) -> None:
    for header in (data, SURROUND.id_header()[:9] + data, b"OpusHead\x01" + data):
        with contextlib.suppress(WireError):
            assert parse_id_header(header).channels
