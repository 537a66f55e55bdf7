"""Questions to a service: so many at a time, the others wait, and each is over in time.

Nothing is remembered and nothing is asked twice. What the status of an answer means is the asker's
business.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from flux.base.errors import PeerError
from flux.core.hooks.post import TIMEOUT, Poster

MAX_WAITING = 2000  # questions, those under way included
BUSY = "busy"  # too many wait
STOPPING = "stopping"
FAULT = "fault"  # ours

Content: TypeAlias = tuple[bytes, dict[str, str]]  # body and headers

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a question: the status of the answer, or why there is none."""

    status: int = 0
    reason: str = ""  # of `flux.core.hooks.post`, BUSY, STOPPING, FAULT
    detail: str = ""


class Questions:
    """Asks one service. Each question is answered exactly once."""

    def __init__(
        self,
        poster: Poster,
        url: str,
        *,
        name: str,
        timeout: float,
        concurrency: int,
        fingerprint: str = "",
    ) -> None:
        self._poster = poster
        self._url = url
        self._name = name
        self._timeout = timeout
        self._fingerprint = fingerprint
        self._turns = asyncio.Semaphore(concurrency)
        self._tasks: set[asyncio.Task[Outcome]] = set()
        self._is_closed = False
        self.asked = 0

    def ask(self, build: Callable[[], Content], done: Callable[[Outcome], None]) -> None:
        """Ask; `build` makes the question when its turn has come.

        `done` is called from a later turn of the loop, at once only where nothing can be asked.
        """
        if self._is_closed:
            done(Outcome(reason=STOPPING))
        elif len(self._tasks) >= MAX_WAITING:
            done(Outcome(reason=BUSY))
        else:
            task = asyncio.get_running_loop().create_task(self._ask(build), name=self._name)
            self._tasks.add(task)
            task.add_done_callback(partial(self._asked, done))

    async def close(self) -> None:
        """Ask no more; who waits is told STOPPING."""
        self._is_closed = True
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _asked(self, done: Callable[[Outcome], None], task: "asyncio.Task[Outcome]") -> None:
        self._tasks.discard(task)
        if task.cancelled():
            done(Outcome(reason=STOPPING))
        elif (error := task.exception()) is not None:
            log.error("the service could not be asked", exc_info=error)
            done(Outcome(reason=FAULT))
        else:
            done(task.result())

    async def _ask(self, build: Callable[[], Content]) -> Outcome:
        try:
            # The time for a turn and for the answer together.
            async with asyncio.timeout(self._timeout), self._turns:
                self.asked += 1
                body, headers = build()
                status = await self._poster.post(
                    self._url, body, headers, self._timeout, self._fingerprint
                )
        except TimeoutError:
            return Outcome(reason=TIMEOUT)
        except PeerError as error:
            return Outcome(reason=error.reason, detail=error.detail)
        return Outcome(status)
