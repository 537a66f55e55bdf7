"""The GOP cache: the frames since the last key frame, so that a reader can start at once."""

from collections import deque
from dataclasses import dataclass

from media.frame import Frame
from media.track import Kind

MAX_AHEAD = 64  # frames of sound that may run ahead of a key frame
SOUND_ONLY = 0.5  # seconds kept of a stream without video


@dataclass(frozen=True, slots=True)
class GopLimits:
    """What one stream may keep; a GOP that exceeds any of them is not kept."""

    seconds: float = 20.0
    frames: int = 4000
    size_bytes: int = 32 << 20


class GopCache:
    """Frames in publishing order, beginning with a video key frame (any frame if no video).

    Sound that was published before the key frame but belongs after it is kept behind it, so that a
    stream that has just begun loses nothing.
    """

    __slots__ = ("_frames", "_has_video", "_limits", "_open", "_sound", "overflows", "size_bytes")

    def __init__(self, limits: GopLimits, *, has_video: bool) -> None:
        self._limits = limits
        self._has_video = has_video
        self._frames: deque[Frame] = deque()
        self._sound: deque[Frame] = deque(maxlen=MAX_AHEAD)  # the latest frames that are no video
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
        is_video = frame.track.kind is Kind.VIDEO
        if not is_video:
            self._sound.append(frame)
        if is_video and frame.key:
            self.clear()
            self._open = True
            self._keep(frame)
            start = _seconds(frame)
            for early in self._sound:
                if _seconds(early) >= start:
                    self._keep(early)
            return
        if not self._open:
            return
        self._keep(frame)
        first, limits = self._frames[0], self._limits
        if (
            len(self._frames) > limits.frames
            or self.size_bytes > limits.size_bytes
            or _seconds(frame) - _seconds(first) > limits.seconds
        ):
            self.clear()
            self.overflows += 1

    def _keep(self, frame: Frame) -> None:
        self._frames.append(frame)
        self.size_bytes += frame.size_bytes

    def _keep_latest(self, frame: Frame) -> None:
        """Without video every frame is a start: half a second of sound starts a player."""
        self._keep(frame)
        while _seconds(frame) - _seconds(self._frames[0]) > SOUND_ONLY:
            self.size_bytes -= self._frames.popleft().size_bytes


def _seconds(frame: Frame) -> float:
    return frame.dts / frame.track.clock_rate
