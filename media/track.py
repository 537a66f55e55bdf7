"""A track: one elementary stream of a stream."""

from dataclasses import dataclass, field
from enum import StrEnum

from media.parameters import Parameters


class Kind(StrEnum):
    """What a track carries."""

    VIDEO = "video"
    AUDIO = "audio"
    DATA = "data"


# Codec names as they stand in the API, in metrics and in logs. A payload format that FLUX does not
# know is a codec of its own, `rtp/<encoding>`, which only RTP outputs can carry.
H264 = "h264"
H265 = "h265"
AAC = "aac"
OPUS = "opus"
PCMA = "pcma"
PCMU = "pcmu"
OPAQUE_RTP = "rtp/"


@dataclass(slots=True, eq=False)
class Track:
    """One elementary stream. `parameters` is replaced, never changed, when a new version comes."""

    id: int  # index within its stream, from 0
    kind: Kind
    codec: str
    clock_rate: int  # Hz of pts and dts
    parameters: Parameters | None = field(default=None)


@dataclass(frozen=True, slots=True)
class TrackDescription:
    """What a source announces of a track before its first frame."""

    kind: Kind
    codec: str
    clock_rate: int  # Hz
    parameters: Parameters | None = None
