"""Streams that FLUX sends to other hosts by itself, and goes on doing so through failures.

Each target of each stream has a `Forwarding`, which claims the stream, starts a `Forward` when the
stream can be read, and begins anew after failures, each target for itself.

    waiting     for the stream, or for the next attempt; the reason says which
    connecting  a forward was started and has not sent yet
    running     media goes out
    stopped     it was taken away, or the server stops

A forward is a reader: it is in the list of the stream's readers, it can be kicked (and then waits
as after a failure), and it keeps an on-demand source running. Two kinds of stream are not kept: one
that a pattern stands for, and one that has no source but waits for a publisher. Their targets are
`passive`: they get the stream while it is ready, and cause nothing themselves.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count

from flux.base.errors import PeerError, fault_of
from flux.core.forward import (
    CONNECTING,
    FAILED,
    RUNNING,
    STOPPED,
    WAITING,
    Forward,
    ForwardFactory,
    ForwardFigures,
    ForwardSnapshot,
    ForwardStateChanged,
    Target,
)
from flux.net.backoff import Backoff
from media.events import ReaderFailed, StreamStateChanged
from media.router import Lease, Router
from media.stream import Emit, State, Stream

STABLE_AFTER = 30.0  # seconds of running, after which a failure is the first one again


class Forwarding:
    """One target of one stream. Satisfies `media.stream.Reader` while it sends."""

    def __init__(
        self,
        name: str,
        stream: str,
        target: Target,
        factory: ForwardFactory,
        owner: "Forwards",
        *,
        passive: bool,
    ) -> None:
        self.id = name
        self.protocol = f"forward-{target.scheme}"
        self.address = target.shown
        self.user_agent = ""
        self.since = 0.0
        self.target = target
        self.stream_name = stream
        self.is_passive = passive
        self.state = ""
        self.reason = ""
        self.changed_at = 0.0  # Unix seconds
        self.attempts = 0
        self.is_quiet = False  # waits for the stream, not for the target
        self._owner = owner
        self._factory = factory
        self._backoff = owner.make_backoff()
        self._due_at: float | None = 0.0
        self._running_since: float | None = None
        self._lease: Lease | None = None
        self._stream: Stream | None = None
        self._forward: Forward | None = None
        self._past = ForwardFigures()
        self._is_refused = False

    # -- as a reader -------------------------------------------------------------------------

    @property
    def sent_bytes(self) -> int:
        """Bytes sent by the present attempt."""
        return self._forward.figures().sent_bytes if self._forward is not None else 0

    @property
    def dropped(self) -> int:
        """Packets of the present attempt that could not be sent."""
        return self._forward.figures().dropped if self._forward is not None else 0

    def lag(self) -> float:
        """Seconds behind the live edge."""
        return self._forward.figures().lag if self._forward is not None else 0.0

    def end(self, reason: str) -> None:
        """It was kicked, or its name is gone: let go; it comes again if it may."""
        forward = self._forward
        if forward is not None:
            forward.stop(reason)
            self._ended(forward, reason)

    # -- what happens ------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Begin anew when that is due."""
        if self._due_at is None or now < self._due_at or self.state == STOPPED:
            return
        stream = self._owner.router.find(self.stream_name)
        if stream is None:
            self._wait("stream-not-found", quiet=True)
            return
        if self.is_passive or self._lease is not None:
            if stream.is_open:
                self._due_at = None
                self._start(stream)
                return
            if self.is_passive:
                self._wait(str(stream.state), quiet=True)
                return
        self._claim(stream, now)

    def stream_ready(self) -> None:
        """Somebody else may have waited for the stream, too: try it now."""
        if self.is_quiet and self._due_at is not None:
            self._due_at = 0.0

    def close(self, reason: str) -> Forward | None:
        """The end; answers what may still say goodbye."""
        forward, self._forward = self._forward, None
        self._due_at = None
        if forward is not None:
            forward.stop(reason)
            self._leave(forward)
        self._give_back()
        self._enter(STOPPED, reason)
        return forward

    def figures(self) -> ForwardFigures:
        """The figures of all attempts together."""
        present = self._forward.figures() if self._forward is not None else ForwardFigures()
        return ForwardFigures(
            self._past.sent_bytes + present.sent_bytes,
            self._past.dropped + present.dropped,
            present.lag,
            self._past.lost + present.lost,
            present.round_trip,
        )

    def description(self) -> bytes:
        """What a receiver needs; empty while nothing is sent."""
        return self._forward.description() if self._forward is not None else b""

    def _claim(self, stream: Stream, now: float) -> None:
        """Ask for the stream as a reader does; the answer may come at once."""
        self._give_back()
        self._due_at = None
        self._wait(str(stream.state) if not stream.is_open else "", quiet=True)
        self._is_refused = False
        try:
            lease = self._owner.router.open(self.stream_name, self._start, self._refuse, now)
        except PeerError as error:
            self._refuse(error.reason, error.status)
            return
        self._keep(lease)

    def _keep(self, lease: Lease) -> None:
        if self._is_refused:  # before the lease was known
            lease.close()
        else:
            self._lease = lease

    def _refuse(self, reason: str, _status: int) -> None:
        """The stream did not become ready in time, or may not be read."""
        self._is_refused = True
        self._give_back()
        self._due_at = self._owner.now() + self._backoff.next_delay()
        self._wait(reason, quiet=True)

    def _start(self, stream: Stream) -> None:
        if self.state == STOPPED:
            return
        self.attempts += 1
        self.is_quiet = False
        self._enter(CONNECTING, "")
        forward: Forward | None = None

        def said(state: str, reason: str) -> None:
            self._said(forward, state, reason)

        try:
            forward = self._factory(stream.name, self.target.url, said)
            self._forward, self._stream = forward, stream
            self.since = self._owner.wall()
            stream.readers.enter(self)
            forward.start(stream)
        except PeerError as error:
            self._ended(forward, error.reason)
        except Exception as error:  # a fault of one target must reach neither stream nor others
            self._owner.emit(ReaderFailed(stream.name, fault_of(error)))
            if forward is not None:
                forward.stop("internal-error")
            self._ended(forward, "internal-error")

    def _said(self, forward: Forward | None, state: str, reason: str) -> None:
        if forward is None or forward is not self._forward:
            return
        if state == FAILED:
            self._ended(forward, reason)
        elif state == RUNNING:
            self._running_since = self._owner.now()
            self._enter(RUNNING, reason)
        else:
            self._enter(CONNECTING, reason)

    def _ended(self, forward: Forward | None, reason: str) -> None:
        """An attempt is over. Without its stream the target waits for that, and not longer."""
        stream = self._stream
        now = self._owner.now()
        self._forward = None
        if forward is not None:
            self._leave(forward)
            self._owner.leave(forward)
        since, self._running_since = self._running_since, None
        if since is not None and now - since >= STABLE_AFTER:
            self._backoff.reset()
        if stream is not None and not stream.is_open:
            self._give_back()
            self._due_at = now
            self._wait(reason, quiet=True)
        else:
            self._due_at = now + self._backoff.next_delay()
            self._wait(reason, quiet=False)

    def _leave(self, forward: Forward) -> None:
        """Take a forward out of the stream's books."""
        figures = forward.figures()
        past = self._past
        self._past = ForwardFigures(
            past.sent_bytes + figures.sent_bytes,
            past.dropped + figures.dropped,
            0.0,
            past.lost + figures.lost,
        )
        stream, self._stream = self._stream, None
        if stream is not None and stream.readers.get(self.id) is self:
            stream.readers.leave(self.id)
            stream.sent_bytes += figures.sent_bytes

    def _give_back(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.close()

    def _wait(self, reason: str, *, quiet: bool) -> None:
        self.is_quiet = quiet
        self._enter(WAITING, reason)

    def _enter(self, state: str, reason: str) -> None:
        if (self.state, self.reason) == (state, reason):
            return
        self.state, self.reason = state, reason
        self.changed_at = self._owner.wall()
        self._owner.emit(ForwardStateChanged(self.stream_name, self.target.shown, state, reason))


class Forwards:
    """All targets of all streams. `tick` a few times a second; `stream_changed` hears the bus."""

    def __init__(
        self,
        router: Router,
        emit: Emit,
        factories: Mapping[str, ForwardFactory],
        *,
        retry_first: float = 1.0,
        retry_longest: float = 30.0,
        chance: Callable[[], float] = random.random,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`factories` by scheme; the retries are seconds."""
        self.router = router
        self.emit = emit
        self.now = now
        self.wall = wall
        self._factories = dict(factories)
        self._retries = (retry_first, retry_longest, chance)
        self._numbers = count(1)
        self._targets: dict[str, list[Forwarding]] = {}
        self._leaving: list[Forward] = []

    def make_backoff(self) -> Backoff:
        """One for each target."""
        return Backoff(*self._retries)

    def declare(self, stream: str, targets: Sequence[Target], *, passive: bool) -> None:
        """Send a stream to these targets from now on; those it has already are left alone.

        Raises `PeerError` `forward-scheme-unsupported`, and then nothing has changed.
        """
        for target in targets:
            if target.scheme not in self._factories:
                raise PeerError("forward-scheme-unsupported", 400, target.scheme)
        before = {
            each.target: each
            for each in self._targets.get(stream, ())
            if each.is_passive == passive
        }
        kept = []
        for target in dict.fromkeys(targets):
            forwarding = before.pop(target, None)
            if forwarding is None:
                number = f"forward-{target.scheme}-{next(self._numbers)}"
                factory = self._factories[target.scheme]
                forwarding = Forwarding(number, stream, target, factory, self, passive=passive)
            kept.append(forwarding)
        for forwarding in self._targets.get(stream, ()):
            if forwarding not in kept:
                self._close(forwarding, "target-removed")
        self._targets[stream] = kept
        if not kept:
            del self._targets[stream]

    def remove(self, stream: str, reason: str = "stream-deleted") -> None:
        """End the targets of a stream."""
        for forwarding in self._targets.pop(stream, ()):
            self._close(forwarding, reason)

    def tick(self, now: float) -> None:
        """Start what is due."""
        for targets in tuple(self._targets.values()):
            for forwarding in tuple(targets):
                forwarding.tick(now)

    def stream_changed(self, event: StreamStateChanged) -> None:
        """A stream that has become ready is not waited for any longer."""
        if event.after in (State.READY, State.SLATE):
            for forwarding in self._targets.get(event.stream, ()):
                forwarding.stream_ready()

    def snapshot(self, stream: str) -> tuple[ForwardSnapshot, ...]:
        """The targets of a stream as they are now, in the order of the configuration."""
        return tuple(map(_snapshot, self._targets.get(stream, ())))

    def description(self, stream: str, target_id: str) -> bytes:
        """The session description of one target; empty if it has none."""
        found = (each for each in self._targets.get(stream, ()) if each.id == target_id)
        forwarding = next(found, None)
        return forwarding.description() if forwarding is not None else b""

    def close(self, reason: str = "server-stopping") -> None:
        """End every target."""
        for stream in tuple(self._targets):
            self.remove(stream, reason)

    async def wait_closed(self) -> None:
        """Return once every forward has said goodbye."""
        leaving, self._leaving = self._leaving, []
        for forward in leaving:
            await forward.wait_stopped()

    def leave(self, forward: Forward) -> None:
        """Keep what is over until it has said goodbye; the last hundred are enough."""
        self._leaving.append(forward)
        del self._leaving[:-100]

    def _close(self, forwarding: Forwarding, reason: str) -> None:
        forward = forwarding.close(reason)
        if forward is not None:
            self.leave(forward)


def _snapshot(forwarding: Forwarding) -> ForwardSnapshot:
    figures = forwarding.figures()
    return ForwardSnapshot(
        forwarding.id,
        forwarding.target.shown,
        forwarding.state,
        forwarding.reason,
        forwarding.changed_at,
        forwarding.attempts,
        figures.sent_bytes,
        figures.dropped,
        figures.lost,
        figures.round_trip,
    )
