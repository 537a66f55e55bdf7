"""Gives streams their slates: has them made, keeps them fitting, and plays them.

The worker is started when a source begins to come, since its imports take as long as a slate does.
A slate is made when a stream becomes ready and again when what it is like changes (codec, size,
rate, channels); until it is there the stream has the one before, or none. While a slate is played
for somebody one timer of the loop publishes what is due of all that are.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from flux.base.errors import WireError
from flux.bridges.slate.order import Wish, loop_of, wish_for
from flux.bridges.slate.studio import Delivery, Studio, StudioOptions
from flux.core.bus import Bus
from flux.core.children import Children
from media.events import (
    ParametersChanged,
    SlateFailed,
    SlateReady,
    SourceSwitched,
    StreamStateChanged,
)
from media.router import Router
from media.slate import SlateLoop
from media.stream import Emit, State, Stream

OFF = "off"
COMING = frozenset({State.STARTING, State.WAITING})
PACE = 0.02  # seconds between looks for what is due
RETRY = 60.0  # seconds until a slate that could not be made is tried again


@dataclass(slots=True)
class _Desire:
    """What is wanted for one stream."""

    slate: str  # builtin, or the path of a file
    wish: Wish | None = None  # that was ordered, or is there
    reason: str = ""  # why there is none
    retry_at: float = 0.0


class SlateBridge:
    """All slates of the server. It has to `listen` to the bus."""

    def __init__(
        self,
        router: Router,
        children: Children,
        emit: Emit,
        options: StudioOptions | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._router = router
        self._emit = emit
        self._now = now
        self._studio = Studio(children, options or StudioOptions())
        self._desires: dict[str, _Desire] = {}
        self._made: WeakValueDictionary[Wish, _Kept] = WeakValueDictionary()
        self._kept: dict[str, _Kept] = {}  # by stream
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        router.on_slate = self._play

    def choose(self, name: str, slate: str) -> None:
        """What a stream is to show: `off`, `builtin` or the path of a file."""
        desire = self._desires.get(name)
        if (desire.slate if desire is not None else OFF) == slate:
            return
        self._drop(name)
        if slate != OFF:
            self._desires[name] = _Desire(slate)
            self._look(name)
        else:
            self._give(name, None)

    def state(self, name: str) -> tuple[str, str, str, int]:
        """Slate, state (off, waiting, making, ready, failed, shown), reason and bytes."""
        desire = self._desires.get(name)
        if desire is None:
            return OFF, OFF, "", 0
        stream, kept = self._router.find(name), self._kept.get(name)
        size = kept.size_bytes if kept is not None else 0
        if stream is not None and stream.state is State.SLATE:
            return desire.slate, "shown", stream.reason, size
        if desire.reason:
            return desire.slate, "failed", desire.reason, size
        if kept is not None and kept.wish == desire.wish:
            return desire.slate, "ready", "", size
        return desire.slate, "making" if desire.wish is not None else "waiting", "", size

    def close(self) -> None:
        """The server stops."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._studio.close()

    # -- events ------------------------------------------------------------------------------

    def listen(self, bus: Bus) -> None:
        """Hear when streams are there, and when they may look otherwise."""
        bus.subscribe(StreamStateChanged, self._state_changed)
        bus.subscribe(ParametersChanged, self._may_differ)
        bus.subscribe(SourceSwitched, self._may_differ)

    def _state_changed(self, event: StreamStateChanged) -> None:
        if event.stream not in self._desires:
            return
        if event.after == State.READY:
            self._look(event.stream)
        elif event.after in COMING and event.stream not in self._kept:
            self._studio.prepare()

    def _may_differ(self, event: ParametersChanged | SourceSwitched) -> None:
        if event.stream in self._desires:
            self._look(event.stream)

    # -- inside ------------------------------------------------------------------------------

    def _drop(self, name: str) -> None:
        desire = self._desires.pop(name, None)
        self._kept.pop(name, None)
        if desire is not None:
            self._forget(desire.wish)

    def _forget(self, wish: Wish | None) -> None:
        """One stream wants this no more; perhaps nobody does."""
        if wish is not None and all(each.wish != wish for each in self._desires.values()):
            self._studio.forget(wish)

    def _look(self, name: str) -> None:
        """Order a slate if the one that is there does not fit what the stream is now."""
        desire, stream = self._desires[name], self._router.find(name)
        if stream is None or stream.state is not State.READY or self._closed:
            return
        wish = wish_for(stream, desire.slate)
        if wish is None:
            self._fail(name, desire, "slate-codec")
            return
        now = self._now()
        is_failed = bool(desire.reason)
        if wish == desire.wish and not (is_failed and now >= desire.retry_at):
            kept = self._kept.get(name)
            if kept is None or kept.loop.fits(stream):
                return
        before, desire.wish, desire.reason = desire.wish, wish, ""
        self._forget(before)
        made = self._made.get(wish)
        if made is not None and made.loop.fits(stream):
            self._keep(name, made)
        else:
            self._studio.order(wish, self._delivered)

    def _delivered(self, wish: Wish, delivery: Delivery) -> None:
        """A slate is there, or never will be; all streams that wish for it take it."""
        kept: _Kept | None = None
        for name, desire in tuple(self._desires.items()):
            stream = self._router.find(name)
            if desire.wish != wish or stream is None:
                continue
            if delivery.reason:
                self._fail(name, desire, delivery.reason)
                continue
            try:
                if kept is None or not kept.loop.fits(stream):
                    kept = _Kept(wish, self._make(stream, delivery))
            except WireError as error:
                desire.wish = None  # it changed meanwhile: what it is like now is looked at again
                if stream.state is State.READY:
                    self._fail(name, desire, error.reason)
                continue
            self._made[wish] = kept
            self._keep(name, kept)

    def _make(self, stream: Stream, delivery: Delivery) -> SlateLoop:
        return loop_of(stream, delivery.tracks, delivery.frames, delivery.summary)

    def _keep(self, name: str, kept: "_Kept") -> None:
        self._kept[name] = kept
        self._emit(SlateReady(name, self._desires[name].slate, kept.size_bytes))
        self._give(name, kept.loop)

    def _give(self, name: str, loop: SlateLoop | None) -> None:
        onair = self._router.onair(name)
        if onair is not None:
            onair.set_loop(loop, self._now())

    def _fail(self, name: str, desire: _Desire, reason: str) -> None:
        desire.retry_at = self._now() + RETRY
        if desire.reason != reason:
            desire.reason = reason
            self._emit(SlateFailed(name, desire.slate, reason))

    def _play(self) -> None:
        """A slate is shown to somebody."""
        if self._timer is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(PACE, self._advance)

    def _advance(self) -> None:
        self._timer = None
        is_on = True  # also after a fault in one of them: the others go on
        try:
            is_on = self._router.advance_slates(self._now())
        finally:
            if is_on:
                self._play()


class _Kept:
    """A slate and what it was made for; shared by the streams that it fits."""

    __slots__ = ("__weakref__", "loop", "size_bytes", "wish")

    def __init__(self, wish: Wish, loop: SlateLoop) -> None:
        self.wish = wish
        self.loop = loop
        self.size_bytes = loop.size_bytes  # added up once: the API asks often
