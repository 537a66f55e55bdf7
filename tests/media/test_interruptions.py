"""Interruptions by cause, in virtual time."""

from collections import Counter
from itertools import pairwise

import pytest

from media.causes import Cause, cause_of_drop, cause_of_end
from media.interruptions import USUAL, Interruptions, Tallies
from media.readers import Readers

NETWORK, SERVER, SOURCE = Cause.NETWORK, Cause.SERVER, Cause.SOURCE


class Watched:
    """One stream that is looked at in time, with one reader `a` unless it says otherwise."""

    def __init__(self, readers: int = 1) -> None:
        self.drops: Counter[str] = Counter()
        self.those = Interruptions(self.drops)
        self.now = 100.0
        self.frames = 0
        self.readers = readers
        self.those.enter("a")

    def look(self, late: float = 0.0, *, frames: int = 6, is_lost: bool = False) -> None:
        self.now += USUAL + late
        self.frames += frames
        self.those.look(self.now, self.frames, is_lost=is_lost, readers=self.readers)

    def play(self, seconds: float) -> None:
        for _ in range(round(seconds / USUAL)):
            self.look()

    def silence(self, seconds: float, *, is_lost: bool = False) -> None:
        for _ in range(round(seconds / USUAL)):
            self.look(frames=0, is_lost=is_lost)

    def of(self, session: str, dropped: int = 0) -> Tallies:
        return self.those.of(session, dropped, self.those.shared())


def counts(tallies: Tallies) -> tuple[int, int, int]:
    return tallies[NETWORK].count, tallies[SERVER].count, tallies[SOURCE].count


def dropped(tallies: Tallies) -> tuple[int, int, int]:
    return tallies[NETWORK].dropped, tallies[SERVER].dropped, tallies[SOURCE].dropped


def test_a_stream_that_plays_has_none() -> None:
    stream = Watched()
    stream.play(60.0)
    assert counts(stream.those.total()) == counts(stream.of("a")) == (0, 0, 0)


def test_a_source_that_falls_silent() -> None:
    stream = Watched(readers=10)
    stream.play(3.0)
    stream.silence(4.0)
    stream.play(1.0)
    assert counts(stream.of("a")) == (0, 0, 1)
    assert stream.of("a")[SOURCE].seconds == pytest.approx(4.0)
    assert counts(stream.those.total()) == (0, 0, 10), "each of ten readers saw it"
    assert stream.those.total()[SOURCE].seconds == pytest.approx(40.0)


def test_silence_is_told_while_it_lasts() -> None:
    stream = Watched()
    stream.play(3.0)
    stream.silence(1.0)
    assert counts(stream.of("a")) == (0, 0, 1)
    stream.silence(1.0)
    assert counts(stream.of("a")) == (0, 0, 1)
    assert stream.of("a")[SOURCE].seconds == pytest.approx(2.0)


def test_a_short_pause_is_none() -> None:
    stream = Watched()
    for _ in range(20):
        stream.play(2.0)
        stream.silence(0.5)
    assert counts(stream.of("a")) == (0, 0, 0)


def test_every_freeze_of_a_source_that_stutters_counts() -> None:
    stream = Watched()
    stream.play(2.0)
    for _ in range(5):
        stream.silence(3.0)
        stream.play(6.0)
    assert counts(stream.of("a")) == (0, 0, 5)


def test_a_source_that_sends_seldom_is_measured_by_itself() -> None:
    stream = Watched()
    for _ in range(10):  # one picture in two seconds
        stream.look(frames=1)
        stream.silence(1.75)
    before = stream.of("a")[SOURCE].count
    for _ in range(30):
        stream.look(frames=1)
        stream.silence(1.75)
    assert stream.of("a")[SOURCE].count == before <= 2
    stream.silence(8.0)
    assert stream.of("a")[SOURCE].count == before + 1


def test_a_stream_of_which_nothing_was_ever_heard_is_not_silent() -> None:
    stream = Watched()
    stream.silence(30.0)
    assert counts(stream.of("a")) == (0, 0, 0)


def test_a_source_that_is_lost_and_its_slate() -> None:
    stream = Watched()
    stream.play(2.0)
    for _ in range(20):  # frames come, but they are the slate's
        stream.look(is_lost=True)
    stream.play(2.0)
    assert counts(stream.of("a")) == (0, 0, 1)
    assert stream.of("a")[SOURCE].seconds == pytest.approx(5.0)


@pytest.mark.parametrize(("lost", "seconds"), [(0.25, 0.25), (5.0, 5.0)])
def test_readers_that_are_closed_since_the_source_stayed_away(lost: float, seconds: float) -> None:
    stream = Watched(readers=3)
    stream.play(2.0)
    stream.silence(lost, is_lost=True)
    stream.those.cut(stream.now, 3)
    assert counts(stream.those.total()) == (0, 0, 3)
    assert stream.those.total()[SOURCE].seconds == pytest.approx(3 * seconds)


