"""What a segment is made of: the place where a segmenter meets a muxer.

MPEG-TS needs neither an initialization section nor an end; both are here for containers that
collect frames into fragments and describe their tracks once (EXT-X-MAP).
"""

from collections.abc import Sequence
from typing import ClassVar, Protocol

from media.frame import Frame
from media.mpegts import muxer as mpegts
from media.track import Track


class Container(Protocol):
    """One format of segments."""

    name: ClassVar[str]  # as in `audio dropped: pcma not in hls-ts`
    extension: ClassVar[str]
    content_type: ClassVar[str]
    version: ClassVar[int]  # EXT-X-VERSION that a playlist with such segments needs

    @staticmethod
    def carries(track: Track) -> bool:
        """Whether there is a place for this track."""

    def set_tracks(self, tracks: Sequence[Track]) -> None:
        """Carry these tracks from the next segment on."""

    def initialization(self) -> bytes:
        """The section that comes before a segment; empty if the segments stand alone."""

    def begin(self) -> None:
        """The next frame starts a segment."""

    def encode(self, frame: Frame) -> bytes:
        """The bytes that this frame adds."""

    def finish(self) -> bytes:
        """The bytes that end the segment."""


class TsContainer:
    """MPEG-TS segments: PAT, PMT and a PCR at the start of each; RFC 8216 section 3.2."""

    name: ClassVar[str] = "hls-ts"
    extension: ClassVar[str] = "ts"
    content_type: ClassVar[str] = "video/mp2t"
    version: ClassVar[int] = 3  # decimal EXTINF

    def __init__(self, tracks: Sequence[Track]) -> None:
        self._muxer = mpegts.TsMuxer(tracks, tables_interval=0)

    @staticmethod
    def carries(track: Track) -> bool:
        """Whether there is a place for this track."""
        return mpegts.carries_track(track)

    def set_tracks(self, tracks: Sequence[Track]) -> None:
        """Carry these tracks from the next segment on."""
        self._muxer.set_tracks(tracks)

    def initialization(self) -> bytes:
        """Nothing: the tables are in each segment."""
        return b""

    def begin(self) -> None:
        """Tables go before the next frame."""
        self._muxer.request_tables()

    def encode(self, frame: Frame) -> bytes:
        """The frame as transport packets."""
        return self._muxer.encode(frame)

    def finish(self) -> bytes:
        """Nothing: each frame was written whole."""
        return b""
