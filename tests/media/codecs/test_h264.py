"""H.264 parameter sets."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from media.codecs.h264 import H264Parameters, parse_pps_id, parse_sps
from tests.support import nal
from tests.support.nal import se, ue

PYRAMID = "bbb_800x640_768kbps_30fps_avc_pyramid_3b.mp4"
BUNNY = "video_big_buck_bunny.mp4"


def build(*sets: bytes, version: int = 0) -> H264Parameters:
    sps = [unit for unit in sets if unit[0] & 31 == 7]
    pps = [unit for unit in sets if unit[0] & 31 == 8]
    return H264Parameters.build(sps, pps, version)


@pytest.mark.parametrize(
    ("name", "codec", "reorder", "rate"),
    [(BUNNY, "avc1.42c01e", 0, (30, 1)), (PYRAMID, "avc1.64001f", 2, (30, 1))],
)
def test_a_real_clip_reads_as_ffmpeg_reads_it(
    name: str, codec: str, reorder: int, rate: tuple[int, int]
) -> None:
    clip = nal.read_clip(name)
    parameters = build(*nal.record_sets(clip.extradata, "h264"), version=3)
    assert (parameters.width, parameters.height) == (clip.width, clip.height)
    assert parameters.codec_string() == codec
    assert parameters.reorder_frames == reorder == clip.reorder
    assert (parameters.frame_rate_num, parameters.frame_rate_den) == rate
    assert parameters.version == 3
    assert parameters.decoder_configuration() == clip.extradata


def test_sets_in_band_read_as_well() -> None:
    clip = nal.read_clip("sample_h264.ts")
    parameters = build(*clip.units[0])
    assert (parameters.width, parameters.height) == (clip.width, clip.height) == (854, 480)
    assert parameters.codec_string() == "avc1.64001f"
    assert parameters.reorder_frames == clip.reorder


def test_the_rewritten_clip_does_not_tell_its_reordering() -> None:
    (sps, _) = nal.record_sets(nal.read_clip(PYRAMID).extradata, "h264")
    before = parse_sps(sps)
    after = parse_sps(nal.without_bitstream_restriction(sps))
    assert after.reorder_frames is None
    assert (after.width, after.frame_rate_num) == (before.width, before.frame_rate_num)


def test_vui_with_every_part() -> None:
    vui = nal.h264_vui(timing=(1001, 60000), reorder=3, hrd=True)
    parsed = parse_sps(nal.h264_sps(vui=vui, poc=ue(0) + ue(2)))
    assert (parsed.frame_rate_num, parsed.frame_rate_den) == (30000, 1001)
    assert parsed.reorder_frames == 3
    assert (parsed.width, parsed.height) == (640, 480)


POC_0 = ue(0) + ue(4)
POC_1 = ue(1) + "0" + se(-3) + se(2) + ue(2) + se(-1) + se(5)


@pytest.mark.parametrize(
    ("sps", "reorder"),
    [
        (nal.h264_sps(profile=66, poc=POC_0), 0),
        (nal.h264_sps(profile=77, poc=POC_0), None),
        (nal.h264_sps(profile=77, poc=POC_1), None),
        (nal.h264_sps(profile=77, poc=ue(2)), 0),
        (nal.h264_sps(profile=110, constraints=0x10, poc=POC_0), 0),
        (nal.h264_sps(poc=POC_0, vui=nal.h264_vui(timing=(1, 50))), None),
        (nal.h264_sps(poc=POC_0, vui=nal.h264_vui(reorder=1)), 1),
        (nal.h264_sps(poc=POC_0, vui=nal.h264_vui(reorder=17)), None),
    ],
)
def test_reordering(sps: bytes, reorder: int | None) -> None:
    assert parse_sps(sps).reorder_frames == reorder


SCALING = "1" + ("1" + se(4) + se(0) * 15) + "0" * 5 + ("1" + se(-8)) + "0"


@pytest.mark.parametrize(
    ("sps", "size"),
    [
        (nal.h264_sps(width_mbs=120, height_units=68, crop=(0, 0, 0, 4)), (1920, 1080)),
        (
            nal.h264_sps(width_mbs=120, height_units=34, is_frame_only=False, crop=(0, 0, 0, 2)),
            (1920, 1080),
        ),
        (nal.h264_sps(chroma=2, profile=122, crop=(1, 0, 0, 3)), (638, 477)),
        (nal.h264_sps(chroma=3, profile=244, crop=(1, 0, 0, 3)), (639, 477)),
        (nal.h264_sps(chroma=0, crop=(1, 0, 0, 3)), (639, 477)),
        (nal.h264_sps(scaling=SCALING), (640, 480)),
    ],
)
def test_picture_sizes(sps: bytes, size: tuple[int, int]) -> None:
    parsed = parse_sps(sps)
    assert (parsed.width, parsed.height) == size


def test_sets_are_ordered_by_id_and_the_first_counts() -> None:
    sets = [nal.h264_sps(set_id=2), nal.h264_sps(set_id=1, width_mbs=20), nal.h264_pps(9)]
    parameters = build(*sets, nal.h264_pps(4), b"\x67\x42", nal.h264_pps(4, extra="1"))
    assert parameters.sps == (sets[1], sets[0])
    assert parameters.pps == (nal.h264_pps(4, extra="1"), sets[2])
    assert parameters.width == 320


@pytest.mark.parametrize(
    ("sets", "reason"),
    [
        ([], "h264-sps-missing"),
        ([nal.h264_sps()], "h264-pps-missing"),
        ([nal.h264_sps(width_mbs=2000), nal.h264_pps()], "h264-sps-malformed"),
        ([nal.h264_sps(crop=(400, 0, 0, 0)), nal.h264_pps()], "h264-sps-malformed"),
        ([nal.h264_sps(set_id=32), nal.h264_pps()], "h264-sps-malformed"),
        ([nal.h264_sps() + b"x" * 65536, nal.h264_pps()], "h264-sps-too-large"),
        ([nal.h264_sps(), nal.h264_pps(256)], "h264-pps-malformed"),
        ([nal.h264_sps(), nal.h264_pps() + b"x" * 65536], "h264-pps-too-large"),
    ],
)
def test_unusable_sets_are_refused(sets: list[bytes], reason: str) -> None:
    with pytest.raises(WireError) as caught:
        build(*sets)
    assert caught.value.reason == reason


def test_truncation() -> None:
    whole = nal.h264_sps(vui=nal.h264_vui(timing=(1, 50), reorder=2, hrd=True), poc=POC_0)
    read = 0
    for size in range(len(whole)):
        with contextlib.suppress(WireError):
            parsed = parse_sps(whole[:size])
            # What is left of the VUI is used: cameras send such sets.
            assert (parsed.width, parsed.height) == (640, 480)
            read += 1
    assert 0 < read < len(whole)
    for size in range(3):
        with contextlib.suppress(WireError):
            parse_pps_id(nal.h264_pps()[:size])


@given(st.binary(max_size=80), st.sampled_from([66, 77, 100, 244]))
def test_any_bytes_parse_or_raise(data: bytes, profile: int) -> None:
    for unit in (data, b"\x67" + data, bytes((0x67, profile)) + data, b"\x68" + data):
        with contextlib.suppress(WireError):
            parse_sps(unit)
        with contextlib.suppress(WireError):
            parse_pps_id(unit)
