"""One deadline on the event loop, moved often and fired seldom."""

import asyncio
import time
from collections.abc import Callable

EARLIEST = 0.001  # loops wake a tick early and uvloop counts milliseconds: no busy turns


class DeadlineTimer:
    """Calls `on_due(now)` at or after a deadline in `time.monotonic()` seconds.

    A deadline that moves later costs nothing: the loop's timer is left as it is and asks again when
    it fires too early. So every packet may push a timeout back.
    """

    __slots__ = ("_armed_at", "_due", "_handle", "_loop", "_on_due")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_due: Callable[[float], None]) -> None:
        self._loop = loop
        self._on_due = on_due
        self._handle: asyncio.TimerHandle | None = None
        self._armed_at = 0.0
        self._due: float | None = None

    def arm(self, due: float | None, now: float) -> None:
        """Fire at `due`; None = never."""
        self._due = due
        if due is None:
            self.cancel()
        elif self._handle is None or due < self._armed_at:
            self._schedule(due, now)

    def cancel(self) -> None:
        """Fire no more."""
        self._due = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def close(self) -> None:
        """Fire never again, and let go of the owner, which holds this timer."""
        self.cancel()
        self._on_due = _nobody

    def _schedule(self, due: float, now: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._armed_at = due
        self._handle = self._loop.call_later(max(due - now, EARLIEST), self._fire)

    def _fire(self) -> None:
        self._handle = None
        due = self._due
        if due is None:
            return
        now = time.monotonic()
        if now < due:
            self._schedule(due, now)
            return
        self._due = None
        self._on_due(now)


def _nobody(now: float) -> None:
    """The owner has closed its timer."""
