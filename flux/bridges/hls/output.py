"""The segmenter of one stream as an output of it."""

from collections.abc import Callable

from flux.base.errors import PeerError
from media.frame import Frame
from media.hls.container import FMP4, container_for
from media.hls.options import HlsOptions
from media.hls.playlist import Playlist
from media.hls.segment import Segment
from media.hls.segmenter import Segmenter
from media.output import LEISURE
from media.stream import Stream
from media.track import Track

OUTPUT_NAME = "hls"


class HlsOutput:
    """Feeds a segmenter; `on_change` is called when a segment is there or all is over."""

    leisure = LEISURE

    def __init__(
        self,
        stream: Stream,
        options: HlsOptions,
        prefix: str,
        first: tuple[int, int],
        on_change: Callable[["HlsOutput"], None],
        now: float,
    ) -> None:
        self.name = OUTPUT_NAME
        self.stream = stream
        self._on_change = on_change
        offered = stream.recodings.offer(self.name, stream.tracks)
        container = container_for(offered, FMP4 if options.part_duration else options.container)
        self._container = container
        self.segmenter = Segmenter(
            self._choose(stream.tracks),
            options,
            prefix,
            container=container,
            on_change=self._segment_done,
            on_part=self._part_done,
            first_sequence=first[0],
            first_discontinuity=first[1],
        )
        self._note_left_out()
        if not self.segmenter.tracks:
            raise PeerError("no-playable-track", 415, stream.name)
        self.segmenter.seed(stream.gop.frames(), now)

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments that can be fetched."""
        return self.segmenter.lanes.size_bytes

    @property
    def next(self) -> tuple[int, int]:
        """Media and discontinuity sequence with which a later run under the same URL goes on."""
        window = self.segmenter.window
        return window.next_sequence, window.next_discontinuity

    @property
    def is_ended(self) -> bool:
        """Whether there will be nothing more."""
        return self.segmenter.is_ended

    @property
    def target_duration(self) -> int:
        """EXT-X-TARGETDURATION in seconds; 0 until it is known."""
        return self.segmenter.target_duration

    def is_ready(self, now: float) -> bool:
        """Whether a first playlist can be given out."""
        return self.segmenter.is_ready(now)

    def multivariant(self) -> Playlist:
        """The playlist at the stream's own URL; call it when `is_ready`."""
        return self.segmenter.presenter.multivariant()

    def rendition(self, name: str) -> Segmenter | None:
        """The segmenter with this playlist, segment or part; there is one for all."""
        del name
        return self.segmenter

    def frame(self, frame: Frame) -> None:
        """One frame of the stream."""
        self.segmenter.frame(frame, frame.arrived)

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        """Other codecs or tracks: the playlist marks a discontinuity."""
        self.segmenter.set_tracks(self._choose(tracks))
        self._note_left_out()

    def close(self, reason: str) -> None:
        """The stream ends: the playlist says so."""
        del reason
        if self.stream.outputs.get(self.name) is self:
            del self.stream.outputs[self.name]
        self.segmenter.end()

    def _choose(self, tracks: tuple[Track, ...]) -> tuple[Track, ...]:
        container = self._container
        return self.stream.choose(self.name, tracks, container.carries, form=container.name)

    def _note_left_out(self) -> None:
        for track in self.segmenter.left_out:
            self.stream.note_dropped_track(self.segmenter.name, track)

    def _part_done(self) -> None:
        self._on_change(self)

    def _segment_done(self, segment: Segment | None) -> None:
        del segment
        self._on_change(self)
