"""The table of payload formats: from what SDP says to a depacketizer, and back for outputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flux.base.errors import WireError
from media.codecs.aac import AacParameters
from media.codecs.adpcm import G722_CLOCK_RATE, G726_SAMPLE_RATE
from media.codecs.av1 import Av1Parameters
from media.codecs.h264 import H264Parameters
from media.codecs.h265 import H265Parameters
from media.codecs.opus import CLOCK_RATE as OPUS_CLOCK_RATE
from media.codecs.opus import OpusParameters
from media.codecs.vp9 import Vp9Parameters
from media.parameters import Parameters
from media.payloads import (
    aac,
    av1,
    g711,
    g722,
    g726,
    h264,
    h265,
    klv,
    l16,
    latm,
    mjpeg,
    onvif,
    opus,
    vp8,
    vp9,
)
from media.payloads.ac3 import Ac3Depacketizer, Ac3Packetizer
from media.payloads.base import Depacketizer, DropCallback, Packetizer
from media.payloads.eac3 import Eac3Depacketizer, Eac3Packetizer
from media.payloads.mp3 import CLOCK_RATE as MPA_CLOCK_RATE
from media.payloads.mp3 import Mp3Depacketizer, Mp3Packetizer
from media.payloads.opaque import (
    OpaqueDepacketizer,
    OpaquePacketizer,
    OpaqueParameters,
    opaque_parameters,
)
from media.payloads.samples import SamplePacketizer
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
)

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
    text: str = "",
) -> PayloadFormat:
    """The format of an rtpmap encoding name, in any case, with its fmtp parameters.

    A format that FLUX does not know, or whose description it cannot use, is the opaque codec
    `rtp/<encoding>` of the given `kind` (that of the media line); this never raises. `text` is fmtp
    as it came: such a format keeps it word for word.
    """
    name = encoding.lower()
    lower = {key.lower(): value for key, value in fmtp.items()}
    maker = FORMATS.get(name)
    known = maker(name, clock_rate, channels, lower) if maker else None
    if known is not None:
        return known
    parameters = opaque_parameters(text, channels)
    return PayloadFormat(kind, OPAQUE_RTP + name, clock_rate, parameters, OpaqueDepacketizer)


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


def _latm(
    name: str, clock_rate: int, channels: int, fmtp: Mapping[str, str]
) -> PayloadFormat | None:
    try:
        config, is_in_band = latm.mux_from_fmtp(fmtp)
    except WireError:
        return None
    if clock_rate <= 0:
        return None
    parameters = latm.parameters_from_fmtp(fmtp, clock_rate, channels)

    def make(on_drop: DropCallback) -> Depacketizer:
        return latm.LatmDepacketizer(on_drop, clock_rate, config, is_in_band)

    return PayloadFormat(Kind.AUDIO, AAC, clock_rate, parameters, make)


def _opus(
    name: str, clock_rate: int, channels: int, fmtp: Mapping[str, str]
) -> PayloadFormat | None:
    parameters: OpusParameters | None = opus.parameters_from_fmtp(fmtp, clock_rate, channels)
    if name == opus.MULTISTREAM:
        parameters = opus.multistream_from_fmtp(fmtp, channels)
        if parameters is None:
            return None  # nobody could decode it
    return PayloadFormat(Kind.AUDIO, OPUS, OPUS_CLOCK_RATE, parameters, opus.OpusDepacketizer)


def _g711(
    name: str, clock_rate: int, channels: int, fmtp: Mapping[str, str]
) -> PayloadFormat | None:
    parameters = g711.parameters_from_fmtp(fmtp, clock_rate or 8000, channels)

    def make(on_drop: DropCallback) -> Depacketizer:
        return g711.G711Depacketizer(on_drop, parameters.channels)

    return PayloadFormat(Kind.AUDIO, name, parameters.sample_rate, parameters, make)


def _g722(
    name: str, clock_rate: int, channels: int, fmtp: Mapping[str, str]
) -> PayloadFormat | None:
    clock = clock_rate or G722_CLOCK_RATE
    parameters = g722.parameters_from_fmtp(fmtp, clock, channels)

    def make(on_drop: DropCallback) -> Depacketizer:
        return g722.G722Depacketizer(on_drop, parameters.channels, clock)

    return PayloadFormat(Kind.AUDIO, G722, clock, parameters, make)


def _g726(
    name: str, clock_rate: int, channels: int, fmtp: Mapping[str, str]
) -> PayloadFormat | None:
    clock = clock_rate or G726_SAMPLE_RATE
    parameters = g726.parameters_from_encoding(name, clock, channels)

    def make(on_drop: DropCallback) -> Depacketizer:
        return g726.G726Depacketizer(on_drop, parameters.bits, parameters.channels)

    return PayloadFormat(Kind.AUDIO, G726, clock, parameters, make)


def _l16(
    name: str, clock_rate: int, channels: int, fmtp: Mapping[str, str]
) -> PayloadFormat | None:
    clock = clock_rate or l16.STATIC_CLOCK_RATE
    parameters = l16.parameters_from_fmtp(fmtp, clock, channels)

    def make(on_drop: DropCallback) -> Depacketizer:
        return l16.L16Depacketizer(on_drop, parameters.channels)

    return PayloadFormat(Kind.AUDIO, L16, clock, parameters, make)


def _mpa(
    name: str, clock_rate: int, channels: int, fmtp: Mapping[str, str]
) -> PayloadFormat | None:
    clock = clock_rate or MPA_CLOCK_RATE

    def make(on_drop: DropCallback) -> Depacketizer:
        return Mp3Depacketizer(on_drop, clock)

    return PayloadFormat(Kind.AUDIO, MP3, clock, None, make)  # parameters: in each frame


def _ac3(
    name: str, clock_rate: int, channels: int, fmtp: Mapping[str, str]
) -> PayloadFormat | None:
    maker = Ac3Depacketizer if name == AC3 else Eac3Depacketizer
    if clock_rate <= 0:
        return None

    def make(on_drop: DropCallback) -> Depacketizer:
        return maker(on_drop, clock_rate)

    return PayloadFormat(Kind.AUDIO, name, clock_rate, None, make)  # parameters: in each frame


def _plain(
    kind: Kind, codec: str, make: DepacketizerMaker
) -> Callable[[str, int, int, Mapping[str, str]], PayloadFormat]:
    """A format whose description says nothing that is needed: parameters come with the media."""

    def maker(name: str, clock_rate: int, channels: int, fmtp: Mapping[str, str]) -> PayloadFormat:
        return PayloadFormat(kind, codec, clock_rate or VIDEO_CLOCK_RATE, None, make)

    return maker


FORMATS: dict[str, Callable[[str, int, int, Mapping[str, str]], PayloadFormat | None]] = {
    "h264": _h264,
    "h265": _h265,
    "vp8": _plain(Kind.VIDEO, VP8, vp8.Vp8Depacketizer),
    "vp9": _plain(Kind.VIDEO, VP9, vp9.Vp9Depacketizer),
    "av1": _plain(Kind.VIDEO, AV1, av1.Av1Depacketizer),
    "jpeg": _plain(Kind.VIDEO, MJPEG, mjpeg.MjpegDepacketizer),
    "smpte336m": _plain(Kind.DATA, KLV, klv.KlvDepacketizer),
    "vnd.onvif.metadata": _plain(Kind.DATA, ONVIF, onvif.OnvifDepacketizer),
    "mpeg4-generic": _aac,
    "mp4a-latm": _latm,
    "mpa": _mpa,
    AC3: _ac3,
    EAC3: _ac3,
    G722: _g722,
    **dict.fromkeys(g726.ENCODINGS, _g726),
    L16: _l16,
    "opus": _opus,
    opus.MULTISTREAM: _opus,
    PCMA: _g711,
    PCMU: _g711,
}

PACKETIZERS: dict[str, Callable[[int], Packetizer]] = {
    H264: h264.H264Packetizer,
    H265: h265.H265Packetizer,
    VP8: vp8.Vp8Packetizer,
    VP9: vp9.Vp9Packetizer,
    AV1: av1.Av1Packetizer,
    KLV: klv.KlvPacketizer,
    ONVIF: onvif.OnvifPacketizer,
    AAC: aac.AacPacketizer,
    AC3: Ac3Packetizer,
    EAC3: Eac3Packetizer,
    G722: SamplePacketizer,
    G726: SamplePacketizer,
    L16: SamplePacketizer,
    MP3: Mp3Packetizer,
    OPUS: opus.OpusPacketizer,
    PCMA: g711.G711Packetizer,
    PCMU: g711.G711Packetizer,
}


def _ignore(reason: str) -> None:
    """Nobody wants to know."""


def packetizer_for(
    codec: str, max_payload_bytes: int, on_drop: DropCallback = _ignore
) -> Packetizer:
    """A packetizer for a track's codec; opaque tracks get back the packets that they came in.

    `on_drop` hears the reason of each unit that its format cannot carry; there are no packets of it
    then. Of all formats only MJPEG has such units.
    """
    if codec == MJPEG:
        return mjpeg.MjpegPacketizer(max_payload_bytes, on_drop)
    return PACKETIZERS.get(codec, OpaquePacketizer)(max_payload_bytes)


def fmtp_for(parameters: Parameters | None) -> dict[str, str]:
    """The fmtp parameters that describe a track to an RTP reader; empty where there are none."""
    match parameters:
        case H264Parameters():
            return h264.fmtp_from_parameters(parameters)
        case H265Parameters():
            return h265.fmtp_from_parameters(parameters)
        case Vp9Parameters():
            return vp9.fmtp_from_parameters(parameters)
        case Av1Parameters():
            return av1.fmtp_from_parameters(parameters)
        case AacParameters():
            return aac.fmtp_from_parameters(parameters)
        case OpusParameters():
            return opus.fmtp_from_parameters(parameters)
        case OpaqueParameters() if parameters.fmtp:
            return {parameters.fmtp: ""}  # a word without a value is written as it is
        case _:
            return {}
