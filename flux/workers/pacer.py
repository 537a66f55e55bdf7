"""When the next picture is due: a grid of whole frames on the wall clock.

The first frame lies on the grid on which every wall second begins with a frame, so a test card's
flash comes on the full second. After that only the monotonic clock and a frame count decide:
nothing is summed up, so nothing drifts. A clock that was set is followed in whole frames.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

LATEST = 1.0  # seconds; a worker that was held up for longer leaves frames out


@dataclass(slots=True)
class Beat:
    """One frame's turn."""

    index: int  # of the frame since the start; media time is index / rate
    tick: int  # of the same frame on the wall grid: Unix time is tick / rate
    skipped: int  # frames left out just before this one


class Pacer:
    """Sleeps until each frame is due."""

    def __init__(
        self,
        rate: int,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._monotonic = monotonic
        self._wall = wall
        self._sleep = sleep
        now, unix = monotonic(), wall()
        self._tick = int(-(-unix * rate // 1))  # of frame 0: the first on the grid from now on
        self._start = now + (self._tick / rate - unix)
        self._index = 0

    def next(self) -> Beat:
        """Wait for the next frame's time."""
        rate = self._rate
        late = self._monotonic() - (self._start + self._index / rate)
        skipped = 0
        if late < 0:
            self._sleep(-late)
        elif late > LATEST:
            skipped = int(late * rate)
            self._index += skipped
        index = self._index
        self._index += 1
        if index % rate == 0:
            self._follow_wall(index)
        return Beat(index, self._tick + index, skipped)

    def _follow_wall(self, index: int) -> None:
        """Once a second: has somebody set the clock? Lateness of ours must not look like it."""
        media = self._monotonic() - self._start
        off = self._wall() * self._rate - (self._tick + media * self._rate)
        if abs(off) >= 1.0:
            self._tick += round(off)
