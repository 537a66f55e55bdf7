"""Encoders of slates: pictures and sound in, the units of one repetition out, in any codec.

A unit is what a frame's payload is (`media/frame.py`): NAL units, OBUs, one picture, one packet.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.codec.context import Flags
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from numpy.typing import NDArray

from flux.workers.link import Refusal
from flux.workers.sound_codecs import LAYOUTS, OPUS_FRAME_MS, sound_encoder
from media.codecs.nal import split_annexb
from media.codecs.obu import obu_type, split_obus
from media.track import (
    AAC,
    AC3,
    AV1,
    EAC3,
    G722,
    G726,
    H264,
    H265,
    L16,
    MJPEG,
    MP3,
    OPUS,
    PCMA,
    PCMU,
    VP8,
    VP9,
)

Samples = NDArray[np.float32]  # channels, samples
Unit = tuple[bytes, ...]

MAX_VIDEO_BPS = 4_000_000
OPUS_HZ = 48_000
PACKET = Fraction(1, 50)  # seconds of sound in a packet, where the codec leaves it open
HD_HEIGHT = 720

TEMPORAL_DELIMITER, SEQUENCE_HEADER, TILE_LIST, PADDING = 2, 1, 8, 15  # OBU types, AV1 section 6.2
DROPPED_OBUS = frozenset({TEMPORAL_DELIMITER, TILE_LIST, PADDING})
H264_PROFILES = {66: "baseline", 77: "main", 100: "high", 110: "high"}
H264_SETS, H264_ASIDE = frozenset({7, 8}), frozenset({7, 8, 9, 12})
H265_SETS, H265_ASIDE = frozenset({32, 33, 34}), frozenset({32, 33, 34, 35, 38})


class NoSlate(Refusal):
    """There can be no slate."""


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """What the stream's pictures are like."""

    codec: str
    width: int
    height: int
    rate: Fraction  # pictures a second
    profile: int = 0  # H.264: profile_idc and level_idc, so that decoders need no others
    level: int = 0

    @property
    def gop(self) -> int:
        """Pictures from one key frame to the next: a second's."""
        return max(1, round(self.rate))


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """What the stream's sound is like."""

    codec: str
    sample_rate: int  # Hz of the encoder
    channels: int
    variant: int = 0  # MP3: the layer; G.726: bits of a sample, negative if packed as AAL2 has it

    @property
    def packet(self) -> int:
        """Samples of one packet."""
        fixed = {AAC: 1024, OPUS: OPUS_HZ * OPUS_FRAME_MS // 1000, AC3: 1536, EAC3: 1536}.get(
            self.codec, 0
        )
        if self.codec == MP3:
            fixed = 576 if self.variant != 2 and self.sample_rate < 32_000 else 1152
        return fixed or int(self.sample_rate * PACKET)


