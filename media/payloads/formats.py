"""The table of payload formats: from what SDP says to a depacketizer, and back for outputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flux.base.errors import WireError
from media.codecs.aac import AacParameters
from media.codecs.h264 import H264Parameters
from media.codecs.h265 import H265Parameters
from media.codecs.opus import CLOCK_RATE as OPUS_CLOCK_RATE
from media.codecs.opus import OpusParameters
from media.parameters import Parameters
from media.payloads import aac, g711, h264, h265, opus
from media.payloads.base import Depacketizer, DropCallback, Packetizer
from media.payloads.opaque import OpaqueDepacketizer, OpaquePacketizer
from media.track import AAC, H264, H265, OPAQUE_RTP, OPUS, PCMA, PCMU, Kind

DepacketizerMaker = Callable[[DropCallback], Depacketizer]

VIDEO_CLOCK_RATE = 90000
AAC_FRAME_SAMPLES = 1024


@dataclass(frozen=True, slots=True)
class PayloadFormat:
    """What an RTP payload type of a description carries and how to take it apart."""

    kind: Kind
    codec: str  # as in `Track.codec`
    clock_rate: int  # Hz of the RTP timestamps
    parameters: Parameters | None  # None: the description has none, or there are none
    make_depacketizer: DepacketizerMaker = field(repr=False)

    def depacketizer(self, on_drop: DropCallback) -> Depacketizer:
        """A new depacketizer; `on_drop` hears the reason of each dropped access unit."""
        return self.make_depacketizer(on_drop)


def payload_format(
    encoding: str,
    clock_rate: int,
    channels: int,
    fmtp: Mapping[str, str],
    kind: Kind = Kind.DATA,
) -> PayloadFormat:
    """The format of an rtpmap encoding name, in any case, with its fmtp parameters.

    A format that FLUX does not know, or whose description it cannot use, is the opaque codec
    `rtp/<encoding>` of the given `kind` (that of the media line); this never raises.
    """
    name = encoding.lower()
    lower = {key.lower(): value for key, value in fmtp.items()}
    maker = FORMATS.get(name)
    known = maker(name, clock_rate, channels, lower) if maker else None
    return known or PayloadFormat(kind, OPAQUE_RTP + name, clock_rate, None, OpaqueDepacketizer)


def _h264(
    name: str, clock_rate: int, channels: int, fmtp: Mapping[str, str]
) -> PayloadFormat | None:
    parameters = h264.parameters_from_fmtp(fmtp, clock_rate, channels)
    return PayloadFormat(
        Kind.VIDEO, H264, clock_rate or VIDEO_CLOCK_RATE, parameters, h264.H264Depacketizer
    )


def _h265(
    name: str, clock_rate: int, channels: int, fmtp: Mapping[str, str]
) -> PayloadFormat | None:
    parameters = h265.parameters_from_fmtp(fmtp, clock_rate, channels)
    has_don = h265.has_decoding_order(fmtp)

    def make(on_drop: DropCallback) -> Depacketizer:
        return h265.H265Depacketizer(on_drop, has_don)

    return PayloadFormat(Kind.VIDEO, H265, clock_rate or VIDEO_CLOCK_RATE, parameters, make)


def _aac(
    name: str, clock_rate: int, channels: int, fmtp: Mapping[str, str]
) -> PayloadFormat | None:
    if not aac.is_supported(fmtp):
        return None
    parameters = aac.parameters_from_fmtp(fmtp, clock_rate, channels)
    if parameters is None:
        return None  # nobody could decode it
    try:
        layout = aac.AuHeaderLayout.from_fmtp(fmtp)
    except WireError:
        return None
    frame_ticks = parameters.frame_samples or AAC_FRAME_SAMPLES

    def make(on_drop: DropCallback) -> Depacketizer:
        return aac.AacDepacketizer(on_drop, frame_ticks, layout)

    return PayloadFormat(Kind.AUDIO, AAC, clock_rate or parameters.sample_rate, parameters, make)


def _opus(
    name: str, clock_rate: int, channels: int, fmtp: Mapping[str, str]
) -> PayloadFormat | None:
    parameters = opus.parameters_from_fmtp(fmtp, clock_rate, channels)
    return PayloadFormat(Kind.AUDIO, OPUS, OPUS_CLOCK_RATE, parameters, opus.OpusDepacketizer)


def _g711(
    name: str, clock_rate: int, channels: int, fmtp: Mapping[str, str]
) -> PayloadFormat | None:
    parameters = g711.parameters_from_fmtp(fmtp, clock_rate or 8000, channels)

    def make(on_drop: DropCallback) -> Depacketizer:
        return g711.G711Depacketizer(on_drop, parameters.channels)

    return PayloadFormat(Kind.AUDIO, name, parameters.sample_rate, parameters, make)


FORMATS: dict[str, Callable[[str, int, int, Mapping[str, str]], PayloadFormat | None]] = {
    "h264": _h264,
    "h265": _h265,
    "mpeg4-generic": _aac,
    "opus": _opus,
    PCMA: _g711,
    PCMU: _g711,
}

PACKETIZERS: dict[str, Callable[[int], Packetizer]] = {
    H264: h264.H264Packetizer,
    H265: h265.H265Packetizer,
    AAC: aac.AacPacketizer,
    OPUS: opus.OpusPacketizer,
    PCMA: g711.G711Packetizer,
    PCMU: g711.G711Packetizer,
}


def packetizer_for(codec: str, max_payload_bytes: int) -> Packetizer:
    """A packetizer for a track's codec; opaque tracks get back the packets that they came in."""
    return PACKETIZERS.get(codec, OpaquePacketizer)(max_payload_bytes)


def fmtp_for(parameters: Parameters | None) -> dict[str, str]:
    """The fmtp parameters that describe a track to an RTP reader; empty where there are none."""
    match parameters:
        case H264Parameters():
            return h264.fmtp_from_parameters(parameters)
        case H265Parameters():
            return h265.fmtp_from_parameters(parameters)
        case AacParameters():
            return aac.fmtp_from_parameters(parameters)
        case OpusParameters():
            return opus.fmtp_from_parameters(parameters)
        case _:
            return {}
