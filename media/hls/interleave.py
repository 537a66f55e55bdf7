"""Pictures wait for the sound that goes with them.

Sound often comes some frames after its pictures. In a segment of seconds that does no harm, but a
part of 200 ms has to hold its own sound to the end: hls.js fetches a part again and again that it
cannot play to where the playlist says. So a frame of the leading track waits until every other one
has reached its time, for MAX_WAIT of media time at most, and for no track that has been silent for
SILENT. The other tracks never wait: what lies beyond a cut stays in the muxer for the next part.
"""

from collections import deque
from collections.abc import Iterator

from flux.base.units import rescale
from media.frame import Frame
from media.hls.segment import TIME_HZ
from media.track import Track

MAX_WAIT = TIME_HZ * 3 // 10
SILENT = 2 * TIME_HZ


class Interleaver:
    """Holds the frames of the leading track back."""

    def __init__(self, lead: Track | None) -> None:
        self._lead = lead
        self._waiting: deque[tuple[int, Frame]] = deque()
        self._last: dict[Track, int] = {}  # newest DTS of the others, in 90 kHz
        self._newest = 0  # of the leading track

    def push(self, frame: Frame) -> Iterator[Frame]:
        """Take a frame; what may go comes out. Nothing waits beyond a discontinuity."""
        if frame.discontinuity:
            yield from self.flush()
        dts = rescale(frame.dts, frame.track.clock_rate, TIME_HZ)
        if frame.track is self._lead:
            self._waiting.append((dts, frame))
            self._newest = dts
        else:
            self._last[frame.track] = dts
            yield frame
        while self._waiting and self._may_go(self._waiting[0][0]):
            yield self._waiting.popleft()[1]

    def flush(self) -> Iterator[Frame]:
        """Everything that waits; then as new."""
        while self._waiting:
            yield self._waiting.popleft()[1]
        self._last.clear()

    def _may_go(self, dts: int) -> bool:
        newest = self._newest
        if newest - dts > MAX_WAIT:
            return True
        return all(last >= dts or newest - last > SILENT for last in self._last.values())
