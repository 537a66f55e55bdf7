"""A fault that repeats becomes one line a second with a count, however fast it comes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

INTERVAL = 1.0  # seconds
MAX_KEYS = 1000  # faults told apart; beyond, lines pass as they are

Record = Mapping[str, object]
Key = tuple[object, ...]


@dataclass(slots=True)
class _Fault:
    """One fault that was written lately."""

    written_at: float
    held: Record | None = None  # the newest record that was not written
    count: int = 0  # records not written since the last one that was


class RepeatLimiter:
    """Decides which log records are written. Not thread-safe: its owner locks.

    The first record of a fault passes. Those that follow within a second are counted; `due` gives
    out the newest of them, with `repeated`, when the second is over.
    """

    def __init__(self, clock: Callable[[], float], interval: float = INTERVAL) -> None:
        self._clock = clock
        self._interval = interval
        self._faults: dict[Key, _Fault] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no fault was written lately, so that `due` will give out nothing."""
        return not self._faults

    def admit(self, key: Key, record: Record) -> bool:
        """Whether `record` is written now; if not, it is counted."""
        now = self._clock()
        fault = self._faults.get(key)
        if fault is None:
            if len(self._faults) < MAX_KEYS:
                self._faults[key] = _Fault(now)
            return True
        if fault.count == 0 and now - fault.written_at >= self._interval:
            fault.written_at = now
            return True
        fault.held = record
        fault.count += 1
        return False

    def due(self, *, everything: bool = False) -> list[dict[str, object]]:
        """The held records whose second is over (all of them, at the end), each with its count."""
        now = self._clock()
        records: list[dict[str, object]] = []
        for key, fault in list(self._faults.items()):
            if not everything and now - fault.written_at < self._interval:
                continue
            if fault.held is None:
                del self._faults[key]
                continue
            records.append({**fault.held, "repeated": fault.count})
            fault.written_at, fault.held, fault.count = now, None, 0
        return records
