"""`srt://` as a source: FLUX calls, is called on a port of its own, or both call.

    connecting  the socket is being opened, or the other side called
    running     media comes
    waiting     with the reason, before the next attempt; a port that listens opens again at once
    stopped

Satisfies `media.source.Source`.
"""

import asyncio
import random
from dataclasses import dataclass

import structlog

from flux.bridges.rtp.figures import RtpFigures
from flux.bridges.srt.dial import LISTENER, dial, parse_url
from flux.bridges.srt.publisher import SrtPublisher
from flux.bridges.srt.sessions import SrtSessions
from flux.core.persistent import Life, OnState, Outcome, PersistentSource, Then
from flux.net.backoff import Backoff
from media.router import Router
from protocols.srt.endpoint import Endpoint
from protocols.srt.link import LinkHandler

OPEN_TIMEOUT = 10.0  # seconds: look-ups and a socket
# A listener opens again at once after these.
QUIET = frozenset(
    {"no-media", "media-timeout", "srt-peer-closed", "srt-peer-idle", "ts-no-program"}
)

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SrtSourceOptions:
    """What configuration says of such a source; seconds and bytes."""

    media_timeout: float = 10.0
    receive_buffer_bytes: int = 4 << 20
    retry_first: float = 1.0
    retry_longest: float = 30.0


@dataclass(slots=True)
class _Life(Life):
    """What a life holds."""

    endpoint: Endpoint | None = None


class SrtSource(PersistentSource[_Life]):
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
        self._url = parse_url(url)
        self._router = router
        self._options = wait = options or SrtSourceOptions()
        self._sessions = SrtSessions() if sessions is None else sessions
        chance = chance or random.SystemRandom()
        self._publisher: SrtPublisher | None = None
        self._past = RtpFigures()
        super().__init__(
            name,
            on_state,
            logger.bind(stream=name, protocol="srt", peer=self._url.address),
            Backoff(wait.retry_first, wait.retry_longest, chance.random),
        )

    def figures(self) -> RtpFigures:
        """Packets that came and those that were lost for good."""
        figures = RtpFigures(packets=self._past.packets, lost=self._past.lost)
        if self._publisher is not None:
            self._add(figures, self._publisher)
        return figures

    # -- inside ------------------------------------------------------------------------------

    def _begin(self) -> _Life:
        return _Life()

    def _halt(self, life: _Life, reason: str) -> None:
        if life.endpoint is not None:
            life.endpoint.close(reason)

    async def _attempt(self, life: _Life) -> Outcome:
        """One link from its opening to its end."""
        try:
            reason = await self._link(life)
        finally:
            self._settle()
        is_quiet = self._url.mode == LISTENER and reason in QUIET
        return Outcome(reason, Then.QUIET if is_quiet else Then.REST)

    async def _link(self, life: _Life) -> str:
        """Why it ended."""
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
        try:
            return await life.until(ended)
        finally:
            endpoint, life.endpoint = life.endpoint, None
            if endpoint is not None:
                endpoint.close(life.reason)

    def _settle(self) -> None:
        """A link is over: keep its figures."""
        publisher, self._publisher = self._publisher, None
        if publisher is None:
            return
        self._add(self._past, publisher)
        self._played(publisher.running_since)

    def _add(self, figures: RtpFigures, publisher: SrtPublisher) -> None:
        figures.packets += publisher.packets
        figures.lost += publisher.lost
