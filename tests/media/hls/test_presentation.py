"""When pictures begin to be shown, told by frames in the order in which they are decoded."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from media.hls.presentation import Presentation

STEP = 3_600
GOP = (0, 4, 2, 1, 3, 8, 6, 5, 7, 12, 10, 9, 11)  # a pyramid: PTS in decoding order
DELAY = 2


def places(pts: Sequence[int], dts: Sequence[int], keys: set[int]) -> list[int]:
    presentation = Presentation()
    return [
        presentation.place(p, d, is_key=n in keys)
        for n, (p, d) in enumerate(zip(pts, dts, strict=True))
    ]


def test_a_steady_pyramid_is_shown_frame_by_frame() -> None:
    pts = [(each + DELAY) * STEP for each in GOP]
    dts = [n * STEP for n in range(len(GOP))]
    assert places(pts, dts, {0}) == [(n + DELAY) * STEP for n in range(len(GOP))]


def test_a_gap_before_a_key_frame_is_not_counted_twice() -> None:
    """Its DTS, made of reordered PTS, is still on the other side of the gap."""
    gap = 100 * STEP
    first = [(each + DELAY) * STEP for each in GOP]
    second = [gap + each for each in first]
    pts = first + second
    ordered = sorted(pts)
    dts = [ordered[n - DELAY] if n >= DELAY else (n - DELAY) * STEP for n in range(len(pts))]
    found = places(pts, dts, {0, len(GOP)})
    assert found[len(GOP)] == pts[len(GOP)]
    assert max(found) <= max(pts) + STEP
    assert found == sorted(found)


def test_behind_a_hole_all_begins_with_a_picture_that_is_shown_early() -> None:
    pts = [(each + DELAY) * STEP for each in (*GOP, *(each + 100 for each in GOP))]
    dts = [n * STEP for n in (*range(len(GOP)), *(100 + n for n in range(len(GOP))))]
    lost = len(GOP) + 3  # the key frame, and the two after it
    found = places(pts[: len(GOP)] + pts[lost:], dts[: len(GOP)] + dts[lost:], {0})
    assert pts[lost] < dts[lost] + DELAY * STEP
    assert found[len(GOP)] == pts[lost]
    assert found == sorted(found)


def test_behind_a_hole_all_goes_on_where_the_last_picture_ended() -> None:
    """Of what is shown before 4 and before 8 something is lost."""
    size = len(GOP)
    pts = [(each + DELAY) * STEP for each in (*GOP, *(each + size for each in GOP))]
    dts = [n * STEP for n in range(2 * size)]
    lost = {size + n for n in (3, 4, 6, 7)}
    kept = [n for n in range(2 * size) if n not in lost]
    found = places([pts[n] for n in kept], [dts[n] for n in kept], {0, size})
    begins = dict(zip(kept, found, strict=True))
    assert begins[size + 5] == (size + 4 + 1 + DELAY) * STEP
    assert begins[size + 9] == (size + 8 + 1 + DELAY) * STEP


def test_nothing_is_shown_before_it_is_decoded() -> None:
    pts = [(each + DELAY) * STEP for each in GOP]
    later = [each + 30 * STEP for each in pts]
    dts = [n * STEP for n in (*range(len(GOP)), *range(30, 30 + len(GOP)))]
    first = len(GOP) + 5  # it is shown last of five
    found = places(pts + later[5:], dts[: len(GOP)] + dts[first:], {0})
    assert found[len(GOP)] == dts[first]
    assert found[len(GOP)] <= min(later[5:])


@given(st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.booleans())))
def test_it_never_goes_back(frames: list[tuple[int, int, bool]]) -> None:
    presentation = Presentation()
    found = [presentation.place(pts, dts, is_key=is_key) for pts, dts, is_key in frames]
    assert found == sorted(found)
