"""The gate that knows users: bans, permissions, passwords, the service that is asked, penalties.

How a request is judged:

    address banned                            address-banned
    what everybody may do (users `any`)       allowed
    credentials of a user: wrong              credentials-wrong, a failure
    credentials of a user: right, and it may  allowed
    a service decides this action             as it says
    right, but it may not                     permission-denied
    credentials of nobody                     credentials-wrong, a failure
    no credentials                            credentials-needed: 401 at once, no failure

A failure is counted for the address and told only `delay` seconds after the question, right after
which moment it does not matter how long the check took. Those answers wait as timers; so many of
them wait at most, further ones are told at once. Everything is answered exactly once, also when the
server stops, and nothing that one peer does delays another.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from config.access import AccessSection
from flux.core.admission import READ, AccessFigures, AccessRequest, Answer, Verdict
from flux.core.events import AccessDenied, AddressBanned
from flux.core.hooks.post import Poster
from flux.core.scheduler import LoopScheduler
from flux.security.callback import Callback
from flux.security.passwords import MAX_WAITING, PasswordChecker, is_same, verify_hash
from flux.security.penalties import Penalties
from flux.security.places import Place, place_of
from flux.security.users import User, Users
from flux.security.verdicts import (
    ALLOWED,
    BANNED,
    BUSY,
    CLOSED,
    FAILURES,
    FORBIDDEN,
    NEEDED,
    STOPPING,
    WRONG,
)

MAX_DELAYED = 2000  # answers that wait to be told
BASIC = "basic"
DIGESTS = ("SHA-256", "MD5")  # hash names mean Digest, the stronger first


class Scheduler(Protocol):
    """Time: of the loop, or of a test."""

    def now(self) -> float:
        """Monotonic seconds."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """Run after `delay` seconds."""


class LoopTime(Scheduler):
    """The running loop's; it need not run yet when this is made."""

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """Run after `delay` seconds."""
        LoopScheduler().call_later(delay, callback)


@dataclass(frozen=True, slots=True)
class View:
    """What somebody may read, as far as it is known without asking anybody about each stream."""

    sees: Callable[[str], bool]
    sees_all: bool = False
    may_log_in: bool = False  # the credentials of a user could show more
    refusal: Verdict | None = None  # it gets no view at all


Known = Callable[[User | Verdict | None], None]  # who it is, why it is refused, or nobody


