"""Frames of one codec as FLV tags with a FourCC: Veovera, "Enhanced RTMP v2".

    ExVideoTagHeader  bit 7 set, frame type, packet type; FourCC
    ExAudioTagHeader  sound format 9, packet type; FourCC

Only NAL unit codecs have a composition time. AV1 travels as OBUs with sizes, without temporal
delimiters, its sequence header in each key frame too. VPCodecConfigurationRecord stands behind the
version and flags of its MP4 box, as FFmpeg writes it. Sound of more than two channels may be told
where its channels belong.
"""

from struct import Struct
from typing import ClassVar

from media.codecs.aac import AacParameters, parse_config
from media.codecs.ac3 import Ac3Parameters
from media.codecs.av1 import Av1Parameters, sync_unit
from media.codecs.h264 import H264Parameters
from media.codecs.h265 import H265Parameters
from media.codecs.obu import join_obus
from media.codecs.opus import SURROUND_CHANNELS, OpusParameters
from media.codecs.vp8 import Vp8Parameters
from media.codecs.vp9 import Vp9Parameters
from media.flv import tags
from media.flv.amf import Value
from media.flv.writers import audio_metadata, video_metadata
from media.frame import Frame
from media.parameters import AudioParameters, Parameters
from media.track import AAC, AC3, AV1, EAC3, H264, H265, MP3, OPUS, VP8, VP9

VIDEO_FOURCC = {
    H264: tags.FOURCC_AVC,
    H265: tags.FOURCC_HEVC,
    AV1: tags.FOURCC_AV1,
    VP8: tags.FOURCC_VP8,
    VP9: tags.FOURCC_VP9,
}
AUDIO_FOURCC = {
    AAC: tags.FOURCC_AAC,
    MP3: tags.FOURCC_MP3,
    OPUS: tags.FOURCC_OPUS,
    AC3: tags.FOURCC_AC3,
    EAC3: tags.FOURCC_EAC3,
}
NAL_FOURCC = frozenset((tags.FOURCC_AVC, tags.FOURCC_HEVC))
HEADED_SOUND = frozenset((tags.FOURCC_AAC, tags.FOURCC_OPUS))  # others tell all in their frames

VPCC_HEAD = b"\x01\x00\x00\x00"  # version and flags of the box
NATIVE_ORDER = 1  # AudioChannelOrder: the channels of a mask, in its order
CUSTOM_ORDER = 2  # one AudioChannel for each
FL, FR, FC, LFE, BL, BR, _FLC, _FRC, BC, SL, SR = range(11)  # AudioChannel
UNUSED = 0xFE
# By channelConfiguration of MPEG-4 audio; others have a program config element of their own.
AAC_CHANNELS: dict[int, tuple[int, ...]] = {
    3: (FC, FL, FR),
    4: (FC, FL, FR, BC),
    5: (FC, FL, FR, BL, BR),
    6: (FC, FL, FR, BL, BR, LFE),
    11: (FC, FL, FR, BL, BR, BC, LFE),
    12: (FC, FL, FR, SL, SR, BL, BR, LFE),
}
# By acmod, without the low frequency channel.
AC3_CHANNELS: dict[int, tuple[int, ...]] = {
    3: (FL, FR, FC),
    4: (FL, FR, BC),
    5: (FL, FR, FC, BC),
    6: (FL, FR, SL, SR),
    7: (FL, FR, FC, SL, SR),
}
# The order of Vorbis, which mapping family 1 of Opus has: RFC 7845 section 5.1.1.2.
VORBIS_CHANNELS: dict[int, tuple[int, ...]] = {
    3: (FL, FC, FR),
    4: (FL, FR, BL, BR),
    5: (FL, FC, FR, BL, BR),
    6: (FL, FC, FR, BL, BR, LFE),
    7: (FL, FC, FR, SL, SR, BC, LFE),
    8: (FL, FC, FR, SL, SR, BL, BR, LFE),
}

_VIDEO = tags.TAG_VIDEO << 24
_AUDIO = tags.TAG_AUDIO << 24
_U32 = Struct(">I")
_HEAD = Struct(">III4s")
_HEAD_CTS = Struct(">III4sHB")


def video_configuration(parameters: Parameters | None) -> bytes:
    """What `SequenceStart` holds of a picture's codec."""
    match parameters:
        case H264Parameters() | H265Parameters() | Av1Parameters():
            return parameters.decoder_configuration()
        case Vp8Parameters() | Vp9Parameters():
            return VPCC_HEAD + parameters.decoder_configuration()
    return b""


