"""VP8 key frames."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from media.codecs.vp8 import Vp8Parameters
from tests.support.coded import encoded

KEY = bytes.fromhex("1002009d012a4001f000") + b"data"  # 320x240


def test_a_key_frame() -> None:
    found = Vp8Parameters.read(KEY, 3)
    assert found == Vp8Parameters(version=3, width=320, height=240, reorder_frames=0)
    assert found.codec_string() == "vp8"
    assert found.decoder_configuration() == bytes.fromhex("0000820202020000")
    assert Vp8Parameters.read(b"\x16" + KEY[1:]) == Vp8Parameters(
        width=320, height=240, reorder_frames=0, profile=3
    )


def test_scales_are_no_part_of_the_size() -> None:
    found = Vp8Parameters.read(KEY[:6] + bytes.fromhex("4041f0c0"))
    assert found
    assert (found.width, found.height) == (320, 240)


def test_frames_of_an_encoder() -> None:
    for data, is_key in encoded("libvpx"):
        found = Vp8Parameters.read(data)
        assert (found is not None) == is_key
        assert found is None or (found.width, found.height) == (320, 240)


def test_what_is_no_key_frame() -> None:
    assert Vp8Parameters.read(b"") is None
    assert Vp8Parameters.read(b"\x11" + KEY[1:]) is None


def test_truncation() -> None:
    for size in range(1, 10):
        with pytest.raises(WireError, match="vp8-truncated"):
            Vp8Parameters.read(KEY[:size])
    with pytest.raises(WireError, match="vp8-no-start-code"):
        Vp8Parameters.read(KEY[:4] + b"x" + KEY[5:])


@given(st.binary(max_size=20))
def test_any_bytes(data: bytes) -> None:
    try:
        Vp8Parameters.read(data)
    except WireError as error:
        assert error.reason.startswith("vp8-")
