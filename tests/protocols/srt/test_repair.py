"""What is sent again, and when: guard, deadline, budget, and copies that nobody asked for."""

from dataclasses import dataclass, field

from pytest import approx

from protocols.srt.repair import (
    DOUBLE_DELAY,
    LAST_MARGIN,
    PATIENT,
    PERIODIC_SIGNS,
    RepairQueue,
)
from protocols.srt.repair_budget import MIN_DEPTH
from protocols.srt.rtt import RttEstimator
from protocols.srt.send_buffer import SendBuffer
from protocols.srt.send_count import SendCount

LATENCY = 0.120
RTT = 0.050
WIRE = 1316 + 44
PLENTY = 1e9
NEVER = float("inf")


@dataclass
class Bench:
    """A queue over packets of which one is sent each millisecond from time 0 on."""

    packets: int = 100
    latency: float = LATENCY
    rate: int = -1
    doubles_last: bool = False
    drops_late: bool = True
    first: int = 0
    count: SendCount = field(default_factory=SendCount)

    def __post_init__(self) -> None:
        self.rtt = RttEstimator()
        for tick in range(100):
            self.rtt.add(RTT, tick * 0.01 - 1.0)
        self.buffer = SendBuffer(self.first)
        for number in range(self.packets):
            self.buffer.append([bytes(1316)], number * 0.001, 0)
        self.buffer.unsent = self.buffer.end
        self.queue = RepairQueue(
            self.buffer,
            self.rtt,
            self.count,
            self.latency,
            0.0,
            rate=self.rate,
            doubles_last=self.doubles_last,
            drops_late=self.drops_late,
        )

    def due(self, now: float, limit: float = PLENTY) -> list[int]:
        """The numbers that go out now."""
        return [number for _, number in self.queue.due(now, limit)]


def test_what_is_asked_for_is_sent_once() -> None:
    bench = Bench()
    assert bench.queue.is_quiet(0.05)
    assert bench.queue.ask([9, 7], 0.05) == 2
    assert not bench.queue.is_quiet(0.05)
    assert bench.due(0.05) == [7, 9], "the oldest first: it has the least time"
    assert bench.due(0.05) == []
    assert bench.queue.is_open, "until it is acknowledged"
    bench.queue.forget_below(10)
    assert not bench.queue.is_open


def test_a_probe_is_no_sign_of_a_loss() -> None:
    """Off, whoever reads in turns, and answers late, has our port looked at each millisecond."""
    bench, seen = Bench(), list[bool]()
    bench.queue.probe(99)
    seen.append(bench.queue.is_open)
    assert bench.due(0.05) == [99]
    seen.append(bench.queue.is_open)
    assert seen == [False, False]
    bench.queue.ask([98], 0.1)
    seen.append(bench.queue.is_open)
    bench.queue.forget_below(99)
    seen.append(bench.queue.is_open)
    bench.queue.ask([99], 0.1)
    seen.append(bench.queue.is_open)
    assert seen[2:] == [True, False, True], "what is asked for was missing"


def test_not_again_before_an_answer_was_possible() -> None:
    bench = Bench()
    bench.queue.ask([7], 0.050)
    assert bench.due(0.050) == [7]
    for late in (0.001, 0.010, 0.040, 0.048):
        assert bench.queue.ask([7], 0.050 + late) == 0
        assert bench.due(0.050 + late) == []
    assert bench.count.reasons == {"nak-early": 4}
    assert bench.queue.ask([7], 0.050 + RTT) == 1
    assert bench.due(0.050 + RTT) == [7]


def test_not_when_it_would_be_too_late() -> None:
    bench = Bench()
    bench.queue.ask([10, 50], 0.010 + LATENCY + 0.006)
    assert bench.due(0.010 + LATENCY + 0.006) == [50]
    assert bench.count.reasons == {"repair-late": 1}


def test_a_peer_that_waits_gets_it_late() -> None:
    bench = Bench(drops_late=False)
    bench.queue.ask([10], 5.0)
    assert bench.due(5.0) == [10]


def test_who_asks_longer_than_anybody_else_is_waiting() -> None:
    """It defers what is due, as nobody watches there. After an outage, a peer that does not asks
    for very old packets too, but not for long."""
    bench = Bench()
    first = 0.010 + LATENCY + 0.1
    for now in (first, first + 0.05, first + LATENCY + PATIENT):
        bench.queue.ask([10], now)
        assert bench.due(now) == []
    last = first + LATENCY + PATIENT + 0.001
    bench.queue.ask([10, 11], last)
    assert bench.due(last) == [10]
    bench.queue.forget_below(11)
    assert bench.count.reasons == {"repair-late": 4}


def test_untimed_packets_are_never_late() -> None:
    bench = Bench(latency=0.0)
    bench.queue.ask([10], 5000.0)
    assert bench.due(5000.0) == [10]


