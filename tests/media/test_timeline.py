"""The timeline: alignment, jumps, returning sources, slewing, capture time."""

import itertools
import random
import time

from flux.base.units import NTP_SECOND, unix_from_ntp
from media.frame import NO_TIME
from media.parameters import AudioParameters, VideoParameters
from media.timeline import Timeline
from media.track import AAC, H264, Kind, Track

FPS = 25
STEP = 90_000 // FPS


def make_tracks() -> tuple[Track, Track]:
    video = VideoParameters(frame_rate_num=FPS, frame_rate_den=1, reorder_frames=0)
    audio = AudioParameters(sample_rate=48_000, channels=2, frame_samples=1024)
    return (
        Track(0, Kind.VIDEO, H264, 90_000, video),
        Track(1, Kind.AUDIO, AAC, 48_000, audio),
    )


class Run:
    """A source of 25 fps video and AAC on a monotonic clock, with one common source clock."""

    def __init__(self, timeline: Timeline, tracks: tuple[Track, Track], *, at: float) -> None:
        self.timeline = timeline
        self.video, self.audio = tracks
        self.at = at
        timeline.begin(tracks, at)

    def send(
        self, source: float, seconds: float, *, delay: float = 0.0, start: float | None = None
    ) -> list[tuple[float, float, float, bool]]:
        """Send media time `source` .. `source + seconds`: (video s, audio s, arrival, jumped)."""
        begin = self.at if start is None else start
        out = []
        for number in range(int(seconds * FPS)):
            t = number / FPS
            arrived = begin + t + delay
            pts, _, _ = self.timeline.place(
                self.video, round((source + t) * 90_000), NO_TIME, arrived
            )
            jumped = self.timeline.jump is not None
            a_pts, _, _ = self.timeline.place(
                self.audio, round((source + t) * 48_000), NO_TIME, arrived
            )
            out.append((pts / 90_000, a_pts / 48_000, arrived, jumped))
        self.at = begin + seconds
        return out


def apart(row: tuple[float, float, float, bool]) -> float:
    return abs(row[0] - row[1])


def test_rtp_info_aligns_whatever_the_arrival() -> None:
    video, audio = make_tracks()
    timeline = Timeline()
    timeline.begin((video, audio), 50.0)
    timeline.anchor({video: 1_000_000, audio: 5_000})
    v, _, _ = timeline.place(video, 1_000_000, NO_TIME, 50.0)
    a, _, _ = timeline.place(audio, 5_000 + 4_800, NO_TIME, 50.9)
    assert v == 0
    assert a == 4_800


def test_rubbish_in_rtp_info_falls_back_to_arrival() -> None:
    video, audio = make_tracks()
    timeline = Timeline()
    timeline.begin((video, audio), 50.0)
    timeline.anchor({video: 0, audio: 0})  # a camera that writes rtptime=0 for both
    v, _, _ = timeline.place(video, 3_000_000_000, NO_TIME, 50.0)
    a, _, _ = timeline.place(audio, 77, NO_TIME, 50.1)
    assert v == 0
    assert abs(a - 4_800) <= 1


def test_without_rtp_info_tracks_align_by_arrival() -> None:
    run = Run(Timeline(), make_tracks(), at=10.0)
    rows = run.send(1000.0, 2.0)
    assert all(apart(row) < 0.001 for row in rows)
    assert rows[0][0] == 0.0


def test_a_stall_with_catch_up_is_no_jump() -> None:
    run = Run(Timeline(), make_tracks(), at=10.0)
    run.send(0.0, 5.0)
    # The network stands for 8 s, then 8 s of media come within one.
    rows = []
    for number in range(8 * FPS):
        t = 5.0 + number / FPS
        arrived = 23.0 + number / (8 * FPS)
        pts, _, _ = run.timeline.place(run.video, round(t * 90_000), NO_TIME, arrived)
        assert run.timeline.jump is None
        rows.append(pts)
    assert [b - a for a, b in itertools.pairwise(rows)] == [STEP] * (len(rows) - 1)


def test_a_jump_forward_and_back_is_taken_out_of_all_tracks_alike() -> None:
    for to in (100_000.0, 2.0):
        run = Run(Timeline(), make_tracks(), at=10.0)
        before = run.send(50.0, 5.0)
        after = run.send(to, 5.0)
        assert [row[3] for row in after] == [True] + [False] * (len(after) - 1)
        assert all(apart(row) < 0.001 for row in after), to
        gap = after[0][0] - before[-1][0]
        assert 0.03 < gap < 0.05, to


