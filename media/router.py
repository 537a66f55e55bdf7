"""The router: names to streams, who may publish and read, and which sources run on demand.

A stream that configuration names has a `Source`; it runs always, or while somebody holds a lease.
A reader asks by `open()`: it is called back when the stream is ready, at once or later, or told why
not. All of it is synchronous; `tick()` moves time on. Where thousands wait for one stream they are
told in several turns of the loop. What a reader does in its callback cannot hurt the next one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice

from flux.base.errors import PeerError, fault_of
from media.events import (
    DemandChanged,
    PublisherStarted,
    PublisherStopped,
    ReaderFailed,
    SourceStateChanged,
)
from media.publisher import Publisher
from media.source import Declared, Source, SourceStatus
from media.stream import Emit, State, Stream, StreamOptions
from media.track import TrackDescription

READY_BATCH = 16  # who waited and is served in one turn, each with a GOP to send
FAILED_BATCH = 100  # who waited in vain and is told so in one tick

Deferrer = Callable[[Callable[[], None]], None]


@dataclass(slots=True, eq=False)
class Lease:
    """One reader's claim on a stream, from its request to its end."""

    stream: Stream
    router: "Router"
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
            self.router.give_back(self)

    def settle(self) -> None:
        """It is told nothing any more, and lets go of those who wanted to hear."""
        self.waiting = False
        self.on_ready, self.on_failed = _nobody_waits, _nobody_fails


@dataclass(slots=True)
class _Entry:
    stream: Stream
    declared: Declared | None = None
    publisher: Publisher | None = None
    leases: set[Lease] = field(default_factory=set)
    waiting: dict[Lease, None] = field(default_factory=dict)  # those in it that wait, in order


