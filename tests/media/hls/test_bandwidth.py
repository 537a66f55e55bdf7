"""Measured bit rates."""

from media.hls.bandwidth import Bandwidth
from media.hls.segment import TIME_HZ

TARGET = 2 * TIME_HZ


def test_average_and_peak() -> None:
    bandwidth = Bandwidth()
    assert (bandwidth.average_bps, bandwidth.peak_bps) == (0, 0)
    for size in (250_000, 500_000, 250_000):
        bandwidth.add(size, TARGET, TARGET)
    assert bandwidth.average_bps == 1_333_334
    assert bandwidth.peak_bps == 2_000_000


def test_a_short_segment_does_not_count_alone() -> None:
    bandwidth = Bandwidth()
    bandwidth.add(250_000, TARGET, TARGET)
    bandwidth.add(100_000, TIME_HZ // 10, TARGET)
    assert bandwidth.peak_bps == 350_000 * 8 * 10 // 21 + 1
    bandwidth.add(250_000, TARGET, TARGET)
    assert bandwidth.peak_bps == 350_000 * 8 * 10 // 21 + 1


def test_the_first_short_segment_is_the_average() -> None:
    bandwidth = Bandwidth()
    bandwidth.add(100_000, TIME_HZ // 10, TARGET)
    assert bandwidth.peak_bps == bandwidth.average_bps == 8_000_000
