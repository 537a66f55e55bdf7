"""BANDWIDTH and AVERAGE-BANDWIDTH of a rendition, measured; RFC 8216 section 4.3.4.2."""

from collections import deque

from media.hls.segment import TIME_HZ


class Bandwidth:
    """Peak and average bit rate of all segments so far.

    The peak is that of any row of segments that lasts between half and one and a half target
    durations, so a short segment at a break does not count alone.
    """

    def __init__(self) -> None:
        self._recent: deque[tuple[int, int]] = deque(maxlen=32)  # bytes, ticks; newest first
        self.size_bytes = 0
        self.ticks = 0
        self._peak_bps = 0

    def add(self, size_bytes: int, duration: int, target_duration: int) -> None:
        """Count a segment; times in ticks, the target may still be 0."""
        self._recent.appendleft((size_bytes, duration))
        self.size_bytes += size_bytes
        self.ticks += duration
        row_bytes = row_ticks = 0
        for segment_bytes, segment_ticks in self._recent:
            row_bytes += segment_bytes
            row_ticks += segment_ticks
            if 2 * row_ticks > 3 * target_duration:
                break
            if row_ticks and 2 * row_ticks >= target_duration:
                self._peak_bps = max(self._peak_bps, bits_a_second(row_bytes, row_ticks))

    @property
    def average_bps(self) -> int:
        """Bits a second over everything; 0 before the first segment."""
        return bits_a_second(self.size_bytes, self.ticks)

    @property
    def peak_bps(self) -> int:
        """Bits a second of the heaviest row of segments."""
        return max(self._peak_bps, self.average_bps)


def bits_a_second(size_bytes: int, ticks: int) -> int:
    """Rounded up; 0 for nothing."""
    return -(-size_bytes * 8 * TIME_HZ // ticks) if ticks else 0
