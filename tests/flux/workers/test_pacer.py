"""The pacer in virtual time."""

import random

import pytest

from flux.workers.pacer import Beat, Pacer


class Clock:
    """Both clocks and the sleep; `work` makes time pass without sleeping."""

    def __init__(self, unix: float) -> None:
        self.now = 1000.0
        self.offset = unix - self.now
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.offset

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.now += seconds

    def work(self, seconds: float) -> None:
        self.now += seconds

    def pacer(self, rate: int) -> Pacer:
        return Pacer(rate, self.monotonic, self.wall, self.sleep)


@pytest.mark.parametrize("rate", [1, 12, 24, 25, 30, 60])
def test_frames_lie_on_the_wall_clock(rate: int) -> None:
    clock = Clock(1_800_000_000.123)
    pacer = clock.pacer(rate)
    first = pacer.next()
    assert first.index == 0
    assert 0 <= first.tick / rate - 1_800_000_000.123 < 1 / rate
    for index in range(1, 3 * rate):
        assert pacer.next() == Beat(index, first.tick + index, 0)
        assert clock.wall() == pytest.approx((first.tick + index) / rate, abs=1e-4)


def test_an_hour_of_uneven_work_does_not_drift() -> None:
    clock = Clock(1_800_000_000.0)
    pacer = clock.pacer(25)
    chance = random.Random(4)
    for index in range(25 * 3600):
        beat = pacer.next()
        assert (beat.index, beat.skipped) == (index, 0)
        assert beat.tick == 1_800_000_000 * 25 + index
        assert -1e-6 < clock.wall() - beat.tick / 25 < 0.5
        clock.work(chance.expovariate(1 / 0.012) if chance.random() < 0.9 else 0.1)


def test_a_short_delay_is_caught_up() -> None:
    clock = Clock(1_800_000_000.0)
    pacer = clock.pacer(25)
    pacer.next()
    clock.work(0.5)
    assert [pacer.next().index for _ in range(20)] == list(range(1, 21))
    assert clock.now == pytest.approx(1000.0 + 20 / 25)


def test_a_long_delay_leaves_frames_out() -> None:
    clock = Clock(1_800_000_000.0)
    pacer = clock.pacer(25)
    pacer.next()
    clock.work(10.0)
    beat = pacer.next()
    assert beat.skipped == 249
    assert beat == Beat(250, 1_800_000_000 * 25 + 250, 249)
    assert pacer.next().skipped == 0


@pytest.mark.parametrize("step", [3600.0, -7.5, 0.2])
def test_a_clock_that_was_set_is_followed_in_whole_frames(step: float) -> None:
    clock = Clock(1_800_000_000.0)
    pacer = clock.pacer(25)
    for _ in range(10):
        pacer.next()
    clock.offset += step
    beats = [pacer.next() for _ in range(40)]
    assert [beat.index for beat in beats] == list(range(10, 50))
    assert clock.wall() == pytest.approx(beats[-1].tick / 25, abs=0.021)
    assert all(beat.skipped == 0 for beat in beats)


def test_small_corrections_of_the_clock_move_no_frame() -> None:
    clock = Clock(1_800_000_000.0)
    pacer = clock.pacer(25)
    pacer.next()
    clock.offset += 0.01
    assert [pacer.next().tick - 1_800_000_000 * 25 for _ in range(60)] == list(range(1, 61))
