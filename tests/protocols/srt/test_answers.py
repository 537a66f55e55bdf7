"""Which acknowledgements are answered."""

from protocols.srt.answers import CALM_ANSWERS, Answers


def answered(answers: Answers, start: int, count: int, *, is_flowing: bool) -> int:
    """Of `count` ACKs, ten milliseconds apart."""
    found = 0
    for number in range(start, start + count):
        answers.hear(number, number * 0.01, is_flowing)
        found += answers.take(number * 0.01) == number
    return found


def test_the_first_ones_all_later_ones_some() -> None:
    answers = Answers()
    assert answered(answers, 1, CALM_ANSWERS, is_flowing=True) == CALM_ANSWERS
    assert 30 <= answered(answers, 1001, 100, is_flowing=True) <= 36
    assert answered(answers, 2001, 100, is_flowing=False) == 100


def test_each_only_once_but_for_repeats() -> None:
    answers = Answers()
    assert answers.take(0.0) == 0
    answers.hear(5, 1.0, is_flowing=True)
    assert answers.take(1.0) == 5
    assert answers.take(1.0) == 0
    answers.hear(6, 1.001, is_flowing=True)
    assert answers.take(1.001) == 0, "too early"
    answers.hear(5, 1.002, is_flowing=True)
    assert answers.take(1.002) == 5, "the peer did not get it"


def test_the_newest_is_answered() -> None:
    answers = Answers()
    answers.hear(1, 1.0, is_flowing=True)
    answers.hear(2, 1.0, is_flowing=True)
    assert answers.take(1.0) == 2
