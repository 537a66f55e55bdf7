"""Lines hardly wider than the stream, and narrower ones: what is sent again does not flood them."""

from dataclasses import dataclass

import pytest

from protocols.srt.options import Options, RateOptions
from tests.support.simnet import Link
from tests.support.srt_pair import Pair

RATE = 100.0  # packets per second: 1 Mbit/s
WIRE = 1316 + 16 + 28
QUEUE = 0.1  # seconds
RTT = 0.04
FLOOD = RateOptions(max_repair_rate=10**9)


@dataclass
class Outcome:
    """Of a line: what was offered to it for each byte of the stream by second, and what came."""

    offered: list[float]
    delivered: float


def transfer(
    width: float, seconds: int, loss: float = 0.0, rate: RateOptions | None = None
) -> Outcome:
    """A stream over a line that is `width` times as wide as it."""
    room = RATE * WIRE * width
    line = Link(delay=RTT / 2, rate=room, queue=int(room * QUEUE), loss=loss)
    options = Options(receive_latency_ms=500, rate=rate or RateOptions())
    pair = Pair(line, Link(delay=RTT / 2), options=options, seed=3)
    offered: list[float] = []
    before = 0

    def look(now: float) -> None:
        nonlocal before
        del now
        count = pair.there.count.bytes
        offered.append((count - before) / (RATE * WIRE))
        before = count

    pair.net.every(1.0, look, pair.net.now + seconds)
    pair.transfer(int(seconds * RATE), rate=RATE)
    return Outcome(offered[1:], pair.delivered)


def test_a_line_that_is_too_narrow_is_not_flooded() -> None:
    """For longer than the shortest round trip of the last seconds is remembered: once nothing else
    is known than the queue, it is still one. What is lost for good is what does not fit."""
    found = transfer(0.9, 40)
    assert sum(found.offered[5:]) / len(found.offered[5:]) < 1.27
    assert max(found.offered) < 1.6
    assert sum(found.offered[-10:]) / 10 < 1.27
    assert found.delivered > 0.86


def test_without_a_budget_it_is() -> None:
    found = transfer(0.9, 12, rate=FLOOD)
    assert sum(found.offered[5:]) / len(found.offered[5:]) > 1.6
    assert found.delivered < transfer(0.9, 12).delivered


@pytest.mark.parametrize("width", [1.05, 1.2])
def test_a_line_that_is_just_wide_enough_is_repaired(width: float) -> None:
    found = transfer(width, 12, loss=0.03)
    assert found.delivered > 0.999
    assert max(found.offered) < 1.2


def test_a_burst_that_does_not_fit_is_mended_and_no_more() -> None:
    """Half a second of more than twice the rate: a queue, losses, and calm again."""
    room = RATE * WIRE * 1.2
    line = Link(delay=RTT / 2, rate=room, queue=int(room * QUEUE))
    pair = Pair(line, Link(delay=RTT / 2), options=Options(receive_latency_ms=2000), seed=3)
    pair.stream(1000, rate=RATE)
    pair.run(3.0)
    pair.stream(60, rate=1.2 * RATE)
    pair.run(11.5)
    assert pair.number == 1060
    assert pair.delivered > 0.99
    assert pair.there.count.bytes < 1.3 * pair.number * WIRE, "acknowledgements of them among it"
