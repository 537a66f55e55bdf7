"""Congestion control: AIMD by itself and at bottlenecks of the simulated network."""

from itertools import pairwise

import pytest

from protocols.srt.congestion.aimd import (
    CHANCE_CUT,
    INITIAL_WINDOW,
    MIN_WINDOW,
    QUEUE_CUT,
    AimdControl,
    RttRange,
)
from protocols.srt.congestion.bucket import NEVER, TokenBucket
from protocols.srt.congestion.control import AckSample
from protocols.srt.options import Control, Options, RateOptions
from tests.support.simnet import Link
from tests.support.srt_house import Street, file_options
from tests.support.srt_pair import Pair

MBIT = 125_000.0  # bytes per second


def sample(
    position: int, acknowledged: int, in_flight: int, rtt: float = 0.04, received: float = 0.0
) -> AckSample:
    return AckSample(position, acknowledged, in_flight, rtt, rtt / 4, receive_packets=received)


class Rounds:
    """Drives a control: each round acknowledges a whole window."""

    def __init__(self, control: AimdControl) -> None:
        self.control = control
        self.position = 0
        self.now = 100.0

    @property
    def size(self) -> int:
        """Packets of the congestion window."""
        return int(self.control.congestion_window)

    @property
    def is_recovering(self) -> bool:
        return self.control.is_recovering

    def run(self, rounds: int = 1, rtt: float = 0.04) -> None:
        for _ in range(rounds):
            count = max(self.size, 1)
            self.position += count
            self.now += rtt
            self.control.on_ack(sample(self.position, count, count, rtt), self.now)

    def lose(self, lost: int) -> None:
        end = self.position + self.size
        self.control.on_loss(lost, end - 1, end, self.now)


@pytest.fixture
def rounds() -> Rounds:
    return Rounds(AimdControl(1456, 8192))


def test_slow_start_doubles(rounds: Rounds) -> None:
    assert rounds.control.is_slow_start
    sizes = []
    for _ in range(5):
        rounds.run()
        sizes.append(rounds.size)
    assert sizes == [INITIAL_WINDOW * 2**each for each in range(1, 6)]


def test_the_window_has_a_limit(rounds: Rounds) -> None:
    rounds.run(20)
    assert rounds.control.window == 8192


def test_congestion_cuts_once_a_round_trip(rounds: Rounds) -> None:
    rounds.run(5)
    before = rounds.size
    for _ in range(50):
        rounds.lose(10)
    assert rounds.control.cuts == 1
    assert rounds.is_recovering and not rounds.control.is_slow_start
    assert rounds.size == pytest.approx(before * CHANCE_CUT, abs=2)
    held = rounds.size
    rounds.control.on_ack(sample(rounds.position + 20, 20, held), rounds.now)
    assert rounds.size == held, "nothing grows in recovery"
    rounds.run(3)
    assert not rounds.control.is_recovering
    rounds.lose(60)
    assert rounds.control.cuts == 2


def test_avoidance_adds_a_packet_a_round_trip(rounds: Rounds) -> None:
    rounds.run(4)
    rounds.lose(100)
    rounds.run(3)
    before = rounds.size
    rounds.run(5)
    assert 4 <= rounds.size - before <= 7


def test_a_few_losses_without_a_queue_are_chance(rounds: Rounds) -> None:
    """Off (each loss a cut) two per cent of loss leave next to nothing."""
    rounds.run(5)
    for _ in range(20):
        rounds.lose(round(rounds.size * 0.02))
        rounds.run()
    assert rounds.control.cuts == 0


def test_one_loss_with_a_queue_is_congestion(rounds: Rounds) -> None:
    rounds.run(4)
    rounds.run(1, rtt=0.08)
    assert rounds.control.has_queue and not rounds.control.is_slow_start
    before = rounds.control.window
    rounds.control.on_loss(1, rounds.position, rounds.position + 100, rounds.now)
    rounds.control.on_ack(sample(rounds.position + 100, 100, 0, 0.08), rounds.now)
    assert rounds.control.cuts == 1
    assert rounds.control.window == pytest.approx(before * QUEUE_CUT, rel=0.02)


def test_while_something_is_missing_more_may_be_in_flight(rounds: Rounds) -> None:
    rounds.run(5)
    before = rounds.control.window
    rounds.lose(1)
    assert rounds.control.window > 3 * before
    rounds.run(2)
    assert rounds.control.window == pytest.approx(rounds.size * 1.25)


def test_a_timeout_begins_anew(rounds: Rounds) -> None:
    rounds.run(5)
    rounds.control.on_timeout(rounds.now)
    assert rounds.size == MIN_WINDOW
    assert rounds.control.is_slow_start
    rounds.run(10)
    assert not rounds.control.is_slow_start, "only up to half of what it was"


