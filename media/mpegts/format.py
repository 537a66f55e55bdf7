"""MPEG-TS as a live format: what UDP, SRT and HTTP outputs send to all of their readers."""

from collections.abc import Sequence

from media.frame import Frame
from media.mpegts.muxer import NAME, TsMuxer, carries_live
from media.track import Track


def carries_track(track: Track) -> bool:
    """Whether a live transport stream has a place for this track."""
    return carries_live(track)


class TsFormat:
    """Turns frames into whole transport packets; implements `media.format.Format`.

    A joiner gets PAT and PMT first, in the version of now. They come again before each video key
    frame and at least every 60 ms of media time as far as there are frames, and a clock at least
    every 90 ms. Whatever a chunk holds, it is whole packets.
    """

    name = NAME

    def __init__(self, tracks: Sequence[Track]) -> None:
        self._muxer = TsMuxer(tracks, is_live=True)

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks that are in the program."""
        return self._muxer.tracks

    def set_tracks(self, tracks: Sequence[Track]) -> None:
        """Carry these tracks from now on; readers stay, a new version of the PMT tells them."""
        self._muxer.set_tracks(tracks)

    def header(self) -> bytes:
        """PAT and PMT."""
        return self._muxer.tables()

    def resume(self) -> bytes:
        """PAT and PMT: they may have changed in what was skipped."""
        return self._muxer.tables()

    def encode(self, frame: Frame) -> bytes:
        """The packets of a frame, with tables and clock before it where they are due."""
        return self._muxer.encode(frame)

    def trailer(self) -> bytes:
        """Sound that still waits for pictures."""
        return self._muxer.flush()

    @property
    def is_exhausted(self) -> bool:
        """Never: its clock wraps."""
        return False
