"""Virtual time and sinks: what a feed sees instead of a loop and a socket."""

import heapq
from collections.abc import Callable
from itertools import count


class VirtualScheduler:
    """A loop whose clock moves only in `run`; satisfies `media.feed.Scheduler`."""

    def __init__(self) -> None:
        self._time = 100.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self.longest_turn = 0.0  # seconds that one callback took, by what `spend` was told

    def now(self) -> float:
        return self._time

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.call_later(0.0, callback)

    def call_next(self, callback: Callable[[], None]) -> None:
        self.call_later(0.0, callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self._time + delay, next(self._numbers), callback))

    def call_along(self, delay: float, slack: float, callback: Callable[[], None]) -> None:
        del slack  # there is nobody else
        self.call_later(delay, callback)

    def spend(self, seconds: float) -> None:
        """Work that takes so long is done in this turn."""
        self._time += seconds

    def run(self, seconds: float = 0.0) -> None:
        """Let `seconds` pass; everything due by then happens in order."""
        end = self._time + seconds
        while self._queue and self._queue[0][0] <= end:
            due, _, callback = heapq.heappop(self._queue)
            self._time = began = max(self._time, due)
            callback()
            self.longest_turn = max(self.longest_turn, self._time - began)
        self._time = max(self._time, end)


class MemorySink:
    """Keeps what it gets; `stalled` makes it hold everything, as a peer that reads nothing."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.held = 0
        self.stalled = False
        self.ended = ""

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        if self.stalled:
            self.held += len(data)

    def writelines(self, chunks: list[bytes]) -> None:
        self.write(b"".join(chunks))

    def pending_bytes(self) -> int:
        return self.held

    def unsent_bytes(self) -> int:
        return self.held

    def end(self, reason: str) -> None:
        self.ended = reason

    @property
    def data(self) -> bytes:
        return b"".join(self.writes)


class CostlySink(MemorySink):
    """A sink whose every write takes time."""

    def __init__(self, scheduler: VirtualScheduler, cost: float) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._cost = cost

    def write(self, data: bytes) -> None:
        super().write(data)
        self._scheduler.spend(self._cost)

    def end(self, reason: str) -> None:
        super().end(reason)
        self._scheduler.spend(self._cost)


class LineSink(MemorySink):
    """A peer behind a line of `bytes_per_second`; what it has not taken is pending."""

    def __init__(self, scheduler: VirtualScheduler, bytes_per_second: float) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._rate = bytes_per_second
        self._at = scheduler.now()
        self._pending = 0.0

    def write(self, data: bytes) -> None:
        self.pending_bytes()
        self._pending += len(data)
        super().write(data)

    def pending_bytes(self) -> int:
        now = self._scheduler.now()
        self._pending = max(0.0, self._pending - (now - self._at) * self._rate)
        self._at = now
        return int(self._pending)

    def unsent_bytes(self) -> int:
        return self.pending_bytes()
