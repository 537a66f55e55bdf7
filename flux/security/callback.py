"""A service that says who may do what; it gets what MediaMTX sends to its `authHTTPAddress`.

    any 2xx                          allowed
    401                              refused; the client is asked for credentials
    another 4xx                      refused
    another status, no answer        refused with 503, since it is the service that failed

Nothing is remembered. Who is in stays in, whatever the service says later.
"""

import json
import logging
from collections import Counter

from config.access import CallbackSection
from flux import __version__
from flux.core.admission import STREAM_ACTIONS, AccessRequest, Answer, Verdict
from flux.core.hooks import questions
from flux.core.hooks.post import TIMEOUT, UNREACHABLE, Poster, is_success
from flux.core.hooks.questions import Content, Outcome, Questions
from flux.security.places import Place
from flux.security.verdicts import (
    ALLOWED,
    DENIED,
    SERVICE_BUSY,
    SERVICE_FAILED,
    SERVICE_TIMEOUT,
    SERVICE_UNREACHABLE,
    STOPPING,
    WRONG,
)

MAX_OF_ADDRESS = 200  # questions that one address has under way
UNAUTHORIZED = 401
HEADERS = {"Content-Type": "application/json", "User-Agent": f"FLUX/{__version__}"}
SILENT = {
    questions.BUSY: SERVICE_BUSY,
    questions.STOPPING: STOPPING,
    TIMEOUT: SERVICE_TIMEOUT,
    UNREACHABLE: SERVICE_UNREACHABLE,
}

log = logging.getLogger(__name__)


class Callback:
    """Asks the service, if there is one."""

    def __init__(self, section: CallbackSection, poster: Poster) -> None:
        self._url = section.url
        self._excluded = frozenset(section.exclude)
        self._pending: Counter[str] = Counter()  # by address
        self._questions = Questions(
            poster,
            section.url.reveal() if section.url is not None else "",
            name="access",
            timeout=section.timeout,
            concurrency=section.concurrency,
            fingerprint=section.fingerprint,
        )

    def decides(self, action: str) -> bool:
        """Whether it is asked for this action."""
        return self._url is not None and action not in self._excluded

    @property
    def asked(self) -> int:
        """Questions that the service was sent."""
        return self._questions.asked

    def ask(self, request: AccessRequest, place: Place, done: Answer) -> None:
        """Ask for a verdict: ALLOWED, WRONG for 401, or another refusal."""
        key = place.key
        if self._pending[key] >= MAX_OF_ADDRESS:
            done(SERVICE_BUSY)
            return
        self._pending[key] += 1

        def answered(outcome: Outcome) -> None:
            self._pending[key] -= 1
            if not self._pending[key]:
                del self._pending[key]
            done(self._judge(outcome))

        self._questions.ask(lambda: _content(request, place), answered)

    async def close(self) -> None:
        """Refuse all who wait."""
        await self._questions.close()

    def _judge(self, outcome: Outcome) -> Verdict:
        status = outcome.status
        if is_success(status):
            return ALLOWED
        if status == UNAUTHORIZED:
            return WRONG
        if 400 <= status < 500:
            return DENIED
        verdict = SILENT.get(outcome.reason, SERVICE_FAILED)
        if verdict is not STOPPING:
            detail = outcome.reason or f"status {status}"
            log.warning("%s: %s: %s", verdict.reason, self._url, detail)
        return verdict


def _content(request: AccessRequest, place: Place) -> Content:
    """The question. An action of no stream comes without protocol and id, as services know it."""
    is_of_stream = request.action in STREAM_ACTIONS
    values = {
        "user": request.user,
        "password": request.password,
        "token": request.token,
        "ip": str(place.address or request.address),
        "action": request.action,
        "path": request.stream,
        "protocol": request.protocol if is_of_stream else "",
        "id": (request.session or None) if is_of_stream else None,
        "query": request.query,
        "userAgent": request.user_agent,
    }
    return json.dumps(values).encode(), HEADERS
