"""Media time and NTP in integers."""

from hypothesis import given
from hypothesis import strategies as st

from flux.base.units import NTP_SECOND, ntp_from_ticks, ntp_from_unix, rescale, unix_from_ntp


@given(st.integers(-(1 << 50), 1 << 50), st.sampled_from([8000, 44_100, 48_000, 90_000]))
def test_rescale_is_never_more_than_half_a_tick_off(ticks: int, hz: int) -> None:
    result = rescale(ticks, hz, 90_000)
    assert abs(2 * (result * hz - ticks * 90_000)) <= hz
    assert rescale(ticks, hz, hz) == ticks


def test_ntp_of_the_unix_epoch() -> None:
    assert ntp_from_unix(0) == 2_208_988_800 * NTP_SECOND
    assert unix_from_ntp(ntp_from_unix(1_700_000_000.5)) == 1_700_000_000.5
    assert ntp_from_ticks(45_000, 90_000) == NTP_SECOND // 2
