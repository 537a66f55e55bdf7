"""A monotonic clock that stands still while the machine does: no wait ends by a stall alone."""

import selectors
import time
from pathlib import Path

import pytest

LONGEST = 0.02  # seconds that may pass between two looks of a process that works


def own_time() -> float:
    """Seconds in which this thread ran or waited for something, but for a core that others had.

    Where the kernel does not tell, they count as well.
    """
    try:
        _, waited, _ = Path("/proc/thread-self/schedstat").read_text().split()
    except OSError:
        return time.perf_counter()
    return time.perf_counter() - int(waited) / 1e9


class SteadyClock:
    """Stands in for `time.monotonic`: asyncio's timers and everything of ours follow it.

    The loop's waiting counts for as long as it was to last, and work between two looks at the
    clock for `LONGEST`. What is beyond is a stall: of this process, or of the whole machine.
    """

    def __init__(self) -> None:
        self._real = time.monotonic
        self._seen = self._real()
        self._lost = 0.0

    @property
    def lost(self) -> float:
        """Seconds that did not count."""
        return self._lost

    def __call__(self) -> float:
        self._look(LONGEST)
        return self._seen - self._lost

    def waited(self, timeout: float | None) -> None:
        """The loop waited, for so long at most; None: without end."""
        self._look(float("inf") if timeout is None else max(timeout, 0.0) + LONGEST)

    def _look(self, longest: float) -> None:
        now = self._real()
        self._lost += max(now - self._seen - longest, 0.0)
        self._seen = now


def hold(monkeypatch: pytest.MonkeyPatch) -> SteadyClock:
    """Let this process have a steady clock until the test is over."""
    clock = SteadyClock()
    wait = selectors.DefaultSelector.select

    def select(
        selector: selectors.DefaultSelector, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        clock()
        found = wait(selector, timeout)
        clock.waited(timeout)
        return found

    monkeypatch.setattr(selectors.DefaultSelector, "select", select)
    monkeypatch.setattr(time, "monotonic", clock)
    return clock
