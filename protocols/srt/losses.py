"""The receiver's loss list: what is missing, and when to ask for it (again).

Theory of operation. libsrt repeats its whole list by a timer that knows nothing of the packets in
it. Here every missing packet has its own time: asked once the tolerance for reordering has passed,
and again each time that the answer is overdue, which is a round trip and some milliseconds after
the last question. A question whose answer would come after the play time is not asked. Packets that
are found missing together are asked for together, so there is one heap entry for all of them.

Where questions themselves get lost, answers fail more often than packets get lost on their way to
us; then questions are sent twice, a few milliseconds apart (`has_echo`). The sender answers the
first that it gets. A few are still sent once, to see whether single ones get lost.
"""

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from itertools import islice, takewhile
from math import sqrt

MAX_MISSING = 8192  # of one hole the last ones; what is before them the sender has forgotten
MAX_ATTEMPTS = 64
ECHO_SAMPLE = 24  # questions, failed or answered, that tell something
ECHO_SHARE = 0.04  # of questions lost, that makes it worth to ask twice
MEMORY = 256  # questions; then older ones count half
PROBE_TURNS = 8  # questions of which one is sent once where the others are sent twice
NEVER = float("inf")


class Missing:
    """One packet that has not come. Times in seconds."""

    __slots__ = ("asked", "is_dropped", "is_echoed", "play_at", "seen_at")

    def __init__(self, seen_at: float, play_at: float) -> None:
        self.seen_at = seen_at  # when its absence was noticed
        self.play_at = play_at  # of the packet that showed it; 0: not timed
        self.asked = 0
        self.is_echoed = False  # the last question was sent twice
        self.is_dropped = False  # somebody said that it will not come


class LossList:
    """Missing packets by unwrapped sequence number, in growing order."""

    __slots__ = ("_answered", "_attempts", "_failed", "_number", "_queue", "missing")

    def __init__(self, attempts: int = MAX_ATTEMPTS) -> None:
        """`attempts`: how often one packet is asked for."""
        self._attempts = attempts
        self.missing: dict[int, Missing] = {}
        # Due, number, whether it is an echo, who.
        self._queue: list[tuple[float, int, bool, Sequence[int]]] = []
        self._number = 0
        self._answered = 0.0
        self._failed = 0.0

    def add(self, first: int, end: int, now: float, due: float, play_at: float) -> None:
        """A hole, to be asked for at `due`; infinity: not until `report`."""
        first = max(first, end - MAX_MISSING)
        missing = self.missing
        # All of them at once: a dict looks again for its first entry each time that one is gone.
        for old in list(islice(missing, max(len(missing) + end - first - MAX_MISSING, 0))):
            del missing[old]
        for sequence in range(first, end):
            missing[sequence] = Missing(now, play_at)
        if due < NEVER:
            self._push(due, False, range(first, end))

    def report(self, sequences: Iterable[int], now: float) -> None:
        """The filter cannot mend these: ask now."""
        known = [sequence for sequence in sequences if sequence in self.missing]
        if known:
            self._push(now, False, known)

    def _push(self, due: float, is_echo: bool, sequences: Sequence[int]) -> None:
        self._number += 1
        heappush(self._queue, (due, self._number, is_echo, sequences))

    def arrive(self, sequence: int) -> Missing | None:
        """A packet came: what is known of its absence; None: it was not missed."""
        found = self.missing.pop(sequence, None)
        if found is not None:
            if found.asked and not found.is_echoed:
                self._answered += 1
            if not self.missing:
                self._queue.clear()
        return found

    def forget_below(self, sequence: int) -> int:
        """Those below are not wanted any more; how many were still missing."""
        missing = self.missing
        past = list(takewhile(lambda number: number < sequence, missing))
        for number in past:
            del missing[number]
        if not missing:
            self._queue.clear()
        return len(past)

    def forget(self, first: int, end: int, *, is_doubted: bool) -> None:
        """The sender has given these up. A doubted word is believed when it is said again, as an
        answer to the next question, since the first may be a stranger's."""
        missing = self.missing
        for sequence in [each for each in missing if first <= each < end]:
            if is_doubted and not missing[sequence].is_dropped:
                missing[sequence].is_dropped = True
            else:
                del missing[sequence]
        if not missing:
            self._queue.clear()

    def has_echo(self, loss: float) -> bool:
        """Whether questions get lost; `loss`: the share of packets that do not come at once."""
        asked = self._answered + self._failed
        if asked < ECHO_SAMPLE:
            return False
        chance = 2 * sqrt(loss * (1 - loss) / asked)
        return 1 - self._answered / asked / max(1 - loss, 0.1) > ECHO_SHARE + chance

    def due(self, now: float, rtt: float, again: float, echo: float = 0.0) -> list[int]:
        """What to ask for now, in order.

        An answer takes `rtt` and is overdue after `again`; `echo`: ask twice, that far apart.
        """
        queue, missing = self._queue, self.missing
        asked: list[int] = []
        while queue and queue[0][0] <= now:
            _, _, is_echo, sequences = heappop(queue)
            wanted = [sequence for sequence in sequences if sequence in missing]
            if is_echo:
                asked += wanted
                continue
            kept: list[int] = []
            is_echoed = echo > 0 and self._number % PROBE_TURNS > 0
            for sequence in wanted:
                lost = missing[sequence]
                if lost.asked and not lost.is_echoed:
                    self._failed += 1
                if (lost.play_at and now + rtt > lost.play_at) or lost.asked >= self._attempts:
                    continue
                lost.asked += 1
                lost.is_echoed = is_echoed
                kept.append(sequence)
            if kept:
                asked += kept
                self._push(now + again, False, kept)
                if is_echoed:
                    self._push(now + echo, True, kept)
        if self._answered + self._failed > MEMORY:
            self._answered /= 2
            self._failed /= 2
        asked.sort()
        return asked

    def get_timer(self) -> float:
        """When `due` has something; infinity: nothing is missing."""
        return self._queue[0][0] if self._queue else NEVER


def ranges_of(sequences: Sequence[int]) -> list[tuple[int, int]]:
    """Growing numbers as ranges of first and last."""
    ranges: list[tuple[int, int]] = []
    first = last = -2
    for sequence in sequences:
        if sequence == last + 1:
            last = sequence
        elif sequence > last:
            if first >= 0:
                ranges.append((first, last))
            first = last = sequence
    if first >= 0:
        ranges.append((first, last))
    return ranges
