"""Round-trip time: the smoothing, the smallest, what counts as overdue, and the ACK journal."""

from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from protocols.srt.rtt import (
    HISTORY,
    INITIAL_RTT,
    MAX_OUTSTANDING,
    MAX_RTT,
    AckJournal,
    RttEstimator,
)


def test_the_first_sample_is_taken_as_it_is() -> None:
    rtt = RttEstimator()
    assert (rtt.rtt, rtt.variance, rtt.has_sample) == (INITIAL_RTT, INITIAL_RTT / 2, False)
    rtt.add(0.040, 1.0)
    assert (rtt.rtt, rtt.variance, rtt.lowest) == (0.040, 0.020, 0.040)


def test_the_variance_is_smoothed_from_the_old_mean() -> None:
    rtt = RttEstimator()
    rtt.add(0.040, 1.0)
    rtt.add(0.080, 1.1)
    assert rtt.variance == approx(0.020 * 3 / 4 + 0.040 / 4)
    assert rtt.rtt == approx(0.040 * 7 / 8 + 0.080 / 8)


def test_the_handshakes_sample_stands_in_until_a_real_one() -> None:
    rtt = RttEstimator(0.2)
    assert (rtt.rtt, rtt.variance, rtt.has_sample) == (0.2, 0.1, False)
    rtt.add(0.040, 1.0)
    assert (rtt.rtt, rtt.lowest) == (0.040, 0.040)
    assert RttEstimator(-1.0).rtt == RttEstimator(1e9).rtt == INITIAL_RTT


def test_the_peers_values_are_adopted_or_smoothed() -> None:
    only_sending = RttEstimator()
    only_sending.adopt(0.030, 0.004, 1.0, False)
    only_sending.adopt(0.050, 0.002, 1.1, False)
    assert (only_sending.rtt, only_sending.variance) == (0.050, 0.002)
    both = RttEstimator()
    both.adopt(0.040, 0.020, 1.0, True)
    assert (both.rtt, both.variance) == (0.040, 0.020)
    both.adopt(0.080, 0.0, 1.1, True)
    assert both.variance == approx(0.020 * 3 / 4 + 0.040 / 4)
    assert both.rtt == approx(0.040 * 7 / 8 + 0.080 / 8)


def test_the_smallest_is_forgotten_after_a_while() -> None:
    rtt = RttEstimator()
    for tick in range(400):
        now = tick * 0.1
        rtt.add(0.020 if now < 5 else 0.060, now)
        if now < HISTORY:
            assert rtt.lowest == 0.020
    assert rtt.lowest == 0.060


def test_overdue_is_a_round_trip_and_a_little() -> None:
    rtt = RttEstimator()
    rtt.add(0.050, 0.0)
    assert rtt.overdue == approx(0.0625), "the first variance tells nothing: it has a bound"
    for tick in range(200):
        rtt.add(0.050, tick * 0.01)
    assert rtt.overdue == approx(0.055)
    assert rtt.timeout == approx(0.050, abs=1e-6)


@given(st.lists(st.floats(allow_nan=False), max_size=30), st.booleans())
def test_any_values_leave_it_within_bounds(samples: list[float], is_smoothing: bool) -> None:
    """What a forged ACK may say: the timers stay finite."""
    rtt = RttEstimator()
    for tick, sample in enumerate(samples):
        rtt.add(sample, tick * 0.1)
        rtt.adopt(sample, sample, tick * 0.1, is_smoothing)
        assert 0 < rtt.rtt <= MAX_RTT
        assert 0 <= rtt.variance <= MAX_RTT
        assert 0 < rtt.lowest <= MAX_RTT
        assert rtt.rtt < rtt.overdue <= 2 * MAX_RTT


def test_an_ack_is_confirmed_once() -> None:
    journal = AckJournal()
    first, second = journal.note(100, 1.0), journal.note(200, 1.01)
    assert (first, second) == (1, 2)
    assert journal.confirm(second, 1.06) == approx(0.05)
    assert journal.last_confirmed == 200
    assert journal.confirm(second, 1.07) is None, "twice"
    assert journal.confirm(first, 1.08) is None, "out of order"
    assert journal.confirm(77, 1.09) is None, "never sent"
    assert journal.last_confirmed == 200


def test_the_journal_is_bounded() -> None:
    journal = AckJournal()
    numbers = [journal.note(each, each * 0.01) for each in range(MAX_OUTSTANDING + 10)]
    assert journal.confirm(numbers[9], 99.0) is None
    assert journal.confirm(numbers[10], 99.0) == approx(99.0 - 0.10)
