"""A gate that asks a service whether somebody may enter. Whatever is no clear yes is a no.

    2xx                              allowed
    401, 403                         refused with this status: `access-denied`
    another status, no answer        refused with 503, since a later attempt may be let in

Nothing is remembered: each reader and each publisher is asked for anew. Only so many questions are
under way at a time; others wait within their own timeout, and beyond `MAX_WAITING` are refused.
"""

import asyncio
import json
import logging
from functools import partial

from config.hooks import AuthorizeSection
from flux.base.errors import PeerError
from flux.core.admission import ALLOWED, AccessRequest, Answer, Verdict
from flux.core.hooks.post import TIMEOUT, Poster, headers_of, is_success
from flux.core.hooks.timing import Timing, format_time

EVENT = "authorize"
MAX_WAITING = 2000  # questions, those under way included
DENIALS = (401, 403)

BUSY = Verdict(False, "authorize-busy", 503)
FAILED = Verdict(False, "authorize-failed", 503)
TIMED_OUT = Verdict(False, "authorize-timeout", 503)
STOPPING = Verdict(False, "server-stopping", 503)

log = logging.getLogger(__name__)


class AuthorizeGate:
    """A `Gate`; answers exactly once, from a later turn of the loop where it has to ask."""

    def __init__(self, section: AuthorizeSection, poster: Poster, timing: Timing) -> None:
        self._section = section
        self._poster = poster
        self._timing = timing
        self._turns = asyncio.Semaphore(section.concurrency)
        self._tasks: set[asyncio.Task[Verdict]] = set()
        self._is_closed = False
        self.asked = 0
        self.allowed = 0
        self.denied = 0  # by the service
        self.failed = 0  # without a clear answer

    def __call__(self, request: AccessRequest, answer: Answer) -> None:
        """Ask, unless this action is let in unasked."""
        section = self._section
        if section.url is None or request.action not in section.on:
            answer(ALLOWED)
        elif self._is_closed:
            answer(STOPPING)
        elif len(self._tasks) >= MAX_WAITING:
            self.failed += 1
            answer(BUSY)
        else:
            task = asyncio.get_running_loop().create_task(
                self._ask(request, section.url.reveal()), name=EVENT
            )
            self._tasks.add(task)
            task.add_done_callback(partial(self._asked, answer))

    async def close(self) -> None:
        """Refuse all who wait."""
        self._is_closed = True
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _asked(self, answer: Answer, task: "asyncio.Task[Verdict]") -> None:
        self._tasks.discard(task)
        if task.cancelled():
            answer(STOPPING)
        elif (error := task.exception()) is not None:
            log.error("the service could not be asked", exc_info=error)
            self.failed += 1
            answer(FAILED)
        else:
            answer(task.result())

    async def _ask(self, request: AccessRequest, url: str) -> Verdict:
        timeout = self._section.timeout
        try:
            async with asyncio.timeout(timeout), self._turns:
                self.asked += 1
                status = await self._post(request, url, timeout)
        except TimeoutError:  # the time for a turn and for the answer together
            return self._fail(TIMED_OUT, TIMEOUT)
        except PeerError as error:
            return self._fail(TIMED_OUT if error.reason == TIMEOUT else FAILED, error.reason)
        if is_success(status):
            self.allowed += 1
            return ALLOWED
        if status in DENIALS:
            self.denied += 1
            return Verdict(False, "access-denied", status)
        return self._fail(FAILED, f"status {status}")

    def _fail(self, verdict: Verdict, detail: str) -> Verdict:
        self.failed += 1
        log.warning("%s: %s: %s", verdict.reason, self._section.url, detail)
        return verdict

    async def _post(self, request: AccessRequest, url: str, timeout: float) -> int:
        timing = self._timing
        wall = timing.wall()
        number = timing.make_id()
        values = {
            "event": EVENT,
            "id": number,
            "time": format_time(wall),
            "action": request.action,
            "stream": request.stream,
            "protocol": request.protocol,
            "address": request.address,
            "session": request.session,
            "query": request.query,
            "user_agent": request.user_agent,
            "user": request.user,
            "password": request.password,
        }
        body = json.dumps(values).encode()
        secret = self._section.secret.get_secret_value()
        headers = headers_of(EVENT, number, int(wall), body, secret)
        return await self._poster.post(url, body, headers, timeout)
