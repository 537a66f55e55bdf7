"""The timers of one endpoint: a heap of moments at which links and others want to be served."""

import heapq
from itertools import count

from protocols.srt.link import Link
from protocols.srt.timed import Timed

NEVER = float("inf")


class Timers:
    """Nobody is told that a moment is not wanted any more: that shows when it is the first."""

    __slots__ = ("_heap", "_numbers")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timed]] = []
        self._numbers = count()

    def add(self, part: Timed, at: float) -> None:
        """Serve this one then."""
        heapq.heappush(self._heap, (at, next(self._numbers), part))

    def first(self) -> float:
        """When the next one is to be served; what links do not wait for any more is put off."""
        heap = self._heap
        while heap:
            at, _, part = heap[0]
            later = part.postponed(at) if isinstance(part, Link) else at
            if later <= at:
                return at
            if later < NEVER:
                heapq.heapreplace(heap, (later, next(self._numbers), part))
            else:
                heapq.heappop(heap)
        return NEVER

    def take_due(self, now: float) -> list[tuple[float, Timed]]:
        """Those whose time has come, and when that was."""
        heap = self._heap
        due: list[tuple[float, Timed]] = []
        while heap and heap[0][0] <= now:
            at, _, part = heapq.heappop(heap)
            due.append((at, part))
        return due

    def clear(self) -> None:
        """Serve nobody."""
        self._heap.clear()
