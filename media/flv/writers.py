"""Frames of one codec as FLV tags: one writer class for each form of tag.

A writer keeps what is the same for all tags of its track ready packed, so that a tag costs one
`Struct.pack` for everything up to the payload, one for PreviousTagSize and one `b"".join`.
"""

from struct import Struct
from typing import ClassVar, Protocol

from media.codecs.aac import AacParameters
from media.codecs.h264 import H264Parameters
from media.codecs.h265 import H265Parameters
from media.codecs.mp3 import LAYER_3, Mp3Parameters
from media.codecs.opus import OpusParameters
from media.flv import tags
from media.flv.amf import Value
from media.frame import Frame
from media.parameters import AudioParameters, Parameters, VideoParameters

OPUS_RATE_HZ = 48_000
G711_RATE_HZ = 8_000

_VIDEO = tags.TAG_VIDEO << 24
_AUDIO = tags.TAG_AUDIO << 24
_U32 = Struct(">I")
_HEAD_16 = Struct(">IIII")
_HEAD_20 = Struct(">IIIII")
_HEAD_13 = Struct(">IIIB")
_HEAD_12 = Struct(">III")
_HEAD_16_4 = Struct(">III4s")
_HEAD_19_4 = Struct(">III4sHB")


class Writer(Protocol):
    """What the muxer asks of a codec."""

    needs_header: ClassVar[bool]  # nothing can be played before the sequence header

    def sequence_header(self, parameters: Parameters | None) -> bytes:
        """The body of the sequence header tag; empty where the codec or the moment has none."""

    def metadata(self, parameters: Parameters | None) -> dict[str, Value]:
        """This track's part of onMetaData; E.5."""

    def tag(self, frame: Frame, dts_ms: int, cts_ms: int) -> bytes:
        """The frame as a whole tag; the payload is not empty."""


class AvcWriter:
    """H.264, and H.265 under the codec id 12 that came before the standard; E.4.3.1."""

    needs_header: ClassVar[bool] = True

    def __init__(self, codec_id: int = tags.VIDEO_AVC) -> None:
        self._codec_id = codec_id
        self._key = tags.FRAME_KEY | codec_id
        self._inter = tags.FRAME_INTER | codec_id

    def sequence_header(self, parameters: Parameters | None) -> bytes:
        """The parameter sets as a decoder configuration record."""
        if isinstance(parameters, H264Parameters):
            return tags.avc_sequence_header(parameters.decoder_configuration())
        if isinstance(parameters, H265Parameters):
            return tags.hevc_sequence_header(parameters.decoder_configuration(), legacy=True)
        return b""

    def metadata(self, parameters: Parameters | None) -> dict[str, Value]:
        """Picture size, rate and codec id."""
        return _video_metadata(parameters, self._codec_id)

    def tag(self, frame: Frame, dts_ms: int, cts_ms: int) -> bytes:
        """AVCVIDEOPACKET: NAL units with lengths of four bytes."""
        payload = frame.payload
        stamp = (dts_ms & 0xFFFFFF) << 8 | dts_ms >> 24 & 0xFF
        first = self._key if frame.key else self._inter
        packet = tags.CODED_FRAMES << 24 | cts_ms & 0xFFFFFF
        if len(payload) == 1:
            nal = payload[0]
            length = len(nal)
            size = 9 + length
            return b"".join(
                (
                    _HEAD_20.pack(_VIDEO | size, stamp, first, packet, length),
                    nal,
                    _U32.pack(size + 11),
                )
            )
        pieces = [b""]
        size = 5
        for nal in payload:
            length = len(nal)
            size += 4 + length
            pieces.append(_U32.pack(length))
            pieces.append(nal)
        pieces[0] = _HEAD_16.pack(_VIDEO | size, stamp, first, packet)
        pieces.append(_U32.pack(size + 11))
        return b"".join(pieces)


