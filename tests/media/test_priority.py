"""Several sources of one stream: switching over, coming back, choosing by hand; in virtual time."""

import itertools

import pytest

from flux.base.errors import PeerError
from media.events import SlateStarted, SourceSwitched
from media.priority import Priority, PriorityOptions, Seat
from media.source import SourceStatus
from media.stream import State
from media.track import Kind
from tests.support.slate_house import BOTH, Camera, House, loop


class Fetched:
    """A source that publishes some time after it was started, while it can."""

    def __init__(self, house: House, seat: int, delay: float = 0.5) -> None:
        self.house = house
        self.seat = seat
        self.delay = delay
        self.is_there = True  # the camera answers
        self.wanted_since: float | None = None
        self.camera: Camera | None = None
        self.said: list[str] = []

    def start(self) -> None:
        self.wanted_since = self.house.now
        self.said.append("start")

    def stop(self, reason: str) -> None:
        self.wanted_since = None
        self.said.append(reason)
        self.lose(reason)

    def lose(self, reason: str = "peer-gone") -> None:
        camera, self.camera = self.camera, None
        if camera is not None:
            camera.publisher.finish(reason, self.house.now)

    def run(self) -> None:
        now = self.house.now
        if self.camera is not None and not self.is_there:
            self.lose()
            self.wanted_since = now
        is_due = self.wanted_since is not None and now - self.wanted_since >= self.delay
        if self.camera is None and is_due and self.is_there:
            tag = b"%d" % self.seat
            self.camera = self.house.publish(seat=self.seat, tag=tag, first_key=3)

    def is_running(self) -> bool:
        return self.wanted_since is not None


