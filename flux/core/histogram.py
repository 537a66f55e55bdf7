"""A histogram of plain integers: cheap to fill, read as a whole by the metrics."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HistogramSnapshot:
    """What was observed so far."""

    bounds: tuple[float, ...]  # upper bounds of the buckets, growing; one more bucket has none
    counts: tuple[int, ...]  # observations in each bucket alone, len(bounds) + 1
    total: float  # sum of all observations

    @property
    def count(self) -> int:
        """Number of observations."""
        return sum(self.counts)


class Histogram:
    """Counts observations in buckets."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(sorted(bounds))
        self._counts = [0] * (len(self._bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        """Count `value` in the first bucket whose bound is not below it."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def snapshot(self) -> HistogramSnapshot:
        """A copy of what was observed so far."""
        return HistogramSnapshot(self._bounds, tuple(self._counts), self._total)
