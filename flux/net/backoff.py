"""How long to wait before the next attempt: exponential, with jitter, with a limit."""

from collections.abc import Callable


class Backoff:
    """Delays that double from `first` to `longest` seconds, each 20 % up or down by chance.

    The jitter keeps a hundred clients of one server that came back from calling in step.
    `random` gives numbers in 0..1.
    """

    __slots__ = ("_attempts", "_first", "_longest", "_random")

    def __init__(self, first: float, longest: float, random: Callable[[], float]) -> None:
        self._first = first
        self._longest = longest
        self._random = random
        self._attempts = 0

    def next_delay(self) -> float:
        """Seconds until the next attempt."""
        delay = min(self._first * 2.0 ** min(self._attempts, 32), self._longest)
        self._attempts += 1
        return delay * (0.8 + 0.4 * self._random())

    def reset(self) -> None:
        """Something worked: begin at `first` again."""
        self._attempts = 0