class Town(House):
    """A stream with three sources, and one who watches it."""

    def __init__(self, count: int = 3, *, slate: bool = False, own: bool = False) -> None:
        super().__init__()
        self.fetched = [Fetched(self, seat) for seat in range(own, count)]
        seats = [
            Seat(SourceStatus("rtsp", f"rtsp://cam/{each.seat}"), each) for each in self.fetched
        ]
        if own:
            seats.insert(0, Seat(SourceStatus()))
        self.priority = Priority(seats, PriorityOptions(5.0, 10.0), lambda: self.now)
        self.source(self.priority)
        self.has_slate = slate

    def pass_by(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            for each in self.fetched:
                each.run()
            self.run(0.02)
            if self.has_slate and self.stream.is_open and self.onair.loop is None:
                self.onair.set_loop(loop(*BOTH), self.now)

    @property
    def shown(self) -> bytes:
        """Whose pictures the reader gets."""
        return self.log.of(Kind.VIDEO)[-1].payload[0][-1:]

    def switches(self) -> list[tuple[str, str, str]]:
        """Every switch."""
        return [
            (each.before[-1:], each.after[-1:], each.reason)
            for each in self.events
            if isinstance(each, SourceSwitched)
        ]


def watched(**settings: bool | int) -> Town:
    town = Town(**settings)  # type: ignore[arg-type] # tests give what fits
    town.pass_by(2.0)
    town.watch()
    town.pass_by(1.0)
    return town


def test_the_best_one_runs_alone() -> None:
    town = watched()
    town.pass_by(30.0)
    assert [each.is_running() for each in town.fetched] == [True, False, False]
    assert town.switches() == [("", "0", "started")]


def test_the_next_one_is_started_at_once_when_the_first_is_lost() -> None:
    town = watched()
    first, second, third = town.fetched
    first.is_there = False
    town.pass_by(0.04)
    assert second.is_running() and not third.is_running()
    town.pass_by(1.5)
    assert town.state() is State.READY and town.shown == b"1"
    assert town.router.declared("cam").status.url == "rtsp://cam/1"  # type: ignore[union-attr]
    town.pass_by(60.0)
    assert first.is_running() and not third.is_running()  # the first goes on trying
    assert town.log.closed == ""
    town.log.check()


def test_a_better_one_comes_back_once_it_was_healthy_for_long_enough() -> None:
    town = watched()
    first, second, _ = town.fetched
    first.is_there = False
    town.pass_by(3.0)
    first.is_there = True
    town.pass_by(10.0)
    assert town.shown == b"1"  # it has to prove itself
    town.pass_by(2.0)
    assert town.shown == b"0" and town.log.closed == ""
    assert second.is_running()  # for some time, should the first fail again
    town.pass_by(10.0)
    assert not second.is_running()
    assert town.switches()[1:] == [("0", "1", "source-lost"), ("1", "0", "better-source")]
    town.log.check()


def test_a_source_that_flaps_is_left_alone() -> None:
    town = watched()
    first = town.fetched[0]
    first.is_there = False
    town.pass_by(3.0)
    for _ in range(10):
        first.is_there = True
        town.pass_by(6.0)
        first.is_there = False
        town.pass_by(3.0)
    assert town.shown == b"1"
    assert len(town.switches()) == 2


def test_a_better_one_that_stands_by_fills_in_at_its_next_key_frame() -> None:
    town = watched()
    first, second, _ = town.fetched
    first.is_there = False
    town.pass_by(3.0)
    first.is_there = True
    town.pass_by(4.0)
    second.is_there = False
    town.pass_by(1.1)
    assert town.shown == b"0" and town.log.closed == ""
    town.log.check()


def test_one_after_the_other_is_tried_while_none_delivers() -> None:
    town = Town()
    for each in town.fetched:
        each.is_there = False
    town.watch()
    town.pass_by(4.0)
    assert [each.is_running() for each in town.fetched] == [True, False, False]
    town.pass_by(2.0)
    assert [each.is_running() for each in town.fetched] == [True, True, False]
    town.router.source_state("cam", "waiting", "connection-refused", town.now, 1)
    assert [each.is_running() for each in town.fetched] == [True, True, True]
    town.fetched[2].is_there = True
    town.pass_by(2.0)
    assert town.state() is State.READY and town.shown == b"2"
    town.fetched[1].is_there = True
    town.pass_by(12.0)
    assert town.shown == b"1"


def test_a_silent_source_counts_as_lost() -> None:
    town = watched()
    first = town.fetched[0]
    assert first.camera is not None
    first.camera.is_stalled = True
    town.pass_by(2.5)
    assert town.fetched[1].is_running()
    town.pass_by(1.5)
    assert town.shown == b"1"
    first.camera.is_stalled = False
    town.pass_by(12.0)
    assert town.shown == b"0"
    town.log.check()


def test_the_slate_fills_the_time_between() -> None:
    town = watched(slate=True)
    town.fetched[1].delay = 4.0
    town.fetched[0].is_there = False
    town.pass_by(0.04)
    assert town.state() is State.SLATE
    town.pass_by(6.0)
    assert town.state() is State.READY and town.shown == b"1"
    assert len(town.events_of(SlateStarted)) == 1
    gaps = [b - a for a, b in zip(town.log.times, town.log.times[1:], strict=False)]
    assert max(gaps) < 0.1
    town.log.check()


def test_switching_between_two_that_work_leaves_no_gap() -> None:
    town = watched()
    town.fetched[0].is_there = False
    town.pass_by(3.0)
    town.fetched[0].is_there = True
    seen = len(town.log.times)
    town.pass_by(13.0)
    assert town.shown == b"0"
    times = town.log.times[seen:]
    assert max(b - a for a, b in itertools.pairwise(times)) < 0.1


def test_one_chosen_by_hand_goes_on_air_at_its_first_key_frame_and_stays() -> None:
    town = watched()
    town.priority.choose(2, town.now)
    assert town.fetched[2].is_running()
    town.pass_by(2.0)
    assert town.shown == b"2"
    assert town.switches()[-1] == ("0", "2", "chosen")
    town.pass_by(30.0)
    assert town.shown == b"2"
    assert not town.fetched[0].is_running()
    town.fetched[2].is_there = False
    town.pass_by(2.0)
    assert town.shown == b"0"  # something is better than nothing
    town.fetched[2].is_there = True
    town.pass_by(13.0)
    assert town.shown == b"2"
    town.priority.choose(None, town.now)
    town.pass_by(13.0)
    assert town.shown == b"0" and town.log.closed == ""
    town.log.check()


def test_a_place_that_is_not_there_cannot_be_chosen() -> None:
    town = watched()
    with pytest.raises(PeerError, match="source-not-found"):
        town.priority.choose(3, town.now)


def test_a_fallback_for_one_who_publishes_by_himself() -> None:
    town = Town(count=2, own=True)
    town.watch()
    town.pass_by(4.0)
    assert not town.fetched[0].is_running()
    town.pass_by(3.0)
    assert town.shown == b"1"
    own = town.publish(tag=b"9")
    town.pass_by(5.0)
    assert town.shown == b"1"
    town.pass_by(7.0)
    assert town.shown == b"9"
    town.pass_by(11.0)
    assert not town.fetched[0].is_running()
    own.publisher.finish("peer-gone", town.now)
    assert town.fetched[0].is_running()
    town.pass_by(2.0)
    assert town.shown == b"1" and town.log.closed == ""
    assert [each[:2] for each in town.switches()] == [("", "1"), ("1", "r"), ("r", "1")]


def test_all_end_with_the_stream() -> None:
    town = watched()
    town.fetched[0].is_there = False
    town.pass_by(3.0)
    town.router.remove("cam", "stream-deleted", town.now)
    assert not any(each.is_running() for each in town.fetched)
    assert town.log.closed == "stream-deleted"


def test_the_last_reader_of_an_on_demand_stream_ends_all() -> None:
    town = Town()
    declared = town.router.declared("cam")
    assert declared is not None
    declared.on_demand = True
    town.watch()
    town.fetched[0].is_there = False
    town.pass_by(8.0)
    assert town.shown == b"1"
    town.leave()
    town.pass_by(6.0)
    assert not any(each.is_running() for each in town.fetched)
    assert town.state() is State.IDLE
    town.fetched[0].is_there = True
    town.watch()
    town.pass_by(2.0)
    assert town.shown == b"0"