class NalWriter:
    """H.264 and H.265."""

    needs_header: ClassVar[bool] = True
    _key = tags.VIDEO_ENHANCED | tags.FRAME_KEY
    _inter = tags.VIDEO_ENHANCED | tags.FRAME_INTER

    def __init__(self, fourcc: bytes) -> None:
        self._fourcc = fourcc

    def sequence_header(self, parameters: Parameters | None) -> bytes:
        """The configuration of the decoder."""
        configuration = video_configuration(parameters)
        return tags.enhanced_video_header(self._fourcc, configuration) if configuration else b""

    def supplement(self, parameters: Parameters | None) -> bytes:
        """None."""
        return b""

    def sequence_end(self) -> bytes:
        """`SequenceEnd`."""
        return bytes((self._key | tags.SEQUENCE_END,)) + self._fourcc

    def metadata(self, parameters: Parameters | None) -> dict[str, Value]:
        """Picture size, rate and the FourCC as a number."""
        return video_metadata(parameters, int.from_bytes(self._fourcc, "big"))

    def tag(self, frame: Frame, dts_ms: int, cts_ms: int) -> bytes:
        """`CodedFramesX` where PTS equals DTS, `CodedFrames` elsewhere."""
        stamp = tags.timestamp_field(dts_ms)
        first = self._key if frame.key else self._inter
        pieces = [b""]
        size = 5
        for nal in frame.payload:
            length = len(nal)
            size += 4 + length
            pieces.append(_U32.pack(length))
            pieces.append(nal)
        if cts_ms:
            size += 3
            pieces[0] = _HEAD_CTS.pack(
                _VIDEO | size,
                stamp,
                first | tags.CODED_FRAMES,
                self._fourcc,
                cts_ms >> 8 & 0xFFFF,
                cts_ms & 0xFF,
            )
        else:
            pieces[0] = _HEAD.pack(_VIDEO | size, stamp, first | tags.CODED_FRAMES_X, self._fourcc)
        pieces.append(_U32.pack(size + 11))
        return b"".join(pieces)


class PictureWriter(NalWriter):
    """AV1, VP8 and VP9: frames are shown in the order in which they come."""

    def __init__(self, fourcc: bytes) -> None:
        super().__init__(fourcc)
        self._has_obus = fourcc == tags.FOURCC_AV1

    def tag(self, frame: Frame, dts_ms: int, cts_ms: int) -> bytes:
        """`CodedFrames` with one temporal unit."""
        payload = frame.payload
        if not self._has_obus:
            data = b"".join(payload)
        elif frame.key:
            data = join_obus(sync_unit(payload, frame.parameters))
        else:
            data = join_obus(payload)
        stamp = tags.timestamp_field(dts_ms)
        first = (self._key if frame.key else self._inter) | tags.CODED_FRAMES
        size = 5 + len(data)
        head = _HEAD.pack(_VIDEO | size, stamp, first, self._fourcc)
        return b"".join((head, data, _U32.pack(size + 11)))


class SoundWriter:
    """Sound of any codec."""

    _first = tags.AUDIO_ENHANCED << 4 | tags.CODED_FRAMES

    def __init__(self, fourcc: bytes, *, tells_channels: bool = True) -> None:
        """`tells_channels`: whether readers know what a multichannel configuration is."""
        self._fourcc = fourcc
        self._tells_channels = tells_channels
        self.needs_header = fourcc in HEADED_SOUND

    def sequence_header(self, parameters: Parameters | None) -> bytes:
        """AudioSpecificConfig or OpusHead; none for codecs whose frames tell all."""
        match parameters:
            case AacParameters():
                return tags.enhanced_audio_header(self._fourcc, parameters.config)
            case OpusParameters():
                return tags.enhanced_audio_header(self._fourcc, parameters.id_header())
        return b""

    def supplement(self, parameters: Parameters | None) -> bytes:
        """`MultichannelConfig` for more than two channels."""
        content = multichannel(parameters) if self._tells_channels else b""
        if not content:
            return b""
        return tags.enhanced_audio_header(self._fourcc, content, tags.MULTICHANNEL)

    def sequence_end(self) -> bytes:
        """`SequenceEnd`."""
        return tags.enhanced_audio_header(self._fourcc, b"", tags.SEQUENCE_END)

    def metadata(self, parameters: Parameters | None) -> dict[str, Value]:
        """The FourCC as a number, rate and channels."""
        return audio_metadata(parameters, int.from_bytes(self._fourcc, "big"), 0)

    def tag(self, frame: Frame, dts_ms: int, cts_ms: int) -> bytes:
        """One packet as `CodedFrames`."""
        size = 5 + frame.size_bytes
        stamp = tags.timestamp_field(dts_ms)
        return b"".join(
            (
                _HEAD.pack(_AUDIO | size, stamp, self._first, self._fourcc),
                *frame.payload,
                _U32.pack(size + 11),
            )
        )


def multichannel(parameters: Parameters | None) -> bytes:
    """MultichannelConfig of more than two channels; empty where there are fewer, or none tells."""
    if not isinstance(parameters, AudioParameters) or parameters.channels < 3:
        return b""
    count = parameters.channels
    places: tuple[int, ...] = ()
    match parameters:
        case AacParameters():
            places = AAC_CHANNELS.get(parse_config(parameters.config).channel_configuration, ())
        case OpusParameters() if count <= SURROUND_CHANNELS:
            places = VORBIS_CHANNELS.get(count, ())
            return bytes((CUSTOM_ORDER, count, *places)) if len(places) == count else b""
        case Ac3Parameters():
            places = AC3_CHANNELS.get(parameters.acmod, ())
            if parameters.has_lfe:
                places = (*places, LFE)
    if len(places) != count:
        return b""
    mask = sum(1 << place for place in places)
    return bytes((NATIVE_ORDER, count)) + _U32.pack(mask)
