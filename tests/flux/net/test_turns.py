"""Turns of sockets, in virtual time: who may be early is served along with who is due."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from flux.net.turns import EARLIEST, Alarm, Turns


class Handle:
    """A timer of the loop."""

    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at, self.callback, self.is_over = at, callback, False

    def cancel(self) -> None:
        self.is_over = True


class Loop:
    """A loop whose time is made here; `wakes`: when it was woken."""

    def __init__(self) -> None:
        self.now = 100.0
        self.handles: list[Handle] = []
        self.wakes: list[float] = []
        self.faults: list[dict[str, object]] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> Handle:
        assert delay >= EARLIEST
        self.handles.append(Handle(self.now + delay, callback))
        return self.handles[-1]

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.handles.append(Handle(self.now, callback))

    def call_exception_handler(self, context: dict[str, object]) -> None:
        self.faults.append(context)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            self.handles = [each for each in self.handles if not each.is_over]
            if not self.handles:
                break
            first = min(self.handles, key=lambda each: each.at)
            if first.at > end:
                break
            self.now = first.at
            first.is_over = True
            self.wakes.append(self.now)
            first.callback()
        self.now = end


class Socket:
    """Rests for so long after each turn."""

    def __init__(self, loop: Loop, turns: Turns, rest: float, slack: float) -> None:
        self.loop, self.turns, self.rest, self.slack = loop, turns, rest, slack
        self.served: list[float] = []

    def begin(self) -> None:
        self.turns.call(self.loop.now + self.rest, self.slack, self.serve, self.loop.now)

    def serve(self) -> None:
        self.served.append(self.loop.now)
        self.begin()


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    loop = Loop()
    clock = SimpleNamespace(monotonic=lambda: loop.now)
    monkeypatch.setattr("flux.net.turns.time", clock)
    return loop


@pytest.mark.parametrize("apart", [0.001, 0.004, 0.007, 0.010, 0.016])
def test_equal_rests_fall_into_step(loop: Loop, apart: float) -> None:
    """Off (no slack) there are twice as many wakes."""
    for slack, expected in ((0.010, 100), (0.0, 200)):
        turns, loop.wakes = Turns(loop), []  # type: ignore[arg-type]  # as much of a loop as it needs
        loop.handles = []
        sockets = [Socket(loop, turns, 0.020, slack) for _ in range(2)]
        sockets[0].begin()
        loop.run(apart)
        sockets[1].begin()
        loop.run(2.0)
        assert expected - 2 <= len(loop.wakes) <= expected + 3
        for each in sockets:
            gaps = [b - a for a, b in zip(each.served, each.served[1:], strict=False)]
            assert max(gaps) < 0.0205
            assert min(gaps) > 0.0095


def test_whoever_has_no_slack_is_on_time(loop: Loop) -> None:
    turns = Turns(loop)  # type: ignore[arg-type]  # as above
    called: list[tuple[str, float]] = []
    for name, at in (("late", 0.5), ("soon", 0.1), ("sooner", 0.05)):
        turns.call(100 + at, 0.0, lambda name=name: called.append((name, loop.now)), 100.0)  # type: ignore[misc]  # it is bound
    loop.run(1.0)
    assert [name for name, _ in called] == ["sooner", "soon", "late"]
    assert [at for _, at in called] == pytest.approx([100.05, 100.1, 100.5])


def test_what_is_cancelled_is_not_called_and_a_fault_stops_nobody(loop: Loop) -> None:
    turns = Turns(loop)  # type: ignore[arg-type]  # as above
    called: list[str] = []

    def fail() -> None:
        raise RuntimeError("a fault of ours")

    first = turns.call(100.1, 0.0, lambda: called.append("first"), 100.0)
    second = turns.call(100.2, 0.0, lambda: called.append("second"), 100.0)
    turns.call(100.1, 0.0, fail, 100.0)
    turns.call(100.1, 0.0, second.cancel, 100.0)
    turns.call(100.3, 0.0, lambda: called.append("third"), 100.0)
    first.cancel()
    loop.run(1.0)
    assert called == ["third"]
    assert len(loop.faults) == 1
    assert not loop.handles or all(each.is_over for each in loop.handles)


def test_what_is_for_the_same_turn_comes_before_others(loop: Loop) -> None:
    """Off, a stream's readers would be served in a turn of the loop of their own."""
    turns = Turns(loop)  # type: ignore[arg-type]  # as above
    called: list[str] = []

    def read() -> None:
        called.append("read")
        turns.call_next(fail)
        turns.call_next(write)

    def fail() -> None:
        raise RuntimeError("a fault of ours")

    def write() -> None:
        called.append("write")
        if called.count("write") < 2:
            turns.call_next(write)

    turns.call(100.1, 0.0, read, 100.0)
    turns.call(100.11, 0.02, lambda: called.append("other"), 100.0)
    loop.run(1.0)
    assert called == ["read", "write", "write", "other"]
    assert len(loop.wakes) == len(loop.faults) == 1
    turns.call_next(write)  # amid no turn
    assert called[-1] == "other"
    loop.run(0.1)
    assert called[-1] == "write"


