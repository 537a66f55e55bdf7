"""Decode times without lookahead (DESIGN 4.1)."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from media.dts import DecodeClock

FRAME = 3000
# Decode order of a three-deep pyramid: presentation numbers of the frames as they are sent.
PYRAMID = [0, 8, 4, 2, 1, 3, 6, 5, 7]


def decode(order: list[int], reorder: int | None) -> list[int]:
    clock = DecodeClock()
    clock.configure(reorder, FRAME)
    return [clock.next(number * FRAME) for number in order]


def test_without_reordering_dts_is_pts() -> None:
    assert decode([0, 1, 2, 3], 0) == [0, FRAME, 2 * FRAME, 3 * FRAME]


def test_known_depth_gives_exact_decode_times() -> None:
    dts = decode(PYRAMID, 3)
    assert dts == [(index - 3) * FRAME for index in range(len(PYRAMID))]
    assert all(d <= number * FRAME for d, number in zip(dts, PYRAMID, strict=True))


def test_unknown_depth_is_learnt_and_never_steps_back() -> None:
    groups = [[g * 9 + n for n in PYRAMID] for g in range(20)]
    order = [number for group in groups for number in group]
    dts = decode(order, None)
    assert all(a < b for a, b in itertools.pairwise(dts))
    settled = list(zip(dts, order, strict=True))[40:]
    assert all(d <= number * FRAME for d, number in settled)


def test_a_reset_starts_a_new_order_above_the_old_one() -> None:
    clock = DecodeClock()
    clock.configure(2, FRAME)
    before = [clock.next(n * FRAME) for n in (0, 2, 1, 4, 3)]
    clock.reset()
    after = [clock.next(n * FRAME) for n in (100, 102, 101)]
    assert after == [98 * FRAME, 99 * FRAME, 100 * FRAME]
    assert before[-1] < after[0]


def test_delay_is_what_the_first_frame_needs() -> None:
    clock = DecodeClock()
    clock.configure(2, FRAME)
    assert clock.delay == 2 * FRAME
    assert clock.next(0) == -clock.delay


@given(
    st.lists(st.integers(-(1 << 40), 1 << 40), max_size=60),
    st.one_of(st.none(), st.integers(0, 40)),
)
def test_dts_always_grow_whatever_comes(pts: list[int], reorder: int | None) -> None:
    clock = DecodeClock()
    clock.configure(reorder, FRAME)
    dts = [clock.next(value) for value in pts]
    assert all(a < b for a, b in itertools.pairwise(dts))
