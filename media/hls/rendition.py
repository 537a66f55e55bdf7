"""What a rendition turned out to be: its tracks, bit rates and frame rate, as measured.

Segments in the playlist may be of several formats: a source that came back with other parameters, a
slate. CODECS has to name every one of them, RESOLUTION and FRAME-RATE are the largest (RFC 8216
section 4.3.4.2). What is measured counts from the first segment of the oldest of these formats, so
that a source that is long gone says nothing about the one of today.
"""

from collections import deque
from collections.abc import Iterable

from media.hls.bandwidth import Bandwidth, bits_a_second
from media.hls.playlist import Variant
from media.hls.segment import TIME_HZ, Segment
from media.parameters import Parameters, VideoParameters

Looks = frozenset[tuple[str, int, int]]  # what playlists say of formats


class _Era:
    """Segments of the same formats in a row."""

    def __init__(self) -> None:
        self.bandwidth = Bandwidth()
        self.last = 0  # media sequence number
        self._looks: Looks = frozenset()
        self._video_ticks = 0
        self._video_frames = 0

    def fits(self, looks: Looks) -> bool:
        """Whether a segment is like those before; a track may be silent in some of them."""
        return looks <= self._looks or self._looks <= looks

    def add(self, segment: Segment, looks: Looks, target_duration: int) -> None:
        """Count a segment."""
        self.bandwidth.add(len(segment.data), segment.duration, target_duration)
        self.last = segment.sequence
        self._looks |= looks
        if segment.video_frames:
            self._video_frames += segment.video_frames
            self._video_ticks += segment.duration

    @property
    def frame_rate(self) -> float:
        """Pictures a second as measured; 0 without any."""
        return self._video_frames * TIME_HZ / self._video_ticks if self._video_ticks else 0.0


class Rendition:
    """Adds up finished segments and describes them for the multivariant playlist."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._eras: deque[_Era] = deque()  # those of which segments are listed, oldest first

    def add(self, segment: Segment, target_duration: int, oldest: int) -> None:
        """Count a segment; the target duration is in ticks, `oldest` the first one listed."""
        looks = frozenset(_look(each) for each in segment.formats)
        if not self._eras or not self._eras[-1].fits(looks):
            self._eras.append(_Era())
        self._eras[-1].add(segment, looks, target_duration)
        while self._eras[0].last < oldest:
            self._eras.popleft()

    @property
    def peak_bps(self) -> int:
        """Bits a second of its heaviest row of segments."""
        return max((era.bandwidth.peak_bps for era in self._eras), default=0)

    @property
    def average_bps(self) -> int:
        """Bits a second of all segments."""
        counted = [era.bandwidth for era in self._eras]
        return bits_a_second(sum(b.size_bytes for b in counted), sum(b.ticks for b in counted))

    def variant(self, formats: Iterable[Parameters | None]) -> Variant:
        """The description, by all formats that the playlist holds, that of today first.

        CODECS is left out where one of them has no name: a list that is not whole misleads.
        """
        found = list({id(each): each for each in formats}.values())
        codecs = dict.fromkeys(each.codec_string() if each else "" for each in found)
        pictures = [each for each in found if isinstance(each, VideoParameters)]
        sizes = [(each.width, each.height) for each in pictures]
        width, height = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
        return Variant(
            uri=self._uri,
            peak_bps=self.peak_bps,
            average_bps=self.average_bps,
            codecs=tuple(codecs) if all(codecs) else (),
            width=width,
            height=height,
            frame_rate=max(map(self._frame_rate, pictures), default=0.0),
        )

    def _frame_rate(self, parameters: VideoParameters) -> float:
        if parameters.frame_rate_num:
            return parameters.frame_rate_num / parameters.frame_rate_den
        return max((era.frame_rate for era in self._eras), default=0.0)


def _look(parameters: Parameters | None) -> tuple[str, int, int]:
    if isinstance(parameters, VideoParameters):
        return parameters.codec_string(), parameters.width, parameters.height
    return parameters.codec_string() if parameters else "", 0, 0
