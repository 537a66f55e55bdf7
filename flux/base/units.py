"""Units: media time in ticks, and 64-bit NTP (RFC 5905 section 6: 32.32 seconds since 1900)."""

NTP_UNIX_OFFSET = 2_208_988_800  # seconds from 1900 to 1970
NTP_SECOND = 1 << 32


def rescale(ticks: int, from_hz: int, to_hz: int) -> int:
    """`ticks` of one clock in ticks of another, rounded half up; exact for negative numbers too."""
    return (2 * ticks * to_hz + from_hz) // (2 * from_hz)


def ntp_from_unix(seconds: float) -> int:
    """64-bit NTP of a Unix time in seconds."""
    return int((seconds + NTP_UNIX_OFFSET) * NTP_SECOND)


def unix_from_ntp(ntp: int) -> float:
    """Unix time in seconds of a 64-bit NTP stamp."""
    return ntp / NTP_SECOND - NTP_UNIX_OFFSET


def ntp_from_ticks(ticks: int, hz: int) -> int:
    """A span of media time as a span of NTP."""
    return ticks * NTP_SECOND // hz
