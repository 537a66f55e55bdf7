"""The single currency: one access unit of video, one packet of audio or of data."""

from dataclasses import dataclass

from media.parameters import Parameters
from media.track import Track

NO_TIME = -(1 << 62)  # "the source gave no DTS"; never seen behind the timeline


@dataclass(slots=True, eq=False)
class Frame:
    """One frame. Read-only for everyone once it is published; times are unwrapped integers."""

    track: Track
    pts: int  # ticks of the track's clock
    dts: int  # ticks; strictly increasing within a track
    ntp: int  # 64-bit NTP capture time of this media instant
    arrived: float  # monotonic seconds when its first byte came in
    key: bool  # a decoder can start here; always true for audio and data
    discontinuity: bool  # the timeline or the parameters broke before this frame
    parameters: Parameters | None  # the version that this frame needs
    payload: tuple[bytes, ...]  # NAL units without start codes or lengths; one audio packet

    @property
    def size_bytes(self) -> int:
        """Sum of the payload's pieces."""
        return sum(map(len, self.payload))
