"""NAL units as bytes."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.codecs import start_codes
from media.codecs.nal import (
    frame_rate,
    has_sei_message,
    split_annexb,
    unescape,
)
from tests.support import nal
from tests.support.twins import COMPILED, KINDS, choose


@given(st.lists(st.sampled_from([0, 1, 2, 3, 255]), max_size=40))
def test_unescape_reverses_the_escape(values: list[int]) -> None:
    assert unescape(nal.escape(bytes(values))) == bytes(values)


def test_start_codes_of_both_lengths_and_padding_split() -> None:
    data = b"\0\0\0\1\x67ab\0\0\1\x68c\0\0\0\0\1\x65def\0\0"
    assert split_annexb(data) == [b"\x67ab", b"\x68c", b"\x65def"]


@given(st.lists(st.binary(min_size=1, max_size=30).filter(lambda b: b.strip(b"\0\1") == b)))
def test_annexb_round_trip(nals: list[bytes]) -> None:
    units = [nal.escape(unit) for unit in nals]
    assert split_annexb(b"".join(b"\0\0\1" + unit for unit in units)) == units


@given(
    st.lists(st.sampled_from([0, 0, 0, 1, 3, 0x65]), max_size=60).map(bytes),
    st.integers(0, 400),
    st.integers(0, 400),
)
def test_start_codes_split_as_a_regular_expression_would(
    data: bytes, before: int, after: int
) -> None:
    data = b"\x47" * before + data + b"\x02" * after  # the compiled one looks at whole blocks
    for kind in KINDS:
        split = choose(start_codes.split_start_codes, kind)
        assert split(data) == re.split(b"\0\0\1", data)


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_cuts_than_asked_for(kind: str) -> None:
    split = choose(start_codes.split_start_codes, kind)
    data = b"x" + b"\0\0\1\x65" * 1000
    assert len(split(data, 10)) == 11
    assert b"\0\0\1".join(split(data, 10)) == data
    assert split(data, 0) == [data]
    assert split(b"") == [b""]


@pytest.mark.parametrize("other", [None, "text", bytearray(b"\0\0\1"), memoryview(b"\0\0\1")])
def test_the_compiled_one_takes_bytes_alone(other: Any) -> None:
    with pytest.raises(TypeError):
        choose(start_codes.split_start_codes, COMPILED)(other)


def test_sei_messages_are_listed() -> None:
    rbsp = bytes((5, 2, 9, 9, 6, 1, 0x80, 255, 3, 0, 0x80))
    assert [kind for kind in range(255) if has_sei_message(rbsp, kind)] == [5, 6]


def test_long_sei_messages_are_stepped_over() -> None:
    rbsp = bytes((5, 255, 10)) + bytes((6,)) * 265 + bytes((255, 1, 0, 9, 0, 0x80))
    assert [kind for kind in range(255) if has_sei_message(rbsp, kind)] == [5, 9]


def test_truncated_sei() -> None:
    rbsp = bytes((5, 2, 9, 9, 6, 1, 0x80, 255, 3, 0, 0x80))
    assert [has_sei_message(rbsp[:size], 6) for size in range(8)] == [False] * 6 + [True] * 2


@given(st.binary(max_size=200))
def test_any_sei_ends(data: bytes) -> None:
    assert has_sei_message(data, 6) in (True, False)


@pytest.mark.parametrize(
    ("num", "den", "expected"),
    [
        (60000, 2002, (30000, 1001)),
        (50, 2, (25, 1)),
        (0, 5, (0, 1)),
        (5, 0, (0, 1)),
        (180000, 2, (0, 1)),
    ],
)
def test_frame_rates_are_reduced_and_checked(num: int, den: int, expected: tuple[int, int]) -> None:
    assert frame_rate(num, den) == expected
