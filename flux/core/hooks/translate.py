"""Events of the bus turned into occurrences, and the ends of those that last."""

from collections.abc import Callable, Collection
from typing import Protocol

from flux.core.bus import Bus
from flux.core.hooks.occurrence import Cause, Occurrence
from flux.core.hooks.timing import Timing
from media.events import (
    DemandChanged,
    PublisherStarted,
    PublisherStopped,
    ReaderClosed,
    ReaderJoined,
    StreamDeleted,
    StreamStateChanged,
)
from media.stream import State

READY, NOT_READY = "ready", "not-ready"
PUBLISH, READ, UNREAD, DEMAND = "publish", "read", "unread", "demand"

# What FLUX tells of, by name. `record-segment` is a name without an event until there is recording.
OCCURRENCES = (READY, NOT_READY, PUBLISH, READ, UNREAD, DEMAND)

AddressOf = Callable[[str, str], str]  # stream, session -> address of a reader, or ""


class Listener(Protocol):
    """Hears occurrences and their ends; synchronous and quick."""

    def begin(self, occurrence: Occurrence) -> None:
        """Something happened."""
        ...

    def end(self, cause: Cause, *, at_once: bool) -> None:
        """What lasted is over; a demand may be looked at again a little later."""
        ...

    def end_stream(self, stream: str) -> None:
        """The stream is gone for good, and with it all that lasted."""
        ...


class Translator:
    """Subscribes to what the wanted names need, and to nothing else."""

    def __init__(self, listener: Listener, timing: Timing, address_of: AddressOf) -> None:
        self._listener = listener
        self._timing = timing
        self._address_of = address_of
        self._readers: dict[tuple[str, str], str] = {}  # (stream, session) -> address
        self._leave: list[Callable[[], None]] = []

    def subscribe(self, bus: Bus, names: Collection[str]) -> None:
        """Listen to the bus for these names."""
        wanted = set(names)
        leave = self._leave
        if wanted:
            leave.append(bus.subscribe(StreamStateChanged, self._state_changed))
            leave.append(bus.subscribe(StreamDeleted, self._deleted))
        if wanted & {PUBLISH}:
            leave.append(bus.subscribe(PublisherStarted, self._publisher_started))
            leave.append(bus.subscribe(PublisherStopped, self._publisher_stopped))
        if wanted & {READ, UNREAD}:
            leave.append(bus.subscribe(ReaderJoined, self._reader_joined))
            leave.append(bus.subscribe(ReaderClosed, self._reader_closed))
        if wanted & {DEMAND}:
            leave.append(bus.subscribe(DemandChanged, self._demand_changed))

    def close(self) -> None:
        """Hear nothing any more."""
        for leave in self._leave:
            leave()
        self._leave.clear()
        self._readers.clear()

    def _state_changed(self, event: StreamStateChanged) -> None:
        was, is_now = event.before == State.READY, event.after == State.READY
        if is_now and not was:
            self._begin(READY, event.stream, reason=event.reason)
        elif was and not is_now:
            self._listener.end((READY, event.stream, ""), at_once=True)
            self._begin(NOT_READY, event.stream, reason=event.reason)
        if event.after == State.CLOSED:
            self._listener.end_stream(event.stream)

    def _deleted(self, event: StreamDeleted) -> None:
        self._listener.end_stream(event.stream)

    def _publisher_started(self, event: PublisherStarted) -> None:
        self._begin(PUBLISH, event.stream, session=event.session, protocol=event.protocol)

    def _publisher_stopped(self, event: PublisherStopped) -> None:
        self._listener.end((PUBLISH, event.stream, event.session), at_once=True)

    def _reader_joined(self, event: ReaderJoined) -> None:
        address = self._address_of(event.stream, event.reader)
        self._readers[event.stream, event.reader] = address
        self._begin(
            READ, event.stream, session=event.reader, protocol=event.protocol, address=address
        )

    def _reader_closed(self, event: ReaderClosed) -> None:
        address = self._readers.pop((event.stream, event.reader), None)
        if address is None:
            return  # it left before its first byte: nobody was told of it
        self._listener.end((READ, event.stream, event.reader), at_once=True)
        self._begin(
            UNREAD,
            event.stream,
            session=event.reader,
            protocol=event.protocol,
            address=address,
            reason=event.reason,
        )

    def _demand_changed(self, event: DemandChanged) -> None:
        if not event.wanted:
            self._listener.end((DEMAND, event.stream, ""), at_once=False)
        self._begin(DEMAND, event.stream, wanted=event.wanted, readers=event.readers)

    def _begin(
        self,
        name: str,
        stream: str,
        *,
        session: str = "",
        protocol: str = "",
        address: str = "",
        reason: str = "",
        wanted: bool | None = None,
        readers: int | None = None,
    ) -> None:
        timing = self._timing
        self._listener.begin(
            Occurrence(
                name,
                timing.make_id(),
                timing.wall(),
                stream,
                session,
                protocol,
                address,
                reason,
                wanted,
                readers,
            )
        )