def test_the_pacer_has_its_say() -> None:
    bench = Bench()
    bench.queue.ask([1, 2, 3, 4], 0.01)
    assert bench.due(0.01, 2 * WIRE - 1) == [1, 2]
    assert bench.due(0.01, 0.0) == []
    assert bench.due(0.01) == [3, 4]


def sent_in(bench: Bench, seconds: float) -> int:
    """How many packets go out when all are wanted all the time."""
    now, sent = 0.0, 0
    while now < seconds:
        bench.queue.ask(list(range(bench.packets)), now)
        sent += len(bench.due(now))
        now += 0.02
    return sent


def test_the_budget_is_a_share_of_the_input() -> None:
    """A quarter of the input, after a burst; without a budget all that is asked for is sent."""
    bench = Bench(packets=2000, drops_late=False)
    for tick in range(10):
        bench.rtt.add(0.2, tick * 0.1)  # a queue stands in the path: no more than the share
    bench.queue.update(1_250_000.0, 0.0)
    sent = sent_in(bench, 8.0)
    depth = max(1_250_000 * 0.25 * 2, MIN_DEPTH)
    assert sent * WIRE <= depth + 8.0 * 1_250_000 * 0.25 + WIRE
    assert sent * WIRE > 8.0 * 1_250_000 * 0.25 * 0.8


def test_a_fixed_budget() -> None:
    bench = Bench(packets=2000, drops_late=False, rate=100_000)
    bench.queue.update(1_250_000.0, 0.0)
    assert sent_in(bench, 8.0) * WIRE <= MIN_DEPTH + 8.0 * 100_000 + WIRE


def test_the_budget_grows_where_losses_are_all_there_is() -> None:
    """30 % lost at random: a quarter of the input would not do."""
    bench = Bench(packets=2000, drops_late=False)
    for _ in range(40):
        bench.count.unique += 1000
        bench.queue.budget.lost += 300
        bench.queue.update(1_250_000.0, 0.0)
    sent = sent_in(bench, 8.0)
    assert sent * WIRE > 8.0 * 1_250_000 * 0.28


def test_the_last_chance_is_taken_twice_if_wanted() -> None:
    """0 was sent at 0.0; an answer at 0.08 cannot be asked for again in time."""
    for doubles in (True, False):
        bench = Bench(doubles_last=doubles)
        bench.queue.ask([0], 0.080)
        assert bench.due(0.080) == [0]
        if doubles:
            assert bench.queue.get_timer(0.080) == approx(0.080 + DOUBLE_DELAY)
        again = bench.due(0.080 + DOUBLE_DELAY)
        assert again == ([0] if doubles else [])
        assert bench.count.doubled == len(again)
        assert bench.due(0.100) == [], "and not a third time"


def test_an_early_chance_is_not_doubled() -> None:
    bench = Bench(doubles_last=True)
    bench.queue.ask([0], 0.010)
    assert bench.due(0.010) == [0]
    assert bench.queue.get_timer(0.010) == NEVER


def periodic(bench: Bench) -> None:
    """The peer shows that it asks by a timer: again half a round trip after a copy."""
    bench.queue.ask([50, 51, 52], 0.060)
    assert len(bench.due(0.060)) == 3
    for number in range(PERIODIC_SIGNS):
        assert not bench.queue.is_peer_periodic
        bench.queue.ask([50 + number], 0.085)
    assert bench.queue.is_peer_periodic


def test_a_peer_with_a_timer_gets_a_copy_unasked_at_the_last_moment() -> None:
    bench = Bench()
    periodic(bench)
    bench.queue.ask([60], 0.090)
    assert bench.due(0.090) == [60]
    last = 0.060 + LATENCY - LAST_MARGIN
    assert bench.due(last - 0.001) == []
    assert 60 in bench.due(last + 0.0001)
    assert bench.count.unasked >= 1


def test_what_its_list_leaves_out_has_come() -> None:
    bench = Bench()
    periodic(bench)
    bench.queue.ask([60], 0.090)
    assert bench.due(0.090) == [60]
    bench.queue.ask([52], 0.090 + RTT + 0.010)
    bench.due(0.090 + RTT + 0.010)
    assert 60 not in bench.due(0.060 + LATENCY - LAST_MARGIN + 0.001)


def test_a_peer_of_ours_gets_nothing_unasked() -> None:
    bench = Bench()
    bench.queue.ask([60], 0.090)
    assert bench.due(0.090) == [60]
    assert bench.queue.get_timer(0.090) == NEVER
    assert bench.due(0.060 + LATENCY - LAST_MARGIN + 0.001) == []


def test_clearing_forgets_everything() -> None:
    bench = Bench(doubles_last=True)
    bench.queue.ask([0, 1], 0.080)
    bench.due(0.080, 1.0)
    bench.queue.clear()
    assert not bench.queue.is_open
    assert bench.queue.get_timer(0.08) == NEVER
    assert bench.due(0.09) == []
