"""Several sources of one stream, the best first: which of them run, and which is on air.

Theory of operation. A `Priority` is a `Source` made of sources in order. The first one runs always.
While none is on air the next one is started as well

- at once when the one on air was lost, or when one that was tried says that it failed;
- after `switch_after` without media.

All that were started go on trying, so the best one that delivers is on air at last: a better one
takes over when it has sent without a break for `return_after`, at its next key frame. Once one has
been on air for `return_after`, those behind it are stopped; until then they stand by, so a source
that comes and goes costs no picture: it has to be healthy before anybody is moved back to it.

An operator can choose one by hand: it counts as the best until the choice is taken back, and need
not prove its health the first time. If it is lost, the others fill in as ever.

A seat without a source is that of a publisher who comes by himself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flux.base.errors import PeerError
from media.source import Source, SourceStatus

STOPPED = "stopped"
WAITING = "waiting"
REASON_NOT_NEEDED = "better-source"


@dataclass(frozen=True, slots=True)
class PriorityOptions:
    """Seconds."""

    switch_after: float = 5.0  # without media, after which the next one is tried as well
    return_after: float = 10.0  # that a better one has to be healthy for


@dataclass(slots=True, eq=False)
class Seat:
    """One source. `source` is None for somebody who publishes by himself."""

    status: SourceStatus
    source: Source | None = None
    running: bool = False
    switches: int = 0  # how often it was put on air in place of another one

    def start(self) -> None:
        """Let it try."""
        if not self.running:
            self.running = True
            if self.source is not None:
                self.source.start()

    def stop(self, reason: str) -> None:
        """Let it go."""
        if self.running:
            self.running = False
            if self.source is not None:
                self.source.stop(reason)


class Priority:
    """The sources of one stream. `on_switch(before, after, reason)` hears who is on air."""

    def __init__(
        self,
        seats: Sequence[Seat],
        options: PriorityOptions,
        now: Callable[[], float],
    ) -> None:
        self.seats = tuple(seats)
        self.on_switch: Callable[[Seat | None, Seat, str], None] = _ignore
        self.active: int | None = None
        self.chosen: int | None = None  # by hand
        self._options = options
        self._now = now
        self._running = False
        self._since = 0.0  # of the one on air
        self._next_at = 0.0  # when the next one is tried, while none is on air
        self._shown: int | None = None  # that was last on air
        self._hurries = False  # the one chosen has not been on air yet

    # -- Source ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin with the best one."""
        self._running = True
        self._next_at = self._now()
        self.tick(self._next_at)

    def stop(self, reason: str) -> None:
        """End them all."""
        self._running = False
        self.active = None
        for seat in self.seats:
            seat.stop(reason)

    def let_go(self) -> None:
        """The stream is forgotten: nobody hears of it any more."""
        self.on_switch = _ignore

    # -- for who is on air -------------------------------------------------------------------

    @property
    def has_others(self) -> bool:
        """Whether there is more than one."""
        return len(self.seats) > 1

    @property
    def own_seat(self) -> int | None:
        """The seat of one who publishes by himself, if there is one."""
        own = (place for place, seat in enumerate(self.seats) if seat.source is None)
        return next(own, None)

    def may_replace(self, on_air: int | None, seat: int | None, healthy_for: float) -> bool:
        """Whether `seat` goes on air in place of the one that is there and works."""
        if on_air is None or seat is None:
            return False
        if self._rank(seat) >= self._rank(on_air):
            return False
        is_asked_for = self._hurries and seat == self.chosen
        return is_asked_for or healthy_for >= self._options.return_after

    def on_air(self, seat: int | None, now: float, reason: str) -> None:
        """This one is on air now; None: none is any more."""
        before, self.active = self.active, seat
        if seat is None:
            if before is not None:
                self._next_at = now  # the next one is tried at once
                self.tick(now)
            return
        self._since = now
        self._hurries = self._hurries and seat != self.chosen
        if seat != self._shown:
            shown, self._shown = self._shown, seat
            before_seat = self.seats[shown] if shown is not None else None
            self.seats[seat].switches += before_seat is not None
            self.on_switch(before_seat, self.seats[seat], reason or self._why(shown, seat))

    def _why(self, before: int | None, after: int) -> str:
        if after == self.chosen:
            return "chosen"
        if before is None:
            return "started"
        return "better-source" if self._rank(after) < self._rank(before) else "source-lost"

    # -- states and time ---------------------------------------------------------------------

    def said(self, state: str, now: float) -> None:
        """A source told its state: when one failed the next one may try."""
        if state == WAITING and self.active is None and self._running:
            self._next_at = now
            self.tick(now)

    def tick(self, now: float) -> None:
        """Start who is needed, stop who is not."""
        if not self._running:
            return
        order = self._order()
        if self.active is None:
            if now >= self._next_at:
                waiting = next((seat for seat in order if not self.seats[seat].running), None)
                if waiting is not None:
                    self._next_at = now + self._options.switch_after
                    self.seats[waiting].start()
            return
        place = order.index(self.active)
        for seat in order[:place]:
            self.seats[seat].start()
        if now - self._since >= self._options.return_after:
            for seat in order[place + 1 :]:
                self.seats[seat].stop(REASON_NOT_NEEDED)

    def choose(self, seat: int | None, now: float) -> None:
        """By hand: the one to prefer; None: the order of the configuration again."""
        if seat is not None and not 0 <= seat < len(self.seats):
            raise PeerError("source-not-found", 404, str(seat))
        self.chosen = seat
        self._hurries = seat is not None and seat != self.active
        if seat is not None and self._running:
            self.seats[seat].start()
        self.tick(now)

    def _order(self) -> list[int]:
        """Seats, the best first."""
        seats = list(range(len(self.seats)))
        if self.chosen is not None:
            seats.remove(self.chosen)
            seats.insert(0, self.chosen)
        return seats

    def _rank(self, seat: int) -> int:
        return self._order().index(seat)


def _ignore(before: Seat | None, after: Seat, reason: str) -> None:
    """Nobody wants to know."""
    del before, after, reason
