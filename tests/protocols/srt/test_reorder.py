"""Tolerance for packets that overtake each other: it learns how late they come, and forgets it."""

import pytest
from pytest import approx

from protocols.srt.options import Options, RepairOptions
from protocols.srt.reorder import HALF_LIFE, MIN_TOLERANCE, ReorderTolerance
from tests.support.simnet import Link
from tests.support.srt_pair import Pair

LATENCY = 0.120


def test_it_begins_with_a_share_of_the_round_trip() -> None:
    tolerance = ReorderTolerance(LATENCY)
    assert tolerance.seconds == MIN_TOLERANCE
    tolerance.update(0.040, 0.030, 0.001, 0.0)
    assert tolerance.seconds == approx(0.005)


def test_it_leaves_the_attempts_of_repair_their_time() -> None:
    tolerance = ReorderTolerance(LATENCY)
    tolerance.update(0.080, 0.005, 0.001, 0.0)
    assert tolerance.seconds == approx(0.002)
    tolerance.update(0.080, 0.0, 0.001, 0.0)
    assert tolerance.seconds == MIN_TOLERANCE


def test_it_learns_and_forgets() -> None:
    tolerance = ReorderTolerance(LATENCY)
    tolerance.learn(0.010, 1.0)
    assert 0.010 < tolerance.seconds < 0.015
    tolerance.learn(0.002, 1.1)
    assert tolerance.seconds > 0.010, "one that was less late teaches nothing"
    assert tolerance.most == 0.010
    learned = tolerance.seconds
    tolerance.update(0.001, 0.0, 0.001, 1.0 + HALF_LIFE)
    assert tolerance.seconds == approx(learned / 2)
    tolerance.update(0.001, 0.0, 0.001, 1.0 + 20 * HALF_LIFE)
    assert tolerance.seconds == MIN_TOLERANCE


def test_it_never_takes_more_than_half_of_the_latency() -> None:
    tolerance = ReorderTolerance(LATENCY)
    tolerance.learn(5.0, 1.0)
    assert tolerance.seconds == LATENCY / 2
    tolerance.update(60.0, 60.0, 0.001, 1.0)
    assert tolerance.seconds == LATENCY / 2


def test_a_number_of_packets_may_be_set() -> None:
    tolerance = ReorderTolerance(LATENCY, packets=20)
    tolerance.update(0.010, 0.0, 0.001, 0.0)
    assert tolerance.seconds == approx(0.020)
    tolerance.update(0.010, 0.0, 0.5, 0.0)
    assert tolerance.seconds == LATENCY / 2


def repeats(pair: Pair, seconds: float, first: float = 0.0) -> int:
    """What is sent again within `seconds`, the `first` ones of them not counted."""
    pair.stream(int(seconds * 950))
    pair.run(first)
    before = pair.caller.statistics(pair.net.now).values["pktRetransTotal"]
    pair.run(seconds - first + 1.0)
    return int(pair.caller.statistics(pair.net.now).values["pktRetransTotal"] - before)


@pytest.mark.parametrize("rtt_ms", [5, 20, 50, 100, 300])
def test_overtaking_causes_no_repeats(rtt_ms: int) -> None:
    """10 % of packets 10 ms late, default settings: nothing after the first second."""
    delay = rtt_ms / 2000
    link = Link(delay=delay, reorder=0.1, reorder_by=0.010)
    pair = Pair(link, Link(delay=delay), seed=rtt_ms)
    assert repeats(pair, 3.0, 1.0) == 0
    assert pair.received.numbers == list(range(2850))
    seen = pair.listener.statistics(pair.net.now)
    reordered = seen.extra["pktReordered"]
    assert isinstance(reordered, int) and reordered > 200
    assert 8 <= seen.values["pktReorderDistance"] <= 12
    assert seen.values["pktRcvRetransTotal"] < 40, "what it cost to learn"


def test_without_tolerance_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReorderTolerance, "learn", lambda self, late, now: None)
    monkeypatch.setattr(ReorderTolerance, "update", lambda self, rtt, slack, pace, now: None)
    pair = Pair(Link(delay=0.025, reorder=0.1, reorder_by=0.010), Link(delay=0.025))
    assert repeats(pair, 3.0, 1.0) > 140


def test_reordering_beside_losses() -> None:
    """Holes that time alone would close are not asked for; those that stay are."""
    link = Link(delay=0.01, loss=0.02, reorder=0.1, reorder_by=0.010)
    pair = Pair(link, Link(delay=0.01), seed=3)
    asked = repeats(pair, 4.0)
    assert pair.delivered >= 0.9999
    assert asked < 3800 * 0.02 * 1.35


def test_packets_overtaken_by_many_with_lossmaxttl() -> None:
    """With so many packets allowed from the start not even the first one is asked for."""
    link = Link(delay=0.01, reorder=0.1, reorder_by=0.030)
    plain = Pair(link, Link(delay=0.01), seed=4)
    assert repeats(plain, 1.0) > 0
    options = Options(repair=RepairOptions(reorder_max_packets=40))
    pair = Pair(link, Link(delay=0.01), seed=4, options=options)
    assert repeats(pair, 1.0) == 0
    assert pair.received.numbers == list(range(950))


def test_jitter_that_reorders() -> None:
    """Each packet is up to 15 ms late, so most overtake others."""
    link = Link(delay=0.02, jitter=0.015, jitter_reorders=True)
    pair = Pair(link, Link(delay=0.02), seed=5)
    assert repeats(pair, 3.0, 1.0) == 0
    assert pair.received.numbers == list(range(2850))
