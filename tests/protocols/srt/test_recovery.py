"""Repair in numbers: what is delivered, and what it costs, in the simulated network.

10 Mbit/s of 1316-byte packets, latency 120 ms, losses towards the receiver only. libsrt delivers
0.99905 / 0.99537 / 0.98252 at 50 ms round trip and 5 / 10 / 20 % loss.
"""

from dataclasses import dataclass

import pytest

from protocols.srt.options import Options, RepairOptions
from tests.support.simnet import Link
from tests.support.srt_pair import Pair

PACKETS = 100_000
SEEDS = 10
SMALL = 15_000


@dataclass(frozen=True, slots=True)
class Case:
    """Milliseconds of round trip, share that is lost; the least delivered, the most overhead."""

    rtt_ms: int
    loss: float
    delivered: float
    overhead: float
    doubles: bool = False


CASES = [
    Case(50, 0.05, 0.9997, 0.07),
    Case(50, 0.10, 0.9985, 0.14),
    Case(50, 0.20, 0.990, 0.30),
    Case(20, 0.01, 0.9999, 0.02),
    Case(20, 0.05, 0.9999, 0.07),
    Case(20, 0.10, 0.9999, 0.12),
    Case(20, 0.20, 0.9995, 0.27),
    Case(50, 0.05, 0.9999, 0.07, doubles=True),
    Case(50, 0.10, 0.9995, 0.14, doubles=True),
    Case(50, 0.20, 0.997, 0.31, doubles=True),
]


def name(case: Case) -> str:
    """For the report."""
    return f"{case.rtt_ms}ms-{case.loss:.0%}{'-doubled' if case.doubles else ''}"


def transfer(case: Case, packets: int, seed: int) -> Pair:
    """One run."""
    delay = case.rtt_ms / 2000
    options = Options(repair=RepairOptions(doubles_last_chance=case.doubles))
    pair = Pair(Link(delay=delay, loss=case.loss), Link(delay=delay), seed=seed, options=options)
    pair.transfer(packets)
    return pair


def check(case: Case, packets: int, seeds: range) -> None:
    """The mean of all seeds keeps the promise; order and bookkeeping are right in each."""
    delivered = overhead = 0.0
    for seed in seeds:
        pair = transfer(case, packets, seed)
        numbers = pair.received.numbers
        assert numbers == sorted(set(numbers))
        first_lost = max(packets - 1 - numbers[-1], 0)
        assert len(numbers) + pair.received.lost + first_lost == packets
        delivered += pair.delivered
        overhead += pair.overhead
    count = len(seeds)
    said = f"delivered {delivered / count:.6f}, overhead {overhead / count:.4f}"
    assert delivered / count >= case.delivered, said
    assert overhead / count <= case.overhead, said


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", CASES, ids=name)
def test_recovery_at_full_scale(case: Case) -> None:
    check(case, PACKETS, range(SEEDS))


@pytest.mark.parametrize(
    "case",
    [
        # So few packets say less: a margin for the chance of it.
        Case(50, 0.05, 0.9995, 0.07),
        Case(50, 0.20, 0.989, 0.30),
        Case(20, 0.10, 0.9998, 0.125),
        Case(50, 0.20, 0.996, 0.31, doubles=True),
    ],
    ids=name,
)
def test_recovery(case: Case) -> None:
    check(case, SMALL, range(1))


def test_without_loss_nothing_is_repeated() -> None:
    pair = transfer(Case(50, 0.0, 1, 0), 5000, 1)
    assert pair.received.numbers == list(range(5000))
    assert pair.overhead == 0
    values = pair.listener.statistics(pair.net.now).values
    assert values["pktSentNAKTotal"] == 0


def test_a_second_chance_is_needed() -> None:
    """Without asking again, a lost repair is a lost packet: what libsrt's timer often does."""
    case = Case(50, 0.10, 0, 1)
    pair = transfer(case, SMALL, 3)
    attempts = pair.listener.statistics(pair.net.now).extra["recoveryAttempts"]
    assert isinstance(attempts, dict)
    assert attempts["2"] > 50


@pytest.mark.parametrize("rtt_ms", [20, 60])
def test_reordering_causes_no_repeats(rtt_ms: int) -> None:
    """10 % of packets 10 ms late: after the first second nothing is asked for."""
    link = Link(delay=rtt_ms / 2000, reorder=0.1, reorder_by=0.010)
    pair = Pair(link, Link(delay=rtt_ms / 2000), seed=4)
    pair.stream(9500)
    pair.run(1.0)
    asked = pair.caller.statistics(pair.net.now).values["pktRetransTotal"]
    pair.run(10.5)
    values = pair.caller.statistics(pair.net.now).values
    assert values["pktRetransTotal"] == asked
    assert pair.received.numbers == list(range(9500))
    seen = pair.listener.statistics(pair.net.now)
    assert isinstance(reordered := seen.extra["pktReordered"], int)
    assert reordered > 800