def test_a_track_that_jumps_later_adopts_the_same_correction() -> None:
    video, audio = make_tracks()
    timeline = Timeline()
    timeline.begin((video, audio), 0.0)
    for number in range(100):
        timeline.place(video, number * STEP, NO_TIME, number / FPS)
        timeline.place(audio, number * 1920, NO_TIME, number / FPS)
    jump_v, jump_a = 90_000 * 3600, 48_000 * 3600
    results = []
    for number in range(100, 200):
        late = number < 110  # the audio of the old clock is still under way
        v, _, _ = timeline.place(video, number * STEP + jump_v, NO_TIME, number / FPS)
        a, _, _ = timeline.place(
            audio, number * 1920 + (0 if late else jump_a), NO_TIME, number / FPS
        )
        results.append((v / 90_000, a / 48_000))
    assert all(abs(v - a) < 0.002 for v, a in results)


def test_a_returning_source_is_placed_after_the_time_that_passed() -> None:
    timeline = Timeline()
    tracks = make_tracks()
    run = Run(timeline, tracks, at=10.0)
    before = run.send(50.0, 5.0)
    again = Run(timeline, tracks, at=run.at + 3.0)
    after = again.send(7_000.0, 2.0)
    assert abs(after[0][0] - before[-1][0] - 3.04) < 0.002
    assert all(apart(row) < 0.001 for row in after)


def test_sender_reports_pull_tracks_together_softly() -> None:
    video, audio = make_tracks()
    timeline = Timeline()
    timeline.begin((video, audio), 0.0)
    offsets = []
    for number in range(60 * FPS):
        t = number / FPS
        v, _, _ = timeline.place(video, round(t * 90_000), NO_TIME, t)
        # The audio arrives 100 ms after the video of the same instant.
        a, _, _ = timeline.place(audio, round(t * 48_000), NO_TIME, t + 0.1)
        if number == FPS:
            ntp = 1000 * NTP_SECOND
            timeline.sender_report(video, ntp, round(t * 90_000))
            timeline.sender_report(audio, ntp, round(t * 48_000))
        offsets.append(a / 48_000 - v / 90_000)
    assert abs(offsets[0] - 0.1) < 0.001
    steps = [abs(b - a) for a, b in itertools.pairwise(offsets)]
    assert max(steps) <= 0.005 / FPS + 2 / 48_000
    assert abs(offsets[-1]) < 0.001


def test_reports_of_a_broken_clock_are_counted_and_ignored() -> None:
    run = Run(Timeline(), make_tracks(), at=0.0)
    run.send(0.0, 1.0)
    run.timeline.sender_report(run.video, 1000 * NTP_SECOND, 90_000)
    run.timeline.sender_report(run.audio, 9000 * NTP_SECOND, 48_000)
    rows = run.send(1.0, 5.0)
    assert run.timeline.implausible_reports == 1
    assert all(apart(row) < 0.001 for row in rows)


def test_capture_time_is_wall_time_of_arrival_plus_media_time() -> None:
    video, audio = make_tracks()
    timeline = Timeline()
    timeline.set_wall_offset(1_700_000_000.0)
    timeline.begin((video, audio), 5.0)
    stamps = [
        timeline.place(video, n * STEP, NO_TIME, 5.0 + n / FPS + (n % 3) * 0.01)[2]
        for n in range(500)
    ]
    assert abs(unix_from_ntp(stamps[0]) - 1_700_000_005.0) < 0.001
    deltas = [(b - a) / NTP_SECOND for a, b in itertools.pairwise(stamps)]
    assert all(abs(delta - 0.04) < 0.001 for delta in deltas)


def test_a_trusted_source_clock_gives_its_own_time() -> None:
    video, audio = make_tracks()
    timeline = Timeline(trust_source_clock=True)
    timeline.begin((video, audio), 5.0)
    timeline.sender_report(video, 42 * NTP_SECOND, 90_000)
    _, _, ntp = timeline.place(video, 180_000, NO_TIME, 5.0)
    assert ntp == 43 * NTP_SECOND


def test_times_never_step_back() -> None:
    video, audio = make_tracks()
    timeline = Timeline()
    timeline.begin((video, audio), 0.0)
    dts = [
        timeline.place(audio, source, NO_TIME, index * 0.02)[1]
        for index, source in enumerate([0, 960, 960, 500, 1920, 1_000_000_000, 5])
    ]
    assert all(a < b for a, b in itertools.pairwise(dts))


