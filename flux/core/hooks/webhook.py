"""A webhook: one receiver, one post at a time in the order of what happened, the rest in a queue.

So a receiver never hears that a stream is ready after it heard that it is not, and one that hangs
holds nothing but its own queue, which drops its oldest entry when it is full. An attempt fails if
there is no answer within the timeout, or a status that says "later": 408, 425, 429, 5xx. Any other
status but 2xx is final.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from config.hooks import WebhookSection
from flux.base.errors import PeerError
from flux.core.hooks.events import HookFailed, HookOverflowed
from flux.core.hooks.occurrence import Cause, Occurrence
from flux.core.hooks.post import Poster, headers_of, is_success, status_reason
from flux.core.hooks.status import HookCounters
from flux.core.hooks.timing import Timing
from flux.net.backoff import Backoff

RETRY_FIRST = 1.0  # seconds; doubles with each attempt
RETRY_LONGEST = 60.0
DRAIN = 1.0  # seconds at the end of the server for what waits
LATER = frozenset({408, 425, 429})

log = logging.getLogger(__name__)


class Webhook:
    """Delivers occurrences to one receiver."""

    def __init__(
        self,
        name: str,
        section: WebhookSection,
        poster: Poster,
        emit: Callable[[object], None],
        timing: Timing,
    ) -> None:
        self.name = name
        self.counters = HookCounters()
        self._section = section
        self._poster = poster
        self._emit = emit
        self._timing = timing
        self._queue: deque[Occurrence] = deque()
        self._is_full = False  # and that was told
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None  # there is one while the queue has something

    @property
    def waiting(self) -> int:
        """Occurrences that are not delivered yet, without the one under way."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """Whether the receiver is being told something."""
        return int(self._task is not None)

    def begin(self, occurrence: Occurrence) -> None:
        """Tell the receiver, after what waits."""
        if self._stopping.is_set():
            return
        if len(self._queue) >= self._section.queue:
            self._queue.popleft()
            self.counters.dropped += 1
            if not self._is_full:
                self._is_full = True
                self._emit(HookOverflowed(self.name, self.counters.dropped))
        self._queue.append(occurrence)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work(), name=self.name)
            self._task.add_done_callback(self._worked)

    def end(self, cause: Cause, *, at_once: bool) -> None:
        """A receiver is told of beginnings; what ends has an occurrence of its own."""

    def end_stream(self, stream: str) -> None:
        """The same."""

    async def stop(self) -> None:
        """Deliver what waits, without second attempts, for at most `DRAIN` seconds."""
        self._stopping.set()
        task = self._task
        if task is None:
            return
        try:
            await asyncio.wait((task,), timeout=DRAIN)
        finally:
            task.cancel()
        await asyncio.wait((task,))
        self.counters.dropped += len(self._queue)
        self._queue.clear()

    async def _work(self) -> None:
        try:
            while self._queue:
                occurrence = self._queue.popleft()
                if len(self._queue) <= self._section.queue // 2:
                    self._is_full = False
                reason = await self._deliver(occurrence)
                if reason:
                    self.counters.failed += 1
                    self._emit(HookFailed(self.name, occurrence.on, occurrence.stream, reason))
                else:
                    self.counters.done += 1
        finally:
            self._task = None  # in the same turn in which the queue was seen empty

    def _worked(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s: delivery failed", self.name, exc_info=error)

    async def _deliver(self, occurrence: Occurrence) -> str:
        """All attempts; the answer is why it could not be delivered, empty if it was."""
        body = occurrence.body()
        backoff = Backoff(RETRY_FIRST, RETRY_LONGEST, self._timing.rand)
        left = self._section.retries
        while True:
            reason, is_final = await self._attempt(occurrence, body)
            if is_final or not left or self._stopping.is_set():
                return reason
            left -= 1
            delay = backoff.next_delay()
            log.debug("%s: %s, next attempt in %.1f s", self.name, reason, delay)
            await self._timing.first_of(self._stopping.wait(), timeout=delay)
            if self._stopping.is_set():
                return reason
            self.counters.retries += 1

    async def _attempt(self, occurrence: Occurrence, body: bytes) -> tuple[str, bool]:
        """One attempt: why it failed, and whether another one makes no sense."""
        section = self._section
        stamp = int(self._timing.wall())  # of this attempt: receivers refuse what is old
        headers = headers_of(
            occurrence.on, occurrence.id, stamp, body, section.secret.get_secret_value()
        )
        try:
            status = await self._poster.post(section.url.reveal(), body, headers, section.timeout)
        except PeerError as error:
            return error.reason, False
        if is_success(status):
            return "", True
        return status_reason(status), status < 500 and status not in LATER
