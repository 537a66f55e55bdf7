"""What a segment is made of: the place where a segmenter meets a muxer.

MPEG-TS needs neither an initialization section nor an end. MP4 needs both: it collects frames into
fragments and describes its tracks once (EXT-X-MAP).
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

from flux.base.units import rescale
from media.fmp4 import sample_entries
from media.fmp4.muxer import FragmentMuxer
from media.frame import Frame
from media.hls.segment import TIME_HZ
from media.mpegts import muxer as mpegts
from media.parameters import Parameters
from media.track import H265, OPUS, Track

MAX_WAITING = 10_000  # frames of one track without a boundary


class Container(Protocol):
    """One format of segments."""

    name: ClassVar[str]  # as in `audio dropped: pcma not in hls-ts`
    extension: ClassVar[str]
    content_type: ClassVar[str]
    version: ClassVar[int]  # EXT-X-VERSION that a playlist with such segments needs
    has_initialization: ClassVar[bool]
    holds: bool  # frames wait for the boundary that decides whose they are

    @staticmethod
    def carries(track: Track) -> bool:
        """Whether there is a place for this track."""

    def set_tracks(self, tracks: Sequence[Track]) -> None:
        """Carry these tracks from the next segment on."""

    def initialization(self) -> bytes:
        """The section that comes before a segment; empty if the segments stand alone."""

    def begin(self, parameters: Mapping[Track, Parameters | None]) -> None:
        """The next frame starts a segment; these parameters hold."""

    def encode(self, frame: Frame) -> bytes | None:
        """The bytes that this frame adds now, maybe none; None: the segment has no place for it."""

    def part(self, following: Frame | None, boundary: int) -> bytes:
        """The bytes that end a part of the segment at `boundary`, in ticks of 90 kHz.

        `following`: the frame of the leading track that the next part begins with; it may have
        been encoded already. None: that track, the first, rests until the boundary. Empty where
        there is nothing, or where a part of this kind is no more than its frames.
        """

    def finish(self, following: Frame | None, boundary: int | None) -> bytes:
        """The bytes that end the segment.

        `following`: the frame that the next segment begins with, at `boundary`; None and None: what
        comes next, if anything does, does not go on where this ends.
        """


class TsContainer:
    """MPEG-TS segments: PAT, PMT and a PCR at the start of each; RFC 8216 section 3.2."""

    name: ClassVar[str] = "hls-ts"
    extension: ClassVar[str] = "ts"
    content_type: ClassVar[str] = "video/mp2t"
    version: ClassVar[int] = 3  # decimal EXTINF
    has_initialization: ClassVar[bool] = False

    def __init__(self, tracks: Sequence[Track]) -> None:
        self._muxer = mpegts.TsMuxer(tracks, tables_interval=0, origin=mpegts.FIRST_DTS)
        self._waiting: deque[tuple[int, Frame]] = deque()
        self.holds = False

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

    def begin(self, parameters: Mapping[Track, Parameters | None]) -> None:
        """Tables go before the next frame."""
        del parameters
        self._muxer.request_tables()

    def encode(self, frame: Frame) -> bytes | None:
        """The frame as transport packets, unless it has to wait."""
        if not self.holds:
            return self._muxer.encode(frame) or None
        if len(self._waiting) == MAX_WAITING:
            return None
        self._waiting.append((rescale(frame.pts, frame.track.clock_rate, TIME_HZ), frame))
        return b""

    def part(self, following: Frame | None, boundary: int) -> bytes:
        """The frames that waited and begin before the boundary."""
        return self.finish(following, boundary)

    def finish(self, following: Frame | None, boundary: int | None) -> bytes:
        """The frames that waited and begin before the boundary; others were written at once."""
        del following
        packets: list[bytes] = []
        waiting = self._waiting
        while waiting and (boundary is None or waiting[0][0] < boundary):
            packets.append(self._muxer.encode(waiting.popleft()[1]))
        if boundary is None:
            packets.append(self._muxer.flush())
        return b"".join(packets)


class Fmp4Container:
    """Segments of one MP4 fragment each, with an initialization section; RFC 8216 section 3.3.

    A track whose parameters are not known yet is left out until they are.
    """

    name: ClassVar[str] = "hls-fmp4"
    extension: ClassVar[str] = "m4s"
    content_type: ClassVar[str] = "video/mp4"
    version: ClassVar[int] = 7  # EXT-X-MAP for what is not only I-frames: 6; as Apple's tools say
    has_initialization: ClassVar[bool] = True

    def __init__(self, tracks: Sequence[Track]) -> None:
        self._tracks = tuple(tracks)
        self._parameters: tuple[tuple[Track, Parameters], ...] = ()  # that the muxer was made with
        self._muxer: FragmentMuxer | None = None
        self._initialization = b""
        self.holds = True  # always: samples wait for those after them

    @staticmethod
    def carries(track: Track) -> bool:
        """Whether there is a place for this track."""
        return sample_entries.carries_track(track)

    def set_tracks(self, tracks: Sequence[Track]) -> None:
        """Carry these tracks from the next segment on."""
        self._tracks = tuple(tracks)

    def initialization(self) -> bytes:
        """`ftyp` and `moov` of the segment that has begun."""
        return self._initialization

    def begin(self, parameters: Mapping[Track, Parameters | None]) -> None:
        """Another muxer where the parameters are others."""
        known = tuple(
            (track, each) for track in self._tracks if (each := parameters.get(track)) is not None
        )
        if self._muxer is not None and known == self._parameters:
            return
        self._parameters = known
        self._muxer = FragmentMuxer([track for track, _ in known])
        for track, each in known:
            self._muxer.set_parameters(track, each)
        self._initialization = self._muxer.initialization()

    def encode(self, frame: Frame) -> bytes | None:
        """Nothing yet: the fragment is written when it is whole."""
        if self._muxer is None or not frame.payload or frame.track not in self._muxer.tracks:
            return None
        self._muxer.add(frame)
        return b""

    def part(self, following: Frame | None, boundary: int) -> bytes:
        """A fragment."""
        if self._muxer is None:
            return b""
        rests = self._muxer.tracks[0] if following is None and self._muxer.tracks else None
        return self._muxer.cut(following, boundary, rests=rests)

    def finish(self, following: Frame | None, boundary: int | None) -> bytes:
        """The last fragment, or the only one."""
        if self._muxer is None:
            return b""
        return self._muxer.finish() if following is None else self._muxer.cut(following, boundary)


MPEGTS, FMP4, AUTO = "mpegts", "fmp4", "auto"
_BETTER_IN_MP4 = frozenset({H265, OPUS})  # few players take these in transport streams


def container_for(tracks: Sequence[Track], choice: str = AUTO) -> type[TsContainer | Fmp4Container]:
    """The container of this name; `auto`: MPEG-TS where it is as good for all of the tracks."""
    if choice == FMP4:
        return Fmp4Container
    is_better = any(
        Fmp4Container.carries(track)
        and (track.codec in _BETTER_IN_MP4 or not TsContainer.carries(track))
        for track in tracks
    )
    return Fmp4Container if choice == AUTO and is_better else TsContainer
