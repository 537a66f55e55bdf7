"""FFmpeg's encoders of sound, set up in one way for all workers."""

from collections.abc import Mapping
from fractions import Fraction

import av
from av.audio.codeccontext import AudioCodecContext
from av.codec.context import Flags

from media.track import AAC, AC3, EAC3, MP3, OPUS

LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
BITRATES = {AAC: 64_000, OPUS: 48_000, MP3: 64_000, AC3: 96_000, EAC3: 96_000}  # of one channel
OPUS_FRAME_MS = 20
OPUS_OPTIONS = {"application": "audio", "frame_duration": str(OPUS_FRAME_MS)}


def sound_encoder(
    codec: str,
    coder: tuple[str, str],
    rate: int,
    channels: int,
    bitrate: int = 0,
    options: Mapping[str, str] | None = None,
) -> AudioCodecContext:
    """An open encoder; `coder` is FFmpeg's name of it and the format of the samples that it takes.

    `bitrate` is in bits a second, 0 the usual one of the codec. Raises `ValueError` or
    `FFmpegError` where there is no such encoder, or where it does not take what it is given.
    """
    name, form = coder
    context = av.CodecContext.create(name, "w")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate = rate
    context.format = form
    context.layout = LAYOUTS[channels]
    context.time_base = Fraction(1, rate)
    if bitrate or codec in BITRATES:
        context.bit_rate = bitrate or BITRATES[codec] * channels
    if codec == AAC:
        context.flags |= Flags.global_header
    context.options = OPUS_OPTIONS if codec == OPUS else dict(options or {})
    context.open()
    return context
