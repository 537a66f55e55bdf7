"""Whose frames one stream carries: a source's, the slate's or nobody's; and who waits for it.

Theory of operation. At most one publisher is on air. One that comes while nothing is shown goes on
air at once. While a slate or another source is on air it stands by (`media/standby.py`) and goes on
air at its first key frame, as soon as that is its turn:

    on air now            who may replace it
    slate, nobody         anybody
    a source that is      anybody
      silent
    a source              a better one that has been healthy for long enough (`media/priority.py`)

When the run on air ends, the slate goes on in its place in the same turn of the loop if there is
one that fits. If there is none, readers are held for the grace period, and a slate that is ready
within it begins then. A source that falls silent without ending is taken off air as if it had
ended, but it stands by: its next key frame brings it back. Only where there is neither a slate nor
another source it stays, since nothing would be won.

Nobody is needed to see a slate: it begins without readers, too, but sleeps until one comes. A
publisher whose media nobody has wanted for a while may count them instead of writing them; it
writes the last of them as soon as anybody looks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flux.base.errors import PeerError
from media.events import PublisherStarted, PublisherStopped, SlateStarted, SlateStopped
from media.priority import Priority
from media.publisher import Publisher
from media.slate import SlateLoop, SlatePlayer, shape_of
from media.source import Declared
from media.standby import Standby
from media.stream import Emit, State
from media.track import Track, TrackDescription

SLOW = 3.0  # a source that sends seldom may be silent for so many times its usual pause
UNSEEN_AFTER = 10.0  # seconds since anybody wanted what is published
UNKNOWN_PAUSE = 5.0  # seconds that one may be silent that has just begun


@dataclass(frozen=True, slots=True)
class OnAirOptions:
    """Seconds."""

    silent_after: float = 2.0  # without a unit, after which a source is taken for lost
    slate_timeout: float = 0.0  # a slate ends after so long; 0: it goes on until the source returns


@dataclass(slots=True)
class _Ear:
    """What was heard of the publisher on air."""

    received_bytes: int  # that had come at the last look
    since: float
    heard_at: float  # when a look found more
    times: int = 0  # how often one did


class OnAir:
    """What is on air under one name."""

    def __init__(
        self,
        declared: Declared,
        emit: Emit,
        next_session: Callable[[], int],
        options: OnAirOptions,
    ) -> None:
        self.publisher: Publisher | None = None
        self.player: SlatePlayer | None = None
        self.loop: SlateLoop | None = None
        self.priority: Priority | None = None  # between several sources
        self.is_silent = False  # the publisher on air sends nothing
        self.shown = 0  # slates so far
        self.on_open: Callable[[], None] = _nothing  # readers may attach
        self.on_slate: Callable[[], None] = _nothing  # a slate wants to be advanced
        self.on_lost: Callable[[float], None] = _ignore  # the stream was let go of, at this time
        self._declared = declared
        self._stream = declared.stream
        self._emit = emit
        self._next_session = next_session
        self._options = options
        self._waiting: dict[Publisher, Standby] = {}
        self._ear = _Ear(0, 0.0, 0.0)
        self._seen_at = 0.0  # when somebody wanted its media

    @property
    def publishers(self) -> tuple[Publisher, ...]:
        """Who is on air, and who stands by."""
        own = (self.publisher,) if self.publisher is not None else ()
        return (*own, *self._waiting)

    # -- publishers --------------------------------------------------------------------------

    def rival(self, seat: int | None) -> Publisher | None:
        """Whom a newcomer would have to push out; one that is silent keeps nobody out."""
        rivals = [
            each
            for each in self.publishers
            if seat is None or each.seat is None or each.seat == seat
        ]
        return rivals[0] if rivals else None

    def is_taken(self, seat: int | None, now: float) -> bool:
        """Whether a newcomer would be refused."""
        rival = self.rival(seat)
        if rival is None or self._declared.take_over:
            return False
        standby = self._waiting.get(rival)
        return not self.is_silent if standby is None else standby.is_alive(now)

    def publish(
        self,
        descriptions: Sequence[TrackDescription],
        now: float,
        origin: str,
        seat: int | None,
    ) -> Publisher:
        """Begin a run; raises PeerError where somebody publishes and is not taken over."""
        stream = self._stream
        if self.is_taken(seat, now):
            raise PeerError("name-taken", 409, stream.name)
        while (rival := self.rival(seat)) is not None:
            rival.close("taken-over", now)
        session = f"{origin}-publisher-{self._next_session()}"
        is_direct = self.publisher is None and stream.state is not State.SLATE
        if is_direct:
            if stream.state in (State.STARTING, State.IDLE):
                stream.inputs = {}
            tracks = stream.begin(descriptions, now)
        else:
            tracks = tuple(
                Track(index, d.kind, d.codec, d.clock_rate, d.parameters)
                for index, d in enumerate(descriptions)
            )
        publisher = Publisher(stream, tracks, origin, session, self._closed, seat)
        publisher.since = now + stream.timeline.wall_offset
        if is_direct:
            self.publisher = publisher
            self._arrive(publisher, now)
        else:
            self._stand_by(publisher, now)
        self._emit(PublisherStarted(stream.name, origin, session))
        if is_direct and stream.state is State.READY:  # it came back within the grace period
            self.on_open()
        return publisher

    def _stand_by(self, publisher: Publisher, now: float) -> None:
        patience = self._options.silent_after

        def ask(standby: Standby, arrived: float) -> bool:
            return self._is_turn_of(publisher, standby, arrived)

        standby = Standby(publisher.tracks, now, patience, ask)
        self._waiting[publisher] = standby
        publisher.wait(standby)

    def _is_turn_of(self, publisher: Publisher, standby: Standby, now: float) -> bool:
        """Its unit can be started at: put it on air if nothing better is there."""
        current, rules = self.publisher, self.priority
        if current is not None and not self.is_silent:
            healthy_for = standby.healthy_for(now)
            if rules is None or not rules.may_replace(current.seat, publisher.seat, healthy_for):
                return False
        descriptions = standby.descriptions()
        is_same = shape_of(descriptions) == shape_of(tuple(self._stream.inputs))
        if not is_same and self._stream.is_open and not standby.is_complete(now):
            return False
        del self._waiting[publisher]
        if current is not None:
            self._stand_by(current, now)
        self._end_slate(now)
        self.publisher = publisher
        publisher.go_on_air(self._stream.begin(descriptions, now))
        self._arrive(publisher, now)
        if self._stream.state is State.READY:
            self.on_open()
        return True

    def _arrive(self, publisher: Publisher, now: float) -> None:
        self.is_silent = False
        self._seen_at = now
        self._ear = _Ear(self._stream.received_bytes, now, now)
        if self.priority is not None:
            self.priority.on_air(publisher.seat, now, "")

    def _closed(self, publisher: Publisher, reason: str, now: float) -> None:
        """A run is over."""
        self._waiting.pop(publisher, None)
        if self.publisher is publisher:
            self.publisher = None
            self._say_stopped(publisher, reason)
            self._leave_air(reason, now)
        else:
            self._say_stopped(publisher, reason)

    def _leave_air(self, reason: str, now: float) -> None:
        """Nobody publishes any more: the slate goes on, or readers are held, or all ends."""
        self.is_silent = False
        if self.priority is not None:
            self.priority.on_air(None, now, reason)
        declared = self._declared
        hold = declared.running or declared.source is None or bool(self._waiting)
        if not (hold and self._begin_slate(reason, now)):
            self._stream.lose(reason, now, hold=hold)
        self.on_lost(now)

    def _say_stopped(self, publisher: Publisher, reason: str) -> None:
        name, origin, session = self._stream.name, publisher.origin, publisher.session
        self._emit(PublisherStopped(name, origin, session, reason))

    def kick(self, session: str, now: float) -> bool:
        """End the publisher with this session id; False if there is none."""
        for publisher in self.publishers:
            if publisher.session == session:
                publisher.close("kicked", now)
                return True
        return False

    def end(self, reason: str, now: float) -> None:
        """End every run and the slate; the caller lets go of the stream."""
        for publisher in self.publishers:
            if self.publisher is publisher:
                self.publisher = None
            publisher.close(reason, now)
        self._end_slate(now)

    def let_go(self) -> None:
        """The name is forgotten: nobody hears of it any more."""
        self.on_open, self.on_slate, self.on_lost = _nothing, _nothing, _ignore
        if self.priority is not None:
            self.priority.let_go()
        self.loop = self.priority = None

    # -- the slate ---------------------------------------------------------------------------

    def set_loop(self, loop: SlateLoop | None, now: float) -> None:
        """Another slate; it is shown from the next loss on, or now if the stream is lost."""
        self.loop = loop
        if self._stream.state is State.LOST:
            self._begin_slate(self._stream.reason, now)

    def wake(self, now: float) -> None:
        """A reader comes: a slate that sleeps begins to play."""
        self.attend(now)
        if self.player is not None and self.player.is_asleep:
            self.player.wake(now)
            self.on_slate()

    def attend(self, now: float) -> None:
        """Somebody looks: what nobody wanted to see until now is published."""
        self._seen_at = now
        if self.publisher is not None:
            self.publisher.see()

    def advance(self, now: float, *, is_wanted: bool) -> bool:
        """Publish what is due of the slate; False if there is nothing to come back for."""
        player = self.player
        if player is None or player.is_asleep:
            return False
        player.advance(now)
        if not is_wanted and not self._stream.outputs:
            player.is_asleep = True
        return not player.is_asleep

    def _begin_slate(self, reason: str, now: float) -> bool:
        stream, loop = self._stream, self.loop
        is_there = stream.state in (State.READY, State.LOST)
        if loop is None or not is_there or not loop.fits(stream):
            return False
        self.player = SlatePlayer(stream, loop, now, reason)
        self.shown += 1
        self._emit(SlateStarted(stream.name, reason))
        self.on_open()
        self.on_slate()
        return True

    def _end_slate(self, now: float) -> None:
        player, self.player = self.player, None
        if player is not None:
            player.finish(now)
            self._emit(SlateStopped(self._stream.name, round(now - player.started_at, 3)))

    # -- time --------------------------------------------------------------------------------

    def tick(self, now: float, *, is_wanted: bool) -> None:
        """A few times a second: silence, the end of grace and of slates."""
        stream = self._stream
        if self.publisher is not None:
            self._listen(now)
            self._watch(now, is_wanted=is_wanted)
        is_lost = stream.state is State.LOST and now - stream.since >= stream.options.grace
        if is_lost or self._is_slate_over(now, is_wanted):
            self._give_up(now)

    def _is_slate_over(self, now: float, is_wanted: bool) -> bool:
        if self.player is None:
            return False
        shown_for, limit = now - self._stream.since, self._options.slate_timeout
        if limit and shown_for >= limit:
            return True
        if is_wanted or self._stream.outputs or self._declared.running or self._waiting:
            return False
        return shown_for >= self._stream.options.grace  # nobody fetches it, nobody watches

    def _give_up(self, now: float) -> None:
        self._end_slate(now)
        self._stream.release(self._stream.reason or "source-lost", now)
        self.on_lost(now)

    def _watch(self, now: float, *, is_wanted: bool) -> None:
        """Whether anybody wants what is published. Who may be replaced has to show pictures."""
        publisher, stream = self.publisher, self._stream
        has_rivals = self.loop is not None or self.priority is not None or bool(self._waiting)
        if is_wanted or stream.outputs or has_rivals or stream.state is not State.READY:
            self._seen_at = now
        if publisher is not None:
            publisher.is_unseen = now - self._seen_at >= UNSEEN_AFTER

    def _listen(self, now: float) -> None:
        """Whether the source on air still sends."""
        stream, ear = self._stream, self._ear
        if stream.received_bytes != ear.received_bytes:
            ear.received_bytes, ear.heard_at = stream.received_bytes, now
            ear.times += 1
            self.is_silent = False
            return
        if self.is_silent or stream.state is not State.READY:
            return
        usual = (ear.heard_at - ear.since) / ear.times * SLOW if ear.times else UNKNOWN_PAUSE
        if now - ear.heard_at < max(self._options.silent_after, usual):
            return
        can_fill = self.loop is not None and self.loop.fits(stream)
        if can_fill:
            publisher, self.publisher = self.publisher, None
            if publisher is not None:
                self._stand_by(publisher, now)
            self._leave_air("source-silent", now)
        elif self.priority is not None and self.priority.has_others:
            self.is_silent = True
            self.priority.on_air(None, now, "source-silent")


def _nothing() -> None:
    """Nobody wants to know."""


def _ignore(now: float) -> None:
    """As above."""
    del now