def test_a_stall_in_a_stream_with_b_frames_is_no_jump() -> None:
    video, _ = make_tracks()
    timeline = Timeline()
    timeline.begin((video,), 0.0)
    order = [0, 3, 1, 2]
    order += [3 * group + number for group in range(1, 80) for number in (3, 1, 2)]
    stalled = 122  # in decode order: a B picture comes first after the stall
    assert order[stalled] < order[stalled - 1]
    for position, number in enumerate(order):
        arrived = position / FPS if position < stalled else 20.0 + position / 1000
        timeline.place(video, number * STEP, NO_TIME, arrived)
        assert timeline.jump is None, position


def test_a_step_back_that_is_no_reordering_is_taken_out() -> None:
    for back in (1.2, 2.0, 2.9):
        run = Run(Timeline(), make_tracks(), at=10.0)
        before = run.send(50.0, 5.0)
        after = run.send(55.0 - back, 5.0)
        assert [row[3] for row in after] == [True] + [False] * (len(after) - 1), back
        assert all(apart(row) < 0.001 for row in after), back
        assert 0.03 < after[0][0] - before[-1][0] < 0.05, back
        steps = [b[0] - a[0] for a, b in itertools.pairwise(after)]
        assert all(abs(step - 1 / FPS) < 1e-6 for step in steps), back


def test_tracks_stay_together_over_jumps_that_only_one_of_them_shows() -> None:
    sizes = [3.0 + n / 1000 for n in range(-50, 51, 5)] + [
        -1.0 - n / 1000 for n in range(-60, 61, 5)
    ]
    for size in sizes:
        video, audio = make_tracks()
        timeline = Timeline()
        timeline.begin((video, audio), 0.0)
        chance = random.Random(7)
        v = a = 0
        for number in range(20 * FPS):
            t = number / FPS
            source = 100 + t + (size if t >= 10 else 0)
            late = chance.random() * 0.03
            v, _, _ = timeline.place(video, round(source * 90_000), NO_TIME, t + late)
            late = chance.random() * 0.03
            a, _, _ = timeline.place(audio, round(source * 48_000), NO_TIME, t + late)
        assert abs(v / 90_000 - a / 48_000) < 0.05, size


def test_endless_jumps_of_one_track_cost_no_more_each_time() -> None:
    video, audio = make_tracks()
    timeline = Timeline()
    timeline.begin((video, audio), 0.0)
    for number in range(20_000):  # only the video's clock is mad
        t = number / FPS
        timeline.place(video, number * STEP + number * 900_000, NO_TIME, t)
        timeline.place(audio, round(t * 48_000), NO_TIME, t)
    began = time.process_time()
    timeline.place(audio, 1 << 60, NO_TIME, 20_000 / FPS)
    assert timeline.jump is not None
    assert time.process_time() - began < 0.2  # seconds, if 20,000 corrections were searched


def test_tracks_align_again_after_a_jump_of_one_of_them() -> None:
    video, audio = make_tracks()
    timeline = Timeline()
    timeline.begin((video, audio), 0.0)
    offset = 0.0
    for number in range(120 * FPS):
        t = number / FPS
        late = 90_000 * 100 if t >= 10 else 0  # the video alone begins anew
        v, _, _ = timeline.place(video, round(t * 90_000) + late, NO_TIME, t)
        a, _, _ = timeline.place(audio, round(t * 48_000), NO_TIME, t + 0.1)
        if number % (5 * FPS) == 0 and t > 20:
            ntp = round((1000 + t) * NTP_SECOND)
            timeline.sender_report(video, ntp, round(t * 90_000) + late)
            timeline.sender_report(audio, ntp, round(t * 48_000))
        offset = a / 48_000 - v / 90_000
    assert abs(offset) < 0.002


def test_what_was_slewing_does_not_leap_with_a_jump() -> None:
    video, audio = make_tracks()
    timeline = Timeline()
    timeline.begin((video, audio), 0.0)
    offsets = []
    for number in range(20 * FPS):
        t = number / FPS
        jump = 5_000 if t >= 5 else 0
        v, _, _ = timeline.place(video, round((t + jump) * 90_000), NO_TIME, t)
        a, _, _ = timeline.place(audio, round((t + jump) * 48_000), NO_TIME, t + 0.4)
        if number == FPS:
            timeline.sender_report(video, 1000 * NTP_SECOND, round(t * 90_000))
            timeline.sender_report(audio, 1000 * NTP_SECOND, round(t * 48_000))
        offsets.append(a / 48_000 - v / 90_000)
    steps = [abs(b - a) for a, b in itertools.pairwise(offsets)]
    assert max(steps) <= 0.005 / FPS + 2 / 48_000


