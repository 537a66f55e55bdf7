"""An operator's file as a slate: its pictures fitted into the stream's size and rate, its sound."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from flux.workers.slate_codecs import AudioFormat, NoSlate, Samples, VideoFormat
from flux.workers.sound_codecs import LAYOUTS

MAX_SECONDS = 60  # of a file that are taken
BLACK, NEUTRAL = 16, 128


def pictures(path: Path, form: VideoFormat) -> Iterator[VideoFrame]:
    """The file's pictures at the stream's rate, with bars where the shapes differ.

    Raises `NoSlate` where there are none.
    """
    interval = 1 / form.rate
    limit = int(MAX_SECONDS * form.rate)
    number = 0
    shown: NDArray[np.uint8] | None = None
    origin: Fraction | None = None
    last = Fraction(0)
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise NoSlate("slate-no-picture")
            stream = container.streams.video[0]
            length = Fraction(0)
            for frame in container.decode(stream):
                if frame.pts is None or frame.time_base is None:
                    continue
                at = frame.pts * frame.time_base
                origin = at if origin is None else origin
                while shown is not None and number * interval < at - origin and number < limit:
                    yield _frame(shown)
                    number += 1
                if number >= limit:
                    return
                shown = _fitted(frame, form)
                length = max(length, at - origin - last)
                last = at - origin
    except (FFmpegError, OSError, ValueError):
        raise NoSlate("slate-file") from None
    if shown is None:
        raise NoSlate("slate-no-picture")
    while number * interval < last + max(length, interval) and number < limit:
        yield _frame(shown)
        number += 1


def _frame(planes: NDArray[np.uint8]) -> VideoFrame:
    return VideoFrame.from_ndarray(planes, format="yuv420p")


def _fitted(frame: VideoFrame, form: VideoFormat) -> NDArray[np.uint8]:
    """The picture as planes of the stream's size."""
    ratio = min(Fraction(form.width, frame.width), Fraction(form.height, frame.height))
    width = max(2, int(frame.width * ratio) & ~1)
    height = max(2, int(frame.height * ratio) & ~1)
    small = frame.reformat(width, height, "yuv420p").to_ndarray()
    if (width, height) == (form.width, form.height):
        return np.ascontiguousarray(small)
    left, top = (form.width - width) // 4 * 2, (form.height - height) // 4 * 2
    flat = np.full(form.width * form.height * 3 // 2, NEUTRAL, np.uint8)
    area = form.width * form.height
    luma = flat[:area].reshape(form.height, form.width)
    luma[:] = BLACK
    luma[top : top + height, left : left + width] = small[:height]
    chroma = flat[area:].reshape(2, form.height // 2, form.width // 2)
    half = small[height:].reshape(2, height // 2, width // 2)
    chroma[:, top // 2 : top // 2 + height // 2, left // 2 : left // 2 + width // 2] = half
    return flat.reshape(form.height * 3 // 2, form.width)


def sound(path: Path, form: AudioFormat, seconds: float) -> Samples | None:
    """The file's sound in the stream's rate and channels; None if it has none."""
    wanted = int(seconds * form.sample_rate)
    pieces: list[Samples] = []
    count = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                return None
            resampler = av.AudioResampler("fltp", LAYOUTS[form.channels], form.sample_rate)
            for frame in container.decode(container.streams.audio[0]):
                for piece in resampler.resample(frame):
                    pieces.append(piece.to_ndarray().astype(np.float32))
                    count += pieces[-1].shape[1]
                if count >= wanted:
                    break
    except (FFmpegError, OSError, ValueError):
        raise NoSlate("slate-file") from None
    if not pieces:
        return None
    whole: Samples = np.concatenate(pieces, axis=1)
    return whole[:, :wanted]
