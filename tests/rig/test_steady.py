"""The steady clock: a stall is no time, and waiting is as long as it ever was."""

import asyncio
import os
import subprocess
import sys
import time

import pytest

from tests.support import steady

STALL = 0.25


async def test_a_stall_is_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off, a wait that is much shorter than the stall ends with it."""
    real = time.monotonic
    clock = steady.hold(monkeypatch)
    loop = asyncio.get_running_loop()
    went = asyncio.Event()
    loop.call_later(STALL / 2, went.set)
    began, since = time.monotonic(), real()
    time.sleep(STALL)  # noqa: ASYNC251 - this is the stall
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not went.is_set()
    assert time.monotonic() - began <= 4 * steady.LONGEST
    assert STALL - steady.LONGEST <= clock.lost <= real() - since
    await went.wait()


async def test_a_stall_while_the_loop_waits_is_no_more_than_the_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = steady.hold(monkeypatch)
    clock()
    time.sleep(STALL)  # noqa: ASYNC251 - in the selector, as far as the clock knows
    clock.waited(0.1)
    assert clock.lost >= STALL - 0.1 - steady.LONGEST
    lost = clock.lost
    time.sleep(STALL)  # noqa: ASYNC251
    clock.waited(None)
    assert clock.lost == lost


async def test_waiting_lasts_as_long_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.monotonic
    steady.hold(monkeypatch)
    began, since = time.monotonic(), real()
    await asyncio.sleep(0.1)
    assert time.monotonic() - began >= 0.1
    assert real() - since >= 0.1


def test_who_waits_for_a_core_does_not_work() -> None:
    """Two programs on one core: what the other one has of it is not this one's time.

    Three times, since a machine that stands still has nobody wait.
    """
    cores = os.sched_getaffinity(0)
    core = min(cores)
    # It ends by itself, should we be cut off.
    hog = f"""
import os, time
os.sched_setaffinity(0, {{{core}}})
print(flush=True)
end = time.monotonic() + 20
while time.monotonic() < end: pass
"""
    with subprocess.Popen([sys.executable, "-c", hog], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            os.sched_setaffinity(0, {core})
            owns = [_own_time_of(2 * STALL) for _ in range(3)]
        finally:
            os.sched_setaffinity(0, cores)
            other.kill()
    assert min(owns) < 1.8 * STALL, owns


def _own_time_of(seconds: float) -> float:
    """What of so many seconds without a pause is this thread's."""
    began, own = time.perf_counter(), steady.own_time()
    while time.perf_counter() - began < seconds:
        pass
    return steady.own_time() - own


def test_who_sleeps_is_not_left_off() -> None:
    began = steady.own_time()
    time.sleep(0.05)
    assert steady.own_time() - began >= 0.045
