"""Orders in, encoded slates out, by one worker process for all streams; never in the loop.

Theory of operation. Orders wait in a queue, one for each stream at most; one is with the worker at
a time. The worker is started by the first order and ended when there was none for a while. An
order that takes longer than `run_timeout`, or that the worker dies of, is answered with the reason.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import structlog

from flux.base.errors import WireError
from flux.bridges.slate.order import ORDER, Wish
from flux.core.children import REASON_CLOSED, Child, ChildOptions, Children, worker_command
from media.track import Kind
from media.wire import (
    Announcement,
    Decoder,
    Dropped,
    Tracks,
    WireFrame,
    serialize_hello,
    serialize_tracks,
)

NAME = "slate"
COMMAND = worker_command("flux.workers.slate")
CLOCK_HZ = 90_000
START_TIMEOUT = 30.0  # seconds from the start of the process to its first word
MAX_DELIVERY_BYTES = 48 << 20  # of one slate: the worker keeps to less

REASON_SILENT = "slate-worker-silent"
REASON_TIMEOUT = "slate-timeout"
REASON_FAILED = "slate-worker-failed"
REASON_STOPPING = "server-stopping"

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class StudioOptions:
    """Bounds; seconds."""

    run_timeout: float = 600.0  # for one slate: a minute of a large file takes its time
    idle_after: float = 10.0  # without an order the worker is ended
    child: ChildOptions = ChildOptions(nice=10, environment={"SVT_LOG": "1"})  # noqa: RUF009 - frozen


@dataclass(slots=True)
class Delivery:
    """What the worker made, or why it made nothing."""

    tracks: tuple[Announcement, ...] = ()
    frames: list[WireFrame] = field(default_factory=list)
    summary: bytes = b""
    reason: str = ""
    size_bytes: int = 0


Done = Callable[[Wish, Delivery], None]


class _Run(asyncio.Protocol):
    """One run of the worker: its socket."""

    def __init__(self, life: "_Life") -> None:
        self._life = life
        self._decoder = Decoder()
        self._transport: asyncio.WriteTransport | None = None
        self._starting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process runs."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no subclass
        self._transport.write(serialize_hello(NAME))
        loop = asyncio.get_running_loop()
        self._starting = loop.call_later(START_TIMEOUT, self._life.over, REASON_SILENT)

    def send(self, data: bytes) -> None:
        """Give it an order."""
        if self._transport is not None:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Take what it says."""
        try:
            self._decoder.receive_data(data)
            while (message := self._decoder.next_message()) is not None:
                if self._starting is not None and isinstance(message, Tracks):
                    self._stop_clock()
                    self._life.ready(self)
                else:
                    self._life.said(message)
        except WireError as error:
            self._life.over(error.reason)

    def connection_lost(self, exc: Exception | None) -> None:
        """Its end is closed."""
        del exc
        self._transport = None
        self._stop_clock()
        self._life.over(REASON_CLOSED)

    def _stop_clock(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            self._starting = None


class _Life:
    """The time from one start of the worker to its stop, through all restarts."""

    def __init__(self, studio: "Studio") -> None:
        self._studio = studio
        self.child: Child | None = None
        self.run: _Run | None = None

    def connect(self) -> _Run:
        """The protocol of the next run's socket."""
        return _Run(self)

    def on_state(self, state: str, reason: str) -> None:
        """The child tells its state."""
        if state in ("waiting", "stopped"):
            self.run = None
            self._studio.run_over(self, state, reason)

    def ready(self, run: _Run) -> None:
        """A run takes orders."""
        self.run = run
        self._studio.run_ready(self)

    def said(self, message: object) -> None:
        """A run said something of the present order."""
        self._studio.said(self, message)

    def over(self, reason: str) -> None:
        """A run cannot go on."""
        self.run = None
        if self.child is not None:
            self.child.fail(reason)


class Studio:
    """The queue and its worker."""

    def __init__(self, children: Children, options: StudioOptions) -> None:
        self._children = children
        self._options = options
        self._queue: dict[Wish, Done] = {}
        self._current: tuple[Wish, Done] | None = None
        self._delivery = Delivery()
        self._number = 0  # of the present order
        self._life: _Life | None = None
        self._timer: asyncio.TimerHandle | None = None  # of the present order, or of idleness
        self._closed = False

    def order(self, wish: Wish, done: Done) -> None:
        """Have a slate made; `done` is called once, later. A wish that waits already is one."""
        if self._closed or wish in self._queue:
            return
        if self._current is not None and self._current[0] == wish:
            return
        self._queue[wish] = done
        if self._life is None:
            self._life = life = _Life(self)
            life.child = self._children.spawn(
                NAME, COMMAND, life.connect, life.on_state, self._options.child
            )
        self._next()

    def forget(self, wish: Wish) -> None:
        """Nobody wants this any more; what is with the worker is still delivered."""
        self._queue.pop(wish, None)

    def close(self) -> None:
        """End the worker; nothing is delivered any more."""
        self._closed = True
        self._queue.clear()
        self._current = None
        self._end(REASON_STOPPING)

    # -- called by the life ------------------------------------------------------------------

    def run_ready(self, life: _Life) -> None:
        """The worker takes orders."""
        if life is self._life:
            self._next()

    def said(self, life: _Life, message: object) -> None:
        """A piece of the delivery."""
        if life is not self._life or self._current is None:
            return
        delivery = self._delivery
        if isinstance(message, Tracks):
            delivery.tracks = message.tracks
        elif isinstance(message, Dropped):
            delivery.reason = message.reason
            self._finish()
        elif isinstance(message, WireFrame) and message.track_id == ORDER:
            if message.pts == self._number:
                delivery.summary = b"".join(message.payload)
                self._finish()
        elif isinstance(message, WireFrame):
            delivery.frames.append(message)
            delivery.size_bytes += sum(map(len, message.payload))
            if delivery.size_bytes > MAX_DELIVERY_BYTES:
                raise WireError("slate-too-large")

    def run_over(self, life: _Life, state: str, reason: str) -> None:
        """A run has ended; the child starts another one, unless it was stopped."""
        if life is not self._life:
            return
        if state == "waiting":
            logger.warning("slate worker failed", reason=reason)
        else:
            self._life = None
        if self._current is not None:
            self._delivery = Delivery(reason=REASON_FAILED)
            self._finish()

    # -- inside ------------------------------------------------------------------------------

    def _next(self) -> None:
        """Give the worker its next order, or let it go after a while."""
        life = self._life
        if life is None or life.run is None or self._current is not None:
            return
        self._stop_timer()
        loop = asyncio.get_running_loop()
        if not self._queue:
            self._timer = loop.call_later(self._options.idle_after, self._end, "idle")
            return
        wish = next(iter(self._queue))
        self._current = (wish, self._queue.pop(wish))
        self._delivery = Delivery()
        self._timer = loop.call_later(self._options.run_timeout, self._hangs)
        self._number += 1
        order = (wish.serialize(self._number),)
        control = Announcement(ORDER, Kind.DATA, NAME, CLOCK_HZ, configuration=order)
        life.run.send(serialize_tracks((control,)))

    def _finish(self) -> None:
        current, self._current = self._current, None
        delivery, self._delivery = self._delivery, Delivery()
        self._stop_timer()
        if current is not None:
            current[1](current[0], delivery)
        self._next()

    def _hangs(self) -> None:
        """The worker has had its time."""
        life = self._life
        self._delivery = Delivery(reason=REASON_TIMEOUT)
        if life is not None:
            life.over(REASON_TIMEOUT)
        self._finish()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, reason: str) -> None:
        self._stop_timer()
        life, self._life = self._life, None
        if life is not None and life.child is not None:
            life.child.stop(reason)
