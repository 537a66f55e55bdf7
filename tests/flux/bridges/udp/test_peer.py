"""One sender at a time, in virtual time."""

from flux.bridges.udp.peer import SILENCE, PeerLock
from flux.bridges.udp.plan import Senders

FIRST, SECOND = ("10.0.0.1", 4000), ("10.0.0.1", 4002)


def test_the_first_sender_is_kept_until_it_is_silent() -> None:
    lock = PeerLock(Senders())
    assert lock.take(FIRST, 1, 100.0)
    assert lock.address == FIRST
    lock.heard_at = 100.5
    assert not lock.take(SECOND, 3, 100.5 + SILENCE - 0.01)
    assert (lock.foreign, lock.changes) == (3, 0)
    assert lock.take(SECOND, 1, 100.5 + SILENCE)
    assert (lock.address, lock.changes) == (SECOND, 1)


def test_who_is_not_allowed_is_never_taken() -> None:
    lock = PeerLock(Senders(("10.0.0.2",)))
    assert not lock.take(FIRST, 2, 100.0)
    assert lock.foreign == 2
    assert lock.address is None
    assert lock.take(("::ffff:10.0.0.2", 5, 0, 0), 1, 200.0)
    assert not lock.take(FIRST, 1, 500.0)


def test_reports_come_from_the_same_host() -> None:
    lock = PeerLock(Senders((), ("10.0.0.3",)))
    assert lock.is_same_host(FIRST)
    assert not lock.is_same_host(("10.0.0.3", 1))
    lock.take(FIRST, 1, 100.0)
    assert lock.is_same_host(("10.0.0.1", 4001))
    assert not lock.is_same_host(("10.0.0.9", 4001))
