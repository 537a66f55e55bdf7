"""Who fails again and again: failures counted by address, and bans. Bounded, and without a clock.

Failures are forgotten `window` after the first of them; `failures` of them within it are a ban of
`ban` seconds. Failures and bans have a table each: somebody with many addresses makes old failures
forgotten, but lifts no ban before there are as many bans as there is room for.
"""

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(slots=True)
class _Failures:
    count: int
    since: float


class Penalties:
    """Both tables; a key is an address or a network."""

    def __init__(self, *, failures: int, window: float, ban: float, size: int) -> None:
        self._limit = failures  # 0: nobody is banned
        self._window = window
        self._ban = ban
        self._size = size
        self._failures: OrderedDict[str, _Failures] = OrderedDict()  # by their first failure
        self._bans: OrderedDict[str, float] = OrderedDict()  # until when: by their end

    def __len__(self) -> int:
        return len(self._failures) + len(self._bans)

    def is_banned(self, key: str, now: float) -> bool:
        """Whether this address is refused now."""
        until = self._bans.get(key)
        if until is None:
            return False
        if now < until:
            return True
        del self._bans[key]
        return False

    def banned(self, now: float) -> int:
        """How many addresses are refused now."""
        while self._bans and next(iter(self._bans.values())) <= now:
            self._bans.popitem(last=False)
        return len(self._bans)

    def fail(self, key: str, now: float) -> bool:
        """Count a failure; True if the address is banned for it, from now on."""
        if not self._limit or self.is_banned(key, now):
            return False
        known = self._failures.get(key)
        if known is None or now - known.since >= self._window:
            known = _Failures(0, now)
            self._failures.pop(key, None)
            self._make_room(self._failures)
            self._failures[key] = known
        known.count += 1
        if known.count < self._limit:
            return False
        del self._failures[key]
        self._make_room(self._bans)
        self._bans[key] = now + self._ban
        return True

    def _make_room(self, table: OrderedDict[str, _Failures] | OrderedDict[str, float]) -> None:
        while len(table) >= self._size:
            table.popitem(last=False)
