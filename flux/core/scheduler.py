"""The running loop as the scheduler of a feed."""

import asyncio
import time
from collections.abc import Callable

from flux.net.turns import Turns


class LoopScheduler:
    """Satisfies `media.feed_reader.Scheduler`."""

    __slots__ = ("_loop", "_turns", "now")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._turns = Turns.of(self._loop)
        self.now: Callable[[], float] = time.monotonic

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run in the next turn of the loop."""
        self._loop.call_soon(callback)

    def call_next(self, callback: Callable[[], None]) -> None:
        """Run behind what runs now, if that is a socket's turn; else in the loop's next turn."""
        self._turns.call_next(callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """Run after `delay` seconds."""
        self._loop.call_later(delay, callback)

    def call_along(self, delay: float, slack: float, callback: Callable[[], None]) -> None:
        """Run after `delay` seconds, or up to `slack` before with somebody else who is due."""
        self._turns.after(delay, slack, callback)
