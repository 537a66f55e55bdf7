"""AV1: the sequence header and what is made of it (AV1 Bitstream Specification, section 5.5)."""

from dataclasses import dataclass
from typing import Self

from flux.base.bits import BitReader
from flux.base.errors import WireError
from media.codecs.nal import frame_rate
from media.codecs.obu import HAS_EXTENSION, SEQUENCE_HEADER, obu_type, with_size
from media.parameters import Parameters, VideoParameters

MAX_SEQUENCE_HEADER_BYTES = 1024
SELECT = 2  # SELECT_SCREEN_CONTENT_TOOLS
SRGB = (1, 13, 0)  # BT.709 primaries, sRGB transfer, identity matrix: always 4:4:4


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourConfig:
    """color_config(), section 5.5.2."""

    bit_depth: int
    is_monochrome: bool
    subsampling: tuple[int, int]  # across, down
    chroma_sample_position: int
    colour: tuple[int, int, int] | None  # primaries, transfer, matrix; None: not described
    is_full_range: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceHeader:
    """What a server needs of a sequence header OBU."""

    profile: int
    is_reduced: bool  # reduced_still_picture_header: every frame is a key frame
    level: int  # seq_level_idx[0]
    tier: int
    width: int
    height: int
    frame_rate: tuple[int, int]  # num, den; num is 0 where it is not known
    colours: ColourConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Av1Parameters(VideoParameters):
    """One version of an AV1 track."""

    obu: bytes  # the sequence header OBU without size field
    sequence: SequenceHeader

    @classmethod
    def build(cls, obu: bytes, version: int = 0) -> Self:
        """Parameters of a sequence header OBU without size field; `WireError` if it is none."""
        sequence = parse_sequence_header(obu)
        num, den = sequence.frame_rate
        return cls(
            version=version,
            width=sequence.width,
            height=sequence.height,
            frame_rate_num=num,
            frame_rate_den=den,
            reorder_frames=0,  # a temporal unit shows one frame, in the order of decoding
            obu=obu,
            sequence=sequence,
        )

    def codec_string(self) -> str:
        """`av01.` with profile, level, tier and bit depth; with colours where they are described.

        AV1 Codec ISO Media File Format Binding, section 5.
        """
        head, colours = self.sequence, self.sequence.colours
        level = f"{head.level:02}{'MH'[head.tier]}"
        text = f"av01.{head.profile}.{level}.{colours.bit_depth:02}"
        across, down = colours.subsampling
        if colours.colour is None and not colours.is_monochrome and (across, down) == (1, 1):
            return text
        position = colours.chroma_sample_position if across and down else 0
        primaries, transfer, matrix = colours.colour or (1, 1, 1)
        return (
            f"{text}.{int(colours.is_monochrome)}.{across}{down}{position}"
            f".{primaries:02}.{transfer:02}.{matrix:02}.{int(colours.is_full_range)}"
        )

    def decoder_configuration(self) -> bytes:
        """The AV1CodecConfigurationRecord, section 2.3 of the binding."""
        head, colours = self.sequence, self.sequence.colours
        across, down = colours.subsampling
        samples = (
            head.tier << 7
            | (colours.bit_depth > 8) << 6
            | (colours.bit_depth == 12) << 5
            | colours.is_monochrome << 4
            | across << 3
            | down << 2
            | colours.chroma_sample_position
        )
        return bytes((0x81, head.profile << 5 | head.level, samples, 0)) + with_size(self.obu)


def sync_unit(obus: tuple[bytes, ...], parameters: Parameters | None) -> tuple[bytes, ...]:
    """A key frame with its sequence header before it, as files have it; AV1 in ISOBMFF section 2.4.

    The tracker has taken it out, and decoders do not read the one of a configuration record.
    """
    if not isinstance(parameters, Av1Parameters):
        return obus
    if any(obu_type(obu) == SEQUENCE_HEADER for obu in obus):
        return obus
    return (parameters.obu, *obus)


