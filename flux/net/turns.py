"""Timers of sockets that are read in turns: those that are nearly due are served together.

Each waking of an idle process costs more than what one socket has to do in it, as its code has left
the caches meanwhile. So whoever can be called a little early says so, and is called along with one
that is due. Sockets that rest equally long fall into step after a turn or two.
"""

import asyncio
import time
from collections.abc import Callable
from operator import attrgetter
from weakref import WeakKeyDictionary

EARLIEST = 0.001  # seconds; loops count milliseconds
WORTH_MOVING = 0.010  # seconds
NEVER = float("inf")

_TIME = attrgetter("at")


class Turn:
    """One call that is to come."""

    __slots__ = ("at", "callback", "slack")

    def __init__(self, at: float, slack: float, callback: Callable[[], None]) -> None:
        self.at = at
        self.slack = slack
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """It is not wanted any more."""
        self.callback = None


class Turns:
    """The timers of one loop, all of them on one timer of the loop's.

    Public: `late`, seconds by which the loop called later than it should have, the last time;
    `is_serving`: whoever is due is being called.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[Turn] = []
        self._handle: asyncio.TimerHandle | None = None
        self._handle_at = 0.0
        self._next: list[Callable[[], None]] = []  # behind the one that is being called
        self.is_serving = False
        self.late = 0.0

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> "Turns":
        """Those of this loop."""
        found = _by_loop.get(loop)
        if found is None:
            found = _by_loop[loop] = cls(loop)
        return found

    def call(self, at: float, slack: float, callback: Callable[[], None], now: float) -> Turn:
        """Call at `at` in monotonic seconds, or up to `slack` seconds before with another one."""
        turn = Turn(at, slack, callback)
        self._waiting.append(turn)
        if not self.is_serving and (self._handle is None or at < self._handle_at):
            self._arm(at, now)
        return turn

    def after(self, delay: float, slack: float, callback: Callable[[], None]) -> Turn:
        """Call after `delay` seconds, or up to `slack` before with another one."""
        now = time.monotonic()
        return self.call(now + delay, slack, callback, now)

    def call_next(self, callback: Callable[[], None]) -> None:
        """Call behind whoever is being called; where nobody is, in the loop's next turn."""
        if self.is_serving:
            self._next.append(callback)
        else:
            self._loop.call_soon(callback)

    def move(self, turn: Turn, at: float, slack: float, now: float) -> None:
        """Call somebody who waits at another time."""
        was_first = turn.at <= self._handle_at
        turn.at, turn.slack = at, slack
        if self.is_serving:
            return
        if at < self._handle_at:
            self._arm(at, now)
        elif was_first:  # else the process would wake for nothing
            self._arm(min([each.at for each in self._waiting if each.callback is not None]), now)

    def _arm(self, at: float, now: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle_at = at
        self._handle = self._loop.call_later(max(at - now, EARLIEST), self._serve)

    def _serve(self) -> None:
        self._handle = None
        now = time.monotonic()
        self.late = max(now - self._handle_at, 0.0)
        # What comes first may do what a later one would have been for.
        waiting = [turn for turn in self._waiting if turn.callback is not None]
        waiting.sort(key=_TIME)
        self._waiting = waiting
        if not waiting:
            return
        if waiting[0].at > now + EARLIEST / 2:  # what was due has been cancelled
            self._arm(waiting[0].at, now)
            return
        self._waiting = []
        self.is_serving = True
        for turn in waiting:
            callback = turn.callback
            if callback is None:
                continue
            if turn.at - turn.slack > now:
                self._waiting.append(turn)
                continue
            turn.callback = None
            self._call(callback)
            while self._next:
                self._call(self._next.pop(0))
        self.is_serving = False
        if self._waiting:
            self._arm(min([turn.at for turn in self._waiting]), now)

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as error:  # the others must have their turn
            self._loop.call_exception_handler({"message": "turn of a socket", "exception": error})


_by_loop: "WeakKeyDictionary[asyncio.AbstractEventLoop, Turns]" = WeakKeyDictionary()


class Alarm:
    """One deadline in the turns of a loop, moved often. Public: `due`, infinity: there is none."""

    __slots__ = ("_on_due", "_slack", "_turn", "_turns", "due")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_due: Callable[[], None]) -> None:
        self._turns = Turns.of(loop)
        self._turn: Turn | None = None
        self._slack = 0.0
        self._on_due = on_due
        self.due = NEVER

    def set(self, due: float, slack: float, now: float) -> None:
        """Call then, or up to `slack` seconds before; infinity: never."""
        self.due, self._slack = due, slack
        turn = self._turn
        if due == NEVER:
            return
        # One that moves a little later is left as it was: it asks again when it fires.
        if turn is None or not 0 <= due - turn.at < WORTH_MOVING:
            self._schedule(now)

    def put_off(self, due: float, slack: float, now: float) -> None:
        """Call then, or up to `slack` seconds before, if it is hastened, and not for company."""
        self.set(due, slack, now)
        if self._turn is not None:
            self._turn.slack = 0.0

    def hasten(self, now: float) -> None:
        """The process is awake: call in a moment, if that is within the slack."""
        turn = self._turn
        if turn is not None and turn.at - self._slack <= now:
            self.set(now, 0.0, now)

    def close(self) -> None:
        """Call never again, and let go of the owner, which holds this."""
        self.due = NEVER
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._on_due = _nobody

    def _schedule(self, now: float) -> None:
        if self._turn is None:
            self._turn = self._turns.call(self.due, self._slack, self._fire, now)
        else:
            self._turns.move(self._turn, self.due, self._slack, now)

    def _fire(self) -> None:
        self._turn = None
        due, now = self.due, time.monotonic()
        if due == NEVER:
            return
        if now + max(self._slack, EARLIEST / 2) < due:
            self._schedule(now)
        else:
            self.due = NEVER
            self._on_due()


def _nobody() -> None:
    """The owner has closed its alarm."""
