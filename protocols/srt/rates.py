"""How fast packets come in, and how fast new ones are offered to be sent."""

from collections import deque
from collections.abc import Sequence

from protocols.srt.packet import RETRANSMITTED, SEQUENCE_MASK, TIMESTAMP_MASK, unpack_header
from protocols.srt.send_buffer import PROBE_MASK

SMOOTHING = 8
MAX_WINDOW = 16  # samples that the highest rate is looked for in
MIN_SPAN = 0.008  # seconds between two samples; shorter ones say nothing
HEADROOM = 2.0  # the capacity that is reported, over the highest rate seen
MIN_CAPACITY = 1000.0  # packets per second, as libsrt begins
# quirk: libsrt's file mode grows by a share of the capacity that it is told; told of a thousand
# packets it stays for ever where a first loss has left it (test_file_transmit).
MIN_FILE_CAPACITY = 10_000.0

MAX_PAIRS, MIN_PAIRS = 64, 9  # that the capacity is taken from
MAX_GAP = 0.5  # seconds
FULL_BYTES = 1472  # of a datagram, that a gap is scaled to


class PacketPairs:
    """The capacity of the link by packet pairs, draft section 5.1.

    Each sixteenth packet and the one after it are sent together, so the time between their arrivals
    is what the narrowest link takes for one packet. Pairs that the sender itself parted, by their
    timestamps, tell nothing.
    """

    __slots__ = ("_at", "_gaps", "_last", "_stamp")

    def __init__(self) -> None:
        self._last = -1  # sequence number of a packet that came alone, if a pair begins with it
        self._stamp = 0
        self._at = 0.0
        self._gaps: deque[float] = deque(maxlen=MAX_PAIRS)

    def hear(self, datagrams: Sequence[bytes], now: float) -> None:
        """Packets that came together; the moment is that of the first."""
        if not datagrams:
            return
        last = self._last
        if last >= 0:
            self._last = -1
            sequence, word, stamp, _ = unpack_header(datagrams[0])
            gap = now - self._at
            parted = (stamp - self._stamp & TIMESTAMP_MASK) * 1e-6
            is_second = sequence == (last + 1) & SEQUENCE_MASK and not word & RETRANSMITTED
            if is_second and 0 < gap < MAX_GAP and parted < gap / 2:
                self._gaps.append(gap * FULL_BYTES / len(datagrams[0]))
        if len(datagrams) > 1:
            return
        sequence, word, stamp, _ = unpack_header(datagrams[0])
        if not sequence & PROBE_MASK and not word & RETRANSMITTED:
            self._last, self._stamp, self._at = sequence, stamp, now

    @property
    def capacity(self) -> float:
        """Full packets per second; 0: not known."""
        gaps = self._gaps
        if len(gaps) < MIN_PAIRS:
            return 0.0
        median = sorted(gaps)[len(gaps) // 2]
        kept = [gap for gap in gaps if median / 8 < gap < median * 8]
        return len(kept) / sum(kept)


class DeliveryRate:
    """Arrivals per second. Public, all per second: `packets` and `bytes`, smoothed; `latest` and
    `latest_bytes`, packets and bytes of the last span; `highest`, packets of the last spans.

    The capacity of the link is what packet pairs tell. Batches take that from them; where it is not
    known, twice the highest rate seen is given: room for a peer that probes for more.
    """

    __slots__ = (
        "_at",
        "_bytes",
        "_least",
        "_packets",
        "_recent",
        "bytes",
        "highest",
        "latest",
        "latest_bytes",
        "packets",
        "pairs",
    )

    def __init__(self, now: float, least: float = MIN_CAPACITY) -> None:
        """`least` capacity in packets per second."""
        self._least = least
        self.pairs = PacketPairs()
        self._at = now
        self._packets = 0
        self._bytes = 0
        self._recent: list[float] = []
        self.packets = 0.0
        self.bytes = 0.0
        self.latest = 0.0
        self.latest_bytes = 0.0
        self.highest = 0.0

    def hear(self, datagrams: Sequence[bytes], unique: int, now: float) -> None:
        """Data packets came at one moment, `unique` of them new."""
        self.count(unique, sum(map(len, datagrams)))
        self.pairs.hear(datagrams, now)

    def count(self, packets: int, size: int) -> None:
        """So many packets came, `size` bytes together."""
        self._packets += packets
        self._bytes += size

    def update(self, now: float) -> None:
        """Look at what has come since the last time."""
        span = now - self._at
        if span < MIN_SPAN:
            return
        self.latest = packets = self._packets / span
        self.latest_bytes = self._bytes / span
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
        return self.pairs.capacity or max(HEADROOM * self.highest, self._least)


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
