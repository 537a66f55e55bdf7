"""H.265 parameter sets, read as far as a server needs them (ITU-T H.265 sections 7.3.2, E.2.1)."""

from dataclasses import dataclass

from flux.base.bits import BitReader
from flux.base.errors import WireError
from media.codecs.nal import MAX_PARSED_BYTES, MAX_SET_BYTES, frame_rate, unescape

NAL_BLA_W_LP = 16
NAL_CRA = 21
NAL_VPS = 32
NAL_SPS = 33
NAL_PPS = 34
NAL_AUD = 35
NAL_FILLER = 38
NAL_PREFIX_SEI = 39

MAX_VPS = 16
MAX_SPS = 16
MAX_PPS = 64
MAX_SIDE = 16888  # pixels: sqrt(8 * MaxLumaPs) of level 6.2, section A.4.1
EXTENDED_SAR = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The general part of profile_tier_level(), section 7.3.3."""

    space: int  # 2 bits
    is_high_tier: bool
    idc: int  # 5 bits
    compatibility: int  # 32 flags, profile 0 is the highest bit
    constraints: int  # 48 bits
    level_idc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSet:
    """A video parameter set."""

    id: int
    frame_rate_num: int  # 0: not known
    frame_rate_den: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceSet:
    """A sequence parameter set."""

    id: int
    profile: Profile
    sub_layers: int  # 1 to 7
    is_temporal_id_nested: bool
    chroma_format_idc: int
    bit_depth_luma: int
    bit_depth_chroma: int
    width: int  # pixels, after cropping
    height: int
    reorder_frames: int  # sps_max_num_reorder_pics of the highest sub-layer
    frame_rate_num: int  # 0: not known
    frame_rate_den: int
    min_spatial_segmentation_idc: int


def _open(nal: bytes, kind: int, name: str) -> BitReader:
    if len(nal) < 3 or nal[0] >> 1 & 63 != kind:
        raise WireError(f"h265-{name}-malformed", "type")
    if len(nal) > MAX_SET_BYTES:
        raise WireError(f"h265-{name}-too-large")
    return BitReader(unescape(nal[2 : 2 + MAX_PARSED_BYTES]))


def parse_vps(nal: bytes) -> VideoSet:
    """Parse a video parameter set with its NAL header; the timing is read where it is readable."""
    reader = _open(nal, NAL_VPS, "vps")
    set_id = reader.bits(4)
    num, den = 0, 1
    try:
        reader.skip(8)  # vps_base_layer_*_flag, vps_max_layers_minus1
        sub_layers = reader.bits(3) + 1
        reader.skip(17)  # vps_temporal_id_nesting_flag, reserved
        _parse_profile(reader, sub_layers)
        _skip_ordering(reader, sub_layers)
        layer_bits = reader.bits(6) + 1
        for _ in range(_bounded(reader.golomb(), 1023, "vps_num_layer_sets")):
            reader.skip(layer_bits)
        if reader.flag():  # vps_timing_info_present_flag
            tick = reader.bits(32)
            num, den = frame_rate(reader.bits(32), tick)
    except WireError:
        pass  # decoders need none of this before they read it themselves
    return VideoSet(id=set_id, frame_rate_num=num, frame_rate_den=den)


def parse_pps_id(nal: bytes) -> int:
    """pps_pic_parameter_set_id of a picture parameter set with its NAL header."""
    reader = _open(nal, NAL_PPS, "pps")
    set_id = reader.golomb()
    if set_id >= MAX_PPS or reader.golomb() >= MAX_SPS:
        raise WireError("h265-pps-malformed", "id")
    return set_id


def parse_sps(nal: bytes) -> SequenceSet:
    """Parse a sequence parameter set with its NAL header; `WireError` if it is not one.

    What comes after the sub-layer ordering is optional: it is left out where it cannot be read.
    """
    reader = _open(nal, NAL_SPS, "sps")
    reader.skip(4)  # sps_video_parameter_set_id
    sub_layers = reader.bits(3) + 1
    if sub_layers > 7:
        raise WireError("h265-sps-malformed", "sub layers")
    is_nested = reader.flag()
    profile = _parse_profile(reader, sub_layers)
    set_id = _bounded(reader.golomb(), MAX_SPS - 1, "id")
    chroma = _bounded(reader.golomb(), 3, "chroma_format_idc")
    if chroma == 3:
        reader.skip(1)  # separate_colour_plane_flag; the window's steps are 1 either way
    width = _bounded(reader.golomb(), MAX_SIDE, "width")
    height = _bounded(reader.golomb(), MAX_SIDE, "height")
    if reader.flag():  # conformance_window_flag
        step_x = 2 if chroma in (1, 2) else 1
        step_y = 2 if chroma == 1 else 1
        width -= step_x * (reader.golomb() + reader.golomb())
        height -= step_y * (reader.golomb() + reader.golomb())
    if width <= 0 or height <= 0:
        raise WireError("h265-sps-malformed", "picture size")
    depth_luma = 8 + _bounded(reader.golomb(), 8, "bit depth")
    depth_chroma = 8 + _bounded(reader.golomb(), 8, "bit depth")
    poc_bits = 4 + _bounded(reader.golomb(), 12, "log2_max_pic_order_cnt_lsb")
    reorder_frames = _skip_ordering(reader, sub_layers)
    num, den, segmentation = 0, 1, 0
    try:
        _skip_to_vui(reader, poc_bits)
        if reader.flag():
            _skip_vui_picture(reader)
            if reader.flag():  # vui_timing_info_present_flag
                tick = reader.bits(32)
                num, den = frame_rate(reader.bits(32), tick)
                segmentation = _parse_vui_end(reader, sub_layers)
            else:
                segmentation = _parse_restriction(reader)
    except WireError:
        pass  # quirk: encoders with a VUI of their own making
    return SequenceSet(
        id=set_id,
        profile=profile,
        sub_layers=sub_layers,
        is_temporal_id_nested=is_nested,
        chroma_format_idc=chroma,
        bit_depth_luma=depth_luma,
        bit_depth_chroma=depth_chroma,
        width=width,
        height=height,
        reorder_frames=reorder_frames,
        frame_rate_num=num,
        frame_rate_den=den,
        min_spatial_segmentation_idc=segmentation,
    )


def _bounded(value: int, limit: int, name: str) -> int:
    if value > limit:
        raise WireError("h265-sps-malformed", name)
    return value


def _parse_profile(reader: BitReader, sub_layers: int) -> Profile:
    """profile_tier_level(1, sub_layers - 1), section 7.3.3."""
    profile = Profile(
        space=reader.bits(2),
        is_high_tier=reader.flag(),
        idc=reader.bits(5),
        compatibility=reader.bits(32),
        constraints=reader.bits(48),
        level_idc=reader.bits(8),
    )
    if sub_layers > 1:
        present = [(reader.flag(), reader.flag()) for _ in range(sub_layers - 1)]
        reader.skip(2 * (9 - sub_layers))
        for has_profile, has_level in present:
            reader.skip(88 * has_profile + 8 * has_level)
    return profile


def _skip_ordering(reader: BitReader, sub_layers: int) -> int:
    """Read the sub-layer ordering info; the answer is max_num_reorder_pics of the highest."""
    reorder = 0
    has_all = reader.flag()
    for _ in range(sub_layers if has_all else 1):
        reader.golomb()  # max_dec_pic_buffering_minus1
        reorder = _bounded(reader.golomb(), 16, "max_num_reorder_pics")
        reader.golomb()  # max_latency_increase_plus1
    return reorder


def _skip_to_vui(reader: BitReader, poc_bits: int) -> None:
    """Step over what lies between the sub-layer ordering and vui_parameters_present_flag."""
    for _ in range(6):
        reader.golomb()  # coding and transform block sizes and depths
    if reader.flag() and reader.flag():  # scaling lists are enabled and present
        _skip_scaling_lists(reader)
    reader.skip(2)  # amp_enabled_flag, sample_adaptive_offset_enabled_flag
    if reader.flag():  # pcm_enabled_flag
        reader.skip(8)
        reader.golomb()
        reader.golomb()
        reader.skip(1)
    previous = 0
    for index in range(_bounded(reader.golomb(), 64, "num_short_term_ref_pic_sets")):
        previous = _skip_reference_set(reader, index, previous)
    if reader.flag():  # long_term_ref_pics_present_flag
        for _ in range(_bounded(reader.golomb(), 32, "num_long_term_ref_pics_sps")):
            reader.skip(poc_bits + 1)
    reader.skip(2)  # sps_temporal_mvp_enabled_flag, strong_intra_smoothing_enabled_flag


def _skip_scaling_lists(reader: BitReader) -> None:
    """Step over scaling_list_data(), section 7.3.4."""
    for size in range(4):
        for _ in range(2 if size == 3 else 6):
            if not reader.flag():
                reader.golomb()  # scaling_list_pred_matrix_id_delta
                continue
            for _ in range(min(64, 16 << 2 * size) + (size > 1)):
                reader.golomb()


def _skip_reference_set(reader: BitReader, index: int, previous: int) -> int:
    """Step over st_ref_pic_set(index), section 7.3.7; the answer is its NumDeltaPocs."""
    if index and reader.flag():  # inter_ref_pic_set_prediction_flag
        reader.skip(1)
        reader.golomb()
        count = 0
        for _ in range(previous + 1):
            is_used = reader.flag()
            count += is_used or reader.flag()  # used_by_curr_pic_flag, use_delta_flag
        return _bounded(count, 32, "NumDeltaPocs")
    count = _bounded(reader.golomb(), 16, "num_negative_pics")
    count += _bounded(reader.golomb(), 16, "num_positive_pics")
    for _ in range(count):
        reader.golomb()
        reader.skip(1)
    return count


def _skip_vui_picture(reader: BitReader) -> None:
    """Step over the fields of section E.2.1 that come before the timing."""
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
    reader.skip(3)  # neutral_chroma_indication_flag, field_seq_flag, frame_field_info_present_flag
    if reader.flag():  # default_display_window_flag
        for _ in range(4):
            reader.golomb()


def _parse_vui_end(reader: BitReader, sub_layers: int) -> int:
    """What comes after the timing; what cannot be read does not spoil the timing."""
    try:
        if reader.flag():
            reader.golomb()  # vui_num_ticks_poc_diff_one_minus1
        if reader.flag():
            _skip_hrd(reader, sub_layers)
        return _parse_restriction(reader)
    except WireError:
        return 0


def _parse_restriction(reader: BitReader) -> int:
    """min_spatial_segmentation_idc, 0 where it is not said."""
    if not reader.flag():  # bitstream_restriction_flag
        return 0
    reader.skip(3)
    return _bounded(reader.golomb(), 4095, "min_spatial_segmentation_idc")


def _skip_hrd(reader: BitReader, sub_layers: int) -> None:
    """Step over hrd_parameters(1, sub_layers - 1), section E.2.2."""
    schedules = reader.flag() + reader.flag()  # NAL and VCL
    has_sub_pictures = False
    if schedules:
        has_sub_pictures = reader.flag()
        reader.skip(19 * has_sub_pictures)
        reader.skip(8 + 4 * has_sub_pictures + 15)
    for _ in range(sub_layers):
        is_low_delay = False
        is_fixed = reader.flag() or reader.flag()  # general, else within a coded video sequence
        if is_fixed:
            reader.golomb()
        else:
            is_low_delay = reader.flag()
        count = 1
        if not is_low_delay:
            count += _bounded(reader.golomb(), 31, "cpb_cnt")
        for _ in range(schedules * count):
            for _ in range(4 if has_sub_pictures else 2):
                reader.golomb()
            reader.skip(1)