class Access:
    """A `Gate` and a Part."""

    name = "access"

    def __init__(
        self,
        section: AccessSection,
        emit: Callable[[object], None],
        *,
        scheduler: Scheduler | None = None,
        poster: Poster | None = None,
        verify: Callable[[str, bytes], bool] = verify_hash,
    ) -> None:
        penalties = section.penalties
        self._emit = emit
        self._scheduler = scheduler or LoopTime()
        self._poster = poster or Poster()
        self._has_service = section.callback.url is not None
        self._users = Users(section.users)
        self._callback = Callback(section.callback, self._poster)
        self._checker = PasswordChecker(self._scheduler.now, verify, waiting=MAX_WAITING)
        self._settings = penalties
        self._exempt = tuple(each.network for each in penalties.exempt)
        self._penalties = Penalties(
            failures=penalties.failures,
            window=penalties.window,
            ban=penalties.ban,
            size=penalties.addresses,
        )
        self._delayed: dict[int, tuple[Answer, Verdict]] = {}
        self._numbers = count()
        self._is_closed = False
        self._refused: Counter[tuple[str, str]] = Counter()
        self._bans = 0

    # -- what others ask ---------------------------------------------------------------------

    @property
    def challenges(self) -> tuple[str, ...]:
        """Which credentials can be asked for, best first: hash names (Digest) and `basic`.

        Digest proves that somebody knows a password which is known here, too; neither a hash nor a
        service that wants to see the password can be used for that.
        """
        if self._has_service or not self._users.are_plain:
            return (BASIC,)
        return (*DIGESTS, BASIC) if self._users.has_names else ()

    def figures(self) -> AccessFigures:
        """What there is to count."""
        return AccessFigures(
            refused=dict(self._refused),
            bans=self._bans,
            banned=self._penalties.banned(self._scheduler.now()),
            password_checks=self._checker.runs,
            delayed=len(self._delayed),
        )

    def __call__(self, request: AccessRequest, answer: Answer) -> None:
        """Judge a request; `answer` is called once, maybe at once."""
        began = self._scheduler.now()
        place = place_of(request.address)

        def judged(verdict: Verdict) -> None:
            self._answer(request, place, began, verdict, answer)

        def known(who: User | Verdict | None) -> None:
            if isinstance(who, Verdict):
                judged(who)
            elif who is not None and who.may(request.action, request.stream):
                judged(ALLOWED)
            elif self._callback.decides(request.action):
                self._ask(request, place, judged)
            elif who is not None:
                judged(FORBIDDEN)
            else:
                judged(self._stranger(request))

        if self._is_closed:
            judged(STOPPING)
        elif self._penalties.is_banned(place.key, began):
            judged(BANNED)
        elif self._anyone_may(request.action, request.stream, place):
            judged(ALLOWED)
        else:
            self._identify(request, place, known)

    def blame(self, request: AccessRequest, reason: str) -> None:
        """A wrong secret that was shown to somebody else: a failure like a wrong password."""
        self._refused[request.action, reason] += 1
        self._tell_denied(request, reason)
        if not self._is_closed:
            self._fail(place_of(request.address), self._scheduler.now())

    def survey(self, request: AccessRequest, done: Callable[[View], None]) -> None:
        """Which streams somebody may read, for a list; `done` is called once, maybe at once.

        A service is not asked about each stream: what it alone would allow is not in the view.
        """
        began = self._scheduler.now()
        place = place_of(request.address)

        def view(user: User | None) -> View:
            def sees(stream: str) -> bool:
                is_users = user is not None and user.may(READ, stream)
                return is_users or self._anyone_may(READ, stream, place)

            sees_all = not self._users.are_configured and not self._callback.decides(READ)
            return View(sees, sees_all, user is None and self._users.has_names)

        def known(who: User | Verdict | None) -> None:
            if who is None and request.user and not self._callback.decides(READ):
                who = self._stranger(request)  # CLOSED where there are no users at all
            if not isinstance(who, Verdict) or who is CLOSED:
                done(view(None if isinstance(who, Verdict) else who))
                return

            def refused(verdict: Verdict) -> None:
                done(View(_sees_none, refusal=verdict))

            self._answer(request, place, began, who, refused)

        if self._penalties.is_banned(place.key, began):
            known(BANNED)
        else:
            self._identify(request, place, known)

    # -- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Make the client for the service."""
        if self._has_service:
            await self._poster.open()

    async def stop(self) -> None:
        """Answer all who wait."""
        self._is_closed = True
        self._checker.close()
        delayed = tuple(self._delayed.values())
        self._delayed.clear()
        for answer, verdict in delayed:
            answer(verdict)
        try:
            await self._callback.close()
        finally:
            await self._poster.close()

    # -- the walk of a request ---------------------------------------------------------------

    def _anyone_may(self, action: str, stream: str, place: Place) -> bool:
        # Where nothing is configured but a service, that alone decides what it is asked for.
        if self._callback.decides(action) and not self._users.are_configured:
            return False
        return self._users.anyone_may(action, stream, place)

    def _may_log_in(self, action: str) -> bool:
        return self._users.has_names or self._callback.decides(action)

    def _identify(self, request: AccessRequest, place: Place, known: Known) -> None:
        """Find out which user this is: one, nobody, or a user's name with a wrong password."""
        user = self._users.find(request.user) if request.user else None
        if user is None:
            known(None)
        elif not user.may_come_from(place):
            known(WRONG)  # the password is not looked at: nobody learns here whether it is right
        elif not user.is_hashed:
            proof = request.proof
            is_right = (
                is_same(request.password, user.password) if proof is None else proof(user.password)
            )
            known(user if is_right else WRONG)
        elif request.proof is not None:
            known(NEEDED)  # Digest was not offered; the client is told again what is

        else:

            def checked(is_right: bool | None) -> None:
                if is_right is None:
                    known(STOPPING if self._is_closed else BUSY)
                else:
                    known(user if is_right else WRONG)

            self._checker.check(user.password, request.password, place.key, checked)

    def _stranger(self, request: AccessRequest) -> Verdict:
        """The verdict on somebody who is no user."""
        if not self._may_log_in(request.action):
            return CLOSED
        is_wrong = bool(request.user or request.password) or request.proof is not None
        return WRONG if is_wrong else NEEDED

    def _ask(self, request: AccessRequest, place: Place, judged: Answer) -> None:
        """Ask the service. Its 401 to somebody who has said nothing is no failure."""
        if request.proof is not None:
            judged(NEEDED)  # the service wants to see a password, and Digest shows none
            return

        def answered(verdict: Verdict) -> None:
            judged(NEEDED if verdict is WRONG and not request.has_credentials else verdict)

        self._callback.ask(request, place, answered)

    def _answer(
        self, request: AccessRequest, place: Place, began: float, verdict: Verdict, answer: Answer
    ) -> None:
        """Count and tell a verdict, and answer: a failure later, everything else now."""
        if verdict.allowed:
            answer(verdict)
            return
        self._refused[request.action, verdict.reason] += 1
        if not verdict.is_quiet:
            self._tell_denied(request, verdict.reason)
        if verdict not in FAILURES or not request.has_credentials or self._is_closed:
            answer(verdict)
            return
        now = self._scheduler.now()
        self._fail(place, now)
        left = began + self._settings.delay - now
        if left <= 0 or len(self._delayed) >= MAX_DELAYED:
            answer(verdict)
            return
        number = next(self._numbers)
        self._delayed[number] = (answer, verdict)
        self._scheduler.call_later(left, lambda: self._tell(number))

    def _tell_denied(self, request: AccessRequest, reason: str) -> None:
        user = request.user if self._users.find(request.user) else ""
        who = request.action, request.stream, request.protocol, request.address, user
        self._emit(AccessDenied(*who, reason))

    def _fail(self, place: Place, now: float) -> None:
        if place.is_in(self._exempt) or not self._penalties.fail(place.key, now):
            return
        self._bans += 1
        settings = self._settings
        self._emit(AddressBanned(place.key, "too-many-failures", settings.failures, settings.ban))

    def _tell(self, number: int) -> None:
        waiting = self._delayed.pop(number, None)
        if waiting is not None:
            answer, verdict = waiting
            answer(verdict)


def _sees_none(stream: str) -> bool:
    del stream
    return False
