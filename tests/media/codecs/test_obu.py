"""OBUs of AV1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from media.codecs.obu import (
    is_key_unit,
    join_obus,
    leb128,
    obu_type,
    read_leb128,
    split_obus,
    with_size,
    without_size,
)
from tests.support.coded import packets_of_clip

CLIP = "sample_av1.mp4"
SEQUENCE, FRAME, LAYERED = b"\x08\x00\x00", b"\x30\x10frame", b"\x34\x28\x10frame"


@given(st.integers(0, 1 << 55))
def test_numbers(value: int) -> None:
    data = leb128(value)
    assert read_leb128(b"xx" + data + b"yy", 2) == (value, 2 + len(data))
    for size in range(len(data)):
        with pytest.raises(WireError):
            read_leb128(data[:size], 0)


def test_numbers_byte_by_byte() -> None:
    assert leb128(0) == b"\0"
    assert leb128(300) == b"\xac\x02"
    assert read_leb128(b"\x80\x80\x00", 0) == (0, 3)  # longer than it needs to be
    with pytest.raises(WireError, match="av1-malformed"):
        read_leb128(b"\x80" * 9, 0)


@pytest.mark.parametrize("obu", [SEQUENCE, FRAME, LAYERED, b"\x30", b"\x30" + b"x" * 200])
def test_sizes_there_and_back(obu: bytes) -> None:
    sized = with_size(obu)
    assert without_size(sized) == without_size(sized + b"behind") == obu
    assert without_size(obu) == obu
    assert split_obus(sized * 3) == (obu,) * 3
    for size in range(1, len(sized)):
        with pytest.raises(WireError):
            split_obus(sized[:size])


@pytest.mark.parametrize("bad", [b"", b"\xb0abc", b"\x34", b"\x32", b"\x32\x05abc"])
def test_malformed_obus(bad: bytes) -> None:
    with pytest.raises(WireError, match="av1-malformed"):
        without_size(bad)


def test_units_of_a_clip() -> None:
    for data, is_key in packets_of_clip(CLIP):
        obus = split_obus(data)
        assert join_obus(obus) == data
        assert is_key_unit(obus) == is_key
        assert {obu_type(obu) for obu in obus} <= {1, 3, 6}


def test_delimiters_and_padding_are_left_out() -> None:
    data = b"\x12\x00" + join_obus([SEQUENCE, FRAME]) + b"\x7a\x02\x00\x00"
    assert split_obus(data) == (SEQUENCE, FRAME)
    assert split_obus(b"\x12\x00" + FRAME) == (FRAME,)  # the last one without its size


@pytest.mark.parametrize(
    ("frame", "is_key"),
    [
        (b"\x30\x10", True),
        (b"\x18\x10", True),  # a frame header
        (b"\x34\x28\x10", True),  # with an extension
        (b"\x30\x00", False),  # a key frame that is not shown yet
        (b"\x30\x30", False),  # an inter frame
        (b"\x30\x50", False),  # an intra frame that other frames do not begin with
        (b"\x30\x90", False),  # an existing frame
        (b"\x30", False),
        (b"\x20\x10", False),  # a tile group
        (b"", False),
    ],
)
def test_key_frames(frame: bytes, is_key: bool) -> None:
    assert is_key_unit((SEQUENCE, frame, FRAME) if is_key else (frame,)) == is_key
    assert is_key_unit((b"\x30\x30", frame)) is False


def test_frames_of_still_pictures_are_key_frames() -> None:
    assert is_key_unit((b"\x30\x30",), is_reduced=True)


@given(st.binary(max_size=40))
def test_any_bytes(data: bytes) -> None:
    try:
        obus = split_obus(data)
    except WireError as error:
        assert error.reason == "av1-malformed"
    else:
        is_key_unit(obus)
        assert split_obus(join_obus(obus)) == obus
