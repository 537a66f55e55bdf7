"""Live mode's receive buffer, and the clock that it plays by."""

import random

from hypothesis import given
from hypothesis import strategies as st

from protocols.srt.drift import DriftTracker
from protocols.srt.events import DataReceived
from protocols.srt.inbox import Entry
from protocols.srt.packet import TIMESTAMP_MASK
from protocols.srt.playout import TICK, Playout
from protocols.srt.tsbpd import MICROSECOND, PlayClock

NEVER = float("inf")


def playout(capacity: int = 100, *, drops_late: bool = True) -> Playout:
    return Playout(0, PlayClock(0.0, 0.1), capacity, drops_late)


def entry(number: int, play_at: float = 0.0) -> Entry:
    return play_at or number / 100, b"%d" % number, 0


def run(first: int, end: int) -> list[Entry]:
    return [entry(number) for number in range(first, end)]


def test_packets_in_order_are_played_at_their_time() -> None:
    inbox = playout()
    assert inbox.append_run(0, run(0, 10)) == 10
    assert inbox.expected == 10
    assert inbox.get_timer() == TICK
    assert inbox.release(0.045) == [DataReceived([b"0", b"1", b"2", b"3", b"4"], 0)]
    assert inbox.release(0.045) == []
    assert inbox.held == 5
    assert round(inbox.held_seconds, 6) == 0.04
    assert inbox.release(9.0) == [DataReceived([b"5", b"6", b"7", b"8", b"9"], 0)]
    assert inbox.get_timer() == NEVER


def test_a_hole_is_filled_and_what_is_behind_moves_on() -> None:
    inbox = playout()
    inbox.append_run(0, run(0, 2))
    inbox.append_run(3, run(3, 5))
    inbox.append_run(6, run(6, 8))
    assert inbox.expected == 2
    assert inbox.has(4)
    assert not inbox.has(5)
    assert inbox.insert(2, entry(2))
    assert inbox.expected == 5
    assert not inbox.insert(2, entry(2)), "it is there already"
    assert inbox.insert(5, entry(5))
    assert inbox.expected == 8
    assert [event.payloads for event in inbox.release(9.0)] == [[b"%d" % n for n in range(8)]]
    assert inbox.skipped == 0


def test_a_hole_is_skipped_when_what_is_behind_it_is_due() -> None:
    inbox = playout()
    inbox.append_run(0, run(0, 2))
    inbox.append_run(4, run(4, 6))
    assert inbox.release(0.0399) == [DataReceived([b"0", b"1"], 0)]
    assert inbox.get_timer() == 0.04, "exactly then, not a tick later"
    assert inbox.release(0.04) == [DataReceived([b"4"], 2)]
    assert inbox.skipped == 2
    assert inbox.expected == 6
    assert inbox.was_skipped(3)
    assert not inbox.was_skipped(4)
    assert not inbox.insert(3, entry(3)), "belated"


def test_what_nobody_waits_for_comes_later_and_many_at_once() -> None:
    inbox = playout()
    inbox.deferred = 0.5
    inbox.append_run(0, run(0, 20))
    assert inbox.release(0.4) == []
    assert inbox.get_timer() == 0.5 + TICK
    assert inbox.release(0.5) == [DataReceived([b"%d" % n for n in range(20)], 0)]
    inbox.append_run(20, run(20, 24))
    inbox.deferred = 0.0  # somebody waits now
    assert inbox.release(0.22) == [DataReceived([b"20", b"21", b"22"], 0)]


def test_what_is_deferred_leaves_room() -> None:
    """It comes when its time has come, as ever, before it takes more than a quarter."""
    inbox = playout(100)
    inbox.deferred = 0.5
    inbox.append_run(0, run(0, 24))
    assert inbox.release(0.3) == []
    inbox.append_run(24, run(24, 26))
    assert inbox.release(-1.0) == []
    assert len(inbox.release(0.3)[0].payloads) == 26


def test_a_hole_in_what_is_deferred_may_be_filled_for_longer() -> None:
    inbox = playout()
    inbox.deferred = 0.5
    inbox.append_run(1, run(1, 5))
    assert inbox.get_timer() == 0.51
    assert inbox.release(0.5) == []
    assert inbox.insert(0, entry(0, 1e-9))
    assert inbox.release(0.51) == [DataReceived([b"0", b"1", b"2", b"3", b"4"], 0)]
    inbox.append_run(6, run(6, 8))
    assert inbox.release(0.56) == [DataReceived([b"6", b"7"], 1)], "but not for ever"


