"""Tracks on the wire: what an announcement says, as parameters, and the way back."""

from dataclasses import replace

from media.codecs.aac import AacParameters
from media.codecs.adpcm import G722_SAMPLE_RATE, G722Parameters, G726Parameters, parse_g726
from media.codecs.av1 import Av1Parameters
from media.codecs.g711 import G711Parameters
from media.codecs.h264 import H264Parameters
from media.codecs.h265 import H265Parameters
from media.codecs.opus import CLOCK_RATE as OPUS_HZ
from media.codecs.opus import OpusParameters, parse_id_header
from media.codecs.pcm import L16Parameters
from media.parameters import AudioParameters, Parameters
from media.payloads.opaque import OpaqueParameters, opaque_parameters
from media.track import (
    AAC,
    AV1,
    G722,
    G726,
    H264,
    H265,
    L16,
    OPAQUE_RTP,
    OPUS,
    PCMA,
    PCMU,
    Track,
    TrackDescription,
)
from media.wire import Announcement

H264_SPS, H264_PPS = 7, 8  # ISO/IEC 14496-10 table 7-1
H265_VPS, H265_SPS, H265_PPS = 32, 33, 34  # ISO/IEC 23008-2 table 7-1


def describe(announcement: Announcement) -> TrackDescription:
    """What a publisher is told of an announced track.

    Without a configuration the parameters are None: video, MP3, AC-3 and E-AC-3 then bring them in
    band. Raises `WireError` where the codec cannot read its configuration.
    """
    return TrackDescription(
        announcement.kind, announcement.codec, announcement.clock_rate, _parameters(announcement)
    )


def announce(track: Track | TrackDescription, track_id: int) -> Announcement:
    """The announcement of a track as it is now."""
    parameters = track.parameters
    channels = 0
    if isinstance(parameters, AudioParameters | OpaqueParameters):
        channels = parameters.channels
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
        if items:
            return replace(parse_id_header(items[0]), version=version)
        return OpusParameters(version=version, sample_rate=OPUS_HZ, channels=channels or 2)
    if codec == L16:
        rate = announcement.clock_rate
        return L16Parameters(version=version, sample_rate=rate, channels=channels or 1)
    if codec == G722:
        rate = G722_SAMPLE_RATE
        return G722Parameters(version=version, sample_rate=rate, channels=channels or 1)
    if codec.startswith(OPAQUE_RTP):
        fmtp = items[0].decode("utf-8", "replace") if items else ""
        return opaque_parameters(fmtp, channels, version)
    if not items:
        return None
    if codec == G726:
        bits, is_aal2 = parse_g726(items[0])
        return G726Parameters(
            version=version,
            sample_rate=announcement.clock_rate,
            channels=channels or 1,
            bits=bits,
            is_aal2=is_aal2,
        )
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
    if codec == AV1:
        return Av1Parameters.build(items[0], version)
    if codec == AAC:
        return AacParameters.build(items[0], announcement.clock_rate, version)
    return None


def _configuration(parameters: Parameters | None) -> tuple[bytes, ...]:
    match parameters:
        case H264Parameters():
            return (*parameters.sps, *parameters.pps)
        case H265Parameters():
            return (*parameters.vps, *parameters.sps, *parameters.pps)
        case Av1Parameters():
            return (parameters.obu,)
        case AacParameters():
            return (parameters.config,)
        case G726Parameters():
            return (parameters.serialize(),)
        case OpusParameters() if parameters.mapping:
            return (parameters.id_header(),)
        case OpaqueParameters() if parameters.fmtp:
            return (parameters.fmtp.encode(),)
    return ()
