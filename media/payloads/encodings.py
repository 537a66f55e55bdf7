"""How a track is named to an RTP receiver: the rtpmap of its codec, its clock and its channels."""

from dataclasses import dataclass

from media.codecs.adpcm import G722_CLOCK_RATE, G726Parameters
from media.codecs.opus import OpusParameters
from media.parameters import AudioParameters
from media.payloads.g726 import encoding_name
from media.payloads.opaque import OpaqueParameters
from media.payloads.opus import MULTISTREAM
from media.track import (
    AAC,
    AC3,
    AV1,
    EAC3,
    G722,
    G726,
    H264,
    H265,
    KLV,
    L16,
    MJPEG,
    MP3,
    ONVIF,
    OPAQUE_RTP,
    OPUS,
    PCMA,
    PCMU,
    VP8,
    VP9,
    Kind,
    Track,
)

VIDEO_CLOCK_RATE = 90_000


@dataclass(frozen=True, slots=True)
class Encoding:
    """What SDP says of a payload type, RFC 8866 section 6.6."""

    name: str
    clock_rate: int  # Hz of the RTP timestamps
    channels: int = 1
    payload_type: int | None = None  # the static one of RFC 3551 table 4, where there is one


def encoding_for(track: Track) -> Encoding | None:
    """The encoding of a track; None where RTP has no format for its codec."""
    codec, parameters = track.codec, track.parameters
    if codec.startswith(OPAQUE_RTP):
        channels = parameters.channels if isinstance(parameters, OpaqueParameters) else 1
        return Encoding(codec.removeprefix(OPAQUE_RTP), track.clock_rate, channels)
    if codec in VIDEO:
        return Encoding(VIDEO[codec], VIDEO_CLOCK_RATE, payload_type=VIDEO_STATIC.get(codec))
    rate, channels = track.clock_rate, 1
    if isinstance(parameters, AudioParameters):
        rate, channels = parameters.sample_rate, parameters.channels
    match codec:
        case _ if codec == AAC:
            # A track that came by RTP keeps its clock: the sender knows whether SBR doubles it.
            clock = track.clock_rate if track.clock_rate != VIDEO_CLOCK_RATE else rate
            return Encoding("mpeg4-generic", clock, channels)
        case _ if codec == OPUS and isinstance(parameters, OpusParameters) and parameters.mapping:
            return Encoding(MULTISTREAM, 48_000, channels)
        case _ if codec == OPUS:
            return Encoding("opus", 48_000, 2)  # always two, RFC 7587 section 7
        case _ if codec in (PCMA, PCMU):
            is_static = (rate, channels) == (8000, 1)
            number = {PCMU: 0, PCMA: 8}[codec] if is_static else None
            return Encoding(codec.upper(), rate, channels, number)
        case _ if codec == G722:
            return Encoding("G722", G722_CLOCK_RATE, channels, 9 if channels == 1 else None)
        case _ if codec == G726 and isinstance(parameters, G726Parameters):
            return Encoding(encoding_name(parameters), rate, channels)
        case _ if codec == L16:
            return Encoding("L16", rate, channels, L16_STATIC.get((rate, channels)))
        case _ if codec == MP3:
            return Encoding("MPA", VIDEO_CLOCK_RATE, 1, 14)
        case _ if codec in (AC3, EAC3):
            return Encoding(codec, rate, channels)
    return None


L16_STATIC = {(44_100, 2): 10, (44_100, 1): 11}
# What has the clock of video: SDP's encoding names, RFC 6597 section 6.1 and ONVIF among them.
VIDEO = {
    H264: "H264",
    H265: "H265",
    VP8: "VP8",
    VP9: "VP9",
    AV1: "AV1",
    MJPEG: "JPEG",
    KLV: "SMPTE336M",
    ONVIF: "vnd.onvif.metadata",
}
VIDEO_STATIC = {MJPEG: 26}


def sdp_kind(track: Track) -> str:
    """The media type of the `m=` line."""
    return "application" if track.kind is Kind.DATA else str(track.kind)
