"""A histogram of plain integers, for what statistics of libsrt do not show."""

from bisect import bisect_left
from collections.abc import Sequence

MILLISECONDS = (1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1000, 2000, 5000)


class Histogram:
    """Counts observations. Public: `bounds`, `counts` (one more, without bound), `total`."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = MILLISECONDS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count `value` in the first bucket whose bound is not below it."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def to_json(self) -> dict[str, object]:
        """Bounds, counts and sum."""
        return {"bounds": list(self.bounds), "counts": list(self.counts), "sum": self.total}
