"""The GOP cache: the frames since the last key frame, so that a reader can start at once."""

from collections import deque
from dataclasses import dataclass

from media.frame import Frame
from media.track import Kind


@dataclass(frozen=True, slots=True)
class GopLimits:
    """What one stream may keep; a GOP that exceeds any of them is not kept."""

    seconds: float = 20.0
    frames: int = 4000
    size_bytes: int = 32 << 20


class GopCache:
    """Frames in publishing order, beginning with a video key frame (any frame if no video)."""

    __slots__ = ("_frames", "_has_video", "_limits", "_open", "overflows", "size_bytes")

    def __init__(self, limits: GopLimits, *, has_video: bool) -> None:
        self._limits = limits
        self._has_video = has_video
        self._frames: deque[Frame] = deque()
        self._open = False  # a key frame has come and nothing overflowed since
        self.size_bytes = 0
        self.overflows = 0

    def __len__(self) -> int:
        return len(self._frames)

    def frames(self) -> tuple[Frame, ...]:
        """What is kept now, oldest first."""
        return tuple(self._frames)

    def clear(self) -> None:
        """Forget everything until the next key frame."""
        self._frames.clear()
        self.size_bytes = 0
        self._open = False

    def add(self, frame: Frame) -> None:
        """Keep `frame`; a video key frame lets go of everything before it."""
        if not self._has_video:
            self._keep_latest(frame)
            return
        if frame.key and frame.track.kind is Kind.VIDEO:
            self.clear()
            self._open = True
        if not self._open:
            return
        self._frames.append(frame)
        self.size_bytes += frame.size_bytes
        first, limits = self._frames[0], self._limits
        if (
            len(self._frames) > limits.frames
            or self.size_bytes > limits.size_bytes
            or (
                (frame.track is first.track)
                and frame.dts - first.dts > limits.seconds * frame.track.clock_rate
            )
        ):
            self.clear()
            self.overflows += 1

    def _keep_latest(self, frame: Frame) -> None:
        """Without video every frame is a start: half a second of sound starts a player."""
        frames = self._frames
        frames.append(frame)
        self.size_bytes += frame.size_bytes
        while frames and (frame.dts - frames[0].dts) * 2 > frame.track.clock_rate:
            self.size_bytes -= frames.popleft().size_bytes
