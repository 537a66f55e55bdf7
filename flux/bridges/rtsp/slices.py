"""Work for many sessions at once, done in slices so that the loop has its turn (DESIGN 2)."""

from collections import deque
from collections.abc import Callable

from media.feed_reader import Scheduler

SLICE = 0.002  # seconds


class Slices:
    """What is added is done in order, in the next turns of the loop."""

    __slots__ = ("_is_waiting", "_scheduler", "_work")

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._work: deque[Callable[[], None]] = deque()
        self._is_waiting = False

    def add(self, *work: Callable[[], None]) -> None:
        """Do this later."""
        self._work.extend(work)
        if self._work and not self._is_waiting:
            self._is_waiting = True
            self._scheduler.call_soon(self._run)

    def _run(self) -> None:
        clock = self._scheduler.now
        until = clock() + SLICE
        try:
            while self._work:
                self._work.popleft()()
                if clock() >= until:
                    break
        finally:  # a fault of one is told by the loop and costs the others nothing
            self._is_waiting = False
            self.add()
