"""What a stream keeps of one track that is being published."""

from dataclasses import dataclass

from media.codecs.tracker import ParameterTracker
from media.frame import NO_TIME
from media.track import Track

SOURCE_HZ = 90_000
MEASURED_OVER = 0.5  # seconds at least


@dataclass(slots=True, eq=False)
class TrackInput:
    """One track: its tracker, and its figures."""

    track: Track
    tracker: ParameterTracker
    first_at: float | None = None  # monotonic seconds of its first unit
    frames: int = 0
    size_bytes: int = 0
    is_broken: bool = False  # the next frame is marked as a discontinuity
    last_key: int = NO_TIME
    last_start: int = NO_TIME  # the same of what is only counted, in 90 kHz of the source
    key_interval: float = 0.0  # seconds
    bitrate_bps: float = 0.0
    frames_per_second: float = 0.0
    counted: tuple[float, int, int] = (0.0, 0, 0)  # when, frames, bytes at the last measurement

    def count(self, units: int, size_bytes: int, start: int) -> None:
        """Count units that are not published, or count them off; see `Publisher.count`."""
        self.frames += units
        self.size_bytes += size_bytes
        if units < 0:
            self.last_start = NO_TIME
        elif start != NO_TIME:
            if self.last_start != NO_TIME:
                self.key_interval = (start - self.last_start) / SOURCE_HZ
            self.last_start, self.last_key = start, NO_TIME

    def measure(self, now: float) -> None:
        """Take the rates since the last time."""
        then, frames, size = self.counted
        if then and now - then < MEASURED_OVER:
            return
        if then:
            self.bitrate_bps = (self.size_bytes - size) * 8 / (now - then)
            self.frames_per_second = (self.frames - frames) / (now - then)
        self.counted = (now, self.frames, self.size_bytes)
