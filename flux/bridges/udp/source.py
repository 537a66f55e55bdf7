"""A source of datagrams between `start` and `stop`: one listener after the other.

A listener opens its ports, waits for a sender, publishes what comes and ends when that ends. The
next one opens at once, since senders do not knock: so the session description is read anew and
groups are joined anew. It only waits where something has to be put right first: a port that is
taken, a description that cannot be read, a name that somebody else publishes.

    connecting  ports are being opened, or are open for the first time
    running     media comes
    waiting     with the reason; where it is one of QUIET the ports are open and media may come
    stopped
"""

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from flux.base.errors import PeerError, WireError
from flux.net.backoff import Backoff
from media.publisher import Publisher
from media.track import TrackDescription

QUIET = frozenset({"no-media", "media-timeout", "source-ended", "ts-no-program"})  # no use to wait
OPEN_TIMEOUT = 10.0  # seconds: a look-up, a file and some sockets
STABLE_AFTER = 30.0  # seconds of media, after which a failure is the first one again

logger = structlog.get_logger()

OnState = Callable[[str, str], None]  # state, reason


@dataclass(frozen=True, slots=True)
class DatagramOptions:
    """What configuration says of such a source; seconds and bytes."""

    media_timeout: float = 10.0
    receive_buffer_bytes: int = 4 << 20
    lookup_timeout: float = 5.0
    retry_first: float = 1.0
    retry_longest: float = 30.0


class Publishing(Protocol):
    """What a source needs of the router."""

    def publish(
        self, name: str, descriptions: Sequence[TrackDescription], *, now: float, origin: str
    ) -> Publisher:
        """Begin a run; raises `PeerError` where the name cannot be published."""


class Listener(Protocol):
    """Ports that are open, and the run of media that comes there."""

    ended: "asyncio.Future[str]"  # the reason, once it cannot go on; the owner then closes it
    running_since: float | None  # monotonic seconds

    def close(self, reason: str) -> None:
        """Close the ports and end the run; calling it twice does no harm."""
        ...


@dataclass(slots=True)
class _Life:
    """The time from one `start` to its `stop`."""

    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = "cancelled"
    listener: Listener | None = None
    state: str = ""


class ListeningSource(ABC):
    """Keeps listeners going. `on_state(state, reason)` is told every change."""

    def __init__(
        self,
        name: str,
        on_state: OnState,
        options: DatagramOptions,
        chance: random.Random,
    ) -> None:
        self.name = name
        self.log = logger.bind(stream=name)
        self._on_state = on_state
        self._backoff = Backoff(options.retry_first, options.retry_longest, chance.random)
        self._life: _Life | None = None
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def open_listener(self, on_running: Callable[[], None]) -> Listener:
        """Open one; `on_running` is called when media comes. Raises `PeerError`, `WireError`."""

    def start(self) -> None:
        """Begin, and go on through failures, until `stop`."""
        if self._life is None:
            self._life = _Life()
            self._task = asyncio.get_running_loop().create_task(
                self._live(self._life, self._task), name=f"datagram source {self.name}"
            )

    def stop(self, reason: str) -> None:
        """End: nothing is taken any more when this returns."""
        life, self._life = self._life, None
        if life is None:
            return
        life.reason = reason
        life.stopping.set()
        if life.listener is not None:
            life.listener.close(reason)

    @property
    def is_at_rest(self) -> bool:
        """Nothing of any life is left."""
        return self._task is None or self._task.done()

    async def wait_stopped(self) -> None:
        """Return once nothing of the last life is left."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def _live(self, life: _Life, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait((before,))
        try:
            self._say(life, "connecting", "")
            while not life.stopping.is_set():
                try:
                    reason = await self._listen(life)
                except (PeerError, WireError) as error:
                    reason = error.reason
                    self.log.warning("cannot listen", reason=reason, detail=error.detail)
                except Exception:  # a fault of ours must not be the end of a source
                    self.log.exception("source fault")
                    reason = "internal-error"
                if life.stopping.is_set():
                    break
                self._say(life, "waiting", reason)
                if reason in QUIET:
                    continue
                delay = self._backoff.next_delay()
                self.log.warning("source failed", reason=reason, retry_in=round(delay, 1))
                try:
                    async with asyncio.timeout(delay):
                        await life.stopping.wait()
                except TimeoutError:
                    self._say(life, "connecting", "")
        finally:
            if life.listener is not None:
                life.listener.close("cancelled")
            self._say(life, "stopped", life.reason)

    async def _listen(self, life: _Life) -> str:
        """One listener from its opening to its end: why it ended."""
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                listener = await self.open_listener(lambda: self._say(life, "running", ""))
        except TimeoutError:
            return "open-timeout"
        life.listener = listener
        stopping = asyncio.ensure_future(life.stopping.wait())
        try:
            if not life.stopping.is_set():
                await asyncio.wait((stopping, listener.ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            life.listener = None
            reason = listener.ended.result() if listener.ended.done() else life.reason
            listener.close(reason)
        since = listener.running_since
        if since is not None and time.monotonic() - since >= STABLE_AFTER:
            self._backoff.reset()
        return reason

    def _say(self, life: _Life, state: str, reason: str) -> None:
        """Tell a state; while it waits, new ports at once are no news."""
        life.state = state
        self._on_state(state, reason)
