"""A gate that asks a service whether somebody may enter. Whatever is no clear yes is a no.

    2xx                              allowed
    401, 403                         refused with this status: `access-denied`
    another status, no answer        refused with 503, since a later attempt may be let in

Nothing is remembered: each reader and each publisher is asked for anew. Only so many questions are
under way at a time; others wait within their own timeout, and beyond a bound are refused.
"""

import json
import logging

from config.hooks import AuthorizeSection
from flux.core.admission import ALLOWED, AccessRequest, Answer, Verdict
from flux.core.hooks import questions
from flux.core.hooks.post import TIMEOUT, Poster, headers_of, is_success
from flux.core.hooks.questions import Content, Outcome, Questions
from flux.core.hooks.timing import Timing, format_time

EVENT = "authorize"
DENIALS = (401, 403)

BUSY = Verdict(False, "authorize-busy", 503)
FAILED = Verdict(False, "authorize-failed", 503)
TIMED_OUT = Verdict(False, "authorize-timeout", 503)
STOPPING = Verdict(False, "server-stopping", 503)
SILENT = {questions.BUSY: BUSY, questions.STOPPING: STOPPING, TIMEOUT: TIMED_OUT}

log = logging.getLogger(__name__)


class AuthorizeGate:
    """A `Gate`; answers exactly once, from a later turn of the loop where it has to ask."""

    def __init__(self, section: AuthorizeSection, poster: Poster, timing: Timing) -> None:
        self._section = section
        self._timing = timing
        self._questions = Questions(
            poster,
            section.url.reveal() if section.url is not None else "",
            name=EVENT,
            timeout=section.timeout,
            concurrency=section.concurrency,
        )
        self.allowed = 0
        self.denied = 0  # by the service
        self.failed = 0  # without a clear answer

    @property
    def asked(self) -> int:
        """Questions that the service was sent."""
        return self._questions.asked

    def __call__(self, request: AccessRequest, answer: Answer) -> None:
        """Ask, unless this action is let in unasked."""
        if self._section.url is None or request.action not in self._section.on:
            answer(ALLOWED)
            return
        self._questions.ask(
            lambda: self._content(request), lambda outcome: answer(self._judge(outcome))
        )

    async def close(self) -> None:
        """Refuse all who wait."""
        await self._questions.close()

    def _judge(self, outcome: Outcome) -> Verdict:
        if is_success(outcome.status):
            self.allowed += 1
            return ALLOWED
        if outcome.status in DENIALS:
            self.denied += 1
            return Verdict(False, "access-denied", outcome.status)
        verdict = SILENT.get(outcome.reason, FAILED)
        if verdict is not STOPPING:
            self.failed += 1
        if verdict is not STOPPING and verdict is not BUSY:
            detail = outcome.reason or f"status {outcome.status}"
            log.warning("%s: %s: %s", verdict.reason, self._section.url, detail)
        return verdict

    def _content(self, request: AccessRequest) -> Content:
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
        return body, headers_of(EVENT, number, int(wall), body, secret)
