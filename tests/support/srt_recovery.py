"""How much repair mends, and what it costs, in the simulated network: runs for many seeds."""

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from statistics import mean

from protocols.srt.options import Options, RepairOptions
from tests.support.simnet import Link
from tests.support.srt_pair import Pair

LATENCY_MS = 120


@dataclass(frozen=True, slots=True)
class Case:
    """Milliseconds of round trip, share that is lost; the least delivered, the most overhead."""

    rtt_ms: int
    loss: float
    delivered: float
    overhead: float
    doubles: bool = False

    @property
    def name(self) -> str:
        """For the report."""
        return f"{self.rtt_ms}ms-{self.loss:.0%}{'-doubled' if self.doubles else ''}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Shares: handed out in time, and sent for each new packet, less one."""

    delivered: float
    overhead: float


def pair_of(case: Case, seed: int) -> Pair:
    """Two ends of such a path, with losses towards the receiver only."""
    delay = case.rtt_ms / 2000
    repair = RepairOptions(doubles_last_chance=case.doubles)
    options = Options(receive_latency_ms=LATENCY_MS, repair=repair)
    return Pair(Link(delay=delay, loss=case.loss), Link(delay=delay), seed=seed, options=options)


def transfer(case: Case, packets: int, seed: int) -> Pair:
    """One run: 10 Mbit/s."""
    pair = pair_of(case, seed)
    pair.transfer(packets)
    return pair


def measure(case: Case, packets: int, seed: int) -> Outcome:
    """What a run delivers; order and bookkeeping are right."""
    pair = transfer(case, packets, seed)
    numbers = pair.received.numbers
    assert numbers == sorted(set(numbers))
    at_the_end = packets - 1 - numbers[-1]
    assert len(numbers) + pair.received.lost + at_the_end == packets
    return Outcome(pair.delivered, pair.overhead)


def measure_all(case: Case, packets: int, seeds: Iterable[int]) -> list[Outcome]:
    """Many runs, on all cores."""
    with ProcessPoolExecutor(mp_context=get_context("forkserver")) as pool:
        return list(pool.map(partial(measure, case, packets), seeds))


def row(case: Case, found: list[Outcome]) -> str:
    """A line of the table in docs/performance.md."""
    delivered = [each.delivered for each in found]
    overhead = mean(each.overhead for each in found)
    name = f"{case.rtt_ms} | {case.loss:.0%}{', doubled' if case.doubles else ''}"
    span = f"{min(delivered):.5f}-{max(delivered):.5f}"
    return f"| {name} | {mean(delivered):.5f} ({span}) | {overhead:.1%} |"
