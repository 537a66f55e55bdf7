"""Puts the tracks in step: pictures wait for the sound that goes with them, and sound for pictures.

Sound often comes some frames after its pictures. In a segment of seconds that does no harm, but a
part of 200 ms has to hold its own sound to the end: hls.js fetches a part again and again that it
cannot play to where the playlist says. So has a segment whose sound is in playlists of its own. So
there a frame of the leading track waits until every other one has reached the time at which it is
shown, for some media time at most, and for no track that has been silent for SILENT. What lies
beyond a cut stays in the muxer for the next part.

Within one playlist a part without its sound does little harm. A playlist of sound alone would have
nothing in such a part, so there the wait may be longer: transport streams often bring sound in
packets of 300 or 400 ms.

The other tracks hardly overtake the leading one, which decides where segments end: sound that comes
seconds before its pictures would be in the segment before theirs. What is more than AHEAD waits
until the leading track has come that far, unless it has been silent for SILENT. (Nothing would be
too little: MP4 knows how long a frame of sound lasts when the next one is there.)
"""

from collections import deque
from collections.abc import Iterator

from media.frame import NO_TIME, Frame
from media.hls.segment import TIME_HZ
from media.track import Track

NO_WAIT = -1  # the leading track goes at once
MAX_WAIT = TIME_HZ * 3 // 10
RESTED = TIME_HZ // 2  # behind such a pause sound may begin a segment: pictures go before it
MAX_WAIT_APART = TIME_HZ  # for sound in playlists of its own
SILENT = 2 * TIME_HZ
AHEAD = TIME_HZ * 3 // 10  # of the leading track without waiting for it
MOST_FRAMES = 1_000  # of one track that wait, whatever their times say

Placed = tuple[Frame, int]  # a frame and when it is shown


class Interleaver:
    """Holds back what is ahead; times are those of `media/hls/presentation`."""

    def __init__(self, lead: Track | None, max_wait: int) -> None:
        self._lead = lead
        self._max_wait = max_wait
        self._waiting: deque[Placed] = deque()  # of the leading track
        self._early: dict[Track, deque[Placed]] = {}  # of the others
        self._last: dict[Track, int] = {}  # newest time of the others, in 90 kHz
        self._newest = NO_TIME  # of the leading track

    def push(self, frame: Frame, start: int) -> Iterator[Placed]:
        """Take a frame; what may go comes out. Nothing waits beyond a discontinuity."""
        if frame.discontinuity:
            yield from self.flush()
        if frame.track is self._lead:
            self._waiting.append((frame, start))
            self._newest = start
            for early in self._early.values():
                yield from self._reached(early, start)
        else:
            is_rested = start - self._last.get(frame.track, start) > RESTED
            self._last[frame.track] = start
            early = self._early.setdefault(frame.track, deque())
            early.append((frame, start))
            if is_rested:  # else it tells how long the one before it lasts
                yield from self._ready()
            yield from self._reached(early, start)
        yield from self._ready()

    def _ready(self) -> Iterator[Placed]:
        """What need not wait of the leading track."""
        while self._waiting and self._may_go(self._waiting[0][1]):
            yield self._waiting.popleft()

    @property
    def is_holding(self) -> bool:
        """Whether frames of the leading track wait: it is not silent."""
        return bool(self._waiting)

    def flush(self) -> Iterator[Placed]:
        """Everything that waits; then as new."""
        while self._waiting:
            yield self._waiting.popleft()
        for early in self._early.values():
            yield from early
        self._early.clear()
        self._last.clear()
        self._newest = NO_TIME

    def _reached(self, early: deque[Placed], newest: int) -> Iterator[Placed]:
        """What need not wait of a track that is at `newest`."""
        lead = self._newest
        is_silent = lead == NO_TIME or newest - lead > SILENT
        while early and (is_silent or early[0][1] <= lead + AHEAD or len(early) > MOST_FRAMES):
            yield early.popleft()

    def _may_go(self, start: int) -> bool:
        newest = self._newest
        if newest - start > self._max_wait or len(self._waiting) > MOST_FRAMES:
            return True
        return all(last >= start or newest - last > SILENT for last in self._last.values())
