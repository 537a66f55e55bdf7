"""A track: one elementary stream of a stream."""

from collections.abc import Iterable
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
VP8 = "vp8"
VP9 = "vp9"
AV1 = "av1"
MJPEG = "mjpeg"
AAC = "aac"
OPUS = "opus"
PCMA = "pcma"
PCMU = "pcmu"
G722 = "g722"
G726 = "g726"
L16 = "l16"
MP3 = "mp3"  # MPEG audio of any layer: what announces it does not tell which
AC3 = "ac3"
EAC3 = "eac3"
KLV = "klv"  # SMPTE ST 336
ONVIF = "onvif"  # metadata: XML documents
OPAQUE_RTP = "rtp/"
OPAQUE_TS = "ts/"  # and the stream_type in hex: a PID of a transport stream that only TS carries


@dataclass(slots=True, eq=False)
class Track:
    """One elementary stream. `parameters` is replaced, never changed, when a new version comes."""

    id: int  # index within its stream, from 0
    kind: Kind
    codec: str
    clock_rate: int  # Hz of pts and dts
    parameters: Parameters | None = field(default=None)
    language: str = ""  # ISO 639 code; empty: not known
    recoded_from: "Track | None" = None  # the track of the source that this one is made of


@dataclass(frozen=True, slots=True)
class TrackDescription:
    """What a source announces of a track before its first frame."""

    kind: Kind
    codec: str
    clock_rate: int  # Hz
    parameters: Parameters | None = None
    language: str = ""  # ISO 639 code; empty: not known


def tracks_for(
    descriptions: Iterable[TrackDescription], tracks: Iterable[Track]
) -> tuple[Track, ...]:
    """For each description the first track not taken yet that it fits; none where it fits none.

    A source that returns may list what it has in another order.
    """
    left = list(tracks)
    found: list[Track] = []
    for wanted in descriptions:
        for track in left:
            if (track.kind, track.codec, track.clock_rate) == (
                wanted.kind,
                wanted.codec,
                wanted.clock_rate,
            ):
                left.remove(track)
                found.append(track)
                break
    return tuple(found)
