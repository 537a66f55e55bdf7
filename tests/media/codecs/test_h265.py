"""H.265 parameter sets."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from media.codecs.h265 import H265Parameters
from media.codecs.h265_sets import parse_pps_id, parse_sps, parse_vps
from tests.support import nal
from tests.support.nal import se, u, ue

HDR = "hdr10-video-with-sdr-container.mp4"


def build(*sets: bytes, version: int = 0) -> H265Parameters:
    vps, sps, pps = ([unit for unit in sets if unit[0] >> 1 & 63 == kind] for kind in (32, 33, 34))
    return H265Parameters.build(vps, sps, pps, version)


def test_the_sets_of_a_main_10_clip() -> None:
    clip = nal.read_clip(HDR)
    parameters = build(*nal.record_sets(clip.extradata, "h265"), version=2)
    assert (parameters.width, parameters.height) == (clip.width, clip.height) == (1920, 1080)
    assert parameters.codec_string() == "hvc1.2.4.L150.B0"
    assert parameters.reorder_frames == clip.reorder == 0
    assert parameters.frame_rate_num == 0  # the clip does not tell
    assert parameters.version == 2
    record = bytearray(parameters.decoder_configuration())
    assert record[21] == 0x0F  # one temporal layer, nested: the clip's author left this away
    record[21] = clip.extradata[21]
    # An array is complete where the track's type is hvc1; the clip's author says so too or not.
    assert nal.record_sets(bytes(record), "h265") == nal.record_sets(clip.extradata, "h265")
    assert record[:23] == clip.extradata[:23]


def test_the_sets_of_a_main_clip_in_band() -> None:
    clip = nal.read_clip("sample_h265.ts")
    parameters = build(*clip.units[0])
    assert (parameters.width, parameters.height) == (clip.width, clip.height) == (854, 480)
    assert parameters.codec_string() == "hvc1.1.6.L90.90"
    assert parameters.reorder_frames is not None
    assert parameters.reorder_frames >= clip.reorder
    assert (parameters.frame_rate_num, parameters.frame_rate_den) == (30, 1)


SCALING = "11" + (("0" + ue(0)) * 5 + "1" + se(3) * 16) + (("0" + ue(0)) * 6)
SCALING += (("0" + ue(0)) * 5 + "1" + se(2) + se(-1) * 64) + ("0" + ue(0)) * 2
PCM = "1" + u(0x77, 8) + ue(0) + ue(2) + "1"
# Two sets of their own, then one predicted: used, not used but a delta, not used without delta.
REFERENCES = ue(3) + ue(1) + ue(1) + ue(0) + "1" + ue(1) + "1" + "0" + ue(2) + ue(0)
REFERENCES += (ue(0) + "1") * 2 + "1" + "0" + ue(0) + "1" + "01" + "00"
LONG_TERM = "1" + ue(2) + (u(9, 8) + "1") * 2
HRD = "1" + "11" + "1" + u(0, 19) + u(0, 8) + u(0, 4) + u(0, 15)
HRD += "1" + ue(0) + ue(1) + (ue(9) * 4 + "0") * 2 * 2
LOW_DELAY_HRD = "1" + "00" + "0" + "0" + "1"
RESTRICTION = "1" + "000" + ue(7)


@pytest.mark.parametrize("tools", ["", SCALING + "11" + PCM, "10" + "11" + "0"])
@pytest.mark.parametrize("references", ["", REFERENCES + LONG_TERM])
@pytest.mark.parametrize("hrd", ["0", HRD, LOW_DELAY_HRD])
def test_a_set_with_every_part_is_read_to_its_end(tools: str, references: str, hrd: str) -> None:
    vui = nal.h265_vui(timing=(1001, 30000), hrd=hrd, restriction=RESTRICTION)
    parsed = parse_sps(nal.h265_sps(tools=tools, references=references, vui=vui))
    assert (parsed.frame_rate_num, parsed.frame_rate_den) == (30000, 1001)
    assert parsed.min_spatial_segmentation_idc == 7
    assert (parsed.width, parsed.height, parsed.reorder_frames) == (1280, 720, 2)


def test_a_vui_without_timing_goes_on_with_its_restriction() -> None:
    vui = nal.h265_vui(timing=None, restriction=RESTRICTION)
    assert parse_sps(nal.h265_sps(vui=vui)).min_spatial_segmentation_idc == 7


@pytest.mark.parametrize(
    ("reorder", "expected"), [((0, 1, 3), 3), ((2,), 2)], ids=["each layer", "one for all"]
)
def test_reordering_is_that_of_the_highest_sub_layer(
    reorder: tuple[int, ...], expected: int
) -> None:
    parsed = parse_sps(nal.h265_sps(sub_layers=3, reorder=reorder))
    assert parsed.reorder_frames == expected
    assert (parsed.sub_layers, parsed.width) == (3, 1280)


@pytest.mark.parametrize(
    ("sps", "size"),
    [
        (nal.h265_sps(width=1920, height=1088, window=(0, 0, 0, 4)), (1920, 1080)),
        (nal.h265_sps(chroma=2, window=(1, 1, 1, 1)), (1276, 718)),
        (nal.h265_sps(chroma=3, window=(1, 1, 1, 1)), (1278, 718)),
        (nal.h265_sps(chroma=0, window=(1, 1, 1, 1)), (1278, 718)),
    ],
)
def test_picture_sizes(sps: bytes, size: tuple[int, int]) -> None:
    parsed = parse_sps(sps)
    assert (parsed.width, parsed.height) == size


def test_the_timing_may_be_in_the_vps_alone() -> None:
    parameters = build(nal.h265_vps(timing=(1, 25)), nal.h265_sps(), nal.h265_pps())
    assert (parameters.frame_rate_num, parameters.frame_rate_den) == (25, 1)
    assert parameters.codec_string() == "hvc1.1.6.L93.90"
    assert len(parameters.decoder_configuration()) > 23


def test_sets_are_ordered_by_id() -> None:
    pps = [nal.h265_pps(3), nal.h265_pps(1)]
    sps = [nal.h265_sps(set_id=4, width=640), nal.h265_sps(set_id=2, width=320)]
    parameters = build(nal.h265_vps(), *pps, *sps)
    assert parameters.pps == (pps[1], pps[0])
    assert parameters.sps == (sps[1], sps[0])
    assert parameters.width == 320


NO_WIDTH = nal.h265_sps(window=(900, 0, 0, 0))


@pytest.mark.parametrize(
    ("sets", "reason"),
    [
        ([nal.h265_sps(), nal.h265_pps()], "h265-vps-missing"),
        ([nal.h265_vps(), nal.h265_pps()], "h265-sps-missing"),
        ([nal.h265_vps(), nal.h265_sps()], "h265-pps-missing"),
        ([nal.h265_vps(), nal.h265_sps(width=20000), nal.h265_pps()], "h265-sps-malformed"),
        ([nal.h265_vps(), NO_WIDTH, nal.h265_pps()], "h265-sps-malformed"),
        ([nal.h265_vps(), nal.h265_sps(), nal.h265_pps(64)], "h265-pps-malformed"),
        ([nal.h265_vps(), nal.h265_sps() + b"x" * 65536, nal.h265_pps()], "h265-sps-too-large"),
    ],
)  # fmt: skip
def test_unusable_sets_are_refused(sets: list[bytes], reason: str) -> None:
    with pytest.raises(WireError) as caught:
        build(*sets)
    assert caught.value.reason == reason


def test_truncation() -> None:
    vui = nal.h265_vui(timing=(1001, 30000), hrd=HRD, restriction=RESTRICTION)
    whole = nal.h265_sps(tools=SCALING + "11" + PCM, references=REFERENCES + LONG_TERM, vui=vui)
    read = 0
    for size in range(len(whole)):
        with contextlib.suppress(WireError):
            assert parse_sps(whole[:size]).width == 1280
            read += 1
    assert 0 < read < len(whole)
    vps = nal.h265_vps(timing=(1, 25))
    for size in range(len(vps)):
        with contextlib.suppress(WireError):
            parse_vps(vps[:size])


@given(st.binary(max_size=100), st.integers(0, 60))
def test_any_bytes_parse_or_raise(data: bytes, keep: int) -> None:
    for unit in (
        data,
        nal.h265_header(33) + data,
        nal.h265_sps()[:keep] + data,
        nal.h265_vps()[:keep] + data,
        nal.h265_header(34) + data,
    ):
        for parse in (parse_sps, parse_vps, parse_pps_id):
            with contextlib.suppress(WireError):
                parse(unit)
