"""Orders before one worker process: they wait in a queue and are with the worker one at a time.

Theory of operation. The worker is started by the first order and ended when there was none for
`idle_after`. A run of it takes orders once it has announced its tracks, after its imports: until
then it has `START_TIMEOUT`, and no clock runs for the first order. An order that takes longer than
`run_timeout` costs the worker its life: codecs can hang in what they are given. One that the worker
dies of is told so. The orders behind it wait on, for the run that follows after the delay of
`flux.core.children`; how many may wait and for how long is the owner's to say (`withdraw`).
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Protocol

from flux.core.children import Child, ChildOptions, Children
from flux.core.worker_socket import WorkerSocket
from media.wire import Message, Tracks

START_TIMEOUT = 30.0  # seconds from the start of the process to its first word

REASON_STOPPING = "server-stopping"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Worker:
    """What takes the orders; reasons are stable slugs."""

    name: str
    command: tuple[str, ...]
    options: ChildOptions
    run_timeout: float  # seconds for one order
    idle_after: float  # seconds without an order, after which it is ended
    silent: str  # reason: it never said a word
    timeout: str  # reason: an order took longer than `run_timeout`
    failed: str  # reason: it died of an order


class Order(Protocol):
    """What is asked of the worker; told apart by identity."""

    def serialize(self, number: int) -> bytes:
        """The messages that the worker is sent; numbers tell one order from the next."""

    def hear(self, message: Message, number: int) -> bool:
        """Take a message while the worker is at it; True if nothing more is to come.

        Raises `WireError` for what the worker should not say.
        """

    def finish(self, reason: str) -> None:
        """Be told, exactly once, that it is over; the reason is empty after `hear` said so."""


class _Run(WorkerSocket):
    """One run of the worker."""

    def __init__(self, worker: Worker, life: "_Life") -> None:
        super().__init__(worker.name)
        self._silent = worker.silent
        self._life = life
        self._starting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process runs."""
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        self._starting = loop.call_later(START_TIMEOUT, self.over, self._silent)

    def heard(self, message: Message) -> None:
        """Take what it says: that it is there, and its answers then."""
        if self._starting is not None and isinstance(message, Tracks):
            self._stop_clock()
            self._life.ready(self)
        else:
            self._life.heard(self, message)

    def over(self, reason: str) -> None:
        """It cannot go on."""
        self._stop_clock()
        self._life.over(reason)

    def _stop_clock(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            self._starting = None


class _Life:
    """The time from one start of the worker to its stop; it may end while the next one begins."""

    def __init__(self, worker: Worker, orders: "Orders") -> None:
        self._worker = worker
        self._orders = orders
        self.child: Child | None = None
        self.run: _Run | None = None  # that takes orders

    def connect(self) -> _Run:
        """The protocol of the next run's socket."""
        return _Run(self._worker, self)

    def on_state(self, state: str, reason: str) -> None:
        """The child tells its state."""
        if state in ("waiting", "stopped"):
            self.run = None
            self._orders.run_over(self, state, reason)

    def ready(self, run: _Run) -> None:
        """A run takes orders."""
        self.run = run
        self._orders.run_ready(self)

    def heard(self, run: _Run, message: Message) -> None:
        """A run said something."""
        if run is self.run:
            self._orders.heard(self, message)

    def over(self, reason: str) -> None:
        """A run cannot go on."""
        self.run = None
        if self.child is not None:
            self.child.fail(reason)

    def stop(self, reason: str) -> None:
        """End the worker."""
        child, self.child = self.child, None
        if child is not None:
            child.stop(reason)


class Orders:
    """The queue and its worker."""

    def __init__(self, children: Children, worker: Worker) -> None:
        self._children = children
        self._worker = worker
        self._queue: dict[Order, None] = {}
        self._current: Order | None = None
        self._number = 0  # of the current order
        self._life: _Life | None = None
        self._timer: asyncio.TimerHandle | None = None  # of the current order, or of idleness
        self._closed = False

    def __len__(self) -> int:
        """The orders that wait."""
        return len(self._queue)

    @property
    def pid(self) -> int:
        """The worker's process id; 0 while there is none."""
        return self._life.child.pid if self._life is not None and self._life.child else 0

    def add(self, order: Order) -> None:
        """Take an order; it is finished exactly once, possibly before this returns."""
        if self._closed:
            order.finish(REASON_STOPPING)
            return
        self._queue[order] = None
        self.prepare()
        self._next()

    def prepare(self) -> None:
        """Start the worker for orders that may come: it is ended when none does."""
        if self._life is None and not self._closed:
            worker = self._worker
            self._life = life = _Life(worker, self)
            life.child = self._children.spawn(
                worker.name, worker.command, life.connect, life.on_state, worker.options
            )
            self._next()

    def withdraw(self, order: Order) -> bool:
        """Take an order back that waits, unfinished; False if it does not wait (any more)."""
        if order not in self._queue:
            return False
        del self._queue[order]
        self._next()
        return True

    def close(self) -> None:
        """End the worker; every order that is left is finished."""
        self._closed = True
        self._end(REASON_STOPPING)

    # -- called by the life ------------------------------------------------------------------

    def run_ready(self, life: _Life) -> None:
        """The worker takes orders."""
        if life is self._life:
            self._next()

    def heard(self, life: _Life, message: Message) -> None:
        """A piece of the answer to the current order."""
        order = self._current
        if life is self._life and order is not None and order.hear(message, self._number):
            self._finish("")

    def run_over(self, life: _Life, state: str, reason: str) -> None:
        """A run has ended; the child starts another one, unless it was stopped."""
        if life is not self._life:
            return
        if state == "waiting":
            log.warning("worker %s failed: %s", self._worker.name, reason)
            self._finish(self._worker.failed)
        else:  # by the server's end
            self._end(reason)

    # -- inside ------------------------------------------------------------------------------

    def _next(self) -> None:
        """Give the worker its next order, or let it go after a while."""
        life = self._life
        if life is None or self._current is not None:
            return
        loop = asyncio.get_running_loop()
        if not self._queue:
            if self._timer is None:
                self._timer = loop.call_later(self._worker.idle_after, self._end, "idle")
            return
        self._stop_timer()
        if life.run is None:
            return
        order = self._current = next(iter(self._queue))
        del self._queue[order]
        self._timer = loop.call_later(self._worker.run_timeout, self._hangs)
        self._number += 1
        life.run.send(order.serialize(self._number))

    def _finish(self, reason: str) -> None:
        """The current order is over, if there is one."""
        order, self._current = self._current, None
        if order is not None:
            self._stop_timer()
            order.finish(reason)
        self._next()

    def _hangs(self) -> None:
        """The worker has had its time."""
        reason = self._worker.timeout
        if self._life is not None:
            self._life.over(reason)
        self._finish(reason)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, reason: str) -> None:
        """End the worker, and finish what is left."""
        self._stop_timer()
        life, self._life = self._life, None
        if life is not None:
            life.stop(reason)
        left = [*self._queue] if self._current is None else [self._current, *self._queue]
        self._current, self._queue = None, {}
        for order in left:
            order.finish(reason)
