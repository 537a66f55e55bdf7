"""VP9: what its key frames say (VP9 Bitstream Specification v0.6, section 6.2), and superframes.

Several frames of one time travel as a superframe: the frames, and an index with their sizes behind
(Annex B). Decoders need the index where a unit holds more than one frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from flux.base.bits import BitReader
from flux.base.errors import WireError
from media.codecs.vpc import COLOCATED, UNKNOWN_COLOUR, configuration_record
from media.parameters import VideoParameters

FRAME_MARKER = 2
SYNC_CODE = 0x498342
SRGB = 7  # color_space
MAX_HEADER_BYTES = 20  # of an uncompressed header as far as it is read
MAX_SUPERFRAME = 8
INDEX_MARKER = 0xC0

# Level, luma samples a second, luma samples of a picture, longest side: Annex A. Rates are for
# USUAL_RATE pictures a second: the stream does not say how many there will be.
USUAL_RATE = 60
LEVELS = (
    (10, 829_440, 36_864, 512),
    (11, 2_764_800, 73_728, 768),
    (20, 4_608_000, 122_880, 960),
    (21, 9_216_000, 245_760, 1344),
    (30, 20_736_000, 552_960, 2048),
    (31, 36_864_000, 983_040, 2752),
    (40, 83_558_400, 2_228_224, 4160),
    (41, 160_432_128, 2_228_224, 4160),
    (50, 311_951_360, 8_912_896, 8384),
    (51, 588_251_136, 8_912_896, 8384),
    (52, 1_176_502_272, 8_912_896, 8384),
    (60, 1_176_502_272, 35_651_584, 16832),
    (61, 2_353_004_544, 35_651_584, 16832),
)
HIGHEST_LEVEL = 62

# color_space to primaries, transfer and matrix of ISO/IEC 23001-8.
COLOURS = {1: (5, 6, 5), 2: (1, 1, 1), 3: (6, 6, 6), 4: (7, 7, 7), 5: (9, 14, 9), SRGB: (1, 13, 0)}
SUBSAMPLINGS = {(1, 1): COLOCATED, (1, 0): 2, (0, 0): 3, (0, 1): 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vp9Parameters(VideoParameters):
    """One version of a VP9 track."""

    profile: int = 0  # 0 to 3
    bit_depth: int = 8
    subsampling: int = COLOCATED  # chromaSubsampling of the configuration record
    is_full_range: bool = False
    colour: tuple[int, int, int] = (UNKNOWN_COLOUR,) * 3  # primaries, transfer, matrix

    @classmethod
    def read(cls, frame: bytes, version: int = 0) -> Self | None:
        """Parameters of a key frame, which may begin a superframe; None for other frames.

        Raises `WireError` if it is malformed. Of spatial layers in one superframe the size is that
        of the lowest: it alone is a key frame.
        """
        if not is_key_frame(frame):
            return None
        reader = BitReader(frame[:MAX_HEADER_BYTES])
        reader.skip(2)
        profile = reader.bits(1) | reader.bits(1) << 1
        # reserved_zero, show_existing_frame, frame_type, show_frame, error_resilient_mode
        reader.skip(5 if profile == 3 else 4)
        if reader.bits(24) != SYNC_CODE:
            raise WireError("vp9-no-sync-code")
        bit_depth = 8
        if profile >= 2:
            bit_depth = 12 if reader.flag() else 10
        colour_space = reader.bits(3)
        has_subsampling = bool(profile & 1)
        subsampling = (1, 1)
        if colour_space == SRGB:
            is_full_range = True
            subsampling = (0, 0)
            reader.skip(1 if has_subsampling else 0)
        else:
            is_full_range = reader.flag()
            if has_subsampling:
                subsampling = (reader.bits(1), reader.bits(1))
                reader.skip(1)
        width, height = reader.bits(16) + 1, reader.bits(16) + 1
        return cls(
            version=version,
            width=width,
            height=height,
            reorder_frames=0,
            profile=profile,
            bit_depth=bit_depth,
            subsampling=SUBSAMPLINGS[subsampling],
            is_full_range=is_full_range,
            colour=COLOURS.get(colour_space, (UNKNOWN_COLOUR,) * 3),
        )

    @property
    def level(self) -> int:
        """The lowest level for this size at 60 pictures a second, times ten."""
        samples = self.width * self.height
        longest = max(self.width, self.height)
        for level, rate, picture, side in LEVELS:
            if samples * USUAL_RATE <= rate and samples <= picture and longest <= side:
                return level
        return HIGHEST_LEVEL

    def codec_string(self) -> str:
        """`vp09.` with profile, level and bit depth, the mandatory fields of the binding."""
        return f"vp09.{self.profile:02}.{self.level}.{self.bit_depth:02}"

    def decoder_configuration(self) -> bytes:
        """The VPCodecConfigurationRecord."""
        return configuration_record(
            self.profile,
            self.level,
            self.bit_depth,
            self.subsampling,
            self.is_full_range,
            self.colour,
        )


def is_key_frame(frame: bytes) -> bool:
    """Tell whether a frame, or the first of a superframe, is a key frame."""
    if not frame or frame[0] >> 6 != FRAME_MARKER:
        return False
    # frame_marker(2) profile(2), reserved_zero in profile 3, show_existing_frame(1), frame_type(1)
    shift = 1 if frame[0] & 0x30 == 0x30 else 2
    return not frame[0] >> shift & 3


def split_superframe(data: bytes) -> list[bytes]:
    """The frames of a superframe; what has no valid index is one frame."""
    marker = data[-1] if data else 0
    if marker & 0xE0 == INDEX_MARKER:
        count = (marker & 7) + 1
        width = (marker >> 3 & 3) + 1
        at = len(data) - 2 - width * count
        if at >= 0 and data[at] == marker:
            sizes = [
                int.from_bytes(data[at + 1 + width * i : at + 1 + width * (i + 1)], "little")
                for i in range(count)
            ]
            if sum(sizes) <= at:
                frames: list[bytes] = []
                start = 0
                for size in sizes:
                    if size:
                        frames.append(data[start : start + size])
                    start += size
                return frames
    return [data]


def join_superframe(frames: Sequence[bytes]) -> bytes:
    """The reverse of `split_superframe`; `WireError` beyond eight frames. One frame stays as it is.

    A hidden frame alone needs no index either.
    """
    if len(frames) == 1:
        return frames[0]
    if not 0 < len(frames) <= MAX_SUPERFRAME:
        raise WireError("vp9-superframe-size", str(len(frames)))
    width = (max(map(len, frames)).bit_length() + 7) // 8 or 1
    if width > 4:
        raise WireError("vp9-superframe-size")
    marker = bytes((INDEX_MARKER | width - 1 << 3 | len(frames) - 1,))
    sizes = [len(frame).to_bytes(width, "little") for frame in frames]
    return b"".join((*frames, marker, *sizes, marker))
