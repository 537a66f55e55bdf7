"""Decode times of real clips with B-frames, with and without bitstream_restriction (DESIGN 4.1)."""

import itertools

import pytest

from flux.base.units import rescale
from media.codecs.h264 import H264Parameters
from media.frame import NO_TIME
from media.timeline import Timeline
from media.track import H264, Kind, Track
from tests.support import frames
from tests.support.clips import FOLDER
from tests.support.nal import read_clip, record_sets, without_bitstream_restriction

HZ = 90_000
PYRAMID = "bbb_800x640_768kbps_30fps_avc_pyramid_3b.mp4"
CLIPS = (PYRAMID, "sample_h264.ts")


def parameters_of(name: str, *, rewritten: bool) -> H264Parameters:
    clip = read_clip(name)
    sets = record_sets(clip.extradata, "h264") if clip.extradata[:1] == b"\1" else []
    if not sets:
        sets = [piece for piece in clip.units[0] if piece[0] & 31 in (7, 8)]
    sps = [nal for nal in sets if nal[0] & 31 == 7]
    pps = [nal for nal in sets if nal[0] & 31 == 8]
    if rewritten:
        without = [without_bitstream_restriction(nal) for nal in sps]
        assert without != sps
        sps = without
    return H264Parameters.build(sps, pps)


def placed(name: str, parameters: H264Parameters, rounds: int = 1) -> list[tuple[int, int]]:
    """(pts, dts) of the clip's frames as if they came over RTP: with a PTS alone."""
    track = Track(0, Kind.VIDEO, H264, HZ, parameters)
    timeline = Timeline()
    timeline.begin((track,), 0.0)
    sent = ticks(name)
    first, last = sent[0], max(pts for pts, _ in sent)
    span = last - first[0] + HZ // 30
    out = []
    for number in range(rounds):
        for pts, dts in sent:
            arrived = (dts + number * span - first[1]) / HZ
            got, decode, _ = timeline.place(track, pts + number * span, NO_TIME, arrived)
            out.append((got, decode))
    return out


def ticks(name: str) -> list[tuple[int, int]]:
    """(pts, dts) of the clip itself, in 90 kHz."""
    units = frames.read(FOLDER / name)["video"].in_rtp_ticks().units
    return [(unit.pts, unit.dts) for unit in units]


def test_the_clips_reorder_and_say_so() -> None:
    for name in CLIPS:
        parameters = parameters_of(name, rewritten=False)
        assert parameters.reorder_frames is not None
        assert parameters.reorder_frames >= read_clip(name).reorder > 0
        assert parameters_of(name, rewritten=True).reorder_frames is None


@pytest.mark.parametrize("name", CLIPS)
def test_decode_times_never_exceed_presentation_times(name: str) -> None:
    times = placed(name, parameters_of(name, rewritten=False))
    assert all(dts <= pts for pts, dts in times)
    assert all(a[1] < b[1] for a, b in itertools.pairwise(times))


@pytest.mark.parametrize("name", CLIPS)
def test_presentation_times_are_the_clips_own(name: str) -> None:
    sent = [pts for pts, _ in ticks(name)]
    for rewritten in (False, True):
        times = placed(name, parameters_of(name, rewritten=rewritten))
        assert [pts - times[0][0] for pts, _ in times] == [pts - sent[0] for pts in sent]


@pytest.mark.parametrize("name", CLIPS)
def test_without_the_restriction_the_depth_is_learnt(name: str) -> None:
    clip = read_clip(name)
    times = placed(name, parameters_of(name, rewritten=True), rounds=4)
    decode = [dts for _, dts in times]
    assert all(a < b for a, b in itertools.pairwise(decode))
    late = [index for index, (pts, dts) in enumerate(times) if dts > pts]
    # Only while the depth is being learnt: within the first pictures that step back.
    assert len(late) <= 2 * (clip.reorder + 1)
    assert all(index < len(clip.pts) // 2 for index in late)
    worst = max((times[index][1] - times[index][0] for index in late), default=0)
    # The first step back, and one tick for each frame that was held.
    assert worst <= rescale(clip.reorder + 1, round(clip.frame_rate), HZ) + len(late)
