"""Tracks on the wire: what an announcement says, as parameters, and the way back."""

from media.codecs.aac import AacParameters
from media.codecs.g711 import G711Parameters
from media.codecs.h264 import H264Parameters
from media.codecs.h265 import H265Parameters
from media.codecs.opus import CLOCK_RATE as OPUS_HZ
from media.codecs.opus import OpusParameters
from media.parameters import AudioParameters, Parameters
from media.track import AAC, H264, H265, OPUS, PCMA, PCMU, Track, TrackDescription
from media.wire import Announcement

H264_SPS, H264_PPS = 7, 8  # ISO/IEC 14496-10 table 7-1
H265_VPS, H265_SPS, H265_PPS = 32, 33, 34  # ISO/IEC 23008-2 table 7-1


def describe(announcement: Announcement) -> TrackDescription:
    """What a publisher is told of an announced track.

    Without a configuration the parameters are None: video then brings them in band. Raises
    `WireError` where the codec cannot read its configuration.
    """
    return TrackDescription(
        announcement.kind, announcement.codec, announcement.clock_rate, _parameters(announcement)
    )


def announce(track: Track | TrackDescription, track_id: int) -> Announcement:
    """The announcement of a track as it is now."""
    parameters = track.parameters
    channels = parameters.channels if isinstance(parameters, AudioParameters) else 0
    version = parameters.version if parameters is not None else 0
    return Announcement(
        track_id,
        track.kind,
        track.codec,
        track.clock_rate,
        channels,
        version,
        _configuration(parameters),
    )


def _parameters(announcement: Announcement) -> Parameters | None:
    items = announcement.configuration
    codec = announcement.codec
    version = announcement.version
    channels = announcement.channels
    if codec in (PCMA, PCMU):
        rate = announcement.clock_rate
        return G711Parameters(version=version, sample_rate=rate, channels=channels or 1)
    if codec == OPUS:
        return OpusParameters(version=version, sample_rate=OPUS_HZ, channels=channels or 2)
    if not items:
        return None
    if codec == H264:
        sps, pps = (
            [nal for nal in items if nal and nal[0] & 31 == wanted]
            for wanted in (H264_SPS, H264_PPS)
        )
        return H264Parameters.build(sps, pps, version)
    if codec == H265:
        vps, sps, pps = (
            [nal for nal in items if nal and nal[0] >> 1 & 63 == wanted]
            for wanted in (H265_VPS, H265_SPS, H265_PPS)
        )
        return H265Parameters.build(vps, sps, pps, version)
    if codec == AAC:
        return AacParameters.build(items[0], announcement.clock_rate, version)
    return None


def _configuration(parameters: Parameters | None) -> tuple[bytes, ...]:
    match parameters:
        case H264Parameters():
            return (*parameters.sps, *parameters.pps)
        case H265Parameters():
            return (*parameters.vps, *parameters.sps, *parameters.pps)
        case AacParameters():
            return (parameters.config,)
    return ()
