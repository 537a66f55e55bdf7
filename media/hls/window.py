"""The segments that can be fetched: those in the playlist, and those that just left it.

The playlist has a number of segments, or as many as make up a duration (a window to seek back in),
whichever are more. A removed segment stays for its own duration plus that of the playlist it was in
(RFC 8216 section 6.2.2), counted in media time, so that a client with the previous playlist finds
it. All of them together are bounded in bytes: over that, what was removed goes first, then the
oldest of the playlist, as far as three target durations stay.
"""

from collections import Counter, deque
from collections.abc import Sequence

from media.hls.options import HlsOptions
from media.hls.segment import TIME_HZ, Initialization, Segment

MOST_WINDOWS = 4  # so much longer than told a list of very short segments may get
LEAST_SEGMENTS = 3  # stay, whatever their size


class Window:
    """Segments in order; `size` of them, or `duration` ticks, are in the playlist."""

    def __init__(
        self,
        size: int,
        first_sequence: int = 0,
        first_discontinuity: int = 0,
        *,
        duration: int = 0,
        max_bytes: int = 0,
    ) -> None:
        """`duration` 0: as many as `size` says; `max_bytes` 0: no bound."""
        self._size = size
        self._duration = duration
        self._max_bytes = max_bytes
        self._listed: deque[Segment] = deque()
        self._removed: deque[tuple[int, Segment]] = deque()  # (media time of its end, segment)
        self._by_name: dict[str, Segment] = {}
        self._initializations: dict[str, Initialization] = {}  # of segments that are kept
        self._uses: Counter[str] = Counter()  # of initializations, by kept segments
        self._elapsed = 0  # media time of all segments so far
        self._listed_duration = 0
        self.size_bytes = 0  # of all segments that are kept
        self.next_sequence = first_sequence
        self.discontinuity_sequence = first_discontinuity

    def __len__(self) -> int:
        return len(self._listed)

    @property
    def segments(self) -> Sequence[Segment]:
        """The segments of the playlist, oldest first."""
        return self._listed

    @property
    def duration(self) -> int:
        """Ticks of the playlist."""
        return self._listed_duration

    @property
    def media_sequence(self) -> int:
        """The number of the playlist's first segment; grows by one with each that is removed."""
        return self._listed[0].sequence if self._listed else self.next_sequence

    @property
    def next_discontinuity(self) -> int:
        """The discontinuity sequence number with which a later run has to start."""
        return self.discontinuity_sequence + sum(each.is_discontinuity for each in self._listed)

    def add(self, segment: Segment, least: int = 0) -> None:
        """Append the next segment and let go of what nobody can ask for any more.

        No segment leaves the playlist that would then be shorter than `least` ticks: three target
        durations are what RFC 8216 section 6.2.2 asks for.
        """
        self._keep(segment)
        self.next_sequence = segment.sequence + 1
        self._elapsed += segment.duration
        before = self._listed_duration  # of the last playlist with the segment that leaves now
        self._listed.append(segment)
        self._listed_duration += segment.duration
        least = max(least, self._duration)
        most = MOST_WINDOWS * max(self._size, self._duration // max(1, segment.duration))
        while len(self._listed) > self._size and (
            self._listed_duration - self._listed[0].duration >= least or len(self._listed) > most
        ):
            self._remove(before)
        # The second condition holds where durations are odd: never more than twice the window.
        bound = 2 * max(self._size, len(self._listed))
        while self._removed and (
            self._removed[0][0] <= self._elapsed or len(self._removed) > bound
        ):
            self._forget(self._removed.popleft()[1])
        self._shrink(before)

    def restart(self, first_sequence: int, first_discontinuity: int) -> None:
        """Go on with other numbers: the playlist is empty."""
        before = self._listed_duration
        while self._listed:
            self._remove(before)
        self.next_sequence = first_sequence
        self.discontinuity_sequence = first_discontinuity

    def find(self, name: str) -> Segment | Initialization | None:
        """The segment of this name, or the initialization of some, while they are kept."""
        return self._by_name.get(name) or self._initializations.get(name)

    def _remove(self, before: int) -> None:
        oldest = self._listed.popleft()
        self._listed_duration -= oldest.duration
        self.discontinuity_sequence += oldest.is_discontinuity
        self._removed.append((self._elapsed + oldest.duration + before, oldest))

    def _shrink(self, before: int) -> None:
        """Back below the bound in bytes."""
        while 0 < self._max_bytes < self.size_bytes:
            if self._removed:
                self._forget(self._removed.popleft()[1])
            elif len(self._listed) > LEAST_SEGMENTS:
                self._remove(before)
            else:
                break

    def _keep(self, segment: Segment) -> None:
        self._by_name[segment.name] = segment
        self.size_bytes += len(segment.data)
        own = segment.initialization
        if own is not None:
            if own.name not in self._initializations:
                self._initializations[own.name] = own
                self.size_bytes += len(own.data)
            self._uses[own.name] += 1

    def _forget(self, segment: Segment) -> None:
        del self._by_name[segment.name]
        self.size_bytes -= len(segment.data)
        own = segment.initialization
        if own is not None:
            self._uses[own.name] -= 1
            if not self._uses[own.name]:
                del self._uses[own.name], self._initializations[own.name]
                self.size_bytes -= len(own.data)


def window_of(options: HlsOptions, first_sequence: int, first_discontinuity: int) -> Window:
    """A window as it was asked for."""
    return Window(
        options.window_segments,
        first_sequence,
        first_discontinuity,
        duration=round(options.window_duration * TIME_HZ),
        max_bytes=options.window_bytes,
    )
