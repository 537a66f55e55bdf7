"""What a rendition turned out to be: its tracks, bit rates and frame rate, as measured."""

from collections.abc import Iterable

from media.hls.bandwidth import Bandwidth
from media.hls.playlist import Variant
from media.hls.segment import TIME_HZ, Segment
from media.parameters import Parameters, VideoParameters


class Rendition:
    """Adds up finished segments and describes them for the multivariant playlist."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._bandwidth = Bandwidth()
        self._video_ticks = 0
        self._video_frames = 0

    def add(self, segment: Segment, target_duration: int) -> None:
        """Count a segment; the target duration is in ticks."""
        self._bandwidth.add(len(segment.data), segment.duration, target_duration)
        if segment.video_frames:
            self._video_frames += segment.video_frames
            self._video_ticks += segment.duration

    @property
    def peak_bps(self) -> int:
        """Bits a second of its heaviest row of segments."""
        return self._bandwidth.peak_bps

    @property
    def average_bps(self) -> int:
        """Bits a second of all segments."""
        return self._bandwidth.average_bps

    def variant(self, present: Iterable[Parameters | None]) -> Variant:
        """The description, by the parameters of the tracks that really delivered frames.

        CODECS is left out where one of them has no name: a list that is not whole misleads.
        """
        codecs: list[str] = []
        width = height = 0
        frame_rate = 0.0
        for parameters in present:
            codecs.append(parameters.codec_string() if parameters else "")
            if isinstance(parameters, VideoParameters):
                width, height = parameters.width, parameters.height
                frame_rate = self._frame_rate(parameters)
        return Variant(
            uri=self._uri,
            peak_bps=self._bandwidth.peak_bps,
            average_bps=self._bandwidth.average_bps,
            codecs=tuple(codecs) if all(codecs) else (),
            width=width,
            height=height,
            frame_rate=frame_rate,
        )

    def _frame_rate(self, parameters: VideoParameters) -> float:
        if parameters.frame_rate_num:
            return parameters.frame_rate_num / parameters.frame_rate_den
        return self._video_frames * TIME_HZ / self._video_ticks if self._video_ticks else 0.0
