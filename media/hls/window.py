"""The segments that can be fetched: those in the playlist, and those that just left it.

A removed segment stays for its own duration plus that of the playlist it was in (RFC 8216
section 6.2.2), counted in media time, so that a client with the previous playlist finds it.
"""

from collections import deque
from collections.abc import Sequence

from media.hls.segment import Initialization, Segment

MOST_WINDOWS = 4  # so much longer than told a list of very short segments may get


class Window:
    """Segments in order; `size` of them are in the playlist."""

    def __init__(self, size: int, first_sequence: int = 0, first_discontinuity: int = 0) -> None:
        self._size = size
        self._listed: deque[Segment] = deque()
        self._removed: deque[tuple[int, Segment]] = deque()  # (media time of its end, segment)
        self._by_name: dict[str, Segment] = {}
        self._initializations: dict[str, Initialization] = {}  # of segments that are kept
        self._elapsed = 0  # media time of all segments so far
        self._listed_duration = 0
        self.next_sequence = first_sequence
        self.discontinuity_sequence = first_discontinuity

    def __len__(self) -> int:
        return len(self._listed)

    @property
    def segments(self) -> Sequence[Segment]:
        """The segments of the playlist, oldest first."""
        return self._listed

    @property
    def media_sequence(self) -> int:
        """The number of the playlist's first segment; grows by one with each that is removed."""
        return self._listed[0].sequence if self._listed else self.next_sequence

    @property
    def next_discontinuity(self) -> int:
        """The discontinuity sequence number with which a later run has to start."""
        return self.discontinuity_sequence + sum(each.is_discontinuity for each in self._listed)

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments that are kept."""
        media = sum(len(segment.data) for segment in self._by_name.values())
        return media + sum(len(each.data) for each in self._initializations.values())

    def add(self, segment: Segment, least: int = 0) -> None:
        """Append the next segment and let go of what nobody can ask for any more.

        No segment leaves the playlist that would then be shorter than `least` ticks: three target
        durations are what RFC 8216 section 6.2.2 asks for.
        """
        self._listed.append(segment)
        self._by_name[segment.name] = segment
        if segment.initialization is not None:
            self._initializations[segment.initialization.name] = segment.initialization
        self.next_sequence = segment.sequence + 1
        self._elapsed += segment.duration
        before = self._listed_duration  # of the last playlist with the segment that leaves now
        self._listed_duration += segment.duration
        while len(self._listed) > self._size and (
            self._listed_duration - self._listed[0].duration >= least
            or len(self._listed) > MOST_WINDOWS * self._size
        ):
            oldest = self._listed.popleft()
            self._listed_duration -= oldest.duration
            self.discontinuity_sequence += oldest.is_discontinuity
            self._removed.append((self._elapsed + oldest.duration + before, oldest))
        # The second condition holds where durations are odd: never more than twice the window.
        while self._removed and (
            self._removed[0][0] <= self._elapsed or len(self._removed) > 2 * self._size
        ):
            self._forget(self._removed.popleft()[1])

    def find(self, name: str) -> Segment | Initialization | None:
        """The segment of this name, or the initialization of some, while they are kept."""
        return self._by_name.get(name) or self._initializations.get(name)

    def _forget(self, segment: Segment) -> None:
        del self._by_name[segment.name]
        past = segment.initialization
        if past is not None and not any(
            each.initialization is past for each in self._by_name.values()
        ):
            del self._initializations[past.name]
