"""A stream's sources: one, or several in order of priority, made from what it is declared with."""

import time
from collections.abc import Callable, Sequence
from typing import cast

from config.schema import Config, StreamSection
from config.urls import SourceUrl
from flux.app.options import priority_options
from flux.app.sources import LineSource, make_line_source, make_worker_source
from flux.bridges.rtp.figures import RtpFigures
from flux.bridges.srt.sessions import SrtSessions
from flux.core.children import Children
from media.priority import Priority, Seat
from media.publisher import Publisher
from media.router import Router
from media.source import Source, SourceStatus
from media.track import TrackDescription

Figures = Callable[[], RtpFigures]


class SeatRouter:
    """The router as one of several sources of a stream sees it."""

    def __init__(self, router: Router, seat: int) -> None:
        self._router = router
        self._seat = seat

    def publish(
        self, name: str, descriptions: Sequence[TrackDescription], *, now: float, origin: str
    ) -> Publisher:
        """Begin a run of this source; raises `PeerError`."""
        return self._router.publish(name, descriptions, now=now, origin=origin, seat=self._seat)


class SourceMaker:
    """Makes sources and hears what they say of themselves, replaced ones to their end."""

    def __init__(
        self, config: Config, router: Router, children: Children, srt_sessions: SrtSessions
    ) -> None:
        self._config = config
        self._router = router
        self._children = children
        self._srt_sessions = srt_sessions
        self._told: dict[str, list[_Told]] = {}  # by name: the present sources
        self._leaving: set[LineSource] = set()  # replaced ones, until they have said goodbye

    def make(self, name: str, section: StreamSection) -> Source | None:
        """The source that a section asks for, in place of the one before; None if it asks for none.

        With `fallback` it is a `Priority`.
        """
        self.drop(name)
        if section.source is None and not section.fallback:
            return None
        if not section.fallback:
            assert section.source is not None
            return self._make_one(name, section, section.source, None)
        seats: list[Seat] = []
        if section.source is None:
            seats.append(Seat(SourceStatus()))
        urls = (section.source, *section.fallback) if section.source else section.fallback
        for url in urls:
            source = self._make_one(name, section, url, len(seats))
            seats.append(Seat(SourceStatus(url.scheme, str(url)), source))
        return Priority(seats, priority_options(self._config), time.monotonic)

    def drop(self, name: str) -> None:
        """The sources of this name are no longer the ones; they may still be saying goodbye."""
        for told in self._told.pop(name, ()):
            if told.line is not None and not told.line.is_at_rest:
                self._leaving.add(told.line)

    def figures(self, name: str) -> Figures | None:
        """What counts the RTP of a name's source: of the one on air, where there are several."""
        lines = {told.seat: told.line for told in self._told.get(name, ()) if told.line is not None}
        if not lines:
            return None
        first = next(iter(lines.values()))
        if len(lines) == 1:
            return first.figures

        def count() -> RtpFigures:
            onair = self._router.onair(name)
            priority = onair.priority if onair is not None else None
            shown = lines.get(priority.active) if priority is not None else None
            return (shown or first).figures()

        return count

    async def wait_ended(self) -> None:
        """Return once every source has said goodbye."""
        present = (told.line for each in self._told.values() for told in each)
        for line in (*present, *self._leaving):
            if line is not None:
                await line.wait_stopped()

    def _make_one(
        self, name: str, section: StreamSection, url: SourceUrl, seat: int | None
    ) -> Source:
        told = _Told(seat)
        told.say = lambda state, reason: self._say(name, told, state, reason)
        self._told.setdefault(name, []).append(told)
        section = section.model_copy(update={"source": url})
        # Sources ask nothing of the router but `publish`.
        router = self._router if seat is None else cast(Router, SeatRouter(self._router, seat))
        if url.scheme == "testcard":
            return make_worker_source(name, section, router, self._children, told.say)
        told.line = make_line_source(
            name, section, self._config, router, told.say, self._srt_sessions
        )
        return told.line

    def _say(self, name: str, told: "_Told", state: str, reason: str) -> None:
        """A source tells its state; one that was replaced is only heard to the end."""
        if told in self._told.get(name, ()):
            self._router.source_state(name, state, reason, time.monotonic(), told.seat)
        elif state == "stopped" and told.line is not None:
            self._leaving.discard(told.line)


class _Told:
    """Where one source tells its state to."""

    __slots__ = ("line", "say", "seat")

    def __init__(self, seat: int | None) -> None:
        self.seat = seat
        self.say: Callable[[str, str], None] = _nobody
        self.line: LineSource | None = None


def _nobody(state: str, reason: str) -> None:
    """A source that is not made yet says nothing."""
