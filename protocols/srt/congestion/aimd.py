"""File mode: additive increase, multiplicative decrease; draft section 5.2 leaves it free.

    slow start --congestion, or the round trip tells of a queue--> congestion avoidance
    congestion avoidance --congestion--> fast recovery
    fast recovery --all that was in flight then is acknowledged--> congestion avoidance
    any --nothing acknowledged in time--> slow start, from a small window
    congestion avoidance --no cut for long--> drain, for a round trip --> congestion avoidance

Congestion is a loss while the round trip is in the upper half of its range, so that a queue is
filling, or more losses than `TOLERATED` of what is in flight and what chance may add: a path that
drops a few packets at random is not a full one (libsrt takes each loss for a sign, and falls behind
from two per cent on). A queue that stands shows no range, and who comes late never saw the path
empty, so now and then each flow drains: half the pace for a round trip. The window is cut once for
each round trip with congestion, not once for each NAK. It grows by a packet a round trip, and by
more the longer ago the last cut is.

An acknowledgement stops at the first packet that is missing, and a repair takes a round trip, so
while something is missing more than the window may be unacknowledged; then the pace alone keeps
to it. Sending is paced by a token bucket, so that no burst fills a queue, and never much faster
than the peer says that it receives: where the round trip is next to nothing, that is the limit.
"""

from math import sqrt

from protocols.srt.congestion.control import WIRE_OVERHEAD_BYTES, AckSample

INITIAL_WINDOW = 16.0
MIN_WINDOW = 4.0
PACING_GAIN = 1.1
REPAIR_GAIN = 1.0
SLOW_START_GAIN = 2.0
REPAIR_SPAN = 4.0  # windows that may be unacknowledged while something is missing
RECEIVED_GAIN = 2.5  # of the highest rate that the peer has told lately
MIN_RECEIVED = 2000.0  # packets per second; below that it says nothing
RECEIVED_FADE = 0.02  # of that rate, an acknowledgement
ACK_INTERVAL = 0.010  # an acknowledgement may be that late
QUEUE_CUT = 0.7  # what is left of the window
CHANCE_CUT = 0.75
TOLERATED = 0.04  # share of losses
DRAIN = 0.5  # of the pace
DRAIN_INTERVAL = 2.0  # seconds, or so many round trips:
DRAIN_ROUNDS = 20
QUEUE_RANGE = 0.008  # seconds that the round trip varies by where there is a queue
RANGE_SPAN = 10.0  # seconds that the range is taken over, and as long again
GROWTH_SECONDS = 1.0  # after a cut; then the increase doubles for each of them
MAX_INCREASE = 64.0  # packets a round trip
MAX_INCREASE_SHARE = 16  # of the window
MIN_RTT = 0.001
NEVER = float("inf")


class RttRange:
    """The shortest and the longest round trip of the last 10 to 20 s. Public: `lowest`."""

    __slots__ = ("_highest", "_next_highest", "_next_lowest", "_turn_at", "lowest")

    def __init__(self) -> None:
        self.lowest = self._next_lowest = NEVER
        self._highest = self._next_highest = 0.0
        self._turn_at = 0.0

    def add(self, rtt: float, now: float) -> None:
        """Take a smoothed round trip."""
        if now >= self._turn_at:
            self._turn_at = now + RANGE_SPAN
            self.lowest, self._highest = self._next_lowest, self._next_highest
            self._next_lowest, self._next_highest = NEVER, 0.0
        self._next_lowest = min(self._next_lowest, rtt)
        self._next_highest = max(self._next_highest, rtt)
        self.lowest = min(self.lowest, rtt)
        self._highest = max(self._highest, rtt)

    def is_upper(self, rtt: float) -> bool:
        """Whether there is a range, and this is in its upper half."""
        width = self._highest - self.lowest
        return width > QUEUE_RANGE and rtt > self.lowest + width / 2


