"""The event bus: typed events from whoever has something to tell to whoever wants to know.

An event is any dataclass. Who publishes never waits and never fails: handlers are small and
synchronous, an exception in one is counted and reported, and whoever needs time takes a bounded
subscription, which drops its oldest event when it is full and counts that. One loop, one thread.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Self, TypeVar

E = TypeVar("E")
Handler = Callable[[Any], None]

SLOW_HANDLER = 0.005  # seconds; nothing on the loop may run longer
DEFAULT_LIMIT = 1000  # events that a subscription holds

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class BusCounters:
    """What the bus did since it was made."""

    emitted: int = 0
    faults: int = 0  # handlers that raised
    slow: int = 0  # handler calls that took more than SLOW_HANDLER
    dropped: int = 0  # events that full subscriptions let go


class Bus:
    """Carries events. `emit` is what publishers are given."""

    def __init__(self) -> None:
        self.counters = BusCounters()
        self._handlers: list[tuple[tuple[type, ...], Handler]] = []
        self._routes: dict[type, tuple[Handler, ...]] = {}  # made on the first event of a class

    def emit(self, event: object) -> None:
        """Hand `event` to every subscriber of its class or of a base of it, in their order."""
        route = self._routes.get(type(event))
        if route is None:
            route = self._make_route(type(event))
        counters = self.counters
        counters.emitted += 1
        for handler in route:
            began = perf_counter()
            try:
                handler(event)
            except Exception:  # a subscriber's fault must never become the publisher's
                counters.faults += 1
                _log.exception("bus-handler-fault: %s", type(event).__name__)
            if perf_counter() - began > SLOW_HANDLER:
                counters.slow += 1

    def subscribe(self, kind: type[E], handler: Callable[[E], None]) -> Callable[[], None]:
        """Call `handler` with every event of class `kind`; `object` means all.

        The answer is called to unsubscribe; calling it twice does no harm.
        """
        entry = ((kind,), handler)
        return self._add(entry)

    def subscription(self, *kinds: type, limit: int = DEFAULT_LIMIT) -> "Subscription":
        """A bounded queue of the events of `kinds` (all, if none are named), read by one task."""
        subscription = Subscription(self.counters, limit)
        subscription.on_close = self._add((kinds or (object,), subscription.put))
        return subscription

    def _add(self, entry: tuple[tuple[type, ...], Handler]) -> Callable[[], None]:
        self._handlers.append(entry)
        self._routes.clear()

        def remove() -> None:
            # By identity: the same handler may be subscribed twice.
            self._handlers = [kept for kept in self._handlers if kept is not entry]
            self._routes.clear()

        return remove

    def _make_route(self, kind: type) -> tuple[Handler, ...]:
        route = tuple(handler for kinds, handler in self._handlers if issubclass(kind, kinds))
        self._routes[kind] = route
        return route


class Subscription:
    """Events that wait for one task: `async for event in subscription`. Close it when done."""

    def __init__(self, counters: BusCounters, limit: int = DEFAULT_LIMIT) -> None:
        self.dropped = 0  # events let go because this subscription was full
        self.on_close: Callable[[], None] = lambda: None
        self._counters = counters
        self._events: deque[object] = deque(maxlen=limit)
        self._ready = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: object) -> None:
        """Take one event; the oldest goes if there is no room."""
        if len(self._events) == self._events.maxlen:
            self.dropped += 1
            self._counters.dropped += 1
        self._events.append(event)
        self._ready.set()

    def close(self) -> None:
        """Take no more; what waits can still be read, then iteration ends."""
        if not self._closed:
            self._closed = True
            self.on_close()
            self._ready.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> object:
        while not self._events:
            if self._closed:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        return self._events.popleft()
