"""H.264 parameter sets (ITU-T H.264 sections 7.3.2.1, E.1; ISO/IEC 14496-15 section 5.3.3.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Self

from flux.base.bits import BitReader
from flux.base.errors import WireError
from media.codecs.nal import MAX_PARSED_BYTES, MAX_SET_BYTES, frame_rate, unescape
from media.parameters import VideoParameters

NAL_SLICE = 1
NAL_IDR = 5
NAL_SEI = 6
NAL_SPS = 7
NAL_PPS = 8
NAL_AUD = 9
NAL_FILLER = 12

MAX_SPS = 32
MAX_PPS = 256
MAX_SIZE_MBS = 1056  # sides of a picture: sqrt(8 * MaxFS) of level 6.2, section A.3.1
EXTENDED_SAR = 255
SIZE = Struct("!H")

BASELINE = 66
# Profiles with chroma_format_idc and scaling lists, section 7.3.2.1.1.
HIGH_PROFILES = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))
RECORD_EXTENSION_PROFILES = frozenset((100, 110, 122, 144, 244))
# Profiles that are intra only where constraint_set3_flag is set, section E.2.1.
INTRA_PROFILES = frozenset((44, 86, 100, 110, 122, 244))


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceParameters:
    """What a server needs of a sequence parameter set."""

    id: int
    profile_idc: int
    constraint_flags: int  # 8 bits: constraint_set0..5_flag and two zeros
    level_idc: int
    chroma_format_idc: int
    bit_depth_luma: int
    bit_depth_chroma: int
    width: int  # pixels, after cropping
    height: int
    poc_type: int
    frame_rate_num: int  # 0: not known
    frame_rate_den: int
    reorder_frames: int | None  # None: the set does not say


@dataclass(frozen=True, slots=True)
class Usability:
    """What a server needs of the VUI parameters; all of it may be missing."""

    frame_rate_num: int = 0
    frame_rate_den: int = 1
    reorder_frames: int | None = None


def parse_sps(nal: bytes) -> SequenceParameters:
    """Parse a sequence parameter set with its NAL header; `WireError` if it is not one.

    Broken VUI parameters are left out: the picture can be decoded without them.
    """
    if len(nal) < 4 or nal[0] & 31 != NAL_SPS:
        raise WireError("h264-sps-malformed", "no SPS")
    if len(nal) > MAX_SET_BYTES:
        raise WireError("h264-sps-too-large")
    reader = BitReader(unescape(nal[1 : 1 + MAX_PARSED_BYTES]))
    profile_idc = reader.bits(8)
    constraint_flags = reader.bits(8)
    level_idc = reader.bits(8)
    set_id = reader.golomb()
    if set_id >= MAX_SPS:
        raise WireError("h264-sps-malformed", "id")
    chroma, depth_luma, depth_chroma = 1, 8, 8
    if profile_idc in HIGH_PROFILES:
        chroma = reader.golomb()
        if chroma > 3:
            raise WireError("h264-sps-malformed", "chroma_format_idc")
        if chroma == 3:
            reader.skip(1)  # separate_colour_plane_flag
        depth_luma = 8 + reader.golomb()
        depth_chroma = 8 + reader.golomb()
        if max(depth_luma, depth_chroma) > 14:
            raise WireError("h264-sps-malformed", "bit_depth")
        reader.skip(1)  # qpprime_y_zero_transform_bypass_flag
        if reader.flag():
            _skip_scaling_lists(reader, 8 if chroma != 3 else 12)
    reader.golomb()  # log2_max_frame_num_minus4
    poc_type = _skip_picture_order(reader)
    reader.golomb()  # max_num_ref_frames
    reader.skip(1)  # gaps_in_frame_num_value_allowed_flag
    width, height = _parse_size(reader, chroma)
    usability = Usability()
    try:
        if reader.flag():
            usability = _parse_vui(reader)
    except WireError:
        pass  # quirk: cameras with a VUI that ends too early
    reorder_frames = usability.reorder_frames
    if (
        profile_idc == BASELINE
        or poc_type == 2
        or (profile_idc in INTRA_PROFILES and constraint_flags & 0x10 and reorder_frames is None)
    ):
        reorder_frames = 0  # pictures are shown in the order in which they are decoded
    return SequenceParameters(
        id=set_id,
        profile_idc=profile_idc,
        constraint_flags=constraint_flags,
        level_idc=level_idc,
        chroma_format_idc=chroma,
        bit_depth_luma=depth_luma,
        bit_depth_chroma=depth_chroma,
        width=width,
        height=height,
        poc_type=poc_type,
        frame_rate_num=usability.frame_rate_num,
        frame_rate_den=usability.frame_rate_den,
        reorder_frames=reorder_frames,
    )


def _parse_size(reader: BitReader, chroma: int) -> tuple[int, int]:
    """Width and height in pixels after cropping, from pic_width_in_mbs_minus1 on."""
    width_mbs = reader.golomb() + 1
    height_mbs = reader.golomb() + 1
    lines = 1  # of the frame in a line of the map units
    if not reader.flag():  # frame_mbs_only_flag
        lines = 2
        reader.skip(1)  # mb_adaptive_frame_field_flag
    height_mbs *= lines
    reader.skip(1)  # direct_8x8_inference_flag
    if max(width_mbs, height_mbs) > MAX_SIZE_MBS:
        raise WireError("h264-sps-malformed", "picture size")
    width = width_mbs * 16
    height = height_mbs * 16
    if reader.flag():  # frame_cropping_flag; the units are chroma samples, equations 7-19 to 7-22
        width -= (reader.golomb() + reader.golomb()) * (2 if chroma in (1, 2) else 1)
        height -= (reader.golomb() + reader.golomb()) * (2 if chroma == 1 else 1) * lines
    if width <= 0 or height <= 0:
        raise WireError("h264-sps-malformed", "cropping")
    return width, height


def _skip_scaling_lists(reader: BitReader, count: int) -> None:
    """Step over scaling_list() of section 7.3.2.1.1.1."""
    for index in range(count):
        if not reader.flag():
            continue
        last = following = 8
        for _ in range(16 if index < 6 else 64):
            if following:
                following = (last + reader.signed_golomb()) % 256
            last = following or last


def _skip_picture_order(reader: BitReader) -> int:
    """Step over the picture order count fields; the answer is pic_order_cnt_type."""
    poc_type = reader.golomb()
    if poc_type == 0:
        reader.golomb()  # log2_max_pic_order_cnt_lsb_minus4
    elif poc_type == 1:
        reader.skip(1)  # delta_pic_order_always_zero_flag
        reader.golomb()  # offset_for_non_ref_pic
        reader.golomb()  # offset_for_top_to_bottom_field
        cycle = reader.golomb()
        if cycle > 255:
            raise WireError("h264-sps-malformed", "num_ref_frames_in_pic_order_cnt_cycle")
        for _ in range(cycle):
            reader.golomb()
    elif poc_type != 2:
        raise WireError("h264-sps-malformed", "pic_order_cnt_type")
    return poc_type


def _parse_vui(reader: BitReader) -> Usability:
    """VUI parameters, section E.1.1; what is read before they break off is kept."""
    num, den = 0, 1
    try:
        _skip_vui_picture(reader)
        if reader.flag():  # timing_info_present_flag
            tick = reader.bits(32)
            num, den = frame_rate(reader.bits(32), 2 * tick)  # a tick is a field
            reader.skip(1)  # fixed_frame_rate_flag
        has_hrd = False
        for _ in range(2):  # nal_hrd_parameters, vcl_hrd_parameters
            if reader.flag():
                has_hrd = True
                _skip_hrd(reader)
        if has_hrd:
            reader.skip(1)  # low_delay_hrd_flag
        reader.skip(1)  # pic_struct_present_flag
        reorder_frames = None
        if reader.flag():  # bitstream_restriction_flag
            reader.skip(1)  # motion_vectors_over_pic_boundaries_flag
            for _ in range(4):
                reader.golomb()  # max_bytes, max_bits, and both log2_max_mv_length
            reorder_frames = reader.golomb()
            if reorder_frames > 16:
                reorder_frames = None
        return Usability(num, den, reorder_frames)
    except WireError:
        return Usability(num, den)


def _skip_vui_picture(reader: BitReader) -> None:
    """Step over the fields of section E.1.1 that come before the timing."""
    if reader.flag() and reader.bits(8) == EXTENDED_SAR:
        reader.skip(32)
    if reader.flag():
        reader.skip(1)  # overscan_appropriate_flag
    if reader.flag():
        reader.skip(4)  # video_format, video_full_range_flag
        if reader.flag():
            reader.skip(24)  # colour description
    if reader.flag():
        reader.golomb()  # chroma_sample_loc_type_top_field
        reader.golomb()  # chroma_sample_loc_type_bottom_field


def _skip_hrd(reader: BitReader) -> None:
    """Step over hrd_parameters(), section E.1.2."""
    count = reader.golomb() + 1
    if count > 32:
        raise WireError("h264-sps-malformed", "cpb_cnt")
    reader.skip(8)
    for _ in range(count):
        reader.golomb()
        reader.golomb()
        reader.skip(1)
    reader.skip(20)


def parse_pps_id(nal: bytes) -> int:
    """pic_parameter_set_id of a picture parameter set with its NAL header, section 7.3.2.2."""
    if len(nal) < 2 or nal[0] & 31 != NAL_PPS:
        raise WireError("h264-pps-malformed", "no PPS")
    if len(nal) > MAX_SET_BYTES:
        raise WireError("h264-pps-too-large")
    reader = BitReader(unescape(nal[1:16]))
    set_id = reader.golomb()
    if set_id >= MAX_PPS or reader.golomb() >= MAX_SPS:
        raise WireError("h264-pps-malformed", "id")
    return set_id


@dataclass(frozen=True, slots=True, kw_only=True)
class H264Parameters(VideoParameters):
    """The parameter sets of one version of an H.264 track."""

    sps: tuple[bytes, ...]  # NAL units, ordered by id
    pps: tuple[bytes, ...]
    profile_idc: int  # this and what follows: of the first SPS
    constraint_flags: int
    level_idc: int

    @classmethod
    def build(cls, sps: Sequence[bytes], pps: Sequence[bytes], version: int = 0) -> Self:
        """Parameters of these sets; broken ones are left out, of equal ids the last counts.

        Raises `WireError` where no SPS or no PPS is left.
        """
        by_id: dict[int, tuple[bytes, SequenceParameters]] = {}
        pps_by_id: dict[int, bytes] = {}
        why = ("h264-sps-missing", "")  # not the error itself, which would hold this frame
        for nal in sps:
            try:
                parsed = parse_sps(nal)
                by_id[parsed.id] = (nal, parsed)
            except WireError as exc:
                why = exc.reason, exc.detail
        if not by_id:
            raise WireError(*why)
        why = ("h264-pps-missing", "")
        for nal in pps:
            try:
                pps_by_id[parse_pps_id(nal)] = nal
            except WireError as exc:
                why = exc.reason, exc.detail
        if not pps_by_id:
            raise WireError(*why)
        first = by_id[min(by_id)][1]
        return cls(
            version=version,
            width=first.width,
            height=first.height,
            frame_rate_num=first.frame_rate_num,
            frame_rate_den=first.frame_rate_den,
            reorder_frames=first.reorder_frames,
            sps=tuple(by_id[key][0] for key in sorted(by_id)),
            pps=tuple(pps_by_id[key] for key in sorted(pps_by_id)),
            profile_idc=first.profile_idc,
            constraint_flags=first.constraint_flags,
            level_idc=first.level_idc,
        )

    def codec_string(self) -> str:
        """`avc1.PPCCLL`, RFC 6381 section 3.3."""
        return f"avc1.{self.profile_idc:02x}{self.constraint_flags:02x}{self.level_idc:02x}"

    def decoder_configuration(self) -> bytes:
        """The AVCDecoderConfigurationRecord, ISO/IEC 14496-15 section 5.3.3.1, 4-byte lengths."""
        sps = self.sps[:31]
        pps = self.pps[:255]
        parts = [
            bytes((1, self.profile_idc, self.constraint_flags, self.level_idc, 0xFF)),
            bytes((0xE0 | len(sps),)),
        ]
        for nal in sps:
            parts += (SIZE.pack(len(nal)), nal)
        parts.append(bytes((len(pps),)))
        for nal in pps:
            parts += (SIZE.pack(len(nal)), nal)
        if self.profile_idc in RECORD_EXTENSION_PROFILES:
            first = parse_sps(self.sps[0])
            depths = (first.bit_depth_luma - 8, first.bit_depth_chroma - 8)
            parts.append(
                bytes((0xFC | first.chroma_format_idc, 0xF8 | depths[0], 0xF8 | depths[1], 0))
            )
        return b"".join(parts)