class Router:
    """All streams of one process."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._sessions = count(1)  # of publishers
        self._entries: dict[str, _Entry] = {}
        self._now = 0.0
        self._wall_offset = 0.0
        self._closed = False
        self.defer: Deferrer | None = None  # calls in the next turn of the loop
        self.resolve: Callable[[str], bool] = _resolve_nothing  # declares what a pattern names
        self.resolve_published: Callable[[str], bool] = _resolve_nothing  # and what one publishes

    # -- what exists -------------------------------------------------------------------------

    def declare(
        self,
        name: str,
        options: StreamOptions,
        *,
        kind: str = "",
        url: str = "",
        on_demand: bool = False,
        origin: str = "config",
        start_timeout: float = 10.0,
        close_after: float = 10.0,
        take_over: bool = False,
    ) -> Declared:
        """Make a name known. Its source is set by `set_source`, since sources need the router."""
        if name in self._entries:
            raise PeerError("name-taken", 409, name)
        stream = Stream(name, options, self._emit)
        declared = Declared(
            stream,
            None,
            on_demand,
            origin,
            start_timeout,
            close_after,
            SourceStatus(kind, url),
            take_over,
        )
        stream.on_ready = self._ready_waiters
        stream.timeline.set_wall_offset(self._wall_offset)
        self._entries[name] = _Entry(stream, declared)
        return declared

    def set_source(self, name: str, source: Source) -> None:
        """Give a declared name its source."""
        declared = self._entries[name].declared
        if declared is not None:
            declared.source = source

    def start(self, now: float) -> None:
        """Start every source that runs always."""
        self._now = now
        for entry in self._entries.values():
            if entry.declared is not None and not entry.declared.on_demand:
                self._start_source(entry.declared, now)

    def start_one(self, name: str, now: float) -> None:
        """Start the source of a name declared at run time, if it runs always."""
        declared = self._entries[name].declared
        if declared is not None and not declared.on_demand:
            self._start_source(declared, now)

    def replace_source(
        self,
        name: str,
        source: Source | None,
        *,
        kind: str,
        url: str,
        on_demand: bool,
        take_over: bool,
        now: float,
    ) -> None:
        """Give a name another source; readers are held for the grace period while it comes."""
        entry = self._entries[name]
        declared = entry.declared
        if declared is None:
            return
        was_running, old = declared.running, declared.source
        if was_running and old is not None:
            old.stop("source-changed")
        if entry.publisher is not None:
            entry.publisher.close("source-changed", now)
        declared.source, declared.on_demand = source, on_demand
        declared.take_over = take_over
        declared.status = SourceStatus(kind, url)
        declared.running = False
        if not on_demand or entry.leases:
            self._start_source(declared, now)
        self._settle(entry, now)

    def remove(self, name: str, reason: str, now: float) -> None:
        """Forget a name: its source ends, its readers are closed, those who wait are refused."""
        entry = self._entries.pop(name)
        stream, declared = entry.stream, entry.declared
        if entry.publisher is not None:
            entry.publisher.close(reason, now)
            self._say_stopped(entry.publisher, reason)
        if declared is not None and declared.running and declared.source is not None:
            declared.running = False
            declared.source.stop(reason)
        stream.release(reason, now)
        for lease in tuple(entry.waiting):
            self._tell_failed(entry, lease, reason, 404)
        for reader in tuple(stream.readers.values()):
            reader.end(reason)
        stream.enter(State.CLOSED, now, reason)

    def kick(self, session: str, now: float) -> bool:
        """End the reader or the publisher with this session id; False if there is none."""
        for entry in self._entries.values():
            reader = entry.stream.readers.get(session)
            if reader is not None:
                reader.end("kicked")
                return True
            if entry.publisher is not None and entry.publisher.session == session:
                entry.publisher.close("kicked", now)
                return True
        return False

    def streams(self) -> Iterator[Stream]:
        """Every stream, in the order of declaration."""
        return (entry.stream for entry in self._entries.values())

    def find(self, name: str) -> Stream | None:
        """The stream of a name, whatever its state."""
        entry = self._entries.get(name)
        return entry.stream if entry is not None else None

    def lookup(self, name: str) -> Stream | None:
        """The stream of a name; one that a pattern stands for is made known by this."""
        entry = self._entries.get(name)
        if entry is None and self.resolve(name):
            entry = self._entries.get(name)
        return entry.stream if entry is not None else None

    def declared(self, name: str) -> Declared | None:
        """What configuration says of a name."""
        entry = self._entries.get(name)
        return entry.declared if entry is not None else None

    def publisher(self, name: str) -> Publisher | None:
        """Who publishes a name now."""
        entry = self._entries.get(name)
        return entry.publisher if entry is not None else None

    # -- sources and publishers --------------------------------------------------------------

    def source_state(self, name: str, state: str, reason: str, now: float) -> None:
        """A source tells its state: connecting, running, waiting (for its next try), stopped."""
        entry = self._entries.get(name)
        if entry is None or entry.declared is None:
            return
        status = entry.declared.status
        if (status.state, status.reason) != (state, reason):
            self._emit(SourceStateChanged(name, state, reason))
            status.since = now
        if state == "connecting":
            status.attempts += 1
        status.state, status.reason = state, reason
        if entry.stream.state is State.STARTING and reason:
            entry.stream.reason = reason

    def publish(
        self, name: str, descriptions: Sequence[TrackDescription], *, now: float, origin: str
    ) -> Publisher:
        """Begin a run under `name`.

        Raises PeerError if somebody publishes there already, unless the name is declared so that
        the new one takes over: then the old run ends with `taken-over`, and readers stay.
        """
        entry = self._entries.get(name)
        if entry is None and not self._closed and self.resolve_published(name):
            entry = self._entries.get(name)
        if entry is None:
            raise PeerError("stream-not-found", 404, name)
        if self._closed:
            raise PeerError("server-stopping", 503, name)
        if not descriptions:
            raise PeerError("no-usable-track", 400, name)
        stream = entry.stream
        if entry.publisher is not None:
            if entry.declared is None or not entry.declared.take_over:
                raise PeerError("name-taken", 409, name)
            entry.publisher.close("taken-over", now)
        if stream.state is State.STARTING or stream.state is State.IDLE:
            stream.inputs = {}
        tracks = stream.begin(descriptions, now)
        session = f"{origin}-publisher-{next(self._sessions)}"
        publisher = Publisher(stream, tracks, origin, session, self._publisher_closed)
        publisher.since = now + stream.timeline.wall_offset
        entry.publisher = publisher
        self._emit(PublisherStarted(name, origin, session))
        if stream.state is State.READY:  # it came back within the grace period
            self._ready_waiters(stream)
        return publisher

    def _publisher_closed(self, publisher: Publisher, reason: str, now: float) -> None:
        entry = self._entries.get(publisher.stream.name)
        if entry is None or entry.publisher is not publisher:
            return
        entry.publisher = None
        self._say_stopped(publisher, reason)
        declared = entry.declared
        is_hoped_for = declared is not None and (declared.running or declared.source is None)
        publisher.stream.lose(reason, now, hold=is_hoped_for)
        self._settle(entry, now)

    def _say_stopped(self, publisher: Publisher, reason: str) -> None:
        name, origin, session = publisher.stream.name, publisher.origin, publisher.session
        self._emit(PublisherStopped(name, origin, session, reason))

    def _settle(self, entry: _Entry, now: float) -> None:
        """A stream that nothing will start is idle."""
        is_running = entry.declared is not None and entry.declared.running
        if entry.stream.state is State.STARTING and not is_running:
            entry.stream.enter(State.IDLE, now, entry.stream.reason)

    def _ready_waiters(self, stream: Stream) -> None:
        """The stream is ready: tell those who wait, the first ones now."""
        entry = self._entries.get(stream.name)
        if entry is None or stream.state is not State.READY:
            return
        count_now = READY_BATCH if self.defer is not None else len(entry.waiting)
        for lease in tuple(islice(entry.waiting, count_now)):
            self._tell_ready(entry, lease)
        if entry.waiting and self.defer is not None:
            self.defer(lambda: self._ready_waiters(stream))

    def _tell_ready(self, entry: _Entry, lease: Lease) -> None:
        if not lease.waiting:  # one before it ended this one
            return
        lease.waiting = False
        entry.waiting.pop(lease, None)
        try:
            lease.on_ready(entry.stream)
        except Exception as error:  # whatever it is, others wait, and a source stands behind us
            self._emit(ReaderFailed(entry.stream.name, fault_of(error)))
            self._tell_failed(entry, lease, "internal-error", 500)
            lease.close()
        lease.settle()

    def _tell_failed(self, entry: _Entry, lease: Lease, reason: str, status: int) -> None:
        lease.waiting = False
        entry.waiting.pop(lease, None)
        try:
            lease.on_failed(reason, status)
        except Exception as error:  # see _tell_ready
            self._emit(ReaderFailed(entry.stream.name, fault_of(error)))
            lease.close()
        lease.settle()

    def _start_source(self, declared: Declared, now: float) -> None:
        if declared.running or declared.source is None:
            return
        declared.running = True
        if declared.stream.state is State.IDLE:
            declared.stream.enter(State.STARTING, now)
        declared.source.start()

    def _stop_source(self, declared: Declared, reason: str, now: float) -> None:
        if not declared.running or declared.source is None:
            return
        declared.running = False
        declared.idle_at = None
        declared.source.stop(reason)
        entry = self._entries[declared.stream.name]
        if entry.publisher is not None:
            entry.publisher.close(reason, now)
        declared.stream.release(reason, now)
        self._settle(entry, now)

    # -- readers -----------------------------------------------------------------------------

    def open(
        self,
        name: str,
        on_ready: Callable[[Stream], None],
        on_failed: Callable[[str, int], None],
        now: float,
    ) -> Lease:
        """Claim a stream for a reader; starts an on-demand source.

        `on_ready(stream)` comes at once or when the stream is ready; `on_failed(reason, status)`
        when it does not become so in time. Raises PeerError if there is no such name, and when the
        server stops: players come back the moment that they are cut, and would start sources.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise PeerError("stream-not-found", 404, name)
        if self._closed:
            raise PeerError("server-stopping", 503, name)
        declared = entry.declared
        timeout = declared.start_timeout if declared is not None else 10.0
        lease = Lease(entry.stream, self, on_ready, on_failed, now + timeout)
        entry.leases.add(lease)
        entry.waiting[lease] = None
        if len(entry.leases) == 1:
            self._emit(DemandChanged(name, True, 1))
        if declared is not None:
            declared.idle_at = None
            self._start_source(declared, now)
        if entry.stream.state is State.READY:
            self._tell_ready(entry, lease)
        return lease

    def give_back(self, lease: Lease) -> None:
        """A lease has ended; called by the lease."""
        entry = self._entries.get(lease.stream.name)
        if entry is None:
            return
        if lease not in entry.leases:
            return
        entry.leases.discard(lease)
        entry.waiting.pop(lease, None)
        if not entry.leases:
            self._emit(DemandChanged(lease.stream.name, False, 0))
        if not entry.leases and entry.declared is not None and entry.declared.on_demand:
            entry.declared.idle_at = self._now

    def leases(self, name: str) -> int:
        """How many readers claim a name, waiting ones included."""
        entry = self._entries.get(name)
        return len(entry.leases) if entry is not None else 0

    # -- time --------------------------------------------------------------------------------

    def tick(self, now: float, wall_offset: float) -> None:
        """A few times a second: grace periods, waiting readers, idle sources, rates."""
        self._now = now
        self._wall_offset = wall_offset
        for entry in list(self._entries.values()):
            stream, declared = entry.stream, entry.declared
            stream.tick(now, wall_offset)
            if stream.state is State.LOST and now - stream.since >= stream.options.grace:
                stream.release(stream.reason or "source-lost", now)
                self._settle(entry, now)
            # All wait equally long, so those who came first are due first.
            for lease in tuple(islice(entry.waiting, FAILED_BATCH)) if entry.waiting else ():
                if now >= lease.deadline:
                    self._tell_failed(entry, lease, self._why_not(entry), 503)
            if (
                declared is not None
                and declared.on_demand
                and declared.idle_at is not None
                and now - declared.idle_at >= declared.close_after
            ):
                self._stop_source(declared, "no-readers", now)

    def _why_not(self, entry: _Entry) -> str:
        if entry.declared is not None and entry.declared.status.reason:
            return entry.declared.status.reason
        return "start-timeout"

    def close(self, now: float) -> None:
        """End everything: readers get the rest of what is theirs, sources say goodbye."""
        self._closed = True
        for entry in self._entries.values():
            entry.stream.end_outputs("server-stopping")
            for lease in tuple(entry.waiting):
                self._tell_failed(entry, lease, "server-stopping", 503)
            if entry.declared is not None:
                self._stop_source(entry.declared, "server-stopping", now)
            if entry.stream.state is not State.CLOSED:
                entry.stream.enter(State.CLOSED, now, "server-stopping")


def _nobody_waits(stream: Stream) -> None:
    """Of a lease that was told already, or given back."""


def _nobody_fails(reason: str, status: int) -> None:
    """As above."""


def _resolve_nothing(name: str) -> bool:
    """No patterns."""
    del name
    return False
