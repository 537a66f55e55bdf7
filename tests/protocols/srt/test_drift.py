"""Clocks that run apart, on a path: the play-out follows them, and nothing else.

How the estimate itself behaves over hours is in `test_playout`.
"""

import pytest

from protocols.srt import drift
from protocols.srt.playout import TICK
from tests.support.simnet import Link
from tests.support.srt_pair import Pair

RATE = 5.0  # packets per second
MINUTES = 5
PACKETS = int(RATE * 60 * MINUTES)
LATE = 0.006  # seconds that the estimate may lag behind: a window and a dead band


def drifting(skew: float, link: Link, rate: float = RATE) -> Pair:
    """Some minutes with a sender whose clock is wrong by `skew`."""
    pair = Pair(link, Link(delay=link.delay, jitter=link.jitter), seed=1, skew=skew)
    pair.transfer(int(rate * 60 * MINUTES), rate=rate)
    return pair


def drift_ms(pair: Pair) -> float:
    """What the receiver has taken up so far."""
    found = pair.listener.statistics(pair.net.now).extra["msDrift"]
    assert isinstance(found, float)
    return found


@pytest.mark.parametrize("skew", [100e-6, -100e-6])
def test_the_delay_stays_what_was_agreed(skew: float) -> None:
    """100 ppm is 30 ms in that time."""
    pair = drifting(skew, Link(delay=0.02, jitter=0.01))
    assert pair.received.numbers == list(range(PACKETS))
    delays = pair.delays[int(RATE * 20) :]
    assert min(delays) >= 0.14 - LATE
    assert max(delays) <= 0.14 + TICK + LATE
    assert drift_ms(pair) == pytest.approx(-skew * 60_000 * MINUTES, abs=6)


@pytest.mark.parametrize("skew", [100e-6, -100e-6])
def test_without_tracking_it_does_not(skew: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "SLEW", 0.0)
    pair = drifting(skew, Link(delay=0.02, jitter=0.01))
    assert drift_ms(pair) == 0
    assert abs(pair.delays[-1] - 0.14) > 0.015, "the play-out went away with the sender's clock"


def test_jitter_is_no_drift() -> None:
    pair = drifting(0.0, Link(delay=0.02, jitter=0.08), rate=10.0)
    assert abs(drift_ms(pair)) < 3
    assert max(pair.delays) - min(pair.delays) < TICK + 0.004


@pytest.mark.parametrize("step", [0.04, -0.04])
def test_a_path_that_gets_longer_or_shorter_is_no_drift(step: float) -> None:
    """The round trip changes at once, as when a route does."""
    pair = Pair(Link(delay=0.05), Link(delay=0.05))
    pair.stream(PACKETS, rate=RATE)
    pair.run(60.0)
    pair.there.link = pair.here.link = Link(delay=0.05 + step / 2)
    pair.run(60.0 * MINUTES)
    assert pair.received.numbers == list(range(PACKETS))
    assert abs(drift_ms(pair)) < 2
    assert max(pair.delays) - min(pair.delays) < TICK + 0.002


def test_steps_of_the_round_trip_beside_a_drift_leave_the_drift() -> None:
    pair = Pair(Link(delay=0.05), Link(delay=0.05), skew=-100e-6)
    pair.stream(PACKETS, rate=RATE)
    for minute in range(MINUTES):
        pair.there.link = pair.here.link = Link(delay=0.05 if minute % 2 else 0.065)
        pair.run(60.0)
    pair.run(1.0)
    assert drift_ms(pair) == pytest.approx(100e-6 * 60_000 * MINUTES, abs=6)
    assert max(pair.delays) - min(pair.delays) < TICK + 2 * LATE + 0.004


def test_a_pause_does_not_lose_it() -> None:
    """Ten minutes of nothing: the next packets show the drift of all that time."""
    pair = Pair(Link(delay=0.02), Link(delay=0.02), skew=-50e-6)
    pair.transfer(600, rate=RATE)
    pair.run(600.0)
    pair.transfer(1000, rate=RATE)
    delays = pair.delays
    assert abs(delays[-1] - 0.14 - TICK / 2) < LATE + TICK / 2
    assert all(delay > 0.02 for delay in delays)
