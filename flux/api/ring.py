"""The last events of the bus, numbered, for clients that follow them.

A client is a place in the ring, not a queue: who is slow, or comes back with the id that it saw
last, goes on from there, and is told how many events it missed if the ring has let them go.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Self

from flux.api.models import Event, EventsMissed
from flux.core.bus import Bus
from flux.telemetry.eventlog import event_word

RING = 2000  # events kept
BATCH = 100  # events that a client gets at once
MAX_FOLLOWERS = 32


@dataclass(frozen=True, slots=True)
class Recorded:
    """One event in the ring."""

    number: int  # from 1
    wall: float  # Unix seconds
    event: object


class EventRing:
    """Keeps events and wakes those who follow them. `instance` tells one run from the next."""

    def __init__(self, bus: Bus, instance: str, wall: Callable[[], float] = time.time) -> None:
        self.instance = instance
        self.is_closed = False
        self.newest = 0  # number of the last event
        self._wall = wall
        self._events: deque[Recorded] = deque(maxlen=RING)
        self._followers: set[Follower] = set()
        self._unsubscribe = bus.subscribe(object, self._record)

    @property
    def followers(self) -> int:
        """How many follow."""
        return len(self._followers)

    def follow(self, kinds: Sequence[str], stream: str | None, last_id: str | None) -> "Follower":
        """A place in the ring: behind the event of this id, or behind the newest one."""
        follower = Follower(self, frozenset(kinds), stream, self._place(last_id))
        self._followers.add(follower)
        return follower

    def leave(self, follower: "Follower") -> None:
        """This one follows no more."""
        self._followers.discard(follower)

    def after(self, number: int) -> list[Recorded]:
        """Some of the events behind a number, the oldest first."""
        start = max(0, number - (self.newest - len(self._events)))
        return list(islice(self._events, start, start + BATCH))

    def close(self) -> None:
        """Take no more; those who follow come to an end."""
        self.is_closed = True
        self._unsubscribe()
        self._wake()

    def _record(self, event: object) -> None:
        self.newest += 1
        self._events.append(Recorded(self.newest, self._wall(), event))
        self._wake()

    def _wake(self) -> None:
        for follower in self._followers:
            follower.changed.set()

    def _place(self, last_id: str | None) -> int:
        """The number that an id stands for; ids of another run, and nonsense, are not known."""
        instance, _, number = (last_id or "").rpartition("-")
        if instance != self.instance or not (number.isascii() and number.isdigit()):
            return self.newest
        return min(int(number[:18]), self.newest)


class Follower:
    """One client. Use it in a `with` block, or it stays."""

    def __init__(
        self, ring: EventRing, kinds: frozenset[str], stream: str | None, place: int
    ) -> None:
        self.changed = asyncio.Event()
        self._ring = ring
        self._kinds = kinds
        self._stream = stream
        self._place = place  # number of the last event that it has seen

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ring.leave(self)

    async def next(self, timeout: float) -> list[Event | EventsMissed] | None:
        """What is new for this client; empty if nothing is for so long; None at the end."""
        end = asyncio.get_running_loop().time() + timeout
        while True:
            self.changed.clear()
            found = self._take()
            if found:
                return found
            if self._ring.is_closed:
                return None
            try:
                async with asyncio.timeout_at(end):
                    await self.changed.wait()
            except TimeoutError:
                return []

    def _take(self) -> list[Event | EventsMissed]:
        found: list[Event | EventsMissed] = []
        while self._place < self._ring.newest and not found:
            events = self._ring.after(self._place)
            missed = events[0].number - self._place - 1
            if missed:
                found.append(EventsMissed(count=missed))
            found += [self._message(each) for each in events if self._wants(each.event)]
            self._place = events[-1].number
        return found

    def _message(self, recorded: Recorded) -> Event:
        identity = f"{self._ring.instance}-{recorded.number}"
        return Event.of(identity, event_word(type(recorded.event)), recorded.wall, recorded.event)

    def _wants(self, event: object) -> bool:
        if self._kinds and event_word(type(event)) not in self._kinds:
            return False
        return self._stream is None or getattr(event, "stream", None) == self._stream
