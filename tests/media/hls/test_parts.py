"""Where parts end, whatever frames last: never beyond the target, nothing short, nothing lost."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from media.frame import Frame
from media.hls.parts import SLACK, PartClock, PartCut, PartList
from media.hls.segment import TIME_HZ
from media.track import H264, Kind, Track

TRACK = Track(0, Kind.VIDEO, H264, TIME_HZ)
MS = TIME_HZ // 1000


def frame(start: int, *, is_key: bool = False) -> Frame:
    return Frame(TRACK, start, start, 0, 0.0, is_key, False, None, ())


def cuts_of(starts: list[int], end: int, keys: set[int] | None = None) -> tuple[int, list[PartCut]]:
    """The target and the cuts of one segment; times in ticks."""
    clock = PartClock(0.2)
    found: list[PartCut] = []
    steps = [after - before for before, after in zip(starts, [*starts[1:], end], strict=True)]
    clock.begin(starts[0])
    for n, start in enumerate(starts):
        is_key = n in (keys or {0})
        expected = steps[n - 1] if n else steps[0]
        if n == 0:
            clock.freeze()
        found += clock.frame(frame(start, is_key=is_key), start, expected, is_key=is_key)
    found += clock.finish(end)
    found.append(PartCut(clock.last(end), None, clock.has_key))
    return clock.target, found


def durations(starts: list[int], cuts: list[PartCut]) -> list[int]:
    at = [starts[0], *(cut.at for cut in cuts)]
    return [after - before for before, after in pairwise(at)]


def test_steady_frames_are_cut_at_once() -> None:
    starts = [n * 40 * MS for n in range(25)]
    target, cuts = cuts_of(starts, 1000 * MS)
    assert target == 200 * MS
    assert durations(starts, cuts) == [200 * MS] * 5
    assert [cut.following.dts if cut.following else None for cut in cuts] == [
        200 * MS, 400 * MS, 600 * MS, 800 * MS, None,
    ]  # fmt: skip
    assert [cut.has_key for cut in cuts] == [True, False, False, False, False]


def test_a_frame_that_turns_out_long_begins_the_next_part() -> None:
    """At 180 ms nobody knows that the frame will last 100 ms and not 20."""
    starts = [0, 160 * MS, 180 * MS, 280 * MS, 300 * MS]
    _, cuts = cuts_of(starts, 380 * MS)
    assert [cut.at for cut in cuts] == [180 * MS, 380 * MS]
    assert cuts[0].following is not None
    assert cuts[0].following.dts == 180 * MS


def test_a_key_frame_that_is_put_off_is_in_the_part_after() -> None:
    starts = [0, 160 * MS, 180 * MS, 280 * MS, 300 * MS]
    _, cuts = cuts_of(starts, 380 * MS, keys={0, 2})
    assert [cut.has_key for cut in cuts] == [True, True]
    _, cuts = cuts_of(starts, 380 * MS, keys={2})
    assert [cut.has_key for cut in cuts] == [False, True]


def test_a_frame_longer_than_parts_may_be_is_cut_through() -> None:
    starts = [0, 40 * MS, 80 * MS, 1_030 * MS]
    _, cuts = cuts_of(starts, 1_070 * MS)
    assert durations(starts, cuts) == [200 * MS] * 5 + [70 * MS]


@given(
    st.lists(st.integers(1 * MS, 900 * MS), min_size=1, max_size=60),
    st.sets(st.integers(0, 59)),
)
def test_whatever_frames_last(lengths: list[int], keys: set[int]) -> None:
    starts = [sum(lengths[:n]) for n in range(len(lengths))]
    end = sum(lengths)
    target, cuts = cuts_of(starts, end, keys)
    found = durations(starts, cuts)
    assert abs(sum(found) - end) <= SLACK
    assert all(0 < each <= target for each in found)
    assert all(each >= 0.85 * target for each in found[:-1])
    # Each frame is in the part in which it begins, or where a cut put it.
    firsts = [cut.following.dts for cut in cuts if cut.following is not None]
    assert firsts == sorted(firsts)


def test_a_hole_between_the_first_frames_stretches_no_part() -> None:
    clock = PartClock(0.2)
    clock.begin(0)
    for n, start in enumerate((0, 150, 190, 230, 270)):
        step = (150, 150, 40, 40, 40)[n] * MS
        list(clock.frame(frame(start * MS), start * MS, step, is_key=not n))
    assert clock.target == 200 * MS


def test_the_target_stays_once_a_part_has_ended() -> None:
    clock = PartClock(0.2)
    clock.begin(0)
    for n in range(7):
        list(clock.frame(frame(n * 150 * MS), n * 150 * MS, 150 * MS, is_key=not n))
    assert clock.target == 150 * MS or clock.target == 200 * MS
    target = clock.target
    list(clock.frame(frame(1050 * MS), 1050 * MS, 350 * MS, is_key=False))
    list(clock.frame(frame(1060 * MS), 1060 * MS, 10 * MS, is_key=False))
    assert clock.target == target


def test_the_frame_behind_the_last_part_is_known_to_all_before_it() -> None:
    clock = PartClock(0.2)
    clock.begin(0)
    list(clock.frame(frame(0), 0, 40 * MS, is_key=True))
    cuts = list(clock.finish(500 * MS, frame(500 * MS)))
    assert [cut.at for cut in cuts] == [200 * MS, 400 * MS]
    assert [cut.following.dts if cut.following else None for cut in cuts] == [500 * MS] * 2


def test_numbers_run_through_all_segments() -> None:
    """So the next part's name is known however early its segment ends."""
    parts = PartList("run")
    names = []
    for sequence in range(3):
        parts.begin(sequence, sequence * 1000)
        for n in range(2 + sequence):
            names.append(parts.next_name)
            parts.add(b"x", sequence * 1000 + 100 * (n + 1), has_key=not n)
        parts.close(10_000)
    assert names == [f"run-p{n}.m4s" for n in range(9)]
    assert parts.next_name == "run-p9.m4s"
    assert all(parts.find(name) is not None for name in names)
    assert parts.last == (2, 3)
    parts.begin(3, 3000)
    assert parts.last == (2, 3)
    parts.add(b"", 3100, has_key=False, is_gap=True)
    assert parts.last == (3, 0)
