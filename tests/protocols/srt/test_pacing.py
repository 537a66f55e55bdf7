"""Live mode's pace: MAXBW, INPUTBW, OHEADBW, the measured input; the budget of retransmissions."""

import pytest

from protocols.srt.congestion.live import LiveControl
from protocols.srt.options import Options, RateOptions
from protocols.srt.rates import InputRate
from tests.support.simnet import Link
from tests.support.srt_house import Street, file_options
from tests.support.srt_pair import Pair

PACKET = 1316 + 44


def control(**options: int) -> LiveControl:
    return LiveControl(RateOptions(**options))


@pytest.mark.parametrize(
    ("options", "rate"),
    [
        ({}, 125_000_000),
        ({"max_rate": 1_000_000}, 1_000_000),
        ({"max_rate": 1_000_000, "input_rate": 5}, 1_000_000),
        ({"max_rate": 0, "input_rate": 1_000_000}, 1_250_000),
        ({"max_rate": 0, "input_rate": 1_000_000, "overhead_percent": 50}, 1_500_000),
        ({"max_rate": 0, "input_rate": 1_000_000, "overhead_percent": 1}, 1_050_000),
        ({"max_rate": 0, "input_rate": 1_000_000, "overhead_percent": 500}, 2_000_000),
    ],
    ids=str,
)
def test_the_rate_by_options(options: dict[str, int], rate: int) -> None:
    found = control(**options)
    assert found.rate == rate
    found.on_input(5000, 5000 * PACKET, 1.0)
    found.on_input(5000, 5000 * PACKET, 2.0)
    assert found.rate == rate, "what is given is not measured"


def pour(found: LiveControl, rate: float, seconds: float, start: float) -> float:
    """Packets at a rate per second; the time after that."""
    for number in range(int(rate * seconds)):
        found.on_input(1, PACKET, start + number / rate)
    return start + seconds


def test_the_measured_input_and_its_overhead() -> None:
    found = control(max_rate=0)
    assert found.rate == 125_000_000, "nothing is known yet"
    now = pour(found, 1000, 0.4, 10.0)
    assert found.rate == 125_000_000
    now = pour(found, 1000, 0.2, now)
    assert found.rate == pytest.approx(1000 * PACKET * 1.25, rel=0.02)
    pour(found, 3000, 2.5, now)
    assert found.rate == pytest.approx(3000 * PACKET * 1.25, rel=0.02)


def test_the_floor_of_the_measured_input() -> None:
    found = control(max_rate=0, min_input_rate=2_000_000)
    pour(found, 1000, 0.6, 10.0)
    assert found.rate == 2_500_000


def test_a_fast_input_is_known_earlier() -> None:
    found = InputRate()
    for number in range(2001):
        found.count(1, PACKET, number / 20_000)
    assert found.bytes == pytest.approx(20_000 * PACKET, rel=0.02)


def test_a_pause_is_no_input() -> None:
    found = InputRate()
    for number in range(1000):
        found.count(1, PACKET, number / 1000)
    before = found.bytes
    found.count(1, PACKET, 60.0)
    assert found.bytes == before


def wire_rate(rate: RateOptions, seconds: float = 2.0) -> tuple[float, Pair]:
    """Bytes a second on the wire while 10 Mbit/s are given in bursts of a quarter second."""
    pair = Pair(Link(delay=0.01), options=Options(rate=rate, receive_latency_ms=1000))
    highest = 0.0
    marks: list[tuple[float, int]] = [(pair.net.now, 0)]

    def look(now: float) -> None:
        nonlocal highest
        marks.append((now, pair.there.count.bytes))
        while now - marks[0][0] > 0.1:
            marks.pop(0)
        highest = max(highest, (marks[-1][1] - marks[0][1]) / 0.1)

    pair.stream(int(950 * seconds), rate=950.0, burst=237)
    pair.net.every(0.005, look, pair.net.now + seconds + 2)
    pair.run(seconds + 2)
    assert pair.received.numbers == list(range(int(950 * seconds)))
    return highest, pair


def test_bursts_are_spread_to_maxbw() -> None:
    """Off (MAXBW -1) a burst goes out as fast as a gigabit carries it."""
    free, _ = wire_rate(RateOptions())
    paced, _ = wire_rate(RateOptions(max_rate=1_800_000))
    assert free > 3_000_000
    assert paced < 1.25 * 1_800_000


def test_bursts_are_spread_to_the_input_and_overhead() -> None:
    paced, pair = wire_rate(RateOptions(max_rate=0, input_rate=1_300_000, overhead_percent=20))
    assert paced < 1.25 * 1_560_000
    values = pair.caller.statistics(pair.net.now).values
    assert values["mbpsMaxBW"] == pytest.approx(12.48)
    assert values["usPktSndPeriod"] == pytest.approx(1e6 / (1_560_000 / (1456 + 44)), rel=0.01)


def test_repairs_have_a_budget() -> None:
    """Half of the packets are lost at 10 Mbit/s: what is sent again stays within what is set."""
    options = Options(rate=RateOptions(max_repair_rate=30_000))
    pair = Pair(Link(delay=0.01, loss=0.5), Link(delay=0.01), options=options)
    pair.transfer(950 * 4)
    values = pair.caller.statistics(pair.net.now).values
    # A bucket for a burst at the start, and the rate from then on.
    assert 300_000 < values["byteRetransTotal"] < 30_000 * 5 + 384_000 + PACKET
    assert pair.delivered < 0.8


def test_in_file_mode_a_budget_holds_if_one_is_set() -> None:
    sums = []
    for limit in (-1, 20_000):
        options = file_options(rate=RateOptions(max_repair_rate=limit, max_rate=1_250_000))
        street = Street(Link(delay=0.01, loss=0.1), [options], Link(delay=0.01))
        street.rates(10.0)
        values = street.flows[0].sender.statistics(street.net.now).values
        sums.append(values["byteRetransTotal"])
    assert sums[1] <= 20_000 * 10 + 384_000 + 1500
    assert sums[0] > sums[1]
