"""A limit on what one peer may make us read."""

WINDOW = 1.0  # seconds


class FloodGuard:
    """Counts bytes per second; tells for how long reading has to pause."""

    __slots__ = ("_began_at", "_count", "_limit", "pauses")

    def __init__(self, bytes_per_second: int) -> None:
        self._limit = bytes_per_second
        self._began_at = 0.0
        self._count = 0
        self.pauses = 0

    def take(self, count: int, now: float) -> float:
        """Count bytes that were read; 0, or the seconds that reading has to rest from now on."""
        if now - self._began_at >= WINDOW:
            self._began_at = now
            self._count = 0
        self._count += count
        if self._count <= self._limit:
            return 0.0
        self.pauses += 1
        return self._began_at + WINDOW - now