def test_without_a_cut_it_drains_now_and_then(rounds: Rounds) -> None:
    rounds.run(5)
    rounds.lose(200)
    rates = []
    for _ in range(120):
        rounds.run()
        rates.append(rounds.control.rate)
    drops = [b < 0.6 * a for a, b in pairwise(rates)]
    assert 1 <= sum(drops) <= 3


def test_the_rate_has_a_limit() -> None:
    limited = Rounds(AimdControl(1456, 8192, 2_000_000))
    limited.run(20)
    assert limited.control.rate == 2_000_000


def test_it_is_not_much_faster_than_what_is_received() -> None:
    rounds = Rounds(AimdControl(1456, 8192))
    for _ in range(20):
        rounds.control.on_ack(sample(rounds.position, 4000, 4000, 0.001, 10_000.0), rounds.now)
    assert rounds.control.rate == pytest.approx(10_000 * 1500 * 2.5, rel=0.01)


def test_the_range_of_round_trips_forgets() -> None:
    found = RttRange()
    found.add(0.02, 0.0)
    found.add(0.10, 1.0)
    assert found.is_upper(0.09) and not found.is_upper(0.05)
    for second in range(2, 40):
        found.add(0.05, float(second))
    assert found.lowest == 0.05
    assert not found.is_upper(0.06)


def test_the_bucket_keeps_the_mean() -> None:
    bucket = TokenBucket(1000.0, 100.0, 0.0)
    sent, now = 0, 0.0
    while now < 10.0:
        while bucket.available(now) > 0:
            bucket.take(70)
            sent += 70
        assert bucket.ready_at() <= now + 0.1
        now = max(bucket.ready_at(), now + 1e-6)
    assert sent == pytest.approx(10_000, abs=200)
    assert TokenBucket(0.0, 0.0, 0.0).ready_at() == NEVER


# In the simulated network.

PATH = Link(delay=0.02, rate=10 * MBIT, queue=64_000)
BACK = Link(delay=0.02)


def test_it_fills_the_bottleneck_and_no_more() -> None:
    street = Street(PATH, [file_options()], BACK)
    (first,) = street.rates(3.0)
    (rate,) = street.rates(5.0)
    assert first > 0.8 * 10 * MBIT
    assert rate > 0.9 * 10 * MBIT
    count = street.wire.count
    assert count.overflowed < 0.05 * count.sent


def test_without_it_the_bottleneck_is_flooded() -> None:
    """The same file with the control of live mode: AIMD is what keeps the rate down."""
    rate = RateOptions(max_rate=int(30 * MBIT))
    street = Street(PATH, [file_options(congestion="live", rate=rate)], BACK)
    street.rates(3.0)
    count = street.wire.count
    assert count.bytes / 3.0 > 1.5 * 10 * MBIT
    assert count.overflowed > 0.3 * count.sent


@pytest.mark.parametrize(
    ("rtt", "queue"),
    [
        (0.04, 64_000),
        pytest.param(0.1, 100_000, marks=pytest.mark.long),
        pytest.param(0.04, 200_000, marks=pytest.mark.long),
    ],
    ids=str,
)
def test_two_flows_share(rtt: float, queue: int) -> None:
    """The second one begins late, when the first has all of the path and its queue."""
    link = Link(delay=rtt / 2, rate=10 * MBIT, queue=queue)
    street = Street(link, [file_options(), file_options()], Link(delay=rtt / 2))
    street.flows[1].starts_at = street.net.now + 2.0
    street.rates(10.0)
    rates = street.rates(6.0)
    assert sum(rates) > 0.85 * 10 * MBIT
    assert min(rates) > 0.5 * max(rates), rates


@pytest.mark.parametrize(("rtt", "loss"), [(0.04, 0.02), (0.2, 0.02), (0.04, 0.05)], ids=str)
def test_losses_by_chance_cost_little(rtt: float, loss: float) -> None:
    """libsrt sends 0.5 Mbit/s at 2 % loss and 40 ms, on a path of any width."""
    link = Link(delay=rtt / 2, rate=20 * MBIT, queue=200_000, loss=loss)
    street = Street(link, [file_options()], Link(delay=rtt / 2, loss=loss / 2))
    street.rates(2.0)
    (rate,) = street.rates(2.5)
    assert rate > 0.6 * 20 * MBIT


def test_a_live_stream_that_yields() -> None:
    """10 Mbit/s onto 5 Mbit/s. With AIMD the sender gives up what does not fit; off, it is lost on
    the path, and with it whatever else is there."""
    lost = {}
    for control in (Control.AIMD, Control.PACING):
        link = Link(delay=0.02, rate=5 * MBIT, queue=32_000)
        pair = Pair(link, Link(delay=0.02), options=Options(control=control))
        pair.transfer(950 * 5)
        count = pair.there.count
        lost[control] = count.overflowed / count.sent
        assert count.delivered > 0.8 * 5 * MBIT / 1360 * 5
    assert lost[Control.AIMD] < 0.06
    assert lost[Control.PACING] > 0.4
