"""Failures and bans: windows, ends, and how much is remembered."""

import sys

from flux.security.penalties import Penalties


def table(failures: int = 3, size: int = 1000) -> Penalties:
    return Penalties(failures=failures, window=60.0, ban=100.0, size=size)


def test_a_ban_begins_with_the_last_failure_and_ends() -> None:
    penalties = table()
    assert [penalties.fail("a", now) for now in (0.0, 1.0, 2.0)] == [False, False, True]
    assert penalties.is_banned("a", 2.0)
    assert penalties.is_banned("a", 101.9)
    assert not penalties.is_banned("b", 2.0)
    assert penalties.banned(101.9) == 1
    assert not penalties.is_banned("a", 102.0)
    assert penalties.banned(102.0) == 0
    assert [penalties.fail("a", now) for now in (102.0, 103.0, 104.0)] == [False, False, True]


def test_failures_are_forgotten() -> None:
    penalties = table()
    assert not any(penalties.fail("a", now) for now in (0.0, 59.0, 60.0, 61.0))
    assert penalties.fail("a", 62.0)


def test_nobody_is_banned_where_that_is_off() -> None:
    penalties = table(failures=0)
    assert not any(penalties.fail("a", float(now)) for now in range(1000))
    assert len(penalties) == 0


def test_a_banned_address_is_not_banned_again() -> None:
    penalties = table(failures=1)
    assert penalties.fail("a", 0.0)
    assert not penalties.fail("a", 50.0)
    assert not penalties.is_banned("a", 100.0)


def test_the_end_of_bans_frees_them() -> None:
    penalties = table(failures=1)
    for number in range(10):
        penalties.fail(str(number), float(number))
    assert penalties.banned(104.5) == 5
    assert len(penalties) == 5


def test_strangers_lift_no_ban_by_being_many() -> None:
    penalties = table(failures=2, size=100)
    assert [penalties.fail("a", 0.0) for _ in range(2)] == [False, True]
    for number in range(10_000):
        penalties.fail(f"x{number}", 1.0)
    assert penalties.is_banned("a", 2.0)


def test_100_000_addresses_need_no_more_than_is_set() -> None:
    penalties = table(failures=2, size=1000)
    before = sys.getallocatedblocks()
    for number in range(100_000):
        address = f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::/64"
        penalties.fail(address, number / 1000)
        if number % 3 == 0:
            penalties.fail(address, number / 1000)
    assert len(penalties) <= 2000
    assert sys.getallocatedblocks() - before < 14_000  # of memory: seven for each
