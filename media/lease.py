"""Those who want one stream: who waits for it is told when it is there, or why it is not.

A `Lease` is one reader's claim. Where thousands wait for one stream they are told in several turns
of the loop. What a reader does in its callback cannot hurt the next one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from flux.base.errors import fault_of
from media.events import DemandChanged, ReaderFailed
from media.stream import Emit, Stream

READY_BATCH = 16  # who waited and is served in one turn, each with a GOP to send
FAILED_BATCH = 100  # who waited in vain and is told so in one tick

Deferrer = Callable[[Callable[[], None]], None]


@dataclass(slots=True, eq=False)
class Lease:
    """One reader's claim on a stream, from its request to its end."""

    stream: Stream
    audience: "Audience"
    on_ready: Callable[[Stream], None]
    on_failed: Callable[[str, int], None]
    deadline: float
    waiting: bool = True
    closed: bool = False

    def close(self) -> None:
        """Give the claim back; an on-demand source ends some time after the last one."""
        if not self.closed:
            self.closed = True
            if self.waiting:
                self.settle()
            self.audience.leave(self)

    def settle(self) -> None:
        """It is told nothing any more, and lets go of those who wanted to hear."""
        self.waiting = False
        self.on_ready, self.on_failed = _nobody_waits, _nobody_fails


class Audience:
    """The leases of one stream. `on_empty` hears that the last one was given back."""

    def __init__(self, stream: Stream, emit: Emit, on_empty: Callable[[], None]) -> None:
        self._stream = stream
        self._emit = emit
        self._on_empty = on_empty
        self._leases: set[Lease] = set()
        self._waiting: dict[Lease, None] = {}  # those in it that wait, in order

    def __len__(self) -> int:
        return len(self._leases)

    def enter(
        self,
        on_ready: Callable[[Stream], None],
        on_failed: Callable[[str, int], None],
        deadline: float,
    ) -> Lease:
        """One more claim; it waits until `serve`."""
        lease = Lease(self._stream, self, on_ready, on_failed, deadline)
        self._leases.add(lease)
        self._waiting[lease] = None
        if len(self._leases) == 1:
            self._emit(DemandChanged(self._stream.name, True, 1))
        return lease

    def leave(self, lease: Lease) -> None:
        """A claim is given back; called by the lease."""
        if lease not in self._leases:
            return
        self._leases.discard(lease)
        self._waiting.pop(lease, None)
        if not self._leases:
            self._emit(DemandChanged(self._stream.name, False, 0))
            self._on_empty()

    def serve(self, lease: Lease) -> None:
        """The stream is there for this one."""
        if not lease.waiting:  # one before it ended this one
            return
        lease.waiting = False
        self._waiting.pop(lease, None)
        try:
            lease.on_ready(self._stream)
        except Exception as error:  # whatever it is, others wait, and a source stands behind us
            self._emit(ReaderFailed(self._stream.name, fault_of(error)))
            self._refuse(lease, "internal-error", 500)
            lease.close()
        lease.settle()

    def serve_all(self, defer: Deferrer | None) -> None:
        """The stream is there: tell those who wait, the first ones now."""
        if not self._stream.is_open:
            return
        count_now = READY_BATCH if defer is not None else len(self._waiting)
        for lease in tuple(islice(self._waiting, count_now)):
            self.serve(lease)
        if self._waiting and defer is not None:
            defer(lambda: self.serve_all(defer))

    def refuse_late(self, now: float, reason: str) -> None:
        """Tell those whose time is over, some in each call."""
        # All wait equally long, so those who came first are due first.
        for lease in tuple(islice(self._waiting, FAILED_BATCH)) if self._waiting else ():
            if now >= lease.deadline:
                self._refuse(lease, reason, 503)

    def refuse_all(self, reason: str, status: int) -> None:
        """Tell everybody who waits that there will be nothing."""
        for lease in tuple(self._waiting):
            self._refuse(lease, reason, status)

    def _refuse(self, lease: Lease, reason: str, status: int) -> None:
        lease.waiting = False
        self._waiting.pop(lease, None)
        try:
            lease.on_failed(reason, status)
        except Exception as error:  # see serve
            self._emit(ReaderFailed(self._stream.name, fault_of(error)))
            lease.close()
        lease.settle()


def _nobody_waits(stream: Stream) -> None:
    """Of a lease that was told already, or given back."""


def _nobody_fails(reason: str, status: int) -> None:
    """As above."""
