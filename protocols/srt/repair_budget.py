"""How much may be sent again: a token bucket that does not flood a line that is too narrow.

Theory of operation. The budget is a share of the input, `overhead_percent` (as libsrt's
`SRTO_OHEADBW`, 25). A line that loses more than that mends needs more, up to `MAX_SHARE`; one that
is too narrow must not get more, since what is sent again would only push out what is new. The round
trip tells the two apart: longer than the shortest one by more than a margin, and there is a queue.
The shortest one is that of the last seconds while hardly anything is lost, and never a longer one
after that, so that a queue that stands for minutes does not become what is usual. While there is a
queue, bursts are short as well.
"""

from protocols.srt.congestion.bucket import TokenBucket
from protocols.srt.rtt import RttEstimator
from protocols.srt.send_count import SendCount

MIN_DEPTH = 384_000.0  # bytes that may be sent again in a burst, but at most:
MIN_DEPTH_SECONDS = 1.0  # of the input
DEPTH_SECONDS = 2.0  # of the budget, if that is more
SHORT_SECONDS = 0.5  # the same while there is a queue
SHORT_DEPTH = 32_000.0
MAX_SHARE = 0.75  # of the input
NEED_MARGIN = 1.3
QUEUE_MARGIN = 0.020  # seconds over the shortest round trip, its variance, and a quarter of it,
MAX_QUARTER = 0.030  # but not more
LITTLE_LOSS = 0.01
LOSS_PACKETS = 256  # new ones, between two looks at what was lost
LOSS_LOOKS = 4  # that it is a mean of
NEVER = float("inf")


class RepairBudget:
    """Public: `lost`, to be counted up: packets that the peer missed; `queue`: seconds that the
    way has got longer by, 0 if not by much."""

    __slots__ = (
        "_bucket",
        "_fixed_rate",
        "_looks",
        "_loss",
        "_mark",
        "_rtt",
        "_share",
        "_shortest",
        "lost",
        "queue",
    )

    def __init__(self, rtt: RttEstimator, rate: int, overhead_percent: int, now: float) -> None:
        """`rate` in bytes per second, -1: as described."""
        self._rtt = rtt
        self._fixed_rate = float(rate) if rate >= 0 else -1.0
        self._share = overhead_percent / 100
        self._bucket = TokenBucket(max(self._fixed_rate, 0.0), MIN_DEPTH, now)
        self._loss = 0.0
        self._looks = 0
        self._mark = (0, 0)  # new packets and lost ones at the last look
        self._shortest = NEVER
        self.lost = 0
        self.queue = 0.0

    @property
    def is_fixed(self) -> bool:
        """Whether it was given, and holds in file modes, too."""
        return self._fixed_rate >= 0

    def available(self, now: float) -> float:
        """Bytes that may go now."""
        return self._bucket.available(now)

    def take(self, size: float) -> None:
        """So many go."""
        self._bucket.take(size)

    def ready_at(self) -> float:
        """When something may go again."""
        return self._bucket.ready_at()

    def update(self, input_rate: float, count: SendCount) -> None:
        """Set it by the input, bytes of payload per second; call it now and then."""
        sent, lost = self._mark
        if count.unique - sent >= LOSS_PACKETS:
            share = min((self.lost - lost) / (count.unique - sent), 1.0)
            share /= 1 + share  # losses of repairs are among them
            self._looks = min(self._looks + 1, LOSS_LOOKS)  # the first one counts in full
            self._loss += (share - self._loss) / self._looks
            self._mark = (count.unique, self.lost)
        self._measure_queue()
        bucket = self._bucket
        if self._fixed_rate >= 0:
            bucket.rate = self._fixed_rate
        else:
            wanted = self._share
            if not self.queue:
                need = NEED_MARGIN * self._loss / (1 - min(self._loss, 0.5))
                wanted = max(wanted, min(need, MAX_SHARE))
            bucket.rate = input_rate * wanted
        if self.queue:
            bucket.depth = max(bucket.rate * SHORT_SECONDS, SHORT_DEPTH)
        else:
            least = min(MIN_DEPTH, max(input_rate * MIN_DEPTH_SECONDS, SHORT_DEPTH))
            bucket.depth = max(bucket.rate * DEPTH_SECONDS, least)

    def _measure_queue(self) -> None:
        rtt = self._rtt
        is_calm = self._loss < LITTLE_LOSS
        self._shortest = rtt.lowest if is_calm else min(self._shortest, rtt.lowest)
        longer = rtt.rtt - self._shortest
        margin = QUEUE_MARGIN + rtt.variance + min(self._shortest / 4, MAX_QUARTER)
        self.queue = longer if rtt.has_sample and longer > margin else 0.0
