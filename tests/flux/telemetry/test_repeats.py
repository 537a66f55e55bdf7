"""Repeated faults become one line a second."""

from hypothesis import given
from hypothesis import strategies as st

from flux.telemetry.repeats import MAX_KEYS, RepeatLimiter


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_storm_becomes_one_line_a_second() -> None:
    clock = Clock()
    limiter = RepeatLimiter(clock)
    lines: list[tuple[float, object]] = []
    for tick in range(3000):  # three seconds of a thousand faults a second
        clock.now = tick / 1000
        if limiter.admit(("fault",), {"n": tick}):
            lines.append((clock.now, 1))
        lines += [(clock.now, record["repeated"]) for record in limiter.due()]
    lines += [(clock.now, record["repeated"]) for record in limiter.due(everything=True)]
    assert [time for time, count in lines] == [0.0, 1.0, 2.0, 2.999]
    assert sum(count for time, count in lines if isinstance(count, int)) == 3000


def test_the_newest_record_is_what_is_shown() -> None:
    clock = Clock()
    limiter = RepeatLimiter(clock)
    for number in range(4):
        limiter.admit(("fault",), {"n": number})
    clock.now = 1.5
    assert limiter.due() == [{"n": 3, "repeated": 3}]
    assert limiter.due() == []


def test_faults_far_apart_all_pass() -> None:
    clock = Clock()
    limiter = RepeatLimiter(clock)
    for second in range(10):
        clock.now = second * 1.5
        assert limiter.admit(("fault",), {})
        assert limiter.due() == []


def test_other_faults_are_not_held() -> None:
    limiter = RepeatLimiter(Clock())
    assert limiter.admit(("a",), {})
    assert limiter.admit(("b",), {})
    assert not limiter.admit(("a",), {})


def test_memory_is_bounded_and_comes_back() -> None:
    clock = Clock()
    limiter = RepeatLimiter(clock)
    for number in range(MAX_KEYS + 50):
        assert limiter.admit((number,), {})
    assert limiter.admit((MAX_KEYS + 1,), {})  # not told apart: passes as it is
    clock.now = 2.0
    assert limiter.due() == []
    assert limiter.admit((MAX_KEYS + 1,), {})
    assert not limiter.admit((MAX_KEYS + 1,), {})


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 3))))
def test_every_record_is_written_or_counted(steps: list[tuple[int, float]]) -> None:
    clock = Clock()
    limiter = RepeatLimiter(clock)
    count = 0
    for key, wait in steps:
        clock.now += wait
        count += limiter.admit((key,), {"key": key})
        for record in limiter.due():
            assert isinstance(record["repeated"], int)
            count += record["repeated"]
    for record in limiter.due(everything=True):
        assert isinstance(record["repeated"], int)
        count += record["repeated"]
    assert count == len(steps)
