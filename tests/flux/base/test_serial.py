"""Wrap-around arithmetic at every width that the protocols use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.serial import Unwrapper, add, distance, extend

WIDTHS = (16, 31, 32, 33)


@pytest.mark.parametrize("bits", WIDTHS)
def test_distance_across_the_wrap(bits: int) -> None:
    top = (1 << bits) - 1
    assert distance(2, top, bits) == 3
    assert distance(top, 2, bits) == -3
    assert add(top, 3, bits) == 2
    assert add(0, -1, bits) == top


@given(st.sampled_from(WIDTHS), st.integers(0, 1 << 40), st.integers(-1000, 1000))
def test_extend_finds_the_near_number(bits: int, reference: int, step: int) -> None:
    value = (reference + step) & ((1 << bits) - 1)
    assert extend(value, reference, bits) == reference + step


def test_unwrapper_follows_a_long_run_and_small_steps_back() -> None:
    unwrapper = Unwrapper(16)
    steps = [0, 30_000, 60_000, 65_535, 65_530, 100, 30_000, 62_000, 10]
    expected = [0, 30_000, 60_000, 65_535, 65_530, 65_636, 95_536, 127_536, 131_082]
    assert [unwrapper.unwrap(step) for step in steps] == expected
    unwrapper.reset()
    assert unwrapper.unwrap(7) == 7