class HevcWriter:
    """H.265 as enhanced video with the FourCC `hvc1`."""

    needs_header: ClassVar[bool] = True
    _key = tags.VIDEO_ENHANCED | tags.FRAME_KEY
    _inter = tags.VIDEO_ENHANCED | tags.FRAME_INTER

    def sequence_header(self, parameters: Parameters | None) -> bytes:
        """The parameter sets as a decoder configuration record."""
        if isinstance(parameters, H265Parameters):
            return tags.hevc_sequence_header(parameters.decoder_configuration(), legacy=False)
        return b""

    def metadata(self, parameters: Parameters | None) -> dict[str, Value]:
        """Picture size, rate and the FourCC as a number."""
        return _video_metadata(parameters, int.from_bytes(tags.FOURCC_HEVC, "big"))

    def tag(self, frame: Frame, dts_ms: int, cts_ms: int) -> bytes:
        """`CodedFramesX` where PTS equals DTS, `CodedFrames` elsewhere."""
        stamp = (dts_ms & 0xFFFFFF) << 8 | dts_ms >> 24 & 0xFF
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
            pieces[0] = _HEAD_19_4.pack(
                _VIDEO | size,
                stamp,
                first | tags.CODED_FRAMES,
                tags.FOURCC_HEVC,
                cts_ms >> 8 & 0xFFFF,
                cts_ms & 0xFF,
            )
        else:
            pieces[0] = _HEAD_16_4.pack(
                _VIDEO | size, stamp, first | tags.CODED_FRAMES_X, tags.FOURCC_HEVC
            )
        pieces.append(_U32.pack(size + 11))
        return b"".join(pieces)


class AacWriter:
    """AAC; E.4.2.1."""

    needs_header: ClassVar[bool] = True
    _first = tags.AUDIO_AAC << 4 | tags.AUDIO_44KHZ | tags.AUDIO_16BIT | tags.AUDIO_STEREO

    def sequence_header(self, parameters: Parameters | None) -> bytes:
        """The AudioSpecificConfig."""
        if isinstance(parameters, AacParameters):
            return tags.aac_sequence_header(parameters.config)
        return b""

    def metadata(self, parameters: Parameters | None) -> dict[str, Value]:
        """Codec id, rate and channels."""
        return _audio_metadata(parameters, tags.AUDIO_AAC, 0)

    def tag(self, frame: Frame, dts_ms: int, cts_ms: int) -> bytes:
        """AACAUDIODATA with one raw frame."""
        size = 2 + frame.size_bytes
        stamp = (dts_ms & 0xFFFFFF) << 8 | dts_ms >> 24 & 0xFF
        return b"".join(
            (
                _HEAD_13.pack(_AUDIO | size, stamp, self._first, tags.CODED_FRAMES),
                *frame.payload,
                _U32.pack(size + 11),
            )
        )


class OpusWriter:
    """Opus as enhanced audio with the FourCC `Opus`."""

    needs_header: ClassVar[bool] = True
    _first = tags.AUDIO_ENHANCED << 4 | tags.CODED_FRAMES

    def sequence_header(self, parameters: Parameters | None) -> bytes:
        """The identification header."""
        if isinstance(parameters, OpusParameters):
            return tags.opus_sequence_header(parameters.id_header())
        return b""

    def metadata(self, parameters: Parameters | None) -> dict[str, Value]:
        """The FourCC as a number, rate and channels."""
        return _audio_metadata(parameters, int.from_bytes(tags.FOURCC_OPUS, "big"), OPUS_RATE_HZ)

    def tag(self, frame: Frame, dts_ms: int, cts_ms: int) -> bytes:
        """One packet as `CodedFrames`."""
        size = 5 + frame.size_bytes
        stamp = (dts_ms & 0xFFFFFF) << 8 | dts_ms >> 24 & 0xFF
        return b"".join(
            (
                _HEAD_16_4.pack(_AUDIO | size, stamp, self._first, tags.FOURCC_OPUS),
                *frame.payload,
                _U32.pack(size + 11),
            )
        )


