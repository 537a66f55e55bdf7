"""What an endpoint wakes: links, groups of them, receptions."""

from typing import Protocol


class Timed(Protocol):
    """Something with a timer and something to send."""

    def handle_timer(self, at: float, now: float) -> bool:
        """The time `at` has come, as told; whether it still mattered, and `flush` is to follow."""

    def flush(self, now: float) -> None:
        """Tell what happened, send what is to be sent, say when to come again."""
