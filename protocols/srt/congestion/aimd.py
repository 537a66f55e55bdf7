"""File mode: additive increase, multiplicative decrease; draft section 5.2 leaves it free.

    slow start --a loss, a timeout, or the round trip has grown by half--> fast recovery
    fast recovery --all that was in flight at the loss is acknowledged--> congestion avoidance
    congestion avoidance --a loss--> fast recovery
    any --nothing acknowledged in time--> slow start, from a small window

The window is cut once for each round trip with a loss, not once for each NAK (libsrt's way, which
falls behind above two percent of random loss): to 0.85 where the round trip is as short as ever,
because then no queue was full and the loss was chance, and to 0.7 else. It grows by a packet a
round trip, and by more the longer ago the last cut is. Sending is paced at window per round trip, a
quarter faster, so that a token bucket shapes it and no burst fills a queue.
"""

from protocols.srt.congestion.control import WIRE_OVERHEAD_BYTES, AckSample

INITIAL_WINDOW = 16.0
MIN_WINDOW = 4.0
PACING_GAIN = 1.25
SLOW_START_GAIN = 2.0
CONGESTED_CUT = 0.7
RANDOM_CUT = 0.85
QUEUE_SHARE = 1.5  # of the shortest round trip: above it a queue stands
QUEUE_MARGIN = 0.010  # seconds
GROWTH_SECONDS = 1.0  # after a cut; then the increase doubles for each of them
MAX_INCREASE = 64.0  # packets a round trip
MIN_RTT = 0.001
MAX_RTT_AGE = 30.0  # seconds that the shortest round trip is believed


class AimdControl:
    """Public beside the interface: `is_slow_start`, `is_recovering`, `cuts`."""

    def __init__(self, packet_bytes: int, max_window: int, max_rate: int = -1) -> None:
        """`packet_bytes` of payload; `max_window` packets; `max_rate` bytes a second, -1: none."""
        self._packet_bytes = packet_bytes + WIRE_OVERHEAD_BYTES
        self._max_window = float(max(max_window, MIN_WINDOW))
        self._max_rate = float(max_rate) if max_rate > 0 else 0.0
        self._recovery_end = -1  # unwrapped: recovery ends when this is acknowledged
        self._cut_at = 0.0
        self._threshold = self._max_window
        self._rtt = 0.1
        self._shortest = 60.0
        self._shortest_at = 0.0
        self.window = INITIAL_WINDOW
        self.rate = 0.0
        self.cuts = 0
        self._pace()

    @property
    def is_slow_start(self) -> bool:
        """Whether the window doubles each round trip."""
        return self.window < self._threshold

    @property
    def is_recovering(self) -> bool:
        """Whether a loss is being repaired."""
        return self._recovery_end >= 0

    @property
    def has_queue(self) -> bool:
        """Whether the round trip tells of a queue."""
        return self._rtt > self._shortest * QUEUE_SHARE + QUEUE_MARGIN

    def on_input(self, packets: int, size: int, now: float) -> None:
        """See `CongestionControl`."""

    def on_ack(self, sample: AckSample, now: float) -> None:
        """See `CongestionControl`."""
        self._rtt = max(sample.rtt, MIN_RTT)
        if self._rtt <= self._shortest or now - self._shortest_at > MAX_RTT_AGE:
            self._shortest = self._rtt
            self._shortest_at = now
        if self.is_recovering and sample.position >= self._recovery_end:
            self._recovery_end = -1
        is_limited = sample.in_flight + sample.acknowledged >= self.window * 0.75
        if not self.is_recovering and is_limited:
            if self.is_slow_start:
                self.window += sample.acknowledged
                if self.has_queue:
                    self._threshold = self.window
                    self._cut_at = now
            else:
                age = now - self._cut_at
                step = min(2.0 ** min(age / GROWTH_SECONDS, 16.0), MAX_INCREASE)
                self.window += step * sample.acknowledged / self.window
            self.window = min(self.window, self._max_window)
        self._pace()

    def on_loss(self, lost: int, first: int, end: int, now: float) -> None:
        """See `CongestionControl`: one cut for what is in flight now."""
        if self.is_recovering:
            return
        self.cuts += 1
        self._recovery_end = end
        self._cut_at = now
        self.window *= CONGESTED_CUT if self.has_queue else RANDOM_CUT
        self.window = max(self.window, MIN_WINDOW)
        self._threshold = self.window
        self._pace()

    def on_timeout(self, now: float) -> None:
        """See `CongestionControl`."""
        self._threshold = max(self.window / 2, MIN_WINDOW)
        self.window = MIN_WINDOW
        self._recovery_end = -1
        self._cut_at = now
        self._pace()

    def _pace(self) -> None:
        gain = SLOW_START_GAIN if self.is_slow_start else PACING_GAIN
        self.rate = self.window * self._packet_bytes * gain / self._rtt
        if self._max_rate:
            self.rate = min(self.rate, self._max_rate)