def test_without_dropping_it_waits_for_ever() -> None:
    inbox = playout(drops_late=False)
    inbox.append_run(0, run(0, 2))
    inbox.append_run(4, run(4, 6))
    inbox.release(99.0)
    assert inbox.get_timer() == NEVER
    assert inbox.release(100.0) == []
    inbox.append_run(2, run(2, 4))
    assert inbox.release(101.0) == [DataReceived([b"2", b"3", b"4", b"5"], 0)]


def test_what_nobody_can_read_counts_as_lost() -> None:
    inbox = playout()
    inbox.append_run(0, [entry(0), (0.01, None, 0), entry(2)])
    assert inbox.release(1.0) == [DataReceived([b"0"], 0), DataReceived([b"2"], 1)]
    assert inbox.unreadable == 1
    inbox.append_run(3, [(0.03, None, 0)])
    assert inbox.release(1.0) == []
    inbox.append_run(4, run(4, 5))
    assert inbox.release(1.0) == [DataReceived([b"4"], 1)]


def test_it_never_holds_more_than_its_capacity() -> None:
    inbox = playout(10)
    assert inbox.append_run(0, run(0, 8)) == 8
    assert inbox.room() == 2
    assert inbox.append_run(9, run(9, 15)) == 2
    assert not inbox.insert(8, entry(8))
    assert inbox.held == 10
    inbox.release(9.0)
    assert inbox.room() == 10


@given(st.permutations(range(30)), st.sets(st.integers(0, 28), max_size=8), st.integers(1, 4))
def test_any_order_is_played_in_order(order: list[int], lost: set[int], size: int) -> None:
    """As a whole or in pieces of rising numbers, with duplicates, some never come."""
    inbox = playout()
    for number in order:
        if number in lost:
            continue
        count = size if set(range(number, number + size)).isdisjoint(lost) else 1
        inbox.append_run(number, run(number, min(number + count, 30)))
        assert inbox.held <= 30
    events = inbox.release(9.0)
    played = [int(payload) for event in events for payload in event.payloads]
    assert played == [n for n in range(30) if n not in lost]
    assert sum(event.lost for event in events) == len(lost)
    assert inbox.held == 0


def test_a_timestamp_is_read_near_our_own_time() -> None:
    for base in (0.0, 5000.0, 1e6):
        clock = PlayClock(base, 0.12)
        for elapsed in (0.0, 10.0, 4294.9, 4295.0, 4294.967296, 86_400.0, 1e6):
            now = base + elapsed
            low, start = clock.frame(now)
            for off in (-600.0, -0.5, 0.0, 0.5, 600.0):
                stamp = int((elapsed + off) * 1e6) & TIMESTAMP_MASK
                play_at = start + (stamp - low & TIMESTAMP_MASK) * MICROSECOND
                assert abs(play_at - (now + off + 0.12)) < 1e-4


def drift_of(skew: float, hours: float, *, jitter: float = 0.03, step: float = 0.0) -> DriftTracker:
    """A day in packets: 10 a second are looked at; the peer's clock is wrong by `skew`."""
    dice = random.Random(7)
    drift = DriftTracker()
    now = 0.0
    while now < hours * 3600:
        now += 0.1
        path = step if now > hours * 1800 else 0.0
        drift.add(0.02 + now * skew + dice.random() * jitter + path / 2, now)
        drift.add_rtt(0.04 + dice.random() * jitter + path)
        drift.slew(now)
    return drift


def test_drift_of_the_clocks_is_followed_under_jitter() -> None:
    for skew in (50e-6, -100e-6):
        drift = drift_of(skew, 1.0)
        assert abs(drift.applied - skew * 3600) < 0.005


def test_jitter_and_a_longer_path_are_no_drift() -> None:
    assert abs(drift_of(0.0, 0.5, jitter=0.05).applied) < 0.003
    assert abs(drift_of(0.0, 0.5, step=0.04).applied) < 0.003


def test_it_never_steps() -> None:
    drift = DriftTracker()
    before = 0.0
    for tick in range(1000):
        now = tick * 0.1
        drift.add(0.0 if now < 30 else 0.5, now)
        applied = drift.slew(now)
        assert abs(applied - before) <= 0.0005 * 0.1 + 1e-9
        before = applied
    assert before > 0.005
