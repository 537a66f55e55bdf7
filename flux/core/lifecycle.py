"""The life of the server: parts start in order, and stop in reverse order in bounded time.

    starting -> running -> draining -> stopped
        \\____________________/           a part that cannot start ends the others

The first SIGINT or SIGTERM drains: no new work (readiness says so at once), each part ends what it
serves. Whoever has not ended when the time is up is cancelled. A second signal cuts: nothing is
waited for any more. A third is the system's own, so that nothing can hold the process.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from time import monotonic

from flux.base.errors import StateError
from flux.core.events import PartStarted, PartStopped, PhaseChanged
from flux.core.part import Part

STOP_TIMEOUT = 4.0  # seconds for all parts together; the process itself must end within 5
CUT_GRACE = 0.25  # seconds that a cancelled part may take to clean up

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_log = logging.getLogger(__name__)


class Phase(StrEnum):
    """Where the server is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


def _ignore(event: object) -> None:
    """Nobody listens."""


class Lifecycle:
    """Starts parts, waits for the end, stops them."""

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        emit: Callable[[object], None] = _ignore,
        stop_timeout: float = STOP_TIMEOUT,
    ) -> None:
        self.phase = Phase.STARTING
        self._parts = tuple(parts)
        self._emit = emit
        self._stop_timeout = stop_timeout
        self._running: list[Part] = []
        self._asked = asyncio.Event()  # to stop
        self._cut = asyncio.Event()  # to wait no longer
        self._reason = ""

    @property
    def is_cut(self) -> bool:
        """Whether somebody lost patience."""
        return self._cut.is_set()

    def request_stop(self, reason: str) -> None:
        """Ask for the end; asking again cuts."""
        if self._asked.is_set():
            self._cut.set()
            return
        self._reason = reason
        self._asked.set()

    async def run(self, on_running: Callable[[], None] = lambda: None) -> None:
        """Start, call `on_running`, wait for a signal or `request_stop`, stop.

        Raises what a part raised that could not start; the others are stopped then.
        """
        with self._signals():
            starting = asyncio.ensure_future(self.start())
            asked = asyncio.ensure_future(self._asked.wait())
            try:
                await asyncio.wait((starting, asked), return_when=asyncio.FIRST_COMPLETED)
                if starting.done():
                    starting.result()
                    on_running()
                    await asked
            finally:
                asked.cancel()
                if not starting.done():
                    starting.cancel()
                    await asyncio.wait((starting,), timeout=CUT_GRACE)
                await self.stop()

    async def start(self) -> None:
        """Start all parts in order; if one fails, stop the others and raise its error."""
        if self.phase is not Phase.STARTING or self._running:
            raise StateError("a lifecycle starts once")
        for part in self._parts:
            began = monotonic()
            try:
                await part.start()
            except BaseException:
                self._reason = self._reason or f"part-failed: {part.name}"
                await self.stop()
                raise
            self._running.append(part)
            self._emit(PartStarted(part.name, monotonic() - began))
        self._enter(Phase.RUNNING, "started")

    async def stop(self) -> None:
        """Stop the running parts in reverse order; never raises for what a part does."""
        if self.phase in (Phase.DRAINING, Phase.STOPPED):
            return
        self._enter(Phase.DRAINING, self._reason)
        deadline = monotonic() + self._stop_timeout
        while self._running:
            # A part that hangs may use its share of the time, not that of those after it.
            part = self._running.pop()
            left = max(0.0, deadline - monotonic())
            await self._stop_part(part, left / 2 if self._running else left)
        self._enter(Phase.STOPPED, self._reason)

    async def _stop_part(self, part: Part, timeout: float) -> None:
        began = monotonic()
        task = asyncio.ensure_future(part.stop())
        cut = asyncio.ensure_future(self._cut.wait())
        await asyncio.wait((task, cut), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        cut.cancel()
        reason = "stopped"
        if not task.done():
            reason = "cut" if self.is_cut else "late"
            task.cancel()
            await asyncio.wait((task,), timeout=CUT_GRACE)
        elif not task.cancelled() and (error := task.exception()) is not None:
            reason = "failed"
            _log.error("part-stop-failed: %s", part.name, exc_info=error)
        self._emit(PartStopped(part.name, monotonic() - began, reason))

    def _enter(self, phase: Phase, reason: str) -> None:
        before, self.phase = self.phase, phase
        self._emit(PhaseChanged(before, phase, reason))

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM ask for the end while this lasts."""
        loop = asyncio.get_running_loop()
        counts = dict.fromkeys(_SIGNALS, 0)

        def on_signal(number: signal.Signals) -> None:
            counts[number] += 1
            self.request_stop(number.name)
            if sum(counts.values()) >= 2:
                for each in _SIGNALS:
                    loop.remove_signal_handler(each)

        installed = []
        for number in _SIGNALS:
            try:
                loop.add_signal_handler(number, on_signal, number)
            except (NotImplementedError, RuntimeError, ValueError):
                continue  # not the main thread, or a loop that has none: the owner asks instead
            installed.append(number)
        try:
            yield
        finally:
            for number in installed:
                loop.remove_signal_handler(number)
