"""How often and how long readers of a stream got no media, and whose doing that was.

Theory of operation. Nothing is counted per frame. A stream is looked at a few times a second; one
look in time that finds no new frame of the leading track is a piece of silence, and about a second
of it is an interruption by the source. So is all the time that the source is lost or a slate shown.
A look that itself comes about a second too late is one by the server, and says nothing of the
source. What happens to one reader alone (it skips, it is cut, its reports tell of loss) is its
network's doing, unless it comes right after one of the two above: a full second of media that is
written at once makes good lines look slow.

An interruption that ten readers saw is ten. Each reader's own figures are those of the stream since
it came, and what happened to it alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from media.causes import Cause, dropped_by

USUAL = 0.25  # seconds between two looks
SLACK = 0.15  # seconds that one may be late
FREEZE = 0.75  # seconds of silence, or that a look is late, from which on a viewer notices
SLOW = 3.0  # a source that sends seldom may be silent for so many times its usual pause
WEIGHT = 0.2  # of the newest pause
DECAY = 0.8  # of the lateness, from look to look
OVERLOADED = 0.5  # seconds of lateness lately, from which on skips are the server's doing


@dataclass(slots=True)
class Tally:
    """Interruptions with one cause."""

    count: int = 0
    seconds: float = 0.0
    dropped: int = 0  # units, packets or segments that were not passed on

    def add(self, count: int, seconds: float, dropped: int = 0) -> None:
        """Count some more."""
        self.count += count
        self.seconds += seconds
        self.dropped += dropped


Tallies = dict[Cause, Tally]


def no_tallies() -> Tallies:
    """Nothing happened."""
    return {cause: Tally() for cause in Cause}


NOTHING = no_tallies()  # of most readers; never added to


class Interruptions:
    """Those of one stream. Times are monotonic seconds."""

    def __init__(self, drops: Mapping[str, int]) -> None:
        """`drops` are the stream's, by reason."""
        self._drops = drops
        self._all = no_tallies()  # of all readers together
        self._shared = no_tallies()  # of the stream, whoever reads it
        self._before: dict[str, Tallies] = {}  # by session: `_shared` when it came
        self._own: dict[str, Tallies] = {}  # by session: what happened to it alone
        self._ended_at: dict[Cause, float] = {}  # the last one that all readers saw
        self._looked_at: float | None = None
        self._lateness = 0.0  # seconds, lately
        self._heard: int | None = None  # frames at the last look
        self._quiet = 0.0  # seconds since a look found more
        self._pause = 0.0  # seconds, usually; 0: not known
        self._is_silent = False  # and that has been counted
        self._source_drops = 0  # at the last look
        self._missed = 0  # of them, those from when this process did not read what came

    # -- readers -----------------------------------------------------------------------------

    def enter(self, session: str) -> None:
        """A reader comes: what was before is none of its business."""
        self._before[session] = self.shared()

    def leave(self, session: str) -> None:
        """A reader is gone."""
        self._before.pop(session, None)
        self._own.pop(session, None)

    def note(self, session: str, cause: Cause, seconds: float = 0.0, dropped: int = 0) -> None:
        """Something happened to one reader alone, be it known here or not."""
        self._all[cause].add(1, seconds, dropped)
        if session in self._before:
            self._own.setdefault(session, no_tallies())[cause].add(1, seconds, dropped)

    def blame(self, seconds: float) -> Cause:
        """Why a reader fell so many seconds behind."""
        now = self._looked_at
        for cause in (Cause.SERVER, Cause.SOURCE):
            ended_at = self._ended_at.get(cause)
            if now is not None and ended_at is not None and now - ended_at < seconds:
                return cause
        return Cause.SERVER if self._lateness > OVERLOADED else Cause.NETWORK

    # -- time --------------------------------------------------------------------------------

    def rest(self) -> None:
        """Nothing is due to anybody."""
        self._count_drops()
        self._looked_at = self._heard = None
        self._quiet = self._pause = self._lateness = 0.0
        self._is_silent = False

    def look(self, now: float, heard: int, *, is_lost: bool, readers: int) -> None:
        """A few times a second while readers are due to get media.

        `heard` counts frames of the leading track; `is_lost`: what comes is none of the source's.
        """
        before, self._looked_at = self._looked_at, now
        is_news = heard != self._heard and not is_lost
        is_first, self._heard = self._heard is None, heard
        fresh = self._count_drops()
        if before is None:
            return
        passed = now - before
        late = passed - USUAL
        self._lateness = self._lateness * DECAY + max(0.0, late - SLACK)
        if self._lateness > OVERLOADED:
            self._missed += fresh
        if late >= FREEZE:
            self._share(Cause.SERVER, 1, late, readers, now)
        if is_news and not is_first:
            if late < FREEZE:
                self._learn(self._quiet + passed)
            self._quiet = 0.0
            self._is_silent = False
        elif late < FREEZE and (self._pause or is_lost):
            self._quiet += passed
            if self._is_silent:
                self._share(Cause.SOURCE, 0, passed, readers, now)
            elif self._quiet >= (FREEZE if is_lost else max(FREEZE, SLOW * self._pause)):
                self._is_silent = True
                self._share(Cause.SOURCE, 1, self._quiet, readers, now)

    def cut(self, now: float, readers: int) -> None:
        """The source stayed away, and its readers are closed for that."""
        if not self._is_silent:
            self._share(Cause.SOURCE, 1, self._quiet, readers, now)
        self.rest()

    def _count_drops(self) -> int:
        """How much the source lost since the last look."""
        before, self._source_drops = self._source_drops, dropped_by(Cause.SOURCE, self._drops)
        return self._source_drops - before

    def _learn(self, pause: float) -> None:
        self._pause += WEIGHT * (pause - self._pause) if self._pause else pause

    def _share(self, cause: Cause, count: int, seconds: float, readers: int, now: float) -> None:
        self._shared[cause].add(count, seconds)
        self._all[cause].add(count * readers, seconds * readers)
        self._ended_at[cause] = now

    # -- figures -----------------------------------------------------------------------------

    def total(self) -> Tallies:
        """Those of all readers together, the ones that are gone among them."""
        return self._with_drops(self._all)

    def shared(self) -> Tallies:
        """Those that every reader saw who was there."""
        return self._with_drops(self._shared)

    def of(self, session: str, dropped: int, shared: Tallies) -> Tallies:
        """Those of one reader, which itself missed `dropped`; `shared` are those of now."""
        before = self._before.get(session)
        if before is None:
            return no_tallies()
        own = self._own.get(session, NOTHING)
        rest = dropped  # what it was not sent while nobody else was to blame
        found: Tallies = {}
        for cause in reversed(Cause):
            now, then, alone = shared[cause], before[cause], own[cause]
            lost = rest if cause is Cause.NETWORK else alone.dropped
            rest -= alone.dropped
            found[cause] = Tally(
                now.count - then.count + alone.count,
                now.seconds - then.seconds + alone.seconds,
                now.dropped - then.dropped + lost,
            )
        return found

    def _with_drops(self, tallies: Tallies) -> Tallies:
        """With what the stream as a whole lost; skips are in the tallies."""
        lost = {
            Cause.NETWORK: 0,
            Cause.SERVER: dropped_by(Cause.SERVER, self._drops) + self._missed,
            Cause.SOURCE: self._source_drops - self._missed,  # never goes back: counters must not
        }
        return {
            cause: Tally(tally.count, tally.seconds, tally.dropped + lost[cause])
            for cause, tally in tallies.items()
        }