def parse_sequence_header(obu: bytes) -> SequenceHeader:
    """Parse a sequence header OBU without size field; `WireError` if it is none."""
    if not obu or obu_type(obu) != SEQUENCE_HEADER:
        raise WireError("av1-sequence-header-malformed", "another type")
    if len(obu) > MAX_SEQUENCE_HEADER_BYTES:
        raise WireError("av1-sequence-header-too-large")
    reader = BitReader(obu[2 if obu[0] & HAS_EXTENSION else 1 :])
    profile = reader.bits(3)
    if profile > 2:
        raise WireError("av1-sequence-header-malformed", "seq_profile")
    reader.skip(1)  # still_picture
    is_reduced = reader.flag()
    rate = (0, 1)
    if is_reduced:
        level, tier = reader.bits(5), 0
    else:
        has_model = False
        delay_bits = 0
        if reader.flag():
            rate = _parse_timing(reader)
            has_model = reader.flag()
            if has_model:
                delay_bits = reader.bits(5) + 1
                reader.skip(32 + 5 + 5)  # decoding tick, lengths of removal and presentation time
        level, tier = _parse_operating_points(reader, has_model, delay_bits)
    width_bits, height_bits = reader.bits(4) + 1, reader.bits(4) + 1
    width, height = reader.bits(width_bits) + 1, reader.bits(height_bits) + 1
    if not is_reduced and reader.flag():  # frame_id_numbers_present_flag
        reader.skip(7)
    reader.skip(3)  # 128x128 superblocks, filter intra, intra edge filter
    if not is_reduced:
        _skip_tools(reader)
    reader.skip(3)  # superres, cdef, restoration
    return SequenceHeader(
        profile=profile,
        is_reduced=is_reduced,
        level=level,
        tier=tier,
        width=width,
        height=height,
        frame_rate=rate,
        colours=_parse_colours(reader, profile),
    )


def _parse_timing(reader: BitReader) -> tuple[int, int]:
    """timing_info(), section 5.5.3: the frame rate where pictures are equally far apart."""
    tick, scale = reader.bits(32), reader.bits(32)
    if not reader.flag():
        return 0, 1
    return frame_rate(scale, tick * (reader.golomb() + 1))


def _parse_operating_points(reader: BitReader, has_model: bool, delay_bits: int) -> tuple[int, int]:
    """Level and tier of the first operating point, which is the whole stream."""
    has_display_delay = reader.flag()
    levels: list[tuple[int, int]] = []
    for _ in range(reader.bits(5) + 1):
        reader.skip(12)  # operating_point_idc
        level = reader.bits(5)
        levels.append((level, reader.bits(1) if level > 7 else 0))
        if has_model and reader.flag():
            reader.skip(2 * delay_bits + 1)
        if has_display_delay and reader.flag():
            reader.skip(4)
    return levels[0]


def _skip_tools(reader: BitReader) -> None:
    """From enable_interintra_compound to order_hint_bits_minus_1."""
    reader.skip(4)
    has_order_hint = reader.flag()
    if has_order_hint:
        reader.skip(2)
    screen_content = SELECT if reader.flag() else reader.bits(1)
    if screen_content and not reader.flag():
        reader.skip(1)  # seq_force_integer_mv
    if has_order_hint:
        reader.skip(3)


def _parse_colours(reader: BitReader, profile: int) -> ColourConfig:
    bit_depth = 8
    if reader.flag():
        bit_depth = 12 if profile == 2 and reader.flag() else 10
    is_monochrome = profile != 1 and reader.flag()
    colour: tuple[int, int, int] | None = None
    if reader.flag():
        colour = (reader.bits(8), reader.bits(8), reader.bits(8))
    subsampling = (1, 1)
    position = 0
    if colour == SRGB and not is_monochrome:
        is_full_range = True
        subsampling = (0, 0)
    else:
        is_full_range = reader.flag()
        if not is_monochrome:
            if profile == 1:
                subsampling = (0, 0)
            elif profile == 2:
                across = reader.bits(1) if bit_depth == 12 else 1
                subsampling = (across, reader.bits(1) if bit_depth == 12 and across else 0)
            if subsampling == (1, 1):
                position = reader.bits(2)
    return ColourConfig(
        bit_depth=bit_depth,
        is_monochrome=is_monochrome,
        subsampling=subsampling,
        chroma_sample_position=position,
        colour=colour,
        is_full_range=is_full_range,
    )
