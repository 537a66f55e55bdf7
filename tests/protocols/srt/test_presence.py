"""Whether the two sides are still there."""

import pytest

from protocols.srt.options import Options
from protocols.srt.presence import (
    CONTRADICTION,
    ENDING_TIME,
    MAX_UNREACHABLE,
    MIN_SIGNS,
    SETTLING,
    Phase,
    Presence,
)

OPTIONS = Options(idle_timeout=5.0, linger=20.0, keepalive_interval=1.0)


@pytest.fixture
def presence() -> Presence:
    return Presence(OPTIONS, 100.0)


def end_of(presence: Presence) -> tuple[str, bool] | None:
    return (presence.reason, presence.is_remote) if presence.phase is Phase.CLOSED else None


def test_a_silent_peer_is_gone(presence: Presence) -> None:
    presence.look(True, True, 104.9)
    assert end_of(presence) is None
    presence.hear(103.0)
    presence.look(True, True, 107.9)
    assert end_of(presence) is None
    assert presence.get_timer(107.9) <= 108.0
    presence.look(True, True, 108.0)
    assert end_of(presence) == ("srt-peer-idle", True)


def test_keepalives_are_due_after_silence_of_ours(presence: Presence) -> None:
    assert presence.keepalive_at == 101.0
    presence.sent_at = 100.7
    assert presence.get_timer(100.8) == pytest.approx(101.7)


def test_a_shutdown_ends_when_all_is_played(presence: Presence) -> None:
    presence.hear_shutdown(101.0)
    assert presence.phase is Phase.ENDING
    presence.look(True, True, 101.0 + ENDING_TIME / 2)
    presence.look(True, False, 101.0 + ENDING_TIME)
    assert end_of(presence) is None
    presence.look(True, True, 101.2)
    assert end_of(presence) == ("srt-peer-closed", True)


def test_what_is_left_may_be_read_for_long(presence: Presence) -> None:
    presence.hear_shutdown(101.0)
    presence.look(True, False, 110.0)
    assert end_of(presence) is None
    assert presence.get_timer(110.0) > 100.5
    presence.look(True, False, 100.0 + OPTIONS.linger)
    assert end_of(presence) == ("srt-peer-idle", True)


def test_an_error_of_the_peer(presence: Presence) -> None:
    presence.hear_shutdown(101.0, "srt-peer-error")
    presence.hear_shutdown(101.01)
    presence.look(True, True, 102.0)
    assert end_of(presence) == ("srt-peer-error", True)


def test_a_strangers_shutdown_is_taken_back(presence: Presence) -> None:
    presence.hear_shutdown(101.0)
    assert not presence.hear_life(101.0 + CONTRADICTION / 2), "it was under way"
    signs = [presence.hear_life(101.05) for _ in range(MIN_SIGNS)]
    assert signs == [False] * (MIN_SIGNS - 1) + [True]
    presence.look(True, True, 102.0)
    assert presence.phase is Phase.OPEN


def test_lingering(presence: Presence) -> None:
    presence.linger(101.0)
    presence.hear(119.0)
    presence.look(False, True, 120.9)
    assert end_of(presence) is None
    presence.look(False, True, 121.0)
    assert end_of(presence) == ("srt-closed", False)


def test_lingering_ends_some_moments_after_all_is_there(presence: Presence) -> None:
    """Off (at once) a reader that is just reading may lose it, see `SETTLING`."""
    presence.linger(101.0)
    presence.sent_at = 101.4
    presence.look(True, True, 101.5)
    assert presence.get_timer(101.5) == pytest.approx(101.5 + SETTLING)
    presence.look(True, True, 101.5 + 0.9 * SETTLING)
    assert end_of(presence) is None
    presence.look(True, True, 101.5 + SETTLING)
    assert end_of(presence) == ("srt-closed", False)


def test_the_network_says_that_nobody_is_there(presence: Presence) -> None:
    for _ in range(MAX_UNREACHABLE - 1):
        presence.hear_unreachable(103.0)
    assert end_of(presence) is None
    presence.hear_unreachable(103.0)
    assert end_of(presence) == ("srt-peer-unreachable", True)


def test_what_is_heard_contradicts_the_network(presence: Presence) -> None:
    for _ in range(3 * MAX_UNREACHABLE):
        presence.hear_unreachable(103.0)
        presence.hear(103.0)
    assert end_of(presence) is None
