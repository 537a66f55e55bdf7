"""Time and chance as hooks use them; tests hand in their own."""

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


def _make_id() -> str:
    return secrets.token_hex(8)


@dataclass(frozen=True, slots=True)
class Timing:
    """Clocks, a sleep, and two kinds of chance."""

    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time  # Unix time
    sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep
    rand: Callable[[], float] = random.random  # 0..1
    make_id: Callable[[], str] = _make_id

    async def first_of(self, *waits: Awaitable[Any], timeout: float | None = None) -> bool:
        """Wait until one of `waits` is done or `timeout` seconds have passed; True if one is.

        Futures and tasks among them are left alone; what is a coroutine is cancelled at the end.
        """
        ours = [asyncio.ensure_future(wait) for wait in waits if asyncio.iscoroutine(wait)]
        given = [wait for wait in waits if isinstance(wait, asyncio.Future)]
        watched: list[asyncio.Future[Any]] = [*ours, *given]
        alarm = None if timeout is None else asyncio.ensure_future(self.sleep(timeout))
        everything = watched if alarm is None else [*watched, alarm]
        try:
            await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in ours if alarm is None else [*ours, alarm]:
                task.cancel()
        return any(wait.done() and not wait.cancelled() for wait in watched)


def format_time(wall: float) -> str:
    """Unix time in RFC 3339, UTC, milliseconds."""
    stamp = datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")
    return stamp.replace("+00:00", "Z")
