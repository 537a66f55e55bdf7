"""Frames of one codec as legacy FLV tags: one writer class for each form of tag.

Those with a FourCC are in `media/flv/enhanced.py`.

A writer keeps what is the same for all tags of its track ready packed, so that a tag costs one
`Struct.pack` for everything up to the payload, one for PreviousTagSize and one `b"".join`.
"""

from struct import Struct
from typing import ClassVar, Protocol

from media.codecs.aac import AacParameters
from media.codecs.h264 import H264Parameters
from media.codecs.h265 import H265Parameters
from media.codecs.mp3 import LAYER_3, Mp3Parameters
from media.flv import tags
from media.flv.amf import Value
from media.frame import Frame
from media.parameters import AudioParameters, Parameters, VideoParameters

G711_RATE_HZ = 8_000

_VIDEO = tags.TAG_VIDEO << 24
_AUDIO = tags.TAG_AUDIO << 24
_U32 = Struct(">I")
_HEAD_16 = Struct(">IIII")
_HEAD_20 = Struct(">IIIII")
_HEAD_13 = Struct(">IIIB")
_HEAD_12 = Struct(">III")


class Writer(Protocol):
    """What the muxer asks of a codec."""

    @property
    def needs_header(self) -> bool:
        """Nothing can be played before the sequence header."""

    def sequence_header(self, parameters: Parameters | None) -> bytes:
        """The body of the sequence header tag; empty where the codec or the moment has none."""

    def supplement(self, parameters: Parameters | None) -> bytes:
        """The body of a tag that belongs behind the sequence header; mostly there is none."""

    def sequence_end(self) -> bytes:
        """The body of the tag that ends the track; empty where the codec has none."""

    def metadata(self, parameters: Parameters | None) -> dict[str, Value]:
        """This track's part of onMetaData; E.5."""

    def tag(self, frame: Frame, dts_ms: int, cts_ms: int) -> bytes:
        """The frame as a whole tag; the payload is not empty."""


class _Plain:
    """What most codecs do not have."""

    def supplement(self, parameters: Parameters | None) -> bytes:
        """None."""
        return b""

    def sequence_end(self) -> bytes:
        """None."""
        return b""


class AvcWriter(_Plain):
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
            return tags.hevc_sequence_header(parameters.decoder_configuration())
        return b""

    def sequence_end(self) -> bytes:
        """AVC end of sequence."""
        return bytes((self._key, tags.SEQUENCE_END, 0, 0, 0))

    def metadata(self, parameters: Parameters | None) -> dict[str, Value]:
        """Picture size, rate and codec id."""
        return video_metadata(parameters, self._codec_id)

    def tag(self, frame: Frame, dts_ms: int, cts_ms: int) -> bytes:
        """AVCVIDEOPACKET: NAL units with lengths of four bytes."""
        payload = frame.payload
        stamp = tags.timestamp_field(dts_ms)
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


class AacWriter(_Plain):
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
        return audio_metadata(parameters, tags.AUDIO_AAC, 0)

    def tag(self, frame: Frame, dts_ms: int, cts_ms: int) -> bytes:
        """AACAUDIODATA with one raw frame."""
        size = 2 + frame.size_bytes
        stamp = tags.timestamp_field(dts_ms)
        return b"".join(
            (
                _HEAD_13.pack(_AUDIO | size, stamp, self._first, tags.CODED_FRAMES),
                *frame.payload,
                _U32.pack(size + 11),
            )
        )


class Mp3Writer(_Plain):
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
        return audio_metadata(parameters, tags.AUDIO_MP3, 0)

    def tag(self, frame: Frame, dts_ms: int, cts_ms: int) -> bytes:
        """The frame as it is; empty for layers I and II, which FLV has no name for."""
        if frame.parameters is not self._parameters:
            self._parameters = frame.parameters
            self._first = _mp3_first(frame.parameters)
        if not self._first:
            return b""
        size = 1 + frame.size_bytes
        stamp = tags.timestamp_field(dts_ms)
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


class G711Writer(_Plain):
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
        return audio_metadata(parameters, self._codec_id, G711_RATE_HZ)

    def tag(self, frame: Frame, dts_ms: int, cts_ms: int) -> bytes:
        """The samples as they are."""
        size = 1 + frame.size_bytes
        stamp = tags.timestamp_field(dts_ms)
        return b"".join(
            (
                _HEAD_12.pack(_AUDIO | size, stamp, self._first),
                *frame.payload,
                _U32.pack(size + 11),
            )
        )


def video_metadata(parameters: Parameters | None, codec_id: int) -> dict[str, Value]:
    """Size, rate and codec of a picture, as far as they are known; E.5."""
    values: dict[str, Value] = {}
    if isinstance(parameters, VideoParameters):
        if parameters.width and parameters.height:
            values["width"] = float(parameters.width)
            values["height"] = float(parameters.height)
        if parameters.frame_rate_num:
            values["framerate"] = parameters.frame_rate_num / parameters.frame_rate_den
    values["videocodecid"] = float(codec_id)
    return values


def audio_metadata(parameters: Parameters | None, codec_id: int, rate_hz: int) -> dict[str, Value]:
    """Rate, channels and codec of a sound; E.5."""
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
