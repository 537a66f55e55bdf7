"""Coded pictures of codecs other than H.264 and H.265: from clips, or made on the spot by PyAV."""

from fractions import Fraction
from functools import cache

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from tests.support.nal import CLIPS

VP9_CLIP = CLIPS / "bbb_642x642_768kbps_30fps_vp9.webm"
AV1_CLIP = CLIPS / "sample_av1.mp4"


def packets_of_clip(name: str) -> list[tuple[bytes, bool]]:
    """Data of each video packet of a clip, and whether the container calls it a key frame."""
    with av.open(str(CLIPS / name)) as container:
        return [
            (bytes(packet), packet.is_keyframe)
            for packet in container.demux(video=0)
            if packet.dts is not None
        ]


@cache
def encoded(
    codec: str,
    count: int = 12,
    size: tuple[int, int] = (320, 240),
    pixels: str = "yuv420p",
    options: tuple[tuple[str, str], ...] = (),
) -> tuple[tuple[bytes, bool], ...]:
    """Moving noise as an encoder of FFmpeg makes it: data, and whether it is a key frame."""
    context = av.CodecContext.create(codec, "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height = size
    context.pix_fmt = pixels
    context.time_base = Fraction(1, 30)
    context.framerate = Fraction(30)
    context.gop_size = 6
    if pixels.startswith("yuvj"):
        context.color_range = 2
    context.options = _options(codec) | dict(options)
    random = np.random.default_rng(7)
    noise = random.integers(0, 256, (size[1] + count, size[0], 3), np.uint8)
    found: list[tuple[bytes, bool]] = []
    for index in range(count):
        frame = av.VideoFrame.from_ndarray(noise[index : index + size[1]], "rgb24")
        frame = frame.reformat(format=pixels)
        frame.pts = index
        found += [(bytes(p), p.is_keyframe) for p in context.encode(frame)]
    found += [(bytes(p), p.is_keyframe) for p in context.encode(None)]
    return tuple(found)


def _options(codec: str) -> dict[str, str]:
    if codec.startswith("libvpx"):
        return {"deadline": "realtime", "cpu-used": "8", "b": "1M"}
    return {"qmin": "3", "qmax": "3", "huffman": "default"} if codec == "mjpeg" else {}


def pixels_of(codec: str, data: bytes) -> bytes:
    """The pixels of one picture that needs no other."""
    context = av.CodecContext.create(codec, "r")
    assert isinstance(context, VideoCodecContext)
    (frame,) = (*context.decode(av.Packet(data)), *context.decode(None))
    return frame.reformat(format="rgb24").to_ndarray().tobytes()