def test_reports_from_before_a_jump_align_nothing_after_it() -> None:
    video, audio = make_tracks()
    timeline = Timeline()
    timeline.begin((video, audio), 0.0)
    for number in range(60 * FPS):
        t = number / FPS
        jump = 8 if t >= 30 else 0  # implausible offsets begin at 10 s
        v, _, _ = timeline.place(video, round((t + jump) * 90_000), NO_TIME, t)
        a, _, _ = timeline.place(audio, round((t + jump) * 48_000), NO_TIME, t)
        if number in (10 * FPS, 31 * FPS):
            timeline.sender_report(
                video, round((1000 + t) * NTP_SECOND), round((t + jump) * 90_000)
            )
        if number == 11 * FPS:  # the other's next report never comes
            timeline.sender_report(audio, round((1000 + t) * NTP_SECOND), round(t * 48_000))
        assert abs(v / 90_000 - a / 48_000) < 0.002, t


def test_a_track_without_rtp_info_follows_one_that_began_late_after_its_own() -> None:
    video, audio = make_tracks()
    timeline = Timeline()
    timeline.begin((video, audio), 50.0)
    timeline.anchor({video: 1_000})  # and the video waits 2 s for its key frame
    v, _, _ = timeline.place(video, 1_000 + 180_000, NO_TIME, 52.0)
    a, _, _ = timeline.place(audio, 777, NO_TIME, 52.0)
    assert abs(v / 90_000 - a / 48_000) < 0.001


def test_a_track_that_starts_after_hours_of_drift_is_in_time() -> None:
    video, audio = make_tracks()
    timeline = Timeline()
    timeline.begin((video, audio), 0.0)
    fast = 1.0005  # the source's clock against ours
    v = 0
    for number in range(10 * 3600):
        v, _, _ = timeline.place(video, round(number * fast * 90_000), NO_TIME, float(number))
    a, _, _ = timeline.place(audio, 0, NO_TIME, 10 * 3600 - 1.0)
    assert abs(v / 90_000 - a / 48_000) < 0.05


def test_b_frames_slew_no_faster() -> None:
    video, audio = make_tracks()
    timeline = Timeline()
    timeline.begin((audio, video), 0.0)  # the audio leads, the video has to follow
    order = [0, *(4 * group + number for group in range(300) for number in (4, 2, 1, 3))]
    offsets = []
    for position, number in enumerate(order):
        t = position / FPS
        timeline.place(audio, round(t * 48_000), NO_TIME, t)
        v, _, _ = timeline.place(video, number * STEP, NO_TIME, t + 0.5)
        if position == FPS:
            timeline.sender_report(audio, 1000 * NTP_SECOND, round(t * 48_000))
            timeline.sender_report(video, 1000 * NTP_SECOND, position * STEP)
        offsets.append(v / 90_000 - number / FPS)
    moved = abs(offsets[-1] - offsets[FPS])
    assert 0.2 < moved <= 0.005 * (len(order) - FPS) / FPS + 0.001


def test_a_learned_reordering_depth_outlives_the_source() -> None:
    quiet = VideoParameters(frame_rate_num=FPS, frame_rate_den=1, reorder_frames=None)
    video = Track(0, Kind.VIDEO, H264, 90_000, quiet)
    timeline = Timeline()
    order = [0, *(3 * group + number for group in range(20) for number in (3, 1, 2))]
    for run in range(2):
        timeline.begin((video,), run * 10.0)
        rows = [
            timeline.place(video, number * STEP, NO_TIME, run * 10.0 + position / FPS)
            for position, number in enumerate(order)
        ]
        late = [dts - pts for pts, dts, _ in rows if dts > pts]
        assert run == 0 or late == []


def test_drift_over_a_day_is_no_jump_and_capture_time_follows_the_wall() -> None:
    for ppm in (-500, 500):
        video, audio = make_tracks()
        timeline = Timeline()
        timeline.set_wall_offset(1_700_000_000.0)
        timeline.begin((video, audio), 0.0)
        rate = 1 + ppm / 1e6
        ntp = v = a = 0
        for t in range(86_400):
            v, _, ntp = timeline.place(video, round(t * rate * 90_000), NO_TIME, float(t))
            assert timeline.jump is None
            a, _, _ = timeline.place(audio, round(t * rate * 48_000), NO_TIME, float(t))
            assert timeline.jump is None
        assert abs(v / 90_000 - a / 48_000) < 0.001
        assert abs(unix_from_ntp(ntp) - 1_700_086_399.0) < 0.1


