"""A command hook: which processes run, which wait for their turn, and which are over.

Some causes last (`ready`, `publish`, `read`, `demand`): their command is ended with them, and may
be started again while they last. The others (`not-ready`, `unread`) are moments: their command has
a limited time. Runs of one cause never overlap: if a stream comes back while the command of its
last appearance is still on its way out, the new one waits for that.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from itertools import islice

from config.hooks import TIED, CommandSection
from flux.core.hooks.events import HookFailed, HookOverflowed
from flux.core.hooks.occurrence import Cause, Occurrence
from flux.core.hooks.process import ENDED, Outcome, run_command
from flux.core.hooks.status import HookCounters
from flux.core.hooks.timing import Timing
from flux.net.backoff import Backoff

MOMENT_TIMEOUT = 60.0  # seconds for a command whose cause is a moment
RESTART_FIRST = 0.5  # seconds before the first restart; doubles with each
RESTART_LONGEST = 30.0
HEALTHY_AFTER = 10.0  # a run of so many seconds takes the delay back to the first
STOP_GRACE = 0.5  # seconds at the end of the server for commands that are told of it

log = logging.getLogger(__name__)


class _Run:
    """One occurrence and its command."""

    __slots__ = ("ended", "is_tied", "key", "occurrence", "task")

    def __init__(self, occurrence: Occurrence) -> None:
        self.occurrence = occurrence
        self.is_tied = occurrence.on in TIED
        self.key: Cause = occurrence.cause if self.is_tied else ("", "", occurrence.id)
        self.ended = asyncio.Event()  # its cause is over
        self.task: asyncio.Task[None] | None = None


class CommandHook:
    """Runs one command for each occurrence."""

    def __init__(
        self,
        name: str,
        section: CommandSection,
        emit: Callable[[object], None],
        timing: Timing,
    ) -> None:
        self.name = name
        self.counters = HookCounters()
        self._section = section
        self._emit = emit
        self._timing = timing
        self._waiting: dict[Cause, _Run] = {}  # the oldest first
        self._live: dict[Cause, _Run] = {}  # have a process, or wait to start it again
        self._leaving: dict[Cause, asyncio.Task[None]] = {}  # demands without a reader
        self._is_full = False  # the queue is, and that was told
        self._is_short = False  # of processes, and that was told
        self._stopping = False

    @property
    def waiting(self) -> int:
        """Runs that wait for their turn."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Runs under way."""
        return len(self._live)

    def begin(self, occurrence: Occurrence) -> None:
        """Run the command, now or when there is room."""
        if self._stopping or occurrence.wanted is False:
            return
        run = _Run(occurrence)
        leaving = self._leaving.pop(run.key, None)
        if leaving is not None:
            leaving.cancel()
        live = self._live.get(run.key)
        if live is not None and not live.ended.is_set():
            return
        if run.key in self._waiting:
            return
        if len(self._waiting) >= self._section.queue:
            del self._waiting[next(iter(self._waiting))]
            self.counters.dropped += 1
            if not self._is_full:
                self._is_full = True
                self._emit(HookOverflowed(self.name, self.counters.dropped))
        self._waiting[run.key] = run
        self._launch()

    def end(self, cause: Cause, *, at_once: bool) -> None:
        """What the command was run for is over; a demand is given `close_after`."""
        leaving = self._leaving.pop(cause, None)
        if leaving is not None:
            leaving.cancel()
        if at_once or not self._section.close_after:
            self._end(cause)
        elif cause in self._live or cause in self._waiting:
            task = asyncio.get_running_loop().create_task(self._end_later(cause))
            self._leaving[cause] = task

    def end_stream(self, stream: str) -> None:
        """All that lasted with this stream is over."""
        known = (*self._live, *self._waiting)
        for cause in [cause for cause in known if cause[0] and cause[1] == stream]:
            self.end(cause, at_once=True)

    async def stop(self) -> None:
        """End every process; those that are told of a moment have a little time for it."""
        self._stopping = True
        for leaving in self._leaving.values():
            leaving.cancel()
        self._leaving.clear()
        self.counters.dropped += len(self._waiting)
        self._waiting.clear()
        runs = tuple(self._live.values())
        tasks = [run.task for run in runs if run.task is not None]
        if not tasks:
            return
        try:
            for run in runs:
                if run.is_tied:
                    run.ended.set()
            await self._timing.first_of(asyncio.wait(tasks), timeout=STOP_GRACE)
            for run in runs:
                run.ended.set()
            await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()  # kills at once

    def _end(self, cause: Cause) -> None:
        self._waiting.pop(cause, None)
        live = self._live.get(cause)
        if live is not None:
            live.ended.set()

    async def _end_later(self, cause: Cause) -> None:
        await self._timing.sleep(self._section.close_after)
        self._leaving.pop(cause, None)
        self._end(cause)

    def _launch(self) -> None:
        """Start what waits, as far as there is room and its predecessor is gone."""
        room = self._section.concurrency - len(self._live)
        if room > 0:
            free = (run for key, run in self._waiting.items() if key not in self._live)
            for run in tuple(islice(free, room)):
                del self._waiting[run.key]
                self._live[run.key] = run
                run.task = asyncio.get_running_loop().create_task(self._keep(run), name=self.name)
                run.task.add_done_callback(partial(self._finished, run))
        is_short = len(self._live) >= self._section.concurrency and bool(self._waiting)
        if is_short and not self._is_short:
            log.warning("%s: %d commands run, others wait", self.name, len(self._live))
        self._is_short = is_short
        if len(self._waiting) <= self._section.queue // 2:
            self._is_full = False

    def _finished(self, run: _Run, task: "asyncio.Task[None]") -> None:
        del self._live[run.key]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s: a run failed", self.name, exc_info=error)
        if not self._stopping:
            self._launch()

    async def _keep(self, run: _Run) -> None:
        """Run the command, again and again where that is wanted."""
        section, timing, occurrence = self._section, self._timing, run.occurrence
        timeout = section.timeout
        if timeout is None and not run.is_tied:
            timeout = MOMENT_TIMEOUT
        environment = {**section.env, **occurrence.environment()}
        name = f"{self.name} {occurrence.on} {occurrence.stream}"
        backoff = Backoff(RESTART_FIRST, RESTART_LONGEST, timing.rand)
        while True:
            began_at = timing.now()
            outcome = await run_command(name, section.argv, environment, run.ended, timeout, timing)
            self._account(occurrence, outcome)
            if run.ended.is_set() or not (section.restart and run.is_tied):
                return
            if timing.now() - began_at >= HEALTHY_AFTER:
                backoff.reset()
            if await timing.first_of(run.ended.wait(), timeout=backoff.next_delay()):
                return
            self.counters.retries += 1

    def _account(self, occurrence: Occurrence, outcome: Outcome) -> None:
        if outcome.reason in ("", ENDED):
            self.counters.done += 1
            return
        self.counters.failed += 1
        self._emit(HookFailed(self.name, occurrence.on, occurrence.stream, outcome.reason))
