"""A token bucket: a rate, and how much may go at once after a pause."""

NEVER = float("inf")


class TokenBucket:
    """Bytes that may be sent. Public: `rate` bytes per second, `depth` bytes; change them freely.

    It may be overdrawn by one packet, which keeps the mean exact whatever the packets' sizes are.
    """

    __slots__ = ("_at", "_tokens", "depth", "rate")

    def __init__(self, rate: float, depth: float, now: float) -> None:
        self.rate = rate
        self.depth = depth
        self._tokens = depth
        self._at = now

    def available(self, now: float) -> float:
        """Bytes that may go now; not above zero: none."""
        if now > self._at:  # what has just come was stamped before the last turn
            self._tokens = min(self._tokens + (now - self._at) * self.rate, self.depth)
            self._at = now
        return self._tokens

    def take(self, size: float) -> None:
        """So many bytes go."""
        self._tokens -= size

    def ready_at(self) -> float:
        """When something may go again."""
        if self._tokens > 0:
            return self._at
        if self.rate <= 0:
            return NEVER
        return self._at + (1.0 - self._tokens) / self.rate