def test_sound_that_steps_back_a_little_has_jumped() -> None:
    """Packets of sound come in order: what is 0.7 s back is no reordering but another clock."""
    run = Run(Timeline(), make_tracks(), at=10.0)
    run.send(50.0, 5.0)
    dts = []
    for number in range(50):
        source = 55.0 - 0.7 + number / 50
        arrived = 15.0 + number / 50
        dts.append(run.timeline.place(run.audio, round(source * 48_000), NO_TIME, arrived)[1])
    assert [b - a for a, b in itertools.pairwise(dts)] == [960] * 49


def test_a_file_of_a_second_that_loops_goes_on() -> None:
    """Each round steps back by less than what deep reordering may: pictures follow all the same."""
    deep = VideoParameters(frame_rate_num=FPS, frame_rate_den=1, reorder_frames=2)
    video, audio = make_tracks()
    video.parameters = deep
    timeline = Timeline()
    timeline.begin((video, audio), 0.0)
    shown = []
    for number in range(10 * FPS):
        t = number / FPS
        source = number % FPS / FPS
        v, dts, _ = timeline.place(video, round(source * 90_000), NO_TIME, t)
        a, _, _ = timeline.place(audio, round(source * 48_000), NO_TIME, t)
        assert abs(v / 90_000 - a / 48_000) < 0.09
        shown.append(v)
        assert v - dts < 90_000
    steps = [b - a for a, b in itertools.pairwise(shown)]
    assert min(steps) > 0
    assert abs(shown[-1] / 90_000 - 10.0) < 0.5


def test_pictures_of_one_time_are_a_tick_apart() -> None:
    video, _ = make_tracks()
    timeline = Timeline()
    timeline.begin((video,), 0.0)
    times = [timeline.place(video, at, NO_TIME, 0.0)[:2] for at in (0, STEP, STEP, 2 * STEP)]
    assert times == [(0, 0), (STEP, STEP), (STEP + 1, STEP + 1), (2 * STEP, 2 * STEP)]


def test_decode_times_behind_a_pause_are_not_from_before_it() -> None:
    deep = VideoParameters(frame_rate_num=FPS, frame_rate_den=1, reorder_frames=2)
    video = Track(0, Kind.VIDEO, H264, 90_000, deep)
    timeline = Timeline()
    timeline.begin((video,), 0.0)
    order = [0, *(3 * group + number for group in range(40) for number in (3, 1, 2))]
    for number in order:
        pause = 5 * FPS if number > 60 else 0
        at = number + pause
        pts, dts, _ = timeline.place(video, at * STEP, NO_TIME, at / FPS)
        assert 0 <= pts - dts <= 5 * STEP, number


def test_capture_time_is_that_of_the_fastest_track() -> None:
    """Sound that is 100 ms longer under way does not pull the wall clock to and fro."""
    video, audio = make_tracks()
    timeline = Timeline()
    timeline.set_wall_offset(1_700_000_000.0)
    timeline.begin((video, audio), 0.0)
    timeline.anchor({video: 0, audio: 0})
    anchors = []
    for number in range(60 * FPS):
        t = number / FPS
        pts, _, ntp = timeline.place(video, number * STEP, NO_TIME, t + 0.05)
        timeline.place(audio, round(t * 48_000), NO_TIME, t + 0.15)
        anchors.append(unix_from_ntp(ntp) - pts / 90_000)
    assert max(anchors) - min(anchors) < 0.000_01


def test_a_wall_clock_that_was_set_aligns_nothing_until_both_tell_of_it() -> None:
    """The source's clock steps by 3 s; the sound's next report comes 4 s after the picture's."""
    video, audio = make_tracks()
    timeline = Timeline()
    timeline.begin((video, audio), 0.0)
    timeline.anchor({video: 0, audio: 0})
    for number in range(40 * FPS):
        t = number / FPS
        wall = t + (3 if t >= 20 else 0)
        v, _, _ = timeline.place(video, round(t * 90_000), NO_TIME, t)
        a, _, _ = timeline.place(audio, round(t * 48_000), NO_TIME, t)
        assert abs(v / 90_000 - a / 48_000) < 0.001, t
        if number % (5 * FPS) == 0:
            timeline.sender_report(video, round((1000 + wall) * NTP_SECOND), round(t * 90_000))
        if number % (5 * FPS) == 4 * FPS:
            timeline.sender_report(audio, round((1000 + wall) * NTP_SECOND), round(t * 48_000))
