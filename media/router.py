"""The router: names to streams, who may publish and read, and which sources run on demand.

A stream that configuration names has a `Source`; it runs always, or while somebody holds a lease.
A reader asks by `open()`: it is called back when the stream is ready, at once or later, or told why
not (`media/lease.py`). Who of those that publish is on air, and when a slate is, is decided in
`media/onair.py`. All of it is synchronous; `tick()` moves time on.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from flux.base.errors import PeerError
from media.events import SourceStateChanged, SourceSwitched
from media.lease import Audience, Deferrer
from media.lease import Lease as Lease
from media.onair import OnAir, OnAirOptions
from media.priority import Priority, Seat
from media.publisher import Publisher
from media.recoding import Recoding
from media.source import Declared, Source, SourceStatus
from media.stream import Emit, State, Stream, StreamOptions
from media.track import TrackDescription

OWN = "publisher"  # stands for the URL of one who publishes by himself


@dataclass(slots=True)
class _Entry:
    stream: Stream
    declared: Declared
    audience: Audience
    onair: OnAir


class Router:
    """All streams of one process."""

    def __init__(self, emit: Emit, options: OnAirOptions = OnAirOptions()) -> None:  # noqa: B008 - frozen
        self._emit = emit
        self._options = options
        self._sessions = count(1)  # of publishers
        self._entries: dict[str, _Entry] = {}
        self._now = 0.0
        self._wall_offset = 0.0
        self._closed = False
        self.defer: Deferrer | None = None  # calls in the next turn of the loop
        self.on_slate: Callable[[], None] = _nobody_plays  # call `advance_slates` from now on
        self.on_recoding: Callable[[Stream, Recoding], None] = _nobody_recodes  # an output uses it
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
        members: tuple[str, ...] = (),
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
            members=members,
        )
        stream.timeline.set_wall_offset(self._wall_offset)
        audience = Audience(stream, self._emit, lambda: self._nobody_reads(declared))
        onair = OnAir(declared, self._emit, self._sessions.__next__, self._options)
        entry = self._entries[name] = _Entry(stream, declared, audience, onair)
        stream.on_recoding = lambda stream, recoding: self.on_recoding(stream, recoding)
        stream.on_ready = lambda _stream: audience.serve_all(self.defer)
        onair.on_open = lambda: audience.serve_all(self.defer)
        onair.on_slate = lambda: self.on_slate()
        onair.on_lost = lambda now: self._settle(entry, now)
        return declared

    def _nobody_reads(self, declared: Declared) -> None:
        if declared.on_demand:
            declared.idle_at = self._now

    def set_source(self, name: str, source: Source | None) -> None:
        """Give a declared name its source, or its sources (`media/priority.py`)."""
        entry = self._entries[name]
        declared = entry.declared
        declared.source = source
        entry.onair.priority = None
        if isinstance(source, Priority):
            entry.onair.priority = source
            declared.status = source.seats[0].status
            source.on_switch = lambda before, after, reason: self._switched(
                declared, before, after, reason
            )

    def start(self, now: float, name: str = "") -> None:
        """Start every source that runs always, or that of one name, declared at run time."""
        self._now = now
        for entry in (self._entries[name],) if name else tuple(self._entries.values()):
            if not entry.declared.on_demand:
                self._start_source(entry.declared, now)

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
        was_running, old = declared.running, declared.source
        if was_running and old is not None:
            old.stop("source-changed")
        declared.source = None  # readers are held for whatever comes
        for publisher in entry.onair.publishers:
            publisher.close("source-changed", now)
        declared.on_demand, declared.take_over = on_demand, take_over
        declared.status = SourceStatus(kind, url)
        declared.running = False
        self.set_source(name, source)
        if not on_demand or len(entry.audience):
            self._start_source(declared, now)
        self._settle(entry, now)

    def remove(self, name: str, reason: str, now: float) -> None:
        """Forget a name: its source ends, its readers are closed, those who wait are refused."""
        entry = self._entries.pop(name)
        stream, declared = entry.stream, entry.declared
        entry.onair.end(reason, now)
        if declared.running and declared.source is not None:
            declared.running = False
            declared.source.stop(reason)
        stream.release(reason, now)
        entry.audience.refuse_all(reason, 404)
        for reader in tuple(stream.readers.values()):
            reader.end(reason)
        stream.enter(State.CLOSED, now, reason)
        stream.on_ready = stream.on_recoding = None
        entry.onair.let_go()

    def kick(self, session: str, now: float) -> bool:
        """End the reader or the publisher with this session id; False if there is none."""
        for entry in self._entries.values():
            reader = entry.stream.readers.get(session)
            if reader is not None:
                reader.end("kicked")
                return True
            if entry.onair.kick(session, now):
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
        """Whose frames a name has now; None also while its slate is shown."""
        entry = self._entries.get(name)
        return entry.onair.publisher if entry is not None else None

    def onair(self, name: str) -> OnAir | None:
        """All that decides about what a name shows: publishers, slate, sources in their order."""
        entry = self._entries.get(name)
        return entry.onair if entry is not None else None

    def is_taken(self, name: str) -> bool:
        """Whether one who wants to publish a name by himself would be refused."""
        entry = self._entries.get(name)
        return entry is not None and (
            bool(entry.declared.members) or entry.onair.is_taken(_own_seat(entry), self._now)
        )

    # -- sources and publishers --------------------------------------------------------------

    def source_state(
        self, name: str, state: str, reason: str, now: float, seat: int | None = None
    ) -> None:
        """A source tells its state: connecting, running, waiting (for its next try), stopped.

        `seat` is its place where there are several.
        """
        entry = self._entries.get(name)
        if entry is None:
            return
        status, priority = entry.declared.status, entry.onair.priority
        if priority is not None and seat is not None:
            status = priority.seats[seat].status
        if (status.state, status.reason) != (state, reason):
            self._emit(SourceStateChanged(name, state, reason))
            status.since = now
        if state == "connecting":
            status.attempts += 1
        status.state, status.reason = state, reason
        if entry.stream.state is State.STARTING and reason:
            entry.stream.reason = reason
        if priority is not None and seat is not None:
            priority.said(state, now)

    def publish(
        self,
        name: str,
        descriptions: Sequence[TrackDescription],
        *,
        now: float,
        origin: str,
        seat: int | None = None,
    ) -> Publisher:
        """Begin a run under `name`; `seat`: of which of its sources, where there are several.

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
        if entry.declared.members:
            raise PeerError("name-taken", 409, name)
        if not descriptions:
            raise PeerError("no-usable-track", 400, name)
        seat = _own_seat(entry) if seat is None else seat
        return entry.onair.publish(descriptions, now, origin, seat)

    def _switched(self, declared: Declared, before: Seat | None, after: Seat, reason: str) -> None:
        declared.status = after.status
        old = before.status.url or OWN if before is not None else ""
        name, new = declared.stream.name, after.status.url or OWN
        self._emit(SourceSwitched(name, old, new, reason))

    def _settle(self, entry: _Entry, now: float) -> None:
        """A stream that nothing will start is idle."""
        if entry.stream.state is State.STARTING and not entry.declared.running:
            entry.stream.enter(State.IDLE, now, entry.stream.reason)

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
        entry = self._entries[declared.stream.name]
        declared.source.stop(reason)
        entry.onair.end(reason, now)
        declared.stream.release(reason, now)
        self._settle(entry, now)

    # -- slates ------------------------------------------------------------------------------

    def advance_slates(self, now: float) -> bool:
        """Publish what is due of all slates; False while no slate is played for anybody."""
        is_on = False
        for entry in tuple(self._entries.values()):
            if entry.onair.player is not None:
                is_on |= entry.onair.advance(now, is_wanted=len(entry.audience) > 0)
        return is_on

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
        declared, stream = entry.declared, entry.stream
        lease = entry.audience.enter(on_ready, on_failed, now + declared.start_timeout)
        declared.idle_at = None
        self._start_source(declared, now)
        entry.onair.wake(now)
        if stream.is_open:
            entry.audience.serve(lease)
        return lease

    def leases(self, name: str) -> int:
        """How many readers claim a name, waiting ones included."""
        entry = self._entries.get(name)
        return len(entry.audience) if entry is not None else 0

    # -- time --------------------------------------------------------------------------------

    def tick(self, now: float, wall_offset: float) -> None:
        """A few times a second: grace periods, waiting readers, idle sources, rates."""
        self._now = now
        self._wall_offset = wall_offset
        for entry in list(self._entries.values()):
            declared, onair = entry.declared, entry.onair
            entry.stream.tick(now, wall_offset)
            onair.tick(now, is_wanted=len(entry.audience) > 0)
            if onair.priority is not None:
                onair.priority.tick(now)
            entry.audience.refuse_late(now, declared.status.reason or "start-timeout")
            idle_at = declared.idle_at
            is_idle = idle_at is not None and now - idle_at >= declared.close_after
            if declared.on_demand and is_idle:
                self._stop_source(declared, "no-readers", now)

    def close(self, now: float) -> None:
        """End everything: readers get the rest of what is theirs, sources say goodbye."""
        self._closed = True
        for entry in self._entries.values():
            entry.stream.end_outputs("server-stopping")
            entry.audience.refuse_all("server-stopping", 503)
            self._stop_source(entry.declared, "server-stopping", now)
            if entry.stream.state is not State.CLOSED:
                entry.stream.enter(State.CLOSED, now, "server-stopping")


def _own_seat(entry: _Entry) -> int | None:
    """Of one who publishes by himself."""
    return entry.onair.priority.own_seat if entry.onair.priority is not None else None


def _nobody_recodes(stream: Stream, recoding: Recoding) -> None:
    """Nobody makes it: the track stays silent."""


def _nobody_plays() -> None:
    """Slates stand still."""


def _resolve_nothing(name: str) -> bool:
    """No patterns."""
    del name
    return False
