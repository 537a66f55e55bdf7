"""An output that keeps every frame of a stream, for comparing with what was sent."""

from collections.abc import Callable
from fractions import Fraction

from media.frame import Frame
from media.output import LEISURE
from media.router import Lease, Router
from media.stream import Stream
from media.track import Kind, Track
from tests.support import frames

CODECS = {"h265": "hevc", "pcma": "pcm_alaw", "pcmu": "pcm_mulaw"}  # as PyAV calls them


class FrameLog:
    """Reads one stream of a router from the first frame that it still holds; `close` lets go."""

    name = "frame-log"
    size_bytes = 0
    leisure = LEISURE

    def __init__(self, router: Router, stream: str, now: Callable[[], float]) -> None:
        self.frames: list[Frame] = []
        self.closed = ""
        self.failed = ""
        self._lease: Lease = router.open(stream, self._begin, self._fail, now())

    def close(self, reason: str) -> None:
        self.closed = reason
        self._lease.close()

    def frame(self, frame: Frame) -> None:
        self.frames.append(frame)

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        pass

    def _begin(self, stream: Stream) -> None:
        self.frames += stream.gop.frames()
        stream.outputs[self.name] = self

    def _fail(self, reason: str, _status: int) -> None:
        self.failed = reason

    def count(self, kind: Kind) -> int:
        """Frames of this kind so far."""
        return sum(frame.track.kind is kind for frame in self.frames)

    def units(self) -> dict[str, frames.TrackUnits]:
        """What came, as `tests.support.frames.read` would tell it of a file."""
        tracks: dict[Track, list[frames.Unit]] = {}
        for frame in self.frames:
            unit = frames.Unit(tuple(map(bytes, frame.payload)), frame.pts, frame.dts)
            tracks.setdefault(frame.track, []).append(unit)
        return {
            str(track.kind): frames.TrackUnits(
                kind=str(track.kind),
                codec=CODECS.get(track.codec, track.codec),
                time_base=Fraction(1, track.clock_rate),
                units=tuple(units),
            )
            for track, units in tracks.items()
        }
