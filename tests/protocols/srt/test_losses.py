"""The receiver's loss list: who is asked for, and when."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from protocols.srt.control import parse_losses, serialize_losses
from protocols.srt.losses import MAX_MISSING, LossList, ranges_of

NEVER = float("inf")
RTT, AGAIN = 0.050, 0.055


def test_a_hole_is_asked_for_when_due_and_again_when_overdue() -> None:
    losses = LossList()
    losses.add(10, 13, 1.0, 1.006, 2.0)
    assert losses.get_timer() == 1.006
    assert losses.due(1.005, RTT, AGAIN) == []
    assert losses.due(1.006, RTT, AGAIN) == [10, 11, 12]
    assert losses.due(1.060, RTT, AGAIN) == []
    assert losses.due(1.062, RTT, AGAIN) == [10, 11, 12]


def test_what_came_is_not_asked_for() -> None:
    losses = LossList()
    losses.add(10, 13, 1.0, 1.006, 2.0)
    found = losses.arrive(11)
    assert found is not None
    assert found.seen_at == 1.0
    assert losses.arrive(11) is None
    assert losses.due(1.01, RTT, AGAIN) == [10, 12]


def test_no_question_whose_answer_is_too_late() -> None:
    losses = LossList()
    losses.add(10, 11, 1.0, 1.0, 1.07)
    assert losses.due(1.0, RTT, AGAIN) == [10]
    assert losses.due(1.1, RTT, AGAIN) == []
    assert losses.get_timer() == NEVER


def test_untimed_losses_are_asked_for_on_and_on() -> None:
    losses = LossList()
    losses.add(10, 11, 0.0, 0.0, 0.0)
    asked = sum(len(losses.due(n * 0.06, RTT, AGAIN)) for n in range(50))
    assert asked == 50


def test_a_filter_tells_what_to_ask_for() -> None:
    losses = LossList()
    losses.add(10, 13, 1.0, NEVER, 2.0)
    assert losses.get_timer() == NEVER
    losses.report([11, 99], 1.1)
    assert losses.due(1.1, RTT, AGAIN) == [11]


def test_forgotten_ones() -> None:
    losses = LossList()
    losses.add(10, 20, 1.0, 1.0, 9.0)
    assert losses.forget_below(15) == 5
    losses.forget(17, 30, is_doubted=False)
    assert losses.due(1.0, RTT, AGAIN) == [15, 16]
    assert losses.forget_below(100) == 2
    assert losses.get_timer() == NEVER


def test_a_doubted_word_is_believed_when_it_is_said_again() -> None:
    losses = LossList()
    losses.add(10, 20, 1.0, 1.0, 9.0)
    losses.forget(12, 15, is_doubted=True)
    assert list(losses.missing) == list(range(10, 20))
    losses.forget(14, 30, is_doubted=True)
    assert list(losses.missing) == [each for each in range(10, 20) if each != 14]


def test_a_question_is_echoed_where_questions_get_lost() -> None:
    losses = LossList()
    assert not losses.has_echo(0.0)
    for number in range(200):
        losses.add(number, number + 1, 0.0, 0.0, 0.0)
        losses.due(0.0, RTT, AGAIN)
        if number % 2:
            losses.due(0.06, RTT, AGAIN)
        losses.arrive(number)
    assert losses.has_echo(0.05)
    assert not losses.has_echo(0.35), "that many answers are lost because packets are"
    losses.add(500, 501, 1.0, 1.0, 0.0)
    assert losses.due(1.0, RTT, AGAIN, 0.003) == [500]
    assert losses.due(1.003, RTT, AGAIN, 0.003) == [500]
    assert losses.due(1.006, RTT, AGAIN, 0.003) == []


def test_it_is_bounded() -> None:
    losses = LossList()
    losses.add(0, 10 * MAX_MISSING, 1.0, 1.0, 0.0)
    losses.add(20 * MAX_MISSING, 20 * MAX_MISSING + 10, 1.0, 1.0, 0.0)
    assert len(losses.missing) == MAX_MISSING


@given(st.sets(st.integers(0, 300), max_size=80))
def test_ranges_are_the_numbers(numbers: set[int]) -> None:
    ranges = ranges_of(sorted(numbers))
    assert [n for first, last in ranges for n in range(first, last + 1)] == sorted(numbers)
    assert all(a[1] + 1 < b[0] for a, b in pairwise(ranges))
    parsed, bad = parse_losses(serialize_losses(ranges, 1000))
    assert (parsed, bad) == (ranges, 0)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60), st.integers(1, 9)), max_size=40))
def test_it_is_a_set_of_what_is_missing(steps: list[tuple[int, int, int]]) -> None:
    """Against a plain set: holes come in growing order, all else at random."""
    losses, model = LossList(), set[int]()
    end = 0
    for what, where, count in steps:
        if what == 0:
            losses.add(end + where, end + where + count, 1.0, 1.0, 0.0)
            model |= set(range(end + where, end + where + count))
            end += where + count
        elif what == 1:
            number = end - where
            assert (losses.arrive(number) is not None) == (number in model)
            model.discard(number)
        elif what == 2:
            assert losses.forget_below(end - where) == sum(n < end - where for n in model)
            model = {n for n in model if n >= end - where}
        else:
            losses.forget(end - where, end - where + count, is_doubted=False)
            model -= set(range(end - where, end - where + count))
        assert list(losses.missing) == sorted(model)
