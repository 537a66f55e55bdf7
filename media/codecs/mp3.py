"""MPEG audio, layers I to III: parameters and frame headers.

ISO/IEC 11172-3 section 2.4.1.3, ISO/IEC 13818-3 section 2.4.2.3 for the half sample rates; the
quarter rates ("MPEG 2.5") are no standard, and every encoder and decoder knows them.

The codec is called `mp3` whatever its layer is: RTP (`MPA`) and MPEG-TS have one name for all
three, and only a frame tells. Outputs that know layer III alone look at `Mp3Parameters.layer`.
"""

from dataclasses import dataclass
from typing import Self

from flux.base.errors import WireError
from flux.base.units import rescale
from media.parameters import AudioParameters

HEADER_BYTES = 4
MPEG_1, MPEG_2 = 3, 2  # the two bits after the sync word; 1 is reserved, 0 is MPEG 2.5
LAYER_3 = 3
MONO = 3
SAMPLE_RATES = (44100, 48000, 32000)  # of MPEG-1; half of it, and a quarter

_V1_L1 = (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448)
_V1_L2 = (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
_V1_L3 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_V2_L1 = (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256)
_V2_L23 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
# kbit/s by bitrate_index, from 1; rows are layers I to III.
_BIT_RATES = ((_V1_L1, _V1_L2, _V1_L3), (_V2_L1, _V2_L23, _V2_L23))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mp3Header:
    """A frame header, read."""

    size_bytes: int  # of the whole frame
    layer: int  # 1 to 3
    sample_rate: int  # Hz
    channels: int
    samples: int  # of one channel in this frame
    is_mpeg1: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Mp3Parameters(AudioParameters):
    """The configuration of an MPEG audio track, as the headers of its frames tell it."""

    layer: int = LAYER_3
    is_mpeg1: bool = True  # else the low sample rates of MPEG-2, or MPEG 2.5

    @classmethod
    def from_frame(cls, frame: bytes, clock_rate: int, version: int = 0) -> Self:
        """Parameters of a frame in a track of this clock; `WireError` if it has no header."""
        header = parse_header(frame)
        return cls(
            version=version,
            sample_rate=header.sample_rate,
            channels=header.channels,
            frame_samples=rescale(header.samples, header.sample_rate, clock_rate),
            layer=header.layer,
            is_mpeg1=header.is_mpeg1,
        )

    def codec_string(self) -> str:
        """`mp4a.40.34` for layer III: its MPEG-4 object type, RFC 6381 section 3.3."""
        return f"mp4a.40.{31 + self.layer}"


def parse_header(data: bytes, at: int = 0) -> Mp3Header:
    """Read the header at `data[at:]`; `WireError` if there is none, or no size in it."""
    if len(data) < at + HEADER_BYTES:
        raise WireError("mp3-malformed", "truncated")
    if data[at] != 0xFF or data[at + 1] < 0xE0:
        raise WireError("mp3-malformed", "syncword")
    second, third = data[at + 1], data[at + 2]
    mpeg = second >> 3 & 3
    layer = 4 - (second >> 1 & 3)
    rate_index = third >> 2 & 3
    bit_rate_index = third >> 4
    if mpeg == 1 or layer == 4 or rate_index == 3 or bit_rate_index == 15:
        raise WireError("mp3-malformed", "reserved values")
    if not bit_rate_index:
        raise WireError("mp3-free-format-unsupported")
    is_mpeg1 = mpeg == MPEG_1
    sample_rate = SAMPLE_RATES[rate_index] >> (0 if is_mpeg1 else 1 if mpeg == MPEG_2 else 2)
    bit_rate = _BIT_RATES[not is_mpeg1][layer - 1][bit_rate_index - 1] * 1000
    padding = third >> 1 & 1
    if layer == 1:
        samples = 384
        size = (12 * bit_rate // sample_rate + padding) * 4
    else:
        samples = 576 if layer == LAYER_3 and not is_mpeg1 else 1152
        size = samples // 8 * bit_rate // sample_rate + padding
    return Mp3Header(
        size_bytes=size,
        layer=layer,
        sample_rate=sample_rate,
        channels=1 if data[at + 3] >> 6 == MONO else 2,
        samples=samples,
        is_mpeg1=is_mpeg1,
    )