@pytest.mark.parametrize("comes_first", ["frames", "look"])
def test_a_server_that_is_held_up_is_not_a_silent_source(comes_first: str) -> None:
    """Of a loop that goes on, timers may run before what has come is read, or after."""
    stream = Watched(readers=2)
    stream.play(3.0)
    stream.look(3.0, frames=75 if comes_first == "frames" else 0)
    stream.look(frames=75 if comes_first == "look" else 6)
    stream.play(3.0)
    assert counts(stream.of("a")) == (0, 1, 0)
    assert stream.of("a")[SERVER].seconds == pytest.approx(3.0)
    assert counts(stream.those.total()) == (0, 2, 0)


def test_looks_that_are_a_little_late_are_nobody_s_interruption() -> None:
    stream = Watched()
    for _ in range(50):
        stream.look(0.4)
    assert counts(stream.of("a")) == (0, 0, 0)


def test_what_nobody_waits_for_is_not_looked_at() -> None:
    stream = Watched()
    stream.play(2.0)
    stream.those.rest()
    stream.now += 3600.0
    stream.play(2.0)
    assert counts(stream.of("a")) == (0, 0, 0)


def test_a_reader_knows_of_nothing_before_it_came() -> None:
    stream = Watched()
    stream.play(2.0)
    stream.silence(3.0)
    stream.play(1.0)
    stream.drops["h264-unit-loss"] += 4
    stream.look()
    stream.those.enter("b")
    assert counts(stream.of("b")) == (0, 0, 0)
    assert dropped(stream.of("b")) == (0, 0, 0)
    stream.drops["h264-unit-loss"] += 3
    stream.look(2.0)
    assert counts(stream.of("b")) == (0, 1, 0)
    assert counts(stream.of("a")) == (0, 1, 1)


def test_a_reader_that_is_gone_is_forgotten_but_counted() -> None:
    stream = Watched()
    stream.those.note("a", NETWORK, 3.0, 70)
    stream.those.leave("a")
    assert counts(stream.of("a")) == (0, 0, 0)
    assert counts(stream.those.total()) == (1, 0, 0)
    assert dropped(stream.those.total()) == (70, 0, 0)


def test_what_was_not_passed_on_is_the_source_s() -> None:
    stream = Watched()
    stream.play(1.0)
    stream.drops["h264-unit-loss"] += 5
    stream.drops["output-fault"] += 1
    stream.look()
    assert dropped(stream.of("a", dropped=9)) == (9, 1, 5)
    assert dropped(stream.those.total()) == (0, 1, 5)


def test_what_was_lost_while_nobody_read_it_is_the_server_s() -> None:
    stream = Watched()
    stream.play(1.0)
    stream.drops["h264-unit-loss"] += 5
    stream.play(1.0)
    stream.look(2.0)
    stream.drops["h264-unit-loss"] += 40  # the kernel's buffer was full meanwhile
    stream.look()
    assert dropped(stream.those.total()) == (0, 40, 5)
    stream.play(10.0)
    stream.drops["h264-unit-loss"] += 1
    stream.look()
    assert dropped(stream.those.total()) == (0, 40, 6)


def test_counters_never_go_back() -> None:
    stream = Watched()
    seen = [dropped(stream.those.total())]
    for number in range(60):
        stream.drops["h264-unit-loss"] += number % 7
        seen.append(dropped(stream.those.total()))
        stream.look(2.0 if number % 9 == 0 else 0.0)
        seen.append(dropped(stream.those.total()))
    assert all(now >= then for one in range(3) for then, now in pairwise([s[one] for s in seen]))


def test_who_is_to_blame_for_a_skip() -> None:
    stream = Watched()
    stream.play(2.0)
    assert stream.those.blame(3.0) is NETWORK
    stream.silence(4.0)
    stream.look(frames=100)
    assert stream.those.blame(4.0) is SOURCE, "four seconds of media came at once"
    stream.play(5.0)
    assert stream.those.blame(3.0) is NETWORK, "it fell behind after that"
    stream.look(4.0, frames=100)
    assert stream.those.blame(4.0) is SERVER


def test_a_server_that_is_always_late_is_to_blame_for_skips() -> None:
    stream = Watched()
    for _ in range(10):
        stream.look(0.4)
    assert stream.those.blame(3.0) is SERVER
    stream.play(5.0)
    assert stream.those.blame(3.0) is NETWORK


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("reader-stalled", (1, 0, 0)),
        ("output-fault", (0, 1, 0)),
        ("internal-error", (0, 1, 0)),
        ("peer-closed", (0, 0, 0)),
        ("kicked", (0, 0, 0)),
        ("media-timeout", (0, 0, 0)),
    ],
)
def test_how_a_reader_ends(reason: str, expected: tuple[int, int, int]) -> None:
    readers = Readers("cam", Counter(), lambda _event: None)
    readers.leave("a", reason)
    assert counts(readers.interruptions.total()) == expected


def test_who_was_not_let_in() -> None:
    readers = Readers("cam", Counter(), lambda _event: None)
    for reason in ("server-overloaded", "egress-limit", "wrong-password"):
        readers.refused(reason)
    assert counts(readers.interruptions.total()) == (0, 2, 0)


def test_every_reason_has_one_cause() -> None:
    assert cause_of_drop("reader-skipped") is NETWORK
    assert cause_of_drop("recoder-slow") is SERVER
    assert cause_of_drop("srt-packet-lost") is cause_of_drop("h264-fu-loss") is SOURCE
    assert cause_of_end("no-readers") is None
