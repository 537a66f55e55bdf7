"""What can be chosen about an HLS output."""

from dataclasses import dataclass

from media.hls.container import MPEGTS


@dataclass(frozen=True, slots=True)
class HlsOptions:
    """Sizes and times of one segmenter; times in seconds."""

    part_duration: float = 0.0  # of low latency, which implies FMP4; 0: no parts
    container: str = MPEGTS  # or FMP4, or AUTO
    segment_duration: float = 2.0  # cut at the first key frame from here on
    window_segments: int = 7  # segments in the playlist; as many again stay for late requests
    window_duration: float = 0.0  # or as many more as make up so many seconds, to seek back in
    window_bytes: int = 0  # most bytes of all of them, whatever was wished for; 0: no bound
    max_segment_bytes: int = 50_000_000  # a segment that reaches this is cut where it stands
    max_gop: float = 10.0  # a first GOP longer than this is not waited for
    key_wait: float = 10.0  # without any key frame for so long, start anyway
    ready_segments: int = 3  # players want three before they start
    ready_wait: float = 5.0  # but nobody is kept waiting longer than this once there is one
