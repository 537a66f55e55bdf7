"""What `stsd` says of a track: one sample entry for each codec that MP4 has a place for.

    H.264 avc1   ISO/IEC 14496-15 section 5.4      AAC, MP3 mp4a  ISO/IEC 14496-14 section 6.7
    H.265 hvc1   ISO/IEC 14496-15 section 8.4      Opus     Opus  "Encapsulation of Opus in ISOBMFF"
    AV1   av01   AV1 ISOBMFF Binding section 2.2   AC-3     ac-3  ETSI TS 102 366 annex F
    VP8, VP9 vp08, vp09  VP Codec ISOBMFF Binding  E-AC-3   ec-3  the same

Parameter sets stand here and not in band: the router takes them out of the frames.
"""

from struct import Struct

from flux.base.errors import WireError
from media.codecs.aac import AacParameters
from media.codecs.ac3 import PLAIN_BSID, SAMPLE_RATES, Ac3Parameters
from media.codecs.av1 import Av1Parameters
from media.codecs.eac3 import Eac3Parameters
from media.codecs.h264 import H264Parameters
from media.codecs.h265 import H265Parameters
from media.codecs.mp3 import Mp3Parameters
from media.codecs.opus import OpusParameters
from media.codecs.vp8 import Vp8Parameters
from media.codecs.vp9 import Vp9Parameters
from media.fmp4.boxes import box, descriptor, full_box
from media.parameters import AudioParameters, Parameters, VideoParameters
from media.track import AAC, AC3, AV1, EAC3, H264, H265, MP3, OPUS, VP8, VP9, Track

CODECS = frozenset({H264, H265, AV1, VP8, VP9, AAC, MP3, OPUS, AC3, EAC3})

# Object types of 14496-1 table 5, as the registration authority lists them.
_AAC_OBJECT, _MPEG1_AUDIO, _MPEG2_AUDIO = 0x40, 0x6B, 0x69
_AUDIO_STREAM = 0x05 << 2 | 1  # streamType, upStream 0, reserved 1
_DPI_72 = 0x0048_0000
_VISUAL = Struct(">6xH16xHHII4xH32sHh")  # ISO/IEC 14496-12 section 12.1.3
_AUDIO = Struct(">6xH8xHH4xI")  # section 12.2.3
_DECODER_CONFIG = Struct(">BBxHII")  # bufferSizeDB in 24 bits
_DOPS = Struct(">BBHIhB")
_MAX_16 = 0xFFFF


def carries_track(track: Track) -> bool:
    """Whether MP4 has a place for this track."""
    return track.codec in CODECS


def sample_entry(parameters: Parameters | None) -> bytes:
    """The sample entry of a track; WireError `fmp4-no-parameters` where it cannot be told."""
    match parameters:
        case H264Parameters():
            return _visual(b"avc1", parameters, box(b"avcC", parameters.decoder_configuration()))
        case H265Parameters():
            return _visual(b"hvc1", parameters, box(b"hvcC", parameters.decoder_configuration()))
        case Av1Parameters():
            return _visual(b"av01", parameters, box(b"av1C", parameters.decoder_configuration()))
        case Vp8Parameters():
            return _visual(b"vp08", parameters, _vpcc(parameters.decoder_configuration()))
        case Vp9Parameters():
            return _visual(b"vp09", parameters, _vpcc(parameters.decoder_configuration()))
        case AacParameters():
            return _audio(b"mp4a", parameters, _esds(_AAC_OBJECT, parameters.config))
        case Mp3Parameters():
            kind = _MPEG1_AUDIO if parameters.is_mpeg1 else _MPEG2_AUDIO
            return _audio(b"mp4a", parameters, _esds(kind, b""))
        case OpusParameters():
            return _audio(b"Opus", parameters, box(b"dOps", _opus(parameters)))
        case Eac3Parameters():
            return _audio(b"ec-3", parameters, box(b"dec3", _eac3(parameters)))
        case Ac3Parameters():
            return _audio(b"ac-3", parameters, box(b"dac3", _ac3(parameters)))
        case _:
            raise WireError("fmp4-no-parameters")


def _visual(kind: bytes, parameters: VideoParameters, configuration: bytes) -> bytes:
    head = _VISUAL.pack(
        1,  # data_reference_index
        min(parameters.width, _MAX_16),
        min(parameters.height, _MAX_16),
        _DPI_72,
        _DPI_72,
        1,  # frame_count
        bytes(32),  # compressorname
        0x18,  # depth
        -1,
    )
    return box(kind, head, configuration)


def _audio(kind: bytes, parameters: AudioParameters, configuration: bytes) -> bytes:
    rate = parameters.sample_rate if parameters.sample_rate <= _MAX_16 else 0
    head = _AUDIO.pack(1, min(parameters.channels, _MAX_16), 16, rate << 16)
    return box(kind, head, configuration)


def _vpcc(record: bytes) -> bytes:
    return full_box(b"vpcC", 1, 0, record)


def _esds(object_type: int, config: bytes) -> bytes:
    """ES_Descriptor, DecoderConfigDescriptor, DecoderSpecificInfo, SLConfigDescriptor."""
    info = descriptor(0x05, config) if config else b""
    decoder = _DECODER_CONFIG.pack(object_type, _AUDIO_STREAM, 0, 0, 0)
    return full_box(
        b"esds",
        0,
        0,
        descriptor(
            0x03,
            bytes(3),  # ES_ID, flags
            descriptor(0x04, decoder, info),
            descriptor(0x06, b"\x02"),
        ),
    )


def _opus(parameters: OpusParameters) -> bytes:
    """OpusSpecificBox: the numbers of OpusHead, big endian."""
    family = parameters.id_header()[18]
    head = _DOPS.pack(
        0, parameters.channels, parameters.pre_skip, parameters.sample_rate, 0, family
    )
    if not family:
        return head
    return head + bytes((parameters.stream_count, parameters.coupled_count)) + parameters.mapping


def _ac3(parameters: Ac3Parameters) -> bytes:
    value = _rate_code(parameters) << 22 | parameters.bsid << 17 | parameters.bsmod << 14
    value |= parameters.acmod << 11 | parameters.has_lfe << 10 | parameters.bit_rate_code << 5
    return value.to_bytes(3, "big")


def _eac3(parameters: Eac3Parameters) -> bytes:
    """One independent substream; its data rate is left at 0, since it may change all the time."""
    value = _rate_code(parameters) << 22 | parameters.bsid << 17 | parameters.bsmod << 12
    value |= parameters.acmod << 9 | parameters.has_lfe << 8
    dependent = parameters.substreams - 1
    if dependent <= 0:
        return bytes(2) + value.to_bytes(3, "big")
    # chan_loc is the part of chanmap from Lc/Rc to LFE2.
    places = parameters.locations >> 2 & 0x1FF
    head = value | min(dependent, 15) << 1 | places >> 8
    return bytes(2) + head.to_bytes(3, "big") + bytes((places & 0xFF,))


def _rate_code(parameters: Ac3Parameters) -> int:
    """`fscod`; half and quarter rates have that of the whole one in AC-3, 3 in E-AC-3."""
    rate = parameters.sample_rate
    if parameters.bsid in (9, 10):
        rate <<= parameters.bsid - PLAIN_BSID
    return SAMPLE_RATES.index(rate) if rate in SAMPLE_RATES else 3
