"""Histograms of plain integers."""

from hypothesis import given
from hypothesis import strategies as st

from protocols.srt.histogram import MILLISECONDS, Histogram


def test_a_value_on_the_bound_is_in_its_bucket() -> None:
    found = Histogram((1, 10))
    for value in (0.0, 1.0, 1.1, 10.0, 10.1, 1e9):
        found.observe(value)
    assert found.counts == [2, 2, 2]
    assert found.to_json() == {"bounds": [1, 10], "counts": [2, 2, 2], "sum": 1e9 + 22.2}


def test_many_at_once() -> None:
    found = Histogram((1, 10))
    found.observe(5.0, 7)
    assert found.counts == [0, 7, 0]
    assert found.total == 35


@given(st.lists(st.floats(0, 1e6)))
def test_nothing_is_lost(values: list[float]) -> None:
    found = Histogram()
    for value in values:
        found.observe(value)
    assert sum(found.counts) == len(values)
    for place, bound in enumerate(MILLISECONDS):
        assert sum(found.counts[: place + 1]) == sum(value <= bound for value in values)
