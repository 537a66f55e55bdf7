"""One media playlist in the making: a container, the segment that is open, and what came before.

A segmenter has one lane for the pictures, and the sound where there is one track of it; further
tracks of sound have a lane each. All lanes are cut at the same times, so their segments have the
same numbers. Where one of them has nothing in a segment, that segment is a gap.
"""

from collections.abc import Iterator, Mapping, Sequence

from flux.base.units import NTP_SECOND
from media.frame import Frame
from media.hls.container import Container
from media.hls.parts import LISTED_TARGETS, PartCut, PartList
from media.hls.rendition import Rendition
from media.hls.segment import TIME_HZ, Initialization, Segment, SegmentBuilder
from media.hls.window import Window
from media.parameters import Parameters
from media.track import Track

INITIALIZATION_EXTENSION = "mp4"
EMPTY_PART = b"\x00\x00\x00\x08free"  # an MP4 file in which there is nothing


class Lane:
    """The segments of one rendition."""

    def __init__(
        self,
        playlist_name: str,
        prefix: str,
        container: Container,
        window: Window,
        *,
        has_parts: bool,
        is_main: bool,
    ) -> None:
        self.playlist_name = playlist_name
        self._prefix = prefix
        self._is_main = is_main
        self.container = container
        self.container.holds = not is_main
        self.window = window
        self.rendition = Rendition(self.playlist_name)
        self.parts = PartList(prefix) if has_parts else None
        self.open: SegmentBuilder | None = None
        self.initialization: Initialization | None = None
        self.tracks: tuple[Track, ...] = ()
        self.has_changed = False  # parameters of the next segment are others
        self._is_fresh = True  # nothing has come since the beginning, or since a break

    def set_tracks(self, tracks: Sequence[Track]) -> None:
        """Carry these tracks from the next segment on."""
        self.tracks = tuple(tracks)
        self.container.set_tracks(self.tracks)

    def begin(
        self, start: int, ntp: int, is_break: bool, parameters: Mapping[Track, Parameters | None]
    ) -> None:
        """Open a segment that is shown from `start` on."""
        self.has_changed = False
        self._is_fresh = self._is_fresh or is_break
        self.container.begin({track: parameters[track] for track in self.tracks})
        data = self.container.initialization()
        if data and (self.initialization is None or self.initialization.data != data):
            name = f"{self._stem}.{INITIALIZATION_EXTENSION}"
            self.initialization = Initialization(name, data)
        if self.parts is not None:
            self.parts.begin(self.window.next_sequence, start)
        self.open = SegmentBuilder(start, ntp, is_break, self.initialization)

    def start_later(self, ticks: int) -> None:
        """The open segment begins so much later; no part of it has ended yet."""
        segment = self.open
        if segment is None:
            return
        segment.start += ticks
        if segment.ntp:
            segment.ntp += ticks * NTP_SECOND // TIME_HZ
        if self.parts is not None:
            self.parts.begin(self.window.next_sequence, segment.start)

    def add(self, frame: Frame, end: int, parameters: Parameters | None) -> bool:
        """Take a frame that is shown until `end`; False if there is no place for it."""
        segment = self.open
        if segment is None or (self._is_fresh and not self._is_main and end < segment.start):
            return False  # sound from before the pictures with which all begins
        data = self.container.encode(frame)
        if data is None:
            return False
        self._is_fresh = False
        segment.note(parameters)
        if data:
            segment.add(data, end)
        else:
            segment.hold(frame.size_bytes, end)
        return True

    def cut_part(self, cut: PartCut) -> None:
        """End a part."""
        if self.open is not None and self.parts is not None:
            self._add_part(self.container.part(cut.following, cut.at), cut.at, cut.has_key)

    def stop(self, following: Frame | None, end: int, *, goes_on: bool, has_key: bool) -> None:
        """End the open segment's media, and its last part; `goes_on`: the next one begins there."""
        segment = self.open
        if segment is None:
            return
        goes_on = goes_on and not self.has_changed
        rest = self.container.finish(*((following, end) if goes_on else (None, None)))
        if self.parts is not None:
            self._add_part(rest, end, has_key)
        elif rest:
            segment.write(rest)

    def close(self, end: int, target: int, longest: int, *, is_kept: bool) -> Segment | None:
        """The segment that was stopped, in the window; None if nothing of it is kept.

        `target` and `longest` are ticks: what a segment ought to last, and may last.
        """
        builder, self.open = self.open, None
        if builder is None:
            return None
        if not is_kept:
            if self.parts is not None:
                self.parts.drop()
            return None
        name = f"{self._stem}.{self.container.extension}"
        # No segment may round to more than the target, wherever its frames say they end.
        duration = max(1, min(end - builder.start, longest))
        segment = builder.build(name, self.window.next_sequence, duration)
        self.window.add(segment, 3 * target)
        self.rendition.add(segment, target, self.window.media_sequence)
        if self.parts is not None:
            self.parts.close(LISTED_TARGETS * target)
        return segment

    @property
    def has_media(self) -> bool:
        """Whether there is anything in the open segment."""
        return self.open is not None and self.open.has_media

    def segment(self, name: str) -> Segment | Initialization | None:
        """What has this name in the playlist, also for a while after it left it."""
        own = self.initialization  # named by parts before the window has a segment with it
        if own is not None and own.name == name:
            return own
        return self.window.find(name)

    @property
    def formats(self) -> Iterator[Parameters | None]:
        """Those of the frames in the open segment and in all that are listed, newest first."""
        if self.open is not None:
            yield from self.open.formats
        for segment in reversed(self.window.segments):
            yield from segment.formats

    @property
    def size_bytes(self) -> int:
        """Bytes of all media that are kept."""
        return self.window.size_bytes + (self.parts.size_bytes if self.parts is not None else 0)

    @property
    def _stem(self) -> str:
        """What the next segment to be finished is called, without an extension."""
        return f"{self._prefix}-{self.window.next_sequence}"

    def _add_part(self, data: bytes, end: int, has_key: bool) -> None:
        segment, parts = self.open, self.parts
        if segment is None or parts is None:
            return
        if data:
            segment.write(data)
        is_gap = not data and not self._is_main
        if not data and self._is_main:
            data = EMPTY_PART
            segment.fill(data)
        parts.add(data, end, has_key=bool(data) and (has_key or not self._is_main), is_gap=is_gap)
