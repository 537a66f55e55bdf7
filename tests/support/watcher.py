"""An output that keeps what a stream gives."""

from dataclasses import dataclass, field

from media.frame import Frame
from media.output import LEISURE
from media.track import Track


@dataclass(slots=True)
class Watcher:
    """Satisfies `media.stream.Output`."""

    name: str = "watcher"
    frames: list[Frame] = field(default_factory=list)
    changes: int = 0
    ended: str = ""

    def frame(self, frame: Frame) -> None:
        """Keep it."""
        self.frames.append(frame)

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        """Count that."""
        self.changes += 1

    def close(self, reason: str) -> None:
        """Keep the reason."""
        self.ended = reason

    @property
    def leisure(self) -> float:
        """As most have it."""
        return LEISURE

    @property
    def size_bytes(self) -> int:
        """Nothing that counts."""
        return 0
