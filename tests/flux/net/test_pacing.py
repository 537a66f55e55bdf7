"""Back-off, the flood guard and the deadline timer."""

import asyncio
import random

import pytest

from flux.net.backoff import Backoff
from flux.net.flood import FloodGuard
from flux.net.timer import DeadlineTimer


def test_backoff_doubles_up_to_its_limit_with_jitter() -> None:
    backoff = Backoff(1.0, 30.0, lambda: 0.5)
    assert [backoff.next_delay() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    backoff.reset()
    assert backoff.next_delay() == 1.0
    chance = random.Random(3)
    delays = {Backoff(1.0, 30.0, chance.random).next_delay() for _ in range(50)}
    assert len(delays) == 50
    assert all(0.8 <= delay <= 1.2 for delay in delays)


def test_backoff_never_overflows() -> None:
    backoff = Backoff(1.0, 30.0, lambda: 0.5)
    assert [backoff.next_delay() for _ in range(5000)][-1] == 30.0


def test_flood_guard_rests_until_the_second_is_over() -> None:
    guard = FloodGuard(1000)
    assert guard.take(600, 10.0) == 0.0
    assert guard.take(400, 10.5) == 0.0
    assert guard.take(1, 10.75) == pytest.approx(0.25)
    assert guard.take(900, 11.0) == 0.0
    assert guard.pauses == 1


async def test_the_timer_fires_once_at_the_last_deadline() -> None:
    loop = asyncio.get_running_loop()
    fired: asyncio.Future[float] = loop.create_future()
    timer = DeadlineTimer(loop, fired.set_result)
    start = asyncio.get_running_loop().time()
    timer.arm(start + 60.0, start)
    timer.arm(start + 0.005, start)
    timer.arm(start + 0.02, start)  # later again: the loop's timer stays and asks once more
    assert await asyncio.wait_for(fired, 5.0) >= start + 0.02
    timer.arm(start, start)
    timer.cancel()
    await asyncio.sleep(0)
