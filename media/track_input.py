"""What a stream keeps of one track that is being published."""

from dataclasses import dataclass

from media.codecs.tracker import ParameterTracker
from media.frame import NO_TIME
from media.track import Track

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
    key_interval: float = 0.0  # seconds
    bitrate_bps: float = 0.0
    frames_per_second: float = 0.0
    counted: tuple[float, int, int] = (0.0, 0, 0)  # when, frames, bytes at the last measurement

    def measure(self, now: float) -> None:
        """Take the rates since the last time."""
        then, frames, size = self.counted
        if then and now - then < MEASURED_OVER:
            return
        if then:
            self.bitrate_bps = (self.size_bytes - size) * 8 / (now - then)
            self.frames_per_second = (self.frames - frames) / (now - then)
        self.counted = (now, self.frames, self.size_bytes)
