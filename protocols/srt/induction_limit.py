"""How many inductions, or new requests, a listener hears: by the second, host and together."""


class InductionLimit:
    """Counts within whole seconds; what it remembers is bounded by the answers of one second."""

    __slots__ = ("_by_host", "_max_per_host", "_max_total", "_second", "_total")

    def __init__(self, max_per_host: int, max_total: int) -> None:
        self._max_per_host = max_per_host
        self._max_total = max_total
        self._second = -1
        self._total = 0
        self._by_host: dict[str, int] = {}

    def is_allowed(self, host: str, now: float) -> bool:
        """Whether one more may be answered; it counts if so."""
        second = int(now)
        if second != self._second:
            self._second = second
            self._total = 0
            self._by_host.clear()
        count = self._by_host.get(host, 0)
        if count >= self._max_per_host or self._total >= self._max_total:
            return False
        self._by_host[host] = count + 1
        self._total += 1
        return True
