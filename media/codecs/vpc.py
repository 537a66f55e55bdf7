"""The configuration record of VP8 and VP9: "VP Codec ISO Media File Format Binding" v1.0."""

from struct import Struct

RECORD = Struct("!BBBBBBH")
COLOCATED = 1  # chromaSubsampling: 4:2:0, samples of chroma and luma (0,0) at the same place
UNKNOWN_COLOUR = 2  # ISO/IEC 23001-8: unspecified


def configuration_record(
    profile: int,
    level: int,
    bit_depth: int,
    subsampling: int = COLOCATED,
    is_full_range: bool = False,
    colour: tuple[int, int, int] = (UNKNOWN_COLOUR,) * 3,
) -> bytes:
    """The VPCodecConfigurationRecord, without the version and flags of its `vpcC` box (1 and 0).

    `colour` is primaries, transfer characteristics and matrix coefficients.
    """
    depth = bit_depth << 4 | subsampling << 1 | is_full_range
    return RECORD.pack(profile, level, depth, *colour, 0)
