"""Round-trip time, draft section 4.10: smoothed, and the journal of ACKs that await ACKACK."""

from collections import OrderedDict

INITIAL_RTT = 0.100
INITIAL_VARIANCE = 0.050
MAX_RTT = 60.0
MAX_STEP = 0.1  # seconds
MAX_OUTSTANDING = 1024  # ACKs
AGAIN_MARGIN = 0.005  # seconds over the round trip before a question is repeated
MIN_SPREAD = 0.010
HISTORY = 10.0  # seconds that the smallest round trip is looked for in


class RttEstimator:
    """Smoothed round-trip time and variance, in seconds.

    Public: `rtt`, `variance`, `lowest` (of the last 10 to 20 s), `last` sample, `has_sample`,
    `is_own`: some were measured here, not told by the peer; `prompt`: `overdue` when the two sides
    last answered each other at once, None: not known.
    """

    __slots__ = (
        *("_next_lowest", "_turn_at", "has_sample", "is_own", "last", "lowest", "prompt", "rtt"),
        "variance",
    )

    def __init__(self, sample: float | None = None) -> None:
        self.rtt = INITIAL_RTT
        self.variance = INITIAL_VARIANCE
        self.last = INITIAL_RTT
        self.has_sample = self.is_own = False
        self.prompt: float | None = None
        self.lowest = MAX_RTT
        self._next_lowest = MAX_RTT
        self._turn_at = -1.0
        if sample is not None and 0 < sample < MAX_RTT:
            # Of the handshake: good to begin with, but the first real sample replaces it.
            self.rtt = sample
            self.variance = sample / 2
            self.lowest = self._next_lowest = sample

    def add(self, sample: float, now: float) -> None:
        """Take a measured round trip."""
        self.is_own = True
        sample = self.last = min(max(sample, 1e-5), MAX_RTT)
        if self.has_sample:
            # The variance first, from the old mean: so does libsrt.
            self.variance += (abs(self.rtt - sample) - self.variance) / 4
            self.rtt += (sample - self.rtt) / 8
        else:
            self.has_sample = True
            self.rtt = sample
            self.variance = sample / 2
            self.lowest = self._next_lowest = sample
        self._keep_lowest(sample, now)

    def adopt(self, rtt: float, variance: float, now: float, is_smoothing: bool) -> None:
        """Take the peer's values from its ACK; `is_smoothing`: we measure as well."""
        rtt = min(max(rtt, 1e-5), MAX_RTT)
        variance = min(max(variance, 0.0), MAX_RTT)
        if is_smoothing and self.has_sample:
            # A forged one must not make us wait; a path that got longer is believed in some steps.
            rtt = min(rtt, 2 * self.rtt + MAX_STEP)
            self.variance += (abs(self.rtt - rtt) - self.variance) / 4
            self.rtt += (rtt - self.rtt) / 8
        else:
            self.rtt = rtt
            self.variance = variance
            self.has_sample = True
        self._keep_lowest(rtt, now)

    def _keep_lowest(self, sample: float, now: float) -> None:
        if now >= self._turn_at:
            self.lowest = min(self._next_lowest, sample)
            self._next_lowest = sample
            self._turn_at = now + HISTORY
        elif sample < self._next_lowest:
            self._next_lowest = sample
            self.lowest = min(self.lowest, sample)

    @property
    def overdue(self) -> float:
        """So long after a question its answer is late enough to ask again."""
        # The variance starts at half of the round trip, which tells nothing: so it has a bound.
        spread = min(2 * self.variance, max(self.rtt / 4, MIN_SPREAD))
        return self.rtt + max(spread, AGAIN_MARGIN)

    def note_prompt(self) -> None:
        """Our answers were given at once for a while: what was measured has no pauses in it."""
        if self.has_sample:
            self.prompt = self.overdue

    @property
    def timeout(self) -> float:
        """After so long an answer is overdue."""
        return self.rtt + 4 * self.variance


class AckJournal:
    """The full ACKs that were sent and not confirmed yet. Public: `last_confirmed` position."""

    __slots__ = ("_number", "_sent", "last_confirmed")

    def __init__(self) -> None:
        self._sent: OrderedDict[int, tuple[float, int]] = OrderedDict()
        self._number = 0
        self.last_confirmed = -1

    def note(self, position: int, now: float) -> int:
        """An ACK up to `position` (unwrapped) goes out now: the number for it."""
        self._number = self._number % 0xFFFFFFFF + 1
        self._sent[self._number] = (now, position)
        if len(self._sent) > MAX_OUTSTANDING:
            self._sent.popitem(last=False)
        return self._number

    def confirm(self, number: int, now: float) -> float | None:
        """An ACKACK came: the round trip; None: no such ACK is awaited."""
        found = self._sent.get(number)
        if found is None:
            return None
        sent = self._sent
        while sent:  # those before it will not be answered, or late
            first = next(iter(sent))
            del sent[first]
            if first == number:
                break
        self.last_confirmed = max(self.last_confirmed, found[1])
        return now - found[0]
