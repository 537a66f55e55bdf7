"""How fast packets come in, and how fast new ones are offered to be sent."""

SMOOTHING = 8
MAX_WINDOW = 16  # samples that the highest rate is looked for in
MIN_SPAN = 0.008  # seconds between two samples; shorter ones say nothing
HEADROOM = 2.0  # the capacity that is reported, over the highest rate seen
MIN_CAPACITY = 1000.0  # packets per second, as libsrt begins


class DeliveryRate:
    """Arrivals per second. Public: `packets`, `bytes`, `highest` packets, all per second.

    Batches take from packet pairs what they could tell, so the capacity of the link is not measured
    but given as twice the highest rate seen: room for a peer that probes for more.
    """

    __slots__ = ("_at", "_bytes", "_packets", "_recent", "bytes", "highest", "packets")

    def __init__(self, now: float) -> None:
        self._at = now
        self._packets = 0
        self._bytes = 0
        self._recent: list[float] = []
        self.packets = 0.0
        self.bytes = 0.0
        self.highest = 0.0

    def count(self, packets: int, size: int) -> None:
        """So many packets came, `size` bytes together."""
        self._packets += packets
        self._bytes += size

    def update(self, now: float) -> None:
        """Look at what has come since the last time."""
        span = now - self._at
        if span < MIN_SPAN:
            return
        packets = self._packets / span
        if span > 1.0 or not self.packets:  # a pause, or the first: no mean over it
            self.packets = packets
            self.bytes = self._bytes / span
        else:
            self.packets += (packets - self.packets) / SMOOTHING
            self.bytes += (self._bytes / span - self.bytes) / SMOOTHING
        recent = self._recent
        recent.append(packets)
        if len(recent) > MAX_WINDOW:
            del recent[0]
        self.highest = max(recent)
        self._at = now
        self._packets = self._bytes = 0

    @property
    def capacity(self) -> float:
        """What the link may carry, in packets per second."""
        return max(HEADROOM * self.highest, MIN_CAPACITY)


FIRST_SPAN = 0.5  # seconds, or so many packets, that the first estimate takes
FIRST_PACKETS = 2000
SPAN = 1.0


class InputRate:
    """What the application offers, bytes per second with headers. Public: `bytes`; 0: not known."""

    __slots__ = ("_at", "_bytes", "_packets", "bytes")

    def __init__(self) -> None:
        self._at = -1.0
        self._bytes = 0
        self._packets = 0
        self.bytes = 0.0

    def count(self, packets: int, size: int, now: float) -> None:
        """So many packets were given, `size` bytes together on the wire."""
        if self._at < 0:
            self._at = now
        self._packets += packets
        self._bytes += size
        span = now - self._at
        wanted = SPAN if self.bytes else FIRST_SPAN
        if span >= wanted or (not self.bytes and self._packets >= FIRST_PACKETS and span > 0.05):
            if span < 3 * SPAN:
                self.bytes = self._bytes / span
            self._at = now
            self._bytes = self._packets = 0
