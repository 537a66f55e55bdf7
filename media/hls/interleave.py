"""Pictures wait for the sound that goes with them.

Sound often comes some frames after its pictures. In a segment of seconds that does no harm, but a
part of 200 ms has to hold its own sound to the end: hls.js fetches a part again and again that it
cannot play to where the playlist says. So has a segment whose sound is in playlists of its own. So
a frame of the leading track waits until every other one has reached the time at which it is shown,
for some media time at most, and for no track that has been silent for SILENT. The other tracks
never wait: what lies beyond a cut stays in the muxer for the next part.

Within one playlist a part without its sound does little harm. A playlist of sound alone would have
nothing in such a part, so there the wait may be longer: transport streams often bring sound in
packets of 300 or 400 ms.
"""

from collections import deque
from collections.abc import Iterator

from media.frame import Frame
from media.hls.segment import TIME_HZ
from media.track import Track

MAX_WAIT = TIME_HZ * 3 // 10
MAX_WAIT_APART = TIME_HZ  # for sound in playlists of its own
SILENT = 2 * TIME_HZ


class Interleaver:
    """Holds the frames of the leading track back; times are those of `media/hls/presentation`."""

    def __init__(self, lead: Track | None, max_wait: int) -> None:
        self._lead = lead
        self._max_wait = max_wait
        self._waiting: deque[tuple[Frame, int]] = deque()
        self._last: dict[Track, int] = {}  # newest time of the others, in 90 kHz
        self._newest = 0  # of the leading track

    def push(self, frame: Frame, start: int) -> Iterator[tuple[Frame, int]]:
        """Take a frame; what may go comes out. Nothing waits beyond a discontinuity."""
        if frame.discontinuity:
            yield from self.flush()
        if frame.track is self._lead:
            self._waiting.append((frame, start))
            self._newest = start
        else:
            self._last[frame.track] = start
            yield frame, start
        while self._waiting and self._may_go(self._waiting[0][1]):
            yield self._waiting.popleft()

    @property
    def is_holding(self) -> bool:
        """Whether frames of the leading track wait: it is not silent."""
        return bool(self._waiting)

    def flush(self) -> Iterator[tuple[Frame, int]]:
        """Everything that waits; then as new."""
        while self._waiting:
            yield self._waiting.popleft()
        self._last.clear()

    def _may_go(self, start: int) -> bool:
        newest = self._newest
        if newest - start > self._max_wait:
            return True
        return all(last >= start or newest - last > SILENT for last in self._last.values())
