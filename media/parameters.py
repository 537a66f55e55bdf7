"""What a decoder must know before the first frame: one immutable object per version of a track."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Base of the codecs' parameters; subclasses live in `media/codecs`."""

    version: int = 0  # grows by one with each change in the life of a stream

    def codec_string(self) -> str:
        """The RFC 6381 name for CODECS attributes, such as `avc1.64001f`; empty without one."""
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoParameters(Parameters):
    """What every video codec can tell; 0 means not known."""

    width: int = 0  # pixels, after cropping
    height: int = 0
    frame_rate_num: int = 0  # nominal frames: num / den a second
    frame_rate_den: int = 1
    reorder_frames: int | None = None  # max_num_reorder_frames; None where the stream does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioParameters(Parameters):
    """What every audio codec can tell."""

    sample_rate: int = 0  # Hz, of the decoded sound
    channels: int = 0
    frame_samples: int = 0  # samples of one frame in ticks of the track's clock; 0 if it varies
