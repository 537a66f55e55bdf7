"""The budget of repair: a share of the input, what widens it, and what does not."""

from pytest import approx

from protocols.srt.repair_budget import (
    MAX_SHARE,
    MIN_DEPTH,
    SHORT_DEPTH,
    SHORT_SECONDS,
    RepairBudget,
)
from protocols.srt.rtt import RttEstimator
from protocols.srt.send_count import SendCount

INPUT = 1_250_000.0  # bytes per second
RTT = 0.05


class Till:
    """A budget and what it looks at; a second at a time."""

    def __init__(self, rate: int = -1, percent: int = 25) -> None:
        self.rtt = RttEstimator()
        self.count = SendCount()
        self.budget = RepairBudget(self.rtt, rate, percent, 0.0)
        self.now = 0.0

    def run(self, seconds: int, loss: float = 0.0, rtt: float = RTT, rate: float = INPUT) -> None:
        for _ in range(seconds):
            for step in range(100):
                self.rtt.add(rtt, self.now + step / 100)
            self.now += 1.0
            self.count.unique += 1000
            self.budget.lost += round(1000 * loss)
            self.budget.update(rate, self.count)

    def spend(self, seconds: float) -> float:
        """Bytes that go in some time, if all goes that may."""
        spent, end = 0.0, self.now + seconds
        while self.now < end:
            left = self.budget.available(self.now)
            if left > 0:
                self.budget.take(left)
                spent += left
            self.now += 0.01
        return spent

    def share(self) -> float:
        self.spend(0.01)
        return self.spend(10.0) / 10.0 / INPUT


def test_a_quarter_or_what_is_wanted() -> None:
    for percent in (5, 25, 100):
        till = Till(percent=percent)
        till.run(3)
        assert till.share() == approx(percent / 100, rel=0.02)


def test_more_where_more_is_lost_and_no_more_than_that() -> None:
    till = Till()
    till.run(8, loss=0.4)
    assert till.share() == approx(1.3 * 0.4, rel=0.05)
    till.run(20, loss=2.0)
    assert till.share() == approx(MAX_SHARE, rel=0.02)
    till.run(20)
    assert till.share() == approx(0.25, rel=0.02)


def test_not_more_while_there_is_a_queue() -> None:
    till = Till()
    till.run(5)
    till.run(5, loss=0.6, rtt=RTT + 0.08)
    assert till.budget.queue == approx(0.08, rel=0.1)
    assert till.share() == approx(0.25, rel=0.02)


def test_a_queue_that_stands_for_minutes_is_still_one() -> None:
    """Off (the shortest round trip of the last seconds) it would be the usual one by then."""
    till = Till()
    till.run(5)
    till.run(300, loss=0.3, rtt=RTT + 0.1)
    assert till.rtt.lowest > RTT + 0.05
    assert till.budget.queue == approx(0.1, rel=0.1)


def test_a_longer_way_without_losses_is_no_queue() -> None:
    till = Till()
    till.run(5)
    till.run(30, rtt=3 * RTT)
    assert till.budget.queue == 0.0


def test_bursts_are_short_while_there_is_a_queue_and_where_the_stream_is_small() -> None:
    till = Till()
    till.run(5)
    assert till.budget.available(till.now + 60.0) == approx(max(MIN_DEPTH, INPUT * 0.25 * 2))
    till.run(5, loss=0.1, rtt=RTT + 0.1)
    assert till.budget.available(till.now + 60.0) == approx(INPUT * 0.25 * SHORT_SECONDS)
    small = Till()
    small.run(5, rate=20_000.0)
    assert small.budget.available(small.now + 60.0) == SHORT_DEPTH


def test_a_rate_that_is_given_holds() -> None:
    till = Till(rate=100_000)
    assert till.budget.is_fixed
    till.run(8, loss=0.4)
    assert till.share() * INPUT == approx(100_000, rel=0.02)
