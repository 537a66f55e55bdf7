"""Pictures of clips as FFmpeg decodes them, JPEGs read back, and how alike two pictures are."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # height x width x 3, RGB of the full range


def key_pictures(clip: Path) -> list[Pixels]:
    """Every key frame of a clip's video, decoded from the file itself; square pixels or not."""
    found = []
    with av.open(str(clip)) as opened:
        opened.streams.video[0].codec_context.skip_frame = "NONKEY"  # they stand for themselves
        for frame in opened.decode(video=0):
            if frame.key_frame:
                known = frame.colorspace in (1, 5, 6, 9)
                colours = frame.colorspace if known else 1 if frame.height >= 720 else 5
                found.append(
                    frame.reformat(
                        format="rgb24",
                        src_colorspace=colours,
                        dst_color_range=ColorRange.JPEG,
                    )
                    .to_ndarray()
                    .astype(np.uint8, copy=False)
                )
    return found


def read_jpeg(data: bytes) -> Pixels:
    """The picture of a JPEG, as browsers take its colours."""
    context = av.CodecContext.create("mjpeg", "r")
    assert isinstance(context, VideoCodecContext)
    (frame,) = (*context.decode(av.Packet(data)), *context.decode(None))
    return (
        frame.reformat(
            format="rgb24",
            src_colorspace=Colorspace.ITU601,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.JPEG,
        )
        .to_ndarray()
        .astype(np.uint8, copy=False)
    )


def scaled(picture: Pixels, width: int, height: int) -> Pixels:
    """The picture in another size."""
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    return frame.reformat(width, height, "rgb24").to_ndarray().astype(np.uint8, copy=False)


def psnr(one: Pixels, other: Pixels) -> float:
    """Peak signal to noise ratio in dB; above 30 two pictures look the same."""
    difference = one.astype(np.float64) - other.astype(np.float64)
    error = float((difference**2).mean())
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


def pixel_aspect(clip: Path) -> Fraction:
    """The shape of a clip's pixels."""
    with av.open(str(clip)) as opened:
        return opened.streams.video[0].sample_aspect_ratio or Fraction(1)