class Mp3Writer:
    """MP3; E.4.2.1. Each frame has a header of its own, which players go by.

    The rate bits know 44.1, 22.05 and 11.025 kHz only: other rates get those of their family. Sound
    format 14, meant for 8 kHz, is what ffmpeg and browser players do not read.
    """

    needs_header: ClassVar[bool] = False

    def __init__(self) -> None:
        self._parameters: Parameters | None = None
        self._first = 0  # what a tag begins with; 0: FLV has no place for it

    def sequence_header(self, parameters: Parameters | None) -> bytes:
        """None is needed."""
        return b""

    def metadata(self, parameters: Parameters | None) -> dict[str, Value]:
        """Codec id, rate and channels."""
        return _audio_metadata(parameters, tags.AUDIO_MP3, 0)

    def tag(self, frame: Frame, dts_ms: int, cts_ms: int) -> bytes:
        """The frame as it is; empty for layers I and II, which FLV has no name for."""
        if frame.parameters is not self._parameters:
            self._parameters = frame.parameters
            self._first = _mp3_first(frame.parameters)
        if not self._first:
            return b""
        size = 1 + frame.size_bytes
        stamp = (dts_ms & 0xFFFFFF) << 8 | dts_ms >> 24 & 0xFF
        return b"".join(
            (
                _HEAD_12.pack(_AUDIO | size, stamp, self._first),
                *frame.payload,
                _U32.pack(size + 11),
            )
        )


def _mp3_first(parameters: Parameters | None) -> int:
    if not isinstance(parameters, Mp3Parameters) or parameters.layer != LAYER_3:
        return 0
    rate = parameters.sample_rate
    first = tags.AUDIO_MP3 << 4 | tags.AUDIO_16BIT
    if parameters.channels > 1:
        first |= tags.AUDIO_STEREO
    if rate >= 32_000:
        return first | tags.AUDIO_44KHZ
    return first | (tags.AUDIO_22KHZ if rate >= 16_000 else tags.AUDIO_11KHZ)


class G711Writer:
    """G.711, which FLV knows at 8000 Hz only; E.4.2.1."""

    needs_header: ClassVar[bool] = False

    def __init__(self, codec_id: int, parameters: Parameters | None) -> None:
        self._codec_id = codec_id
        stereo = isinstance(parameters, AudioParameters) and parameters.channels > 1
        self._first = codec_id << 4 | tags.AUDIO_16BIT | (tags.AUDIO_STEREO if stereo else 0)

    def sequence_header(self, parameters: Parameters | None) -> bytes:
        """None is needed."""
        return b""

    def metadata(self, parameters: Parameters | None) -> dict[str, Value]:
        """Codec id, rate and channels."""
        return _audio_metadata(parameters, self._codec_id, G711_RATE_HZ)

    def tag(self, frame: Frame, dts_ms: int, cts_ms: int) -> bytes:
        """The samples as they are."""
        size = 1 + frame.size_bytes
        stamp = (dts_ms & 0xFFFFFF) << 8 | dts_ms >> 24 & 0xFF
        return b"".join(
            (
                _HEAD_12.pack(_AUDIO | size, stamp, self._first),
                *frame.payload,
                _U32.pack(size + 11),
            )
        )


def _video_metadata(parameters: Parameters | None, codec_id: int) -> dict[str, Value]:
    values: dict[str, Value] = {}
    if isinstance(parameters, VideoParameters):
        if parameters.width and parameters.height:
            values["width"] = float(parameters.width)
            values["height"] = float(parameters.height)
        if parameters.frame_rate_num:
            values["framerate"] = parameters.frame_rate_num / parameters.frame_rate_den
    values["videocodecid"] = float(codec_id)
    return values


def _audio_metadata(parameters: Parameters | None, codec_id: int, rate_hz: int) -> dict[str, Value]:
    values: dict[str, Value] = {"audiocodecid": float(codec_id)}
    channels = 1
    if isinstance(parameters, AudioParameters):
        rate_hz = parameters.sample_rate or rate_hz
        channels = parameters.channels or 1
    if rate_hz:
        values["audiosamplerate"] = float(rate_hz)
    values["audiosamplesize"] = 16.0
    values["stereo"] = channels > 1
    return values
