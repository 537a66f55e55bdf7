"""Durations and sizes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.quantities import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("200ms", 0.2),
        ("10s", 10),
        ("1.5s", 1.5),
        ("1m30s", 90),
        ("2h", 7200),
        ("1d", 86400),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("17", 17), ("1K", 1024), ("50M", 50 << 20), ("2GiB", 2 << 30), ("8B", 8)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@given(st.integers(0, 10**9))
def test_durations_round_trip(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(
        milliseconds / 1000, rel=1e-5
    )


@given(st.integers(0, 1 << 50))
def test_sizes_round_trip(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.text(max_size=40))
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    for parse in (parse_duration, parse_size):
        try:
            assert parse(text) >= 0
        except ValueError as error:
            assert "expected" in str(error)


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "10 s", "1e3s", "٣s", "10s,", "1s" * 40])
def test_other_text_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)
