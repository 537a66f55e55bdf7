"""The window: what is listed, what can still be fetched, what the numbers say."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from media.hls.segment import Initialization, Segment
from media.hls.window import Window


def segment(sequence: int, duration: int = 180_000, *, is_discontinuity: bool = False) -> Segment:
    """A small segment."""
    name = f"run-{sequence}.ts"
    return Segment(name, b"xx", sequence, duration, 0, is_discontinuity, True, 1)


def test_removed_segments_stay_for_one_playlist_length_and_their_own() -> None:
    window = Window(3)
    for number in range(20):
        window.add(segment(number))
        assert window.media_sequence == max(0, number - 2)
        kept = [n for n in range(20) if window.find(f"run-{n}.ts")]
        assert kept == list(range(max(0, number - 6), number + 1))
    assert window.size_bytes == 2 * 7
    assert window.find("run-99.ts") is None


def test_sequence_may_go_on_from_an_earlier_run() -> None:
    window = Window(3, first_sequence=41)
    assert window.media_sequence == window.next_sequence == 41
    window.add(segment(41))
    assert (window.media_sequence, window.next_sequence) == (41, 42)


def test_discontinuity_counts_when_its_segment_leaves() -> None:
    window = Window(2)
    seen = []
    for number in range(6):
        window.add(segment(number, is_discontinuity=number in (1, 3)))
        seen.append(window.discontinuity_sequence)
    assert seen == [0, 0, 0, 1, 1, 2]


@given(st.lists(st.integers(1, 1_000_000), min_size=1, max_size=60), st.integers(1, 8))
def test_memory_is_bounded_whatever_the_durations(durations: list[int], size: int) -> None:
    window = Window(size)
    for number, duration in enumerate(durations):
        window.add(segment(number, duration))
        assert len(window) == min(number + 1, size)
        assert window.size_bytes <= 2 * 3 * size
        assert all(window.find(each.name) is each for each in window.segments)


def test_a_playlist_keeps_three_target_durations() -> None:
    """RFC 8216 section 6.2.2: no segment leaves if too little would stay; the end is bounded."""
    window = Window(2)
    for n in range(6):
        window.add(segment(n, duration=90_000), 360_000)
    assert [each.sequence for each in window.segments] == [2, 3, 4, 5]
    for n in range(6, 30):
        window.add(segment(n, duration=1), 360_000)
    assert len(window) == 8


def test_a_duration_keeps_more_segments_than_the_number() -> None:
    window = Window(3, duration=20 * 180_000)
    for number in range(100):
        window.add(segment(number))
    assert len(window) == 20
    assert window.duration == 20 * 180_000


def test_memory_is_bounded_whatever_the_duration() -> None:
    """What was removed goes first, then the oldest of the playlist, and three segments stay."""
    window = Window(3, duration=1_000 * 180_000, max_bytes=40)
    for number in range(50):
        window.add(segment(number))
        assert window.size_bytes <= 40
        assert window.find(f"run-{window.media_sequence}.ts") is not None
    assert (len(window), window.media_sequence) == (20, 30)
    window = Window(3, max_bytes=1)
    for number in range(50):
        window.add(segment(number))
    assert len(window) == 3
    assert window.size_bytes == 6


def test_initializations_go_with_their_last_segment() -> None:
    first, second = Initialization("a.mp4", b"1234"), Initialization("b.mp4", b"5678")
    window = Window(2)
    for number in range(20):
        own = first if number < 5 else second
        window.add(replace(segment(number), initialization=own))
        assert window.find("b.mp4") is (second if number >= 5 else None)
    assert window.find("a.mp4") is None
    assert window.size_bytes == 4 + 2 * sum(
        window.find(f"run-{number}.ts") is not None for number in range(20)
    )


def test_other_numbers_begin_another_playlist() -> None:
    window = Window(3)
    for number in range(5):
        window.add(segment(number))
    window.restart(12, 2)
    assert (len(window), window.media_sequence, window.discontinuity_sequence) == (0, 12, 2)
    assert window.find("run-4.ts") is not None
    window.add(segment(12))
    assert (len(window), window.media_sequence) == (1, 12)