def test_an_alarm_is_moved(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns(loop)  # type: ignore[arg-type]  # as above
    monkeypatch.setattr("flux.net.turns.Turns.of", lambda _: turns)
    fired: list[float] = []
    alarm = Alarm(loop, lambda: fired.append(loop.now))  # type: ignore[arg-type]  # as above
    alarm.set(100.5, 0.0, 100.0)
    alarm.set(100.505, 0.0, 100.0)  # a little later costs nothing now ...
    assert len(loop.handles) == 1
    loop.run(0.502)
    assert not fired  # ... and is not forgotten
    loop.run(0.1)
    assert fired == pytest.approx([100.505], abs=EARLIEST)
    alarm.set(102.0, 0.0, loop.now)
    alarm.set(101.0, 0.0, loop.now)
    assert alarm.due == 101.0
    loop.run(2.0)
    assert fired[1:] == pytest.approx([101.0])
    alarm.set(104.0, 0.5, loop.now)
    turns.call(103.6, 0.0, lambda: None, loop.now)
    loop.run(2.0)
    assert fired[2:] == pytest.approx([103.6]), "along with another"
    alarm.set(106.0, 0.0, loop.now)
    alarm.set(float("inf"), 0.0, loop.now)
    loop.run(3.0)
    alarm.set(loop.now + 1, 0.0, loop.now)
    alarm.close()
    loop.run(3.0)
    assert len(fired) == 3


async def test_a_loop_has_one() -> None:
    running = asyncio.get_running_loop()
    assert Turns.of(running) is Turns.of(running)


def test_what_is_put_off_wakes_nobody(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns(loop)  # type: ignore[arg-type]  # as above
    monkeypatch.setattr("flux.net.turns.Turns.of", lambda _: turns)
    fired: list[float] = []
    alarm = Alarm(loop, lambda: fired.append(loop.now))  # type: ignore[arg-type]  # as above
    alarm.set(100.1, 0.0, 100.0)
    alarm.set(100.3, 0.0, 100.0)
    turns.call(100.6, 0.0, lambda: None, 100.0)
    loop.run(1.0)
    assert fired == pytest.approx([100.3])
    assert loop.wakes == pytest.approx([100.3, 100.6])


def test_whoever_is_awake_hastens_what_has_slack(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = Turns(loop)  # type: ignore[arg-type]  # as above
    monkeypatch.setattr("flux.net.turns.Turns.of", lambda _: turns)
    fired: list[float] = []
    alarm = Alarm(loop, lambda: fired.append(loop.now))  # type: ignore[arg-type]  # as above
    alarm.set(100.1, 0.04, 100.0)
    alarm.hasten(100.05)
    assert alarm.due == 100.1, "it is too early"
    loop.now = 100.07
    alarm.hasten(loop.now)
    loop.run(1.0)
    assert fired == pytest.approx([100.071])


@pytest.mark.parametrize("is_hastened", [False, True])
def test_what_is_put_off_is_hastened_but_not_called_for_company(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, is_hastened: bool
) -> None:
    turns = Turns(loop)  # type: ignore[arg-type]  # as above
    monkeypatch.setattr("flux.net.turns.Turns.of", lambda _: turns)
    fired: list[float] = []
    alarm = Alarm(loop, lambda: fired.append(loop.now))  # type: ignore[arg-type]  # as above

    def company() -> None:
        if is_hastened:
            alarm.hasten(loop.now)

    alarm.put_off(100.1, 0.06, 100.0)
    turns.call(100.03, 0.0, company, 100.0)
    turns.call(100.05, 0.0, company, 100.0)
    loop.run(1.0)
    assert fired == pytest.approx([100.05 if is_hastened else 100.1])
    assert len(loop.wakes) == (2 if is_hastened else 3), "it is called with whoever hastened it"


def test_one_that_is_moved_by_another_is_called_then(loop: Loop) -> None:
    turns = Turns(loop)  # type: ignore[arg-type]  # as above
    called: list[float] = []
    late = turns.call(100.11, 0.02, lambda: called.append(loop.now), 100.0)
    turns.call(100.1, 0.0, lambda: turns.move(late, 100.5, 0.0, loop.now), 100.0)
    loop.run(1.0)
    assert called == pytest.approx([100.5])


def test_those_who_are_due_first_are_first(loop: Loop) -> None:
    """What they do may be what others would have been for."""
    turns = Turns(loop)  # type: ignore[arg-type]  # as above
    called: list[str] = []
    turns.call(100.11, 0.05, lambda: called.append("second"), 100.0)
    turns.call(100.10, 0.05, lambda: called.append("first"), 100.0)
    loop.run(1.0)
    assert called == ["first", "second"]


def test_lateness_is_told(loop: Loop) -> None:
    turns = Turns(loop)  # type: ignore[arg-type]  # as above
    late: list[float] = []
    turns.call(100.1, 0.0, lambda: late.append(turns.late), 100.0)
    loop.handles[0].at = 100.15  # the loop was busy
    loop.run(1.0)
    assert late == pytest.approx([0.05])
