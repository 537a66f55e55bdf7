"""Acknowledgements that go back: the second in a row is believed."""

from protocols.srt.doubts import Doubts


def test_one_may_be_late() -> None:
    doubts = Doubts()
    for _ in range(5):
        assert not doubts.hear_return()
        doubts.hear_progress()


def test_two_are_the_truth() -> None:
    doubts = Doubts()
    assert [doubts.hear_return() for _ in range(4)] == [False, True, False, True]
