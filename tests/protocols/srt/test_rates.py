"""How fast packets come in."""

import pytest

from protocols.srt.packet import RETRANSMITTED, SOLO, pack_header
from protocols.srt.rates import MIN_CAPACITY, MIN_FILE_CAPACITY, DeliveryRate, PacketPairs
from tests.support.simnet import Link
from tests.support.srt_house import Street, file_options
from tests.support.srt_pair import Pair


def arrive(rate: DeliveryRate, per_second: float, start: float, seconds: float) -> float:
    """Ten milliseconds' packets each ten milliseconds."""
    for turn in range(round(seconds * 100)):
        rate.count(round(per_second / 100), round(per_second / 100) * 1332)
        rate.update(start + (turn + 1) * 0.01)
    return start + seconds


def test_nothing_is_known_at_first() -> None:
    rate = DeliveryRate(0.0)
    assert (rate.packets, rate.bytes, rate.highest, rate.latest) == (0, 0, 0, 0)
    assert rate.capacity == MIN_CAPACITY
    assert DeliveryRate(0.0, MIN_FILE_CAPACITY).capacity == MIN_FILE_CAPACITY


def test_packets_and_bytes_per_second() -> None:
    rate = DeliveryRate(0.0)
    arrive(rate, 1000, 0.0, 1.0)
    for found, wanted in ((rate.packets, 1000), (rate.latest, 1000)):
        assert found == pytest.approx(wanted)
    for found in (rate.bytes, rate.latest_bytes):
        assert found == pytest.approx(1_332_000)
    assert rate.capacity == pytest.approx(2000)


def test_the_latest_is_not_smoothed() -> None:
    """A libsrt sender takes a mean itself: two of them, and its start would be crept through."""
    rate = DeliveryRate(0.0)
    now = arrive(rate, 1000, 0.0, 1.0)
    arrive(rate, 8000, now, 0.01)
    assert rate.latest == pytest.approx(8000)
    assert rate.packets == pytest.approx(1000 + 7000 / 8)
    assert rate.highest == pytest.approx(8000)


def test_too_short_a_span_says_nothing() -> None:
    rate = DeliveryRate(0.0)
    rate.count(100, 100)
    rate.update(0.001)
    assert rate.packets == 0
    rate.update(0.010)
    assert rate.packets == pytest.approx(10_000)


def test_a_pause_begins_anew() -> None:
    rate = DeliveryRate(0.0)
    now = arrive(rate, 5000, 0.0, 1.0)
    rate.count(10, 10)
    rate.update(now + 2.0)
    assert rate.packets == pytest.approx(5)


def test_the_highest_is_forgotten() -> None:
    rate = DeliveryRate(0.0)
    now = arrive(rate, 9000, 0.0, 0.1)
    arrive(rate, 1000, now, 0.2)
    assert rate.highest == pytest.approx(1000)


def pair_of(sequence: int, parted_us: int = 0, bits: int = 0) -> tuple[bytes, bytes]:
    """A packet that a pair begins with, and the next one; full ones."""
    first = pack_header(sequence, SOLO | 1, 1000, 7)
    second = pack_header(sequence + 1, SOLO | bits | 2, 1000 + parted_us, 7)
    return first + bytes(1456), second + bytes(1456)


def told(gaps: list[float], parted_us: int = 0, bits: int = 0, start: int = 0) -> float:
    """The capacity after pairs with these gaps."""
    pairs = PacketPairs()
    for turn, gap in enumerate(gaps):
        first, second = pair_of(start + 16 * turn, parted_us, bits)
        pairs.hear([first], turn * 1.0)
        pairs.hear([second], turn * 1.0 + gap)
    return pairs.capacity


def test_the_gap_of_a_pair_is_the_narrowest_link() -> None:
    assert told([0.001] * 20) == pytest.approx(1000)
    assert told([0.001] * 20 + [0.1] * 5 + [1e-6] * 5) == pytest.approx(1000), "outliers"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"parted_us": 900}, "the sender parted them"),
        ({"bits": RETRANSMITTED}, "one was sent again"),
        ({"start": 3}, "no pair begins there"),
    ],
    ids=str,
)
def test_what_is_no_pair(options: dict[str, int], why: str) -> None:
    assert told([0.001] * 20, **options) == 0, why


def test_too_few_pairs_say_nothing() -> None:
    assert told([0.001] * 8) == 0


def test_a_pair_in_one_batch_says_nothing() -> None:
    pairs = PacketPairs()
    for turn in range(20):
        pairs.hear(list(pair_of(16 * turn)), turn * 1.0)
    assert pairs.capacity == 0


@pytest.mark.parametrize("megabits", [2, 10, 50])
def test_the_bottleneck_is_measured(megabits: int) -> None:
    """A file over a narrow path: what the receiver tells of it, and the sender believes."""
    link = Link(delay=0.02, rate=megabits * 125_000, queue=100_000)
    street = Street(link, [file_options()], Link(delay=0.02))
    street.rates(3.0)
    (flow,) = street.flows
    for connection in (flow.sender, flow.receiver):
        found = connection.statistics(street.net.now).values["mbpsBandwidth"]
        assert found == pytest.approx(megabits, rel=0.1)


def test_a_live_stream_measures_a_path_that_is_wider() -> None:
    pair = Pair(Link(delay=0.02, rate=40 * 125_000))
    pair.stream(1900, rate=950, burst=2)
    pair.run(2.0)
    found = pair.listener.statistics(pair.net.now).values["mbpsBandwidth"]
    assert found == pytest.approx(40, rel=0.15)
