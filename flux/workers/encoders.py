"""H.264 and AAC encoders for live use, by PyAV: one picture in, its NALs out; and so for sound."""

from fractions import Fraction

import av
import numpy as np
from av.codec.context import Flags
from av.video.frame import PictureType
from numpy.typing import NDArray

from flux.workers.sound_codecs import sound_encoder
from media.codecs.nal import split_annexb
from media.track import AAC

AAC_FRAME_SAMPLES = 1024


class VideoEncoder:
    """libx264 without look-ahead and B-frames: one access unit out for every picture in.

    Constrained Baseline, so that every player, phone and WebRTC stack takes it. `bitrate` is an
    upper bound, since a quiet picture needs far less.
    """

    def __init__(self, width: int, height: int, rate: int, bitrate: int) -> None:
        context = av.VideoCodecContext.create("libx264", "w")
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base = Fraction(1, rate)
        context.framerate = Fraction(rate)
        context.max_b_frames = 0
        context.flags |= Flags.global_header
        kbps = bitrate // 1000
        context.options = {
            "preset": "superfast",
            "tune": "zerolatency",
            "profile": "baseline",
            "crf": "22",
            "forced-idr": "1",
            "x264-params": (
                "keyint=infinite:scenecut=0:threads=1:sliced-threads=0:weightp=0:mbtree=0:"
                f"vbv-maxrate={kbps}:vbv-bufsize={kbps}:"
                "colorprim=bt709:transfer=bt709:colormatrix=bt709:range=tv"
            ),
        }
        context.open()
        self._context = context
        extradata = context.extradata or b""
        sets = [nal for nal in split_annexb(extradata) if nal[0] & 31 in (7, 8)]
        self.configuration = tuple(sets)  # SPS, PPS

    def encode(self, pixels: NDArray[np.uint8], index: int, key: bool) -> tuple[bytes, ...]:
        """The NAL units of one picture; an IDR picture if `key`."""
        frame = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
        frame.pts = index
        frame.pict_type = PictureType.I if key else PictureType.NONE
        nals: list[bytes] = []
        for packet in self._context.encode(frame):
            nals += split_annexb(bytes(packet))
        return tuple(nals)


class AudioEncoder:
    """FFmpeg's AAC-LC encoder, both channels the same."""

    def __init__(self, sample_rate: int, bitrate: int) -> None:
        context = sound_encoder(AAC, ("aac", "fltp"), sample_rate, 2, bitrate)
        self._context = context
        self._sample_rate = sample_rate
        self.configuration = (context.extradata or b"",)  # AudioSpecificConfig

    def encode(self, samples: NDArray[np.float32], start: int) -> list[tuple[int, bytes]]:
        """The packets that 1024 samples from sample `start` on complete: (pts in samples, bytes).

        The encoder is one packet behind. The very first packet is its priming, which lies before
        sample 0, and is left out.
        """
        both = np.broadcast_to(samples, (2, len(samples)))
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(both), "fltp", "stereo")
        frame.sample_rate = self._sample_rate
        frame.pts = start
        frame.time_base = Fraction(1, self._sample_rate)
        return [
            (packet.pts, bytes(packet))
            for packet in self._context.encode(frame)
            if packet.pts is not None and packet.pts >= 0
        ]
