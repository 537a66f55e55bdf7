"""The loop-lag sampler."""

import asyncio
import gc
from time import monotonic

from hypothesis import given
from hypothesis import strategies as st

from flux.core.histogram import Histogram
from flux.core.looplag import LoopLag, settle_garbage_collector
from flux.core.part import Part


@given(st.lists(st.floats(0, 10)), st.lists(st.floats(0.1, 9), max_size=5, unique=True))
def test_a_histogram_counts_everything_once(values: list[float], bounds: list[float]) -> None:
    histogram = Histogram(bounds)
    for value in values:
        histogram.observe(value)
    taken = histogram.snapshot()
    assert taken.count == len(values)
    for index, bound in enumerate(taken.bounds):
        assert sum(taken.counts[: index + 1]) == sum(value <= bound for value in values)


async def test_a_blocked_loop_is_seen() -> None:
    lag = LoopLag(interval=0.001)
    assert isinstance(lag, Part)
    await lag.start()
    until = monotonic() + 0.03
    while monotonic() < until:
        pass
    for _ in range(3):  # turns of the loop: the timer is due already
        await asyncio.sleep(0)
    await lag.stop()
    await lag.stop()
    assert lag.take_worst() >= 0.02
    assert lag.take_worst() == 0.0
    assert lag.snapshot().total >= 0.02


def test_the_garbage_collector_is_settled() -> None:
    before = gc.get_threshold()
    try:
        settle_garbage_collector()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] > before[0]
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