class AimdControl:
    """Public beside the interface: `congestion_window`, `is_slow_start`, `is_recovering`,
    `has_queue`, `cuts`."""

    def __init__(
        self, packet_bytes: int, max_window: int, max_rate: int = -1, is_timed: bool = False
    ) -> None:
        """`packet_bytes` of payload; `max_window` packets; `max_rate` bytes a second, -1: none.

        `is_timed`: a queue alone is congestion, since what is late is lost, and not asked for.
        """
        self.hears_acks = True
        self._is_timed = is_timed
        self._packet_bytes = packet_bytes + WIRE_OVERHEAD_BYTES
        self._max_window = float(max(max_window, MIN_WINDOW))
        self._max_rate = float(max_rate) if max_rate > 0 else 0.0
        self.congestion_window = min(INITIAL_WINDOW, self._max_window)
        self._threshold = self._max_window
        self._recovery_end = -1  # unwrapped: recovery ends when this is acknowledged
        self._missing_end = -1  # something before it is missing
        self._round = (-1, -1)  # unwrapped: losses are counted of these
        self._lost = 0
        self._cut_at = 0.0
        self._at = 0.0  # of the last acknowledgement
        self._drained_at = 0.0
        self._drain_end = -1  # unwrapped: the drain is over when this is acknowledged
        self._rtt = 0.1
        self._range = RttRange()
        self._received = 0.0  # packets a second, as the peer told
        self.window = self.rate = 0.0
        self.cuts = 0
        self._pace()

    @property
    def is_slow_start(self) -> bool:
        """Whether the window doubles each round trip."""
        return self.congestion_window < self._threshold

    @property
    def is_recovering(self) -> bool:
        """Whether the window was cut in this round trip."""
        return self._recovery_end >= 0

    @property
    def has_queue(self) -> bool:
        """Whether the round trip tells of a queue."""
        return self._range.is_upper(self._rtt)

    def on_input(self, packets: int, size: int, now: float) -> None:
        """See `CongestionControl`."""

    def on_ack(self, sample: AckSample, now: float) -> None:
        """See `CongestionControl`."""
        self._rtt = max(sample.rtt, MIN_RTT)
        if sample.is_measured:
            self._range.add(self._rtt, now)
        faded = self._received * (1 - RECEIVED_FADE)
        self._received = max(faded, sample.receive_packets)
        position = sample.position
        if position >= self._recovery_end:
            self._recovery_end = -1
        if position >= self._missing_end:
            self._missing_end = -1
        if position >= self._round[1]:
            self._round = (position, position + sample.in_flight)
            self._lost = 0
        if self._drain_end >= 0:
            if position >= self._drain_end:
                self._drain_end = -1
                self._drained_at = now
        elif not self.is_slow_start:
            wait = max(DRAIN_INTERVAL, DRAIN_ROUNDS * self._rtt)
            if now - max(self._cut_at, self._drained_at) > wait:
                self._drain_end = position + sample.in_flight
        if self._is_timed and self.has_queue and now > self._cut_at + 2 * self._rtt:
            self._cut(position + sample.in_flight, now)
        window = self.congestion_window
        acknowledged = float(sample.acknowledged)
        if self._is_timed:  # what is given up is passed over before the peer acknowledges
            acknowledged = sample.receive_packets * (now - self._at)
        self._at = now
        is_limited = sample.is_waiting or sample.in_flight + acknowledged >= window * 0.75
        if is_limited and not self.is_recovering and self._drain_end < 0:
            acknowledged = min(acknowledged, window)
            if self.is_slow_start:
                window += acknowledged
                if self.has_queue:
                    self._threshold = window
                    self._cut_at = now
            else:
                step = 2.0 ** min((now - self._cut_at) / GROWTH_SECONDS, 16.0)
                step = min(step, MAX_INCREASE, max(window / MAX_INCREASE_SHARE, 1.0))
                window += step * acknowledged / window
            self.congestion_window = min(window, self._max_window)
        self._pace()

    def on_loss(self, lost: int, last: int, end: int, now: float) -> None:
        """See `CongestionControl`: at most one cut for what is in flight now."""
        self._missing_end = max(self._missing_end, last + 1)
        self._lost += lost
        mean = TOLERATED * max(end - self._round[0], MIN_WINDOW)
        is_congestion = self.has_queue or self._lost > mean + 2 * sqrt(mean)
        if is_congestion and not self.is_recovering:
            self._cut(end, now)
        self._pace()

    def _cut(self, end: int, now: float) -> None:
        """Congestion, of what is in flight up to `end`."""
        self.cuts += 1
        self._recovery_end = end
        self._cut_at = now
        self._lost = 0
        left = self.congestion_window * (QUEUE_CUT if self.has_queue else CHANCE_CUT)
        self.congestion_window = self._threshold = max(left, MIN_WINDOW)

    def on_timeout(self, now: float) -> None:
        """See `CongestionControl`."""
        self._threshold = max(self.congestion_window / 2, MIN_WINDOW)
        self.congestion_window = MIN_WINDOW
        self._recovery_end = -1
        self._cut_at = now
        self._pace()

    def _pace(self) -> None:
        """What follows from the congestion window."""
        window = self.congestion_window
        gain = SLOW_START_GAIN if self.is_slow_start else PACING_GAIN
        span = 1 + ACK_INTERVAL / self._rtt
        if self._missing_end >= 0:
            span *= REPAIR_SPAN
            gain = min(gain, REPAIR_GAIN)
        if self._drain_end >= 0:
            span *= DRAIN
            gain *= DRAIN
        self.window = min(window * span, self._max_window)
        self.rate = window * self._packet_bytes * gain / self._rtt
        if self._received:
            limit = max(self._received, MIN_RECEIVED) * RECEIVED_GAIN
            self.rate = min(self.rate, limit * self._packet_bytes)
        if self._max_rate:
            self.rate = min(self.rate, self._max_rate)
