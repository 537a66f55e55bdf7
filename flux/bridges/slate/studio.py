"""Orders in, encoded slates out, by one worker process for all streams; never in the loop.

One order for each wish at most waits in the queue of `flux.core.orders`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from flux.base.errors import WireError
from flux.bridges.slate.order import ORDER, Wish
from flux.core.children import ChildOptions, Children, worker_command
from flux.core.orders import Orders, Worker
from media.track import Kind
from media.wire import (
    Announcement,
    Dropped,
    Message,
    Tracks,
    WireFrame,
    serialize_tracks,
)

NAME = "slate"
COMMAND = worker_command("flux.workers.slate")
CLOCK_HZ = 90_000
MAX_DELIVERY_BYTES = 48 << 20  # of one slate: the worker keeps to less


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


class _Order:
    """One slate that is wanted."""

    def __init__(self, wish: Wish, done: Done) -> None:
        self._wish = wish
        self._done = done
        self._delivery = Delivery()

    def serialize(self, number: int) -> bytes:
        """The order as the worker reads it."""
        order = (self._wish.serialize(number),)
        return serialize_tracks(
            (Announcement(ORDER, Kind.DATA, NAME, CLOCK_HZ, configuration=order),)
        )

    def hear(self, message: Message, number: int) -> bool:
        """Take a piece of the delivery."""
        delivery = self._delivery
        if isinstance(message, Tracks):
            delivery.tracks = message.tracks
        elif isinstance(message, Dropped):
            delivery.reason = message.reason
            return True
        elif isinstance(message, WireFrame) and message.track_id == ORDER:
            delivery.summary = b"".join(message.payload)
            return message.pts == number
        elif isinstance(message, WireFrame):
            delivery.frames.append(message)
            delivery.size_bytes += sum(map(len, message.payload))
            if delivery.size_bytes > MAX_DELIVERY_BYTES:
                raise WireError("slate-too-large")
        return False

    def finish(self, reason: str) -> None:
        """Deliver."""
        self._done(self._wish, Delivery(reason=reason) if reason else self._delivery)


class Studio:
    """The orders that are not delivered yet."""

    def __init__(self, children: Children, options: StudioOptions) -> None:
        worker = Worker(
            NAME,
            COMMAND,
            options.child,
            options.run_timeout,
            options.idle_after,
            silent="slate-worker-silent",
            timeout="slate-timeout",
            failed="slate-worker-failed",
        )
        self._queue = Orders(children, worker)
        self._orders: dict[Wish, tuple[_Order, Done]] = {}

    def prepare(self) -> None:
        """An order may come soon: let the worker have its imports behind it by then."""
        self._queue.prepare()

    def order(self, wish: Wish, done: Done) -> None:
        """Have a slate made; `done` is called once, later. A wish that waits already is one."""
        if wish not in self._orders:
            order = _Order(wish, self._deliver)
            self._orders[wish] = order, done
            self._queue.add(order)

    def forget(self, wish: Wish) -> None:
        """Nobody wants this any more; what is with the worker is still delivered."""
        if wish in self._orders and self._queue.withdraw(self._orders[wish][0]):
            del self._orders[wish]

    def close(self) -> None:
        """End the worker; nothing is delivered any more."""
        self._orders.clear()
        self._queue.close()

    def _deliver(self, wish: Wish, delivery: Delivery) -> None:
        _, done = self._orders.pop(wish, (None, None))
        if done is not None:
            done(wish, delivery)
