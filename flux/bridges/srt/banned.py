"""Banned addresses that go on calling: each gets its code some times a minute, then silence."""

from collections import OrderedDict

ANSWERS = 10
SPAN = 60.0  # seconds
SIZE = 4096  # addresses that are remembered; over that the oldest goes


class BannedCallers:
    """Counts answers by address."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, tuple[float, int]] = OrderedDict()  # since, how many

    def __len__(self) -> int:
        return len(self._answers)

    def is_answered(self, address: str, now: float) -> bool:
        """Whether this call is told that it is refused, which is counted."""
        since, count = self._answers.get(address, (now, 0))
        if now - since >= SPAN:
            del self._answers[address]
            since, count = now, 0
        if not count and len(self._answers) >= SIZE:
            self._answers.popitem(last=False)
        if count >= ANSWERS:
            return False
        self._answers[address] = since, count + 1
        return True
