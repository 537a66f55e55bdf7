"""How long an endpoint leaves its socket unread between two turns: by what is missing on its links.

While a packet is missing somewhere every millisecond counts for its repair. After that the turns
are short enough that the first question for the next one is not late; where nothing was missing for
a while they are longer.
"""

from collections.abc import Iterable

from protocols.srt.link import Link, Timed

REST = 0.005  # seconds
SHORT_REST = 0.001
CALM_REST = 0.010
CALM_AFTER = 3.0  # seconds without a loss


class Pace:
    """Public: `rest` in seconds."""

    __slots__ = ("_urgent", "_urgent_at", "rest")

    def __init__(self, now: float) -> None:
        self._urgent: set[Link] = set()  # where something is missing
        self._urgent_at = now  # when something was
        self.rest = SHORT_REST

    def hurry(self, link: Link) -> None:
        """This one is beginning."""
        self._urgent.add(link)
        self.rest = SHORT_REST

    def look(self, touched: Iterable[Timed], now: float) -> None:
        """Those who were heard or due in a turn, and those who missed something before."""
        urgent = self._urgent
        if urgent:
            urgent.difference_update([link for link in urgent if link.end or not link.is_urgent])
        for part in touched:
            if isinstance(part, Link) and part.is_urgent and not part.end:
                urgent.add(part)
        if urgent:
            self._urgent_at, self.rest = now, SHORT_REST
        else:
            self.rest = CALM_REST if now > self._urgent_at + CALM_AFTER else REST
