"""What keeps a source going between `start` and `stop`: its attempts, the waits between, its state.

    connecting  an attempt is made
    running     media come, as the attempt tells
    waiting     with the reason why an attempt ended, until the next one
    stopped     with the reason of `stop`, or of an attempt after which nothing more can come

One task lives from a `start` to its `stop`. It may need time to end; that of the next `start` waits
for it. An attempt that a fault of ours ends is one that failed.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, TypeVar

from structlog.typing import FilteringBoundLogger

from flux.base.errors import PeerError, WireError
from flux.net.backoff import Backoff

STABLE_AFTER = 30.0  # seconds of media, after which a failure is the first one again

OnState = Callable[[str, str], None]  # state, reason


class Then(Enum):
    """What follows on an attempt."""

    REST = auto()  # a wait, and the next attempt
    QUIET = auto()  # the next attempt at once; the state is `waiting` until media come
    AGAIN = auto()  # the next attempt at once; nobody is told of this one
    END = auto()  # nothing until the next `start`


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt came to."""

    reason: str
    then: Then = Then.REST


@dataclass(slots=True, kw_only=True)
class Life:
    """The time from one `start` to its `stop`."""

    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = "cancelled"

    async def until(self, ended: "asyncio.Future[str]") -> str:
        """Wait for the end of an attempt or of this life: the reason of the one that came."""
        stopping = asyncio.ensure_future(self.stopping.wait())
        try:
            if not self.stopping.is_set():
                await asyncio.wait((stopping, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        return ended.result() if ended.done() else self.reason


AnyLife = TypeVar("AnyLife", bound=Life)


class PersistentSource(ABC, Generic[AnyLife]):
    """Makes one attempt after the other. `on_state(state, reason)` is told every change.

    Satisfies `media.source.Source`. Public: `name`, of its stream.
    """

    refusals: Container[str] = ()  # reasons of a peer that says no

    def __init__(
        self,
        name: str,
        on_state: OnState,
        log: FilteringBoundLogger,
        quick: Backoff,
        slow: Backoff | None = None,
    ) -> None:
        """`slow` is for `refusals`, `quick` for all other failures."""
        self.name = name
        self._on_state = on_state
        self._log = log
        self._quick = quick
        self._slow = slow or quick
        self._life: AnyLife | None = None
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    def _begin(self) -> AnyLife:
        """What a new life holds."""

    @abstractmethod
    def _halt(self, life: AnyLife, reason: str) -> None:
        """Take nothing any more: close what a life holds. It may be called more than once."""

    @abstractmethod
    async def _attempt(self, life: AnyLife) -> Outcome:
        """Try, from the beginning to the end; may raise `PeerError` and `WireError`."""

    def start(self) -> None:
        """Begin, and go on through failures, until `stop`."""
        if self._life is None:
            self._life = self._begin()
            self._task = asyncio.get_running_loop().create_task(
                self._live(self._life, self._task), name=f"source {self.name}"
            )

    def stop(self, reason: str) -> None:
        """End: nothing is taken any more when this returns."""
        life, self._life = self._life, None
        if life is not None:
            life.reason = reason
            life.stopping.set()
            self._halt(life, reason)

    @property
    def is_at_rest(self) -> bool:
        """Nothing of any life is left."""
        return self._task is None or self._task.done()

    async def wait_stopped(self) -> None:
        """Return once nothing of the last life is left."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    def _played(self, since: float | None) -> None:
        """An attempt has ended that had media since then, or had none."""
        if since is not None and time.monotonic() - since >= STABLE_AFTER:
            self._quick.reset()
            self._slow.reset()

    # -- the task of a life ------------------------------------------------------------------

    async def _live(self, life: AnyLife, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait((before,))
        try:
            self._on_state("connecting", "")
            while not life.stopping.is_set():
                outcome = await self._guarded(life)
                if life.stopping.is_set():
                    break
                if outcome.then is Then.END:
                    self._finish(life, outcome.reason)
                    break
                if outcome.then is not Then.AGAIN:
                    self._on_state("waiting", outcome.reason)
                if outcome.then is Then.REST and await self._rest(life, outcome.reason):
                    break
                if outcome.then is not Then.QUIET:
                    self._on_state("connecting", "")
        finally:
            self._halt(life, "cancelled")
            self._on_state("stopped", life.reason)

    async def _guarded(self, life: AnyLife) -> Outcome:
        try:
            return await self._attempt(life)
        except (PeerError, WireError) as error:
            self._log.warning("cannot open", reason=error.reason, detail=error.detail)
            reason = error.reason
        except Exception:  # a fault of ours must not be the end of a source
            self._log.exception("source fault")
            reason = "internal-error"
        self._halt(life, reason)
        return Outcome(reason)

    async def _rest(self, life: AnyLife, reason: str) -> bool:
        """Wait for the next attempt; True if the life ends before."""
        backoff = self._slow if reason in self.refusals else self._quick
        delay = backoff.next_delay()
        self._log.warning("source failed", reason=reason, retry_in=round(delay, 1))
        try:
            async with asyncio.timeout(delay):
                return await life.stopping.wait()
        except TimeoutError:
            return False

    def _finish(self, life: AnyLife, reason: str) -> None:
        """There is nothing more: no attempt is made until the next `start`."""
        self._log.info("source ended")
        life.reason = reason
        if self._life is life:
            self._life = None
