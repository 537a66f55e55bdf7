"""The timeline: alignment, jumps, returning sources, slewing, capture time."""

import itertools

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