@dataclass(frozen=True, slots=True)
class Encoded:
    """The units of one track; those in `keys` can be started with."""

    configuration: Unit
    units: tuple[Unit, ...]
    keys: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all units."""
        return sum(len(piece) for unit in self.units for piece in unit)


# -- pictures --------------------------------------------------------------------------------


def _x264(form: VideoFormat) -> dict[str, str]:
    kbps = MAX_VIDEO_BPS // 1000
    return {
        "preset": "veryfast",
        "tune": "zerolatency",
        "profile": H264_PROFILES.get(form.profile, "main" if form.profile else "baseline"),
        "crf": "23",
        "forced-idr": "1",
        "x264-params": (
            f"keyint={form.gop}:min-keyint={form.gop}:scenecut=0:threads=1:sliced-threads=0:"
            f"vbv-maxrate={kbps}:vbv-bufsize={kbps}"
            + (f":level={form.level}" if form.level else "")
        ),
    }


def _x265(form: VideoFormat) -> dict[str, str]:
    kbps = MAX_VIDEO_BPS // 1000
    return {
        "preset": "ultrafast",
        "forced-idr": "1",
        "x265-params": (
            f"keyint={form.gop}:min-keyint={form.gop}:scenecut=0:bframes=0:open-gop=0:pools=none:"
            f"frame-threads=1:log-level=none:crf=26:vbv-maxrate={kbps}:vbv-bufsize={kbps}"
        ),
    }


def _vpx(form: VideoFormat) -> dict[str, str]:
    return {
        "deadline": "realtime",
        "cpu-used": "8",
        "lag-in-frames": "0",
        "auto-alt-ref": "0",
        "crf": "20",
        "b": "2M",
        "g": str(form.gop),
        "keyint_min": str(form.gop),
    }


def _svt(form: VideoFormat) -> dict[str, str]:
    return {
        "preset": "12",
        "crf": "40",
        "g": str(form.gop),
        "svtav1-params": f"keyint={form.gop}:pred-struct=1:scd=0:lp=1:enable-tf=0",
    }


def _mjpeg(form: VideoFormat) -> dict[str, str]:
    del form
    return {}


VIDEO: dict[str, tuple[str, Callable[[VideoFormat], dict[str, str]]]] = {
    H264: ("libx264", _x264),
    H265: ("libx265", _x265),
    VP8: ("libvpx", _vpx),
    VP9: ("libvpx-vp9", _vpx),
    AV1: ("libsvtav1", _svt),
    MJPEG: ("mjpeg", _mjpeg),
}


def encode_pictures(form: VideoFormat, pictures: Iterator[VideoFrame]) -> Encoded:
    """Encode the pictures of a repetition, yuv420p of the right size; raises `NoSlate`."""
    if form.codec not in VIDEO:
        raise NoSlate("slate-codec")
    name, options = VIDEO[form.codec]
    try:
        context = av.CodecContext.create(name, "w")
    except (ValueError, FFmpegError):
        raise NoSlate("slate-encoder") from None
    assert isinstance(context, VideoCodecContext)
    context.width, context.height = form.width, form.height
    context.pix_fmt = "yuvj420p" if form.codec == MJPEG else "yuv420p"
    context.time_base = 1 / form.rate
    context.framerate = form.rate
    context.thread_count = 1
    if form.codec in (H264, H265):
        context.flags |= Flags.global_header
        context.max_b_frames = 0
    if form.codec == MJPEG:
        context.qmin = context.qmax = 4
    context.options = options(form)
    context.open()
    units: list[Unit] = []
    keys: list[int] = []

    def take(packets: "Iterable[Packet[Any]]") -> None:
        for packet in packets:
            if packet.is_keyframe or form.codec == MJPEG:
                keys.append(len(units))
            units.append(_split(form.codec, bytes(packet)))

    for index, picture in enumerate(pictures):
        frame = picture.reformat(format="yuvj420p") if form.codec == MJPEG else picture
        frame.pts = index
        frame.time_base = context.time_base
        is_key = index % form.gop == 0
        frame.pict_type = PictureType.I if is_key else PictureType.NONE
        take(context.encode(frame))
    take(context.encode(None))
    if not units or not keys or keys[0]:
        raise NoSlate("slate-no-picture")
    return Encoded(_configuration(form.codec, context.extradata or b"", units[0]), tuple(units),
                   tuple(keys))  # fmt: skip


def _split(codec: str, data: bytes) -> Unit:
    """One packet of an encoder as a payload."""
    if codec == H264:
        return tuple(nal for nal in split_annexb(data) if nal[0] & 31 not in H264_ASIDE)
    if codec == H265:
        return tuple(nal for nal in split_annexb(data) if nal[0] >> 1 & 63 not in H265_ASIDE)
    if codec == AV1:
        return tuple(obu for obu in split_obus(data) if obu_type(obu) not in DROPPED_OBUS)
    return (data,)


def _configuration(codec: str, extradata: bytes, first: Unit) -> Unit:
    if codec == H264:
        return tuple(nal for nal in split_annexb(extradata) if nal[0] & 31 in H264_SETS)
    if codec == H265:
        return tuple(nal for nal in split_annexb(extradata) if nal[0] >> 1 & 63 in H265_SETS)
    if codec == AV1:
        return tuple(obu for obu in first if obu_type(obu) == SEQUENCE_HEADER)[:1]
    return ()


# -- sound -----------------------------------------------------------------------------------

AUDIO: dict[str, tuple[str, str]] = {  # encoder, format of its samples
    AAC: ("aac", "fltp"),
    OPUS: ("libopus", "flt"),
    MP3: ("libmp3lame", "fltp"),
    AC3: ("ac3", "fltp"),
    EAC3: ("eac3", "fltp"),
    PCMU: ("pcm_mulaw", "s16"),
    PCMA: ("pcm_alaw", "s16"),
    G722: ("g722", "s16"),
    G726: ("g726le", "s16"),
    L16: ("pcm_s16be", "s16"),
}
FEWEST = 8  # packets: a repetition of silence is short


def encode_sound(form: AudioFormat, seconds: float, sound: Samples | None) -> Encoded:
    """Encode a repetition of so many seconds; None is silence. Raises `NoSlate`."""
    if form.codec not in AUDIO or form.channels not in LAYOUTS:
        raise NoSlate("slate-codec")
    packet = form.packet
    count = max(1, -int(-seconds * form.sample_rate // packet)) if sound is not None else FEWEST
    samples = np.zeros((form.channels, (count + 4) * packet), np.float32)
    if sound is not None:
        length = min(sound.shape[1], count * packet)
        samples[:, :length] = sound[:, :length]
    context = _audio_context(form)
    units: list[Unit] = []

    def take(packets: "Iterable[Packet[Any]]") -> None:
        # What lies before sample 0 is the encoder's priming.
        units.extend((bytes(each),) for each in packets if (each.pts or 0) >= 0)

    for at in range(0, samples.shape[1], packet):
        take(context.encode(_audio_frame(form, samples[:, at : at + packet], at)))
    take(context.encode(None))
    if form.codec == G726:  # whose encoder cuts as it likes
        whole = b"".join(unit[0] for unit in units)
        size = packet * abs(form.variant or 4) // 8
        units = [(whole[at : at + size],) for at in range(0, len(whole) - size + 1, size)]
    if sound is None:
        units = units[2:]  # the first ones still fade in
    if len(units) < count:
        raise NoSlate("slate-no-sound")
    return Encoded((context.extradata or b"",), tuple(units[:count]), tuple(range(count)))


def _coder(form: AudioFormat) -> tuple[str, str]:
    """FFmpeg's name of the encoder, and the format of the samples that it takes."""
    if form.codec == MP3 and form.variant == 2:
        return "mp2", "s16"
    name, samples = AUDIO[form.codec]
    if form.codec == G726 and form.variant < 0:
        name = "g726"
    return name, samples


def _audio_context(form: AudioFormat) -> AudioCodecContext:
    bits = abs(form.variant or 4) if form.codec == G726 else 0
    options = {"code_size": str(bits)} if bits else {}
    rate = form.sample_rate
    try:
        return sound_encoder(form.codec, _coder(form), rate, form.channels, bits * rate, options)
    except (ValueError, FFmpegError):
        raise NoSlate("slate-encoder") from None


def _audio_frame(form: AudioFormat, samples: Samples, at: int) -> av.AudioFrame:
    _, sample_format = _coder(form)
    data: NDArray[np.float32] | NDArray[np.int16]
    if sample_format == "fltp":
        data = np.ascontiguousarray(samples)
    else:
        packed = samples.T.reshape(1, -1)
        if sample_format == "s16":
            data = np.ascontiguousarray(np.clip(packed * 32767, -32768, 32767).astype(np.int16))
        else:
            data = np.ascontiguousarray(packed)
    frame = av.AudioFrame.from_ndarray(data, sample_format, LAYOUTS[form.channels])
    frame.sample_rate = form.sample_rate
    frame.pts = at
    frame.time_base = Fraction(1, form.sample_rate)
    return frame
