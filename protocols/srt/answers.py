"""Which acknowledgements are answered with ACKACK, draft section 3.2.8: not all of them.

The peer learns the round trip from the answers. So the first ones are answered as they come, later
one in some milliseconds; while nothing is in flight all are, since each may be the last.
"""

INTERVAL = 0.008  # seconds between two answers at first
CALM_INTERVAL = 0.028  # later: the peer knows the round trip by then
CALM_ANSWERS = 100


class Answers:
    """The answers of one connection."""

    __slots__ = ("_at", "_count", "_due", "_number")

    def __init__(self) -> None:
        self._due = 0  # number of the ACK to be answered; 0: none
        self._count = 0
        self._number = 0  # of the last answer
        self._at = -1e9

    def hear(self, number: int, now: float, is_flowing: bool) -> None:
        """A full ACK came; `is_flowing`: more are to come."""
        interval = CALM_INTERVAL if is_flowing and self._count >= CALM_ANSWERS else INTERVAL
        if now >= self._at + interval or number == self._number:
            self._due = number

    def take(self, now: float) -> int:
        """The ACK to be answered now; 0: none."""
        number, self._due = self._due, 0
        if number:
            self._number, self._at = number, now
            self._count += 1
        return number
