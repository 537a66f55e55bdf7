"""What a probe measures, on frames written down by hand."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.cli.probe.figures import Board, TrackMeter
from media.codecs.aac import AacParameters
from media.track import Kind


def video(times: list[float], size: int = 1000, key_every: int = 10) -> TrackMeter:
    meter = TrackMeter(Kind.VIDEO, "h264")
    for index, time in enumerate(times):
        meter.add(time, size, key=index % key_every == 0)
    return meter


def test_a_steady_track() -> None:
    meter = video([5 + index / 25 for index in range(51)])
    assert meter.frame_rate == pytest.approx(25)
    assert meter.bitrate_bps == pytest.approx(25 * 8000)
    assert meter.key_frames == 6
    assert meter.key_interval == pytest.approx(0.4)
    assert meter.longest_key_interval == pytest.approx(0.4)


def test_reordered_frames_are_measured_as_well() -> None:
    decode_order = [0, 4, 2, 1, 3, 8, 6, 5, 7, 12, 10, 9, 11]
    assert video([index / 25 for index in decode_order]).frame_rate == pytest.approx(25)


def test_uneven_key_frames() -> None:
    meter = TrackMeter(Kind.VIDEO, "h264")
    for time, key in ((0, True), (1, False), (2, True), (3, False), (8, True)):
        meter.add(time, 1, key=key)
    assert meter.key_interval == pytest.approx(4)
    assert meter.longest_key_interval == 6


def test_too_few_frames_tell_no_rate() -> None:
    assert TrackMeter(Kind.VIDEO, "h264").frame_rate is None
    assert video([1.0]).frame_rate is None
    assert video([1.0, 1.0]).bitrate_bps is None
    assert video([1.0, 2.0], key_every=5).key_interval is None


def test_a_jump_of_the_clock_is_no_pause() -> None:
    times = [index / 25 for index in range(26)]
    meter = video([*times, *(100_000 + time for time in times), *times])
    assert meter.frame_rate == pytest.approx(25)
    assert meter.longest_key_interval < 1


def test_no_arrival_no_jitter() -> None:
    assert TrackMeter(Kind.AUDIO, "aac").jitter is None


def test_jitter_is_that_of_the_rfc() -> None:
    meter = TrackMeter(Kind.AUDIO, "aac")
    for index in range(400):
        meter.arrive(index / 50, index / 50 + (0.016 if index % 2 else 0.0))
    assert meter.jitter == pytest.approx(0.016, rel=0.01)
    still = TrackMeter(Kind.AUDIO, "aac")
    for index in range(10):
        still.arrive(index / 50, 7 + index / 50)
    assert still.jitter == pytest.approx(0)


def test_loss() -> None:
    assert TrackMeter(Kind.VIDEO, "h264").loss is None
    assert TrackMeter(Kind.VIDEO, "h264", packets=0, lost=0).loss == 0
    assert TrackMeter(Kind.VIDEO, "h264", packets=90, lost=10).loss == pytest.approx(0.1)


def test_the_summary_is_json_and_says_null_for_what_it_does_not_know() -> None:
    sound = TrackMeter(Kind.AUDIO, "aac")
    sound.describe(AacParameters.build(bytes.fromhex("1190")))
    sound.describe(None)
    board = Board("rtsp://h", "rtsp", "tcp", [video([0, 1, 2]), sound], started=1.0, now=4.0)
    board.media(1.5)
    board.media(3.0)
    board.notes["x"] = 2
    board.notes["y"] = 0
    answer = json.loads(json.dumps(board.summary()))
    assert (answer["wait"], answer["measured"], answer["notes"]) == (0.5, 2.5, {"x": 2})
    assert answer["bitrate_bps"] == 8000
    assert answer["tracks"][0]["loss"] is None
    assert answer["tracks"][1]["sample_rate"] == 48_000
    assert answer["tracks"][1]["codec_string"] == "mp4a.40.2"
    assert answer["tracks"][1]["frame_rate"] is None
    assert answer["tracks"][1]["key_frames"] is None


@given(
    st.lists(
        st.tuples(st.floats(-1e9, 1e9), st.integers(0, 1 << 24), st.booleans(), st.floats(0, 1e9)),
        max_size=60,
    )
)
def test_any_times_give_figures_that_make_sense(
    frames: list[tuple[float, int, bool, float]],
) -> None:
    meter = TrackMeter(Kind.VIDEO, "h264")
    for time, size, key, now in frames:
        meter.add(time, size, key=key)
        meter.arrive(time, now)
    assert meter.span >= 0
    assert meter.frame_rate is None or meter.frame_rate > 0
    assert meter.key_frames <= meter.frames
    json.dumps(meter.summary(), allow_nan=False)
