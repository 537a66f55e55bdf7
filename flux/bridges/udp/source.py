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
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from flux.core.persistent import Life, OnState, Outcome, PersistentSource, Then
from flux.net.backoff import Backoff

QUIET = frozenset({"no-media", "media-timeout", "source-ended", "ts-no-program"})  # no use to wait
OPEN_TIMEOUT = 10.0  # seconds: a look-up, a file and some sockets

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DatagramOptions:
    """What configuration says of such a source; seconds and bytes."""

    media_timeout: float = 10.0
    receive_buffer_bytes: int = 4 << 20
    lookup_timeout: float = 5.0
    retry_first: float = 1.0
    retry_longest: float = 30.0


class Listener(Protocol):
    """Ports that are open, and the run of media that comes there."""

    ended: "asyncio.Future[str]"  # the reason, once it cannot go on; the owner then closes it
    running_since: float | None  # monotonic seconds

    def close(self, reason: str) -> None:
        """Close the ports and end the run; calling it twice does no harm."""
        ...


@dataclass(slots=True)
class _Life(Life):
    """What a life holds."""

    listener: Listener | None = None


class ListeningSource(PersistentSource[_Life]):
    """Keeps listeners going."""

    def __init__(
        self,
        name: str,
        on_state: OnState,
        options: DatagramOptions,
        chance: random.Random,
    ) -> None:
        self.log = logger.bind(stream=name)
        wait = Backoff(options.retry_first, options.retry_longest, chance.random)
        super().__init__(name, on_state, self.log, wait)

    @abstractmethod
    async def open_listener(self, on_running: Callable[[], None]) -> Listener:
        """Open one; `on_running` is called when media comes. Raises `PeerError`, `WireError`."""

    def _begin(self) -> _Life:
        return _Life()

    def _halt(self, life: _Life, reason: str) -> None:
        if life.listener is not None:
            life.listener.close(reason)

    async def _attempt(self, life: _Life) -> Outcome:
        """One listener from its opening to its end."""
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                listener = await self.open_listener(lambda: self._on_state("running", ""))
        except TimeoutError:
            return Outcome("open-timeout")
        life.listener = listener
        reason = life.reason
        try:
            reason = await life.until(listener.ended)
        finally:
            life.listener = None
            listener.close(reason)
        self._played(listener.running_since)
        return Outcome(reason, Then.QUIET if reason in QUIET else Then.REST)
