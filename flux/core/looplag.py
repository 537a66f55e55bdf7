"""How late the loop is: a timer that notes by how much it missed its time.

Everything on the loop waits for whatever runs on it, so this is the one figure that shows a
callback that takes too long, a garbage collection, or a machine without a core to spare.
"""

import asyncio
import gc
from time import monotonic

from flux.core.histogram import Histogram, HistogramSnapshot
from flux.net.turns import Turn, Turns

INTERVAL = 0.25  # seconds between samples
SLACK = 0.4  # share of it that a sample may come early, with somebody else who wakes the process
BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds

# A media server makes many objects, and what ends here is freed at once: nothing refers back to its
# owner when it is over (tests/flux/app/test_garbage.py). The collector is for the rings of others,
# such as each transport of asyncio's own loop and faults on their way; the last number keeps those
# from piling up for hours.
GC_THRESHOLDS = (10_000, 10, 5)


class LoopLag:
    """The sampler, a Part. `worst` is the largest lag since it was last taken."""

    name = "loop-lag"

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._histogram = Histogram(BOUNDS)
        self._worst = 0.0
        self._turn: Turn | None = None

    async def start(self) -> None:
        """Begin to sample."""
        self._arm(Turns.of(asyncio.get_running_loop()))

    async def stop(self) -> None:
        """Sample no more."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def snapshot(self) -> HistogramSnapshot:
        """All samples so far."""
        return self._histogram.snapshot()

    def take_worst(self) -> float:
        """The largest lag in seconds since the last call."""
        worst, self._worst = self._worst, 0.0
        return worst

    def _arm(self, turns: Turns) -> None:
        due = monotonic() + self._interval
        self._turn = turns.after(
            self._interval, self._interval * SLACK, lambda: self._sample(turns, due)
        )

    def _sample(self, turns: Turns, due: float) -> None:
        lag = max(turns.late, monotonic() - due)
        self._histogram.observe(lag)
        self._worst = max(self._worst, lag)
        self._arm(turns)


def settle_garbage_collector() -> None:
    """After start: what lives now lives on, so it is collected once and never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
