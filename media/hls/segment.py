"""A media segment, and the one in the making."""

from dataclasses import dataclass

from media.frame import NO_TIME
from media.parameters import Parameters

TIME_HZ = 90_000  # of all times in this package


@dataclass(frozen=True, slots=True)
class Initialization:
    """What a player must have before segments that name it (EXT-X-MAP); never changes."""

    name: str  # unique for ever
    data: bytes


@dataclass(frozen=True, slots=True)
class Segment:
    """One whole media segment; never changes."""

    name: str  # unique for ever: run and media sequence number
    data: bytes
    sequence: int  # media sequence number
    duration: int  # ticks of 90 kHz
    ntp: int  # 64-bit NTP of its first frame; 0 if not known
    is_discontinuity: bool  # EXT-X-DISCONTINUITY goes before it
    is_independent: bool  # its first video frame is one that a decoder can start with
    video_frames: int
    initialization: Initialization | None = None
    is_gap: bool = False  # of this rendition there is nothing in it; EXT-X-GAP
    formats: tuple[Parameters | None, ...] = ()  # of the frames in it, of all tracks

    @property
    def seconds(self) -> float:
        """The duration for people and playlists."""
        return self.duration / TIME_HZ


class SegmentBuilder:
    """The segment that frames are being added to."""

    __slots__ = (
        "chunks",
        "end",
        "formats",
        "has_media",
        "initialization",
        "is_discontinuity",
        "is_independent",
        "lowest",
        "ntp",
        "size_bytes",
        "start",
        "video_frames",
    )

    def __init__(
        self,
        start: int,
        ntp: int,
        is_discontinuity: bool,
        initialization: Initialization | None = None,
    ) -> None:
        self.start = start  # when it begins to be shown
        self.lowest = NO_TIME  # PTS of the leading track, while it is open where exactly it begins
        self.end = start  # when the frames seen so far have been shown
        self.has_media = False
        self.ntp = ntp
        self.is_discontinuity = is_discontinuity
        self.initialization = initialization
        self.is_independent = True
        self.chunks: list[bytes] = []
        self.formats: list[Parameters | None] = []
        self.size_bytes = 0
        self.video_frames = 0

    def add(self, data: bytes, end: int) -> None:
        """Append the bytes of a frame that lasts until `end`."""
        self.write(data)
        self.hold(len(data), end)

    def write(self, data: bytes) -> None:
        """Append the bytes of frames that were counted before."""
        self.chunks.append(data)
        self.has_media = True

    def fill(self, data: bytes) -> None:
        """Append bytes that are no media."""
        self.chunks.append(data)

    def hold(self, size_bytes: int, end: int) -> None:
        """Count a frame whose bytes come later."""
        self.size_bytes += size_bytes
        if end > self.end:
            self.end = end

    def note(self, parameters: Parameters | None) -> None:
        """There is a frame that needs these."""
        for each in self.formats:
            if each is parameters:
                return
        self.formats.append(parameters)

    def build(self, name: str, sequence: int, duration: int) -> Segment:
        """The finished segment."""
        return Segment(
            name=name,
            data=b"".join(self.chunks) if self.has_media else b"",
            sequence=sequence,
            duration=duration,
            ntp=self.ntp,
            is_discontinuity=self.is_discontinuity,
            is_independent=self.is_independent,
            video_frames=self.video_frames,
            initialization=self.initialization,
            is_gap=not self.has_media,
            formats=tuple(self.formats),
        )
