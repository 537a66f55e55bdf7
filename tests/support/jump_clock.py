"""A monotonic clock that can be moved on: what waits for seconds is due in the loop's next turn."""

import time
from types import TracebackType
from typing import Self


class JumpClock:
    """Stands in for `time.monotonic` inside its block; asyncio's own timers follow it, too."""

    def __init__(self) -> None:
        self._real = time.monotonic
        self._ahead = 0.0

    def __enter__(self) -> Self:
        time.monotonic = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        time.monotonic = self._real

    def __call__(self) -> float:
        return self._real() + self._ahead

    def advance(self, seconds: float) -> None:
        """Let so much time pass at once."""
        self._ahead += seconds
