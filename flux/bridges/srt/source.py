"""`srt://` as a source: FLUX calls, is called on a port of its own, or both call.

    connecting  the socket is being opened, or the other side called
    running     media comes
    waiting     with the reason, before the next attempt; a port that listens opens again at once
    stopped

Satisfies `media.source.Source`.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from flux.base.errors import PeerError
from flux.bridges.rtp.figures import RtpFigures
from flux.bridges.srt.dial import LISTENER, dial, parse_url
from flux.bridges.srt.publisher import SrtPublisher
from flux.bridges.srt.sessions import SrtSessions
from flux.net.backoff import Backoff
from media.router import Router
from protocols.srt.endpoint import Endpoint
from protocols.srt.link import LinkHandler

OPEN_TIMEOUT = 10.0  # seconds: look-ups and a socket
STABLE_AFTER = 30.0  # seconds of media, after which a failure is the first one again
# A listener opens again at once after these.
QUIET = frozenset(
    {"no-media", "media-timeout", "srt-peer-closed", "srt-peer-idle", "ts-no-program"}
)

logger = structlog.get_logger()

OnState = Callable[[str, str], None]  # state, reason


@dataclass(frozen=True, slots=True)
class SrtSourceOptions:
    """What configuration says of such a source; seconds and bytes."""

    media_timeout: float = 10.0
    receive_buffer_bytes: int = 4 << 20
    retry_first: float = 1.0
    retry_longest: float = 30.0


@dataclass(slots=True)
class _Life:
    """The time from one `start` to its `stop`."""

    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = "cancelled"
    endpoint: Endpoint | None = None


class SrtSource:
    """Receives one transport stream into one stream."""

    def __init__(
        self,
        name: str,
        url: str,
        router: Router,
        on_state: OnState,
        options: SrtSourceOptions | None = None,
        sessions: SrtSessions | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """Raises WireError for a URL that is none."""
        self.name = name
        self._url = parse_url(url)
        self._router = router
        self._on_state = on_state
        self._options = options or SrtSourceOptions()
        self._sessions = SrtSessions() if sessions is None else sessions
        chance = chance or random.SystemRandom()
        self._backoff = Backoff(
            self._options.retry_first, self._options.retry_longest, chance.random
        )
        self._publisher: SrtPublisher | None = None
        self._past = RtpFigures()
        self._life: _Life | None = None
        self._task: asyncio.Task[None] | None = None
        self._log = logger.bind(stream=name, protocol="srt", peer=self._url.address)

    def start(self) -> None:
        """Begin, and go on through failures, until `stop`."""
        if self._life is None:
            self._life = _Life()
            self._task = asyncio.get_running_loop().create_task(
                self._live(self._life, self._task), name=f"srt source {self.name}"
            )

    def stop(self, reason: str) -> None:
        """End: nothing is taken any more when this returns."""
        life, self._life = self._life, None
        if life is None:
            return
        life.reason = reason
        life.stopping.set()
        if life.endpoint is not None:
            life.endpoint.close(reason)

    def figures(self) -> RtpFigures:
        """Packets that came and those that were lost for good."""
        figures = RtpFigures(packets=self._past.packets, lost=self._past.lost)
        if self._publisher is not None:
            self._add(figures, self._publisher)
        return figures

    @property
    def is_at_rest(self) -> bool:
        """Nothing of any life is left."""
        return self._task is None or self._task.done()

    async def wait_stopped(self) -> None:
        """Return once nothing of the last life is left."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    # -- inside ------------------------------------------------------------------------------

    async def _live(self, life: _Life, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait((before,))
        self._on_state("connecting", "")
        try:
            while not life.stopping.is_set():
                try:
                    reason = await self._attempt(life)
                except PeerError as error:
                    reason = error.reason
                    self._log.warning("cannot open", reason=reason, detail=error.detail)
                except Exception:  # a fault of ours must not be the end of a source
                    self._log.exception("source fault")
                    reason = "internal-error"
                self._settle()  # of an attempt that did not come so far as to do it
                if life.stopping.is_set():
                    break
                self._on_state("waiting", reason)
                if self._url.mode == LISTENER and reason in QUIET:
                    continue
                await self._rest(life, reason)
        finally:
            if life.endpoint is not None:
                life.endpoint.close("cancelled")
            self._on_state("stopped", life.reason)

    async def _rest(self, life: _Life, reason: str) -> None:
        """Wait for the next attempt, or for the end."""
        delay = self._backoff.next_delay()
        self._log.warning("source failed", reason=reason, retry_in=round(delay, 1))
        try:
            async with asyncio.timeout(delay):
                await life.stopping.wait()
        except TimeoutError:
            self._on_state("connecting", "")

    async def _attempt(self, life: _Life) -> str:
        """One link from its opening to its end: why it ended."""
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def over(reason: str, code: int) -> None:
            del code
            if publisher.link is None and self._url.mode == LISTENER:
                self._publisher = None  # a caller that was refused: the next one may come
            elif not ended.done():
                ended.set_result(reason)

        publisher: SrtPublisher

        def take() -> LinkHandler | None:
            nonlocal publisher
            if self._publisher is not None:
                return None
            publisher = self._publisher = SrtPublisher(
                self.name,
                "",
                self._router,
                self._sessions,
                self._options.media_timeout,
                over,
                lambda: self._on_state("running", ""),
            )
            return publisher

        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                life.endpoint = await dial(self._url, self._options.receive_buffer_bytes, take)
        except TimeoutError:
            return "open-timeout"
        stopping = asyncio.ensure_future(life.stopping.wait())
        try:
            if not life.stopping.is_set():
                await asyncio.wait((stopping, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            endpoint, life.endpoint = life.endpoint, None
            if endpoint is not None:
                endpoint.close(life.reason)
            self._settle()
        return ended.result() if ended.done() else life.reason

    def _settle(self) -> None:
        """A link is over: keep its figures."""
        publisher, self._publisher = self._publisher, None
        if publisher is None:
            return
        self._add(self._past, publisher)
        since = publisher.running_since
        if since is not None and time.monotonic() - since >= STABLE_AFTER:
            self._backoff.reset()

    def _add(self, figures: RtpFigures, publisher: SrtPublisher) -> None:
        figures.packets += publisher.packets
        figures.lost += publisher.lost
