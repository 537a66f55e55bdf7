"""RTSP pull: a camera becomes a stream, for as long as it is wanted and through all its failures.

`RtspSource` makes one `PullRun` after the other, waits between them (longer and longer; much longer
where the camera says no, since it may lock the account) and tells its state: connecting, running,
waiting, stopped.

With the transport `auto` a camera that plays but sends nothing is asked once more at once, over UDP
instead of TCP or the other way round; what brought media is asked for first from then on. A part of
a recording (`range`) is played to its end, in several runs if it must be, each from where the one
before got to; then the source is stopped and not connected anew.
"""

import asyncio
import random
from dataclasses import dataclass, replace

import structlog

from flux.base.errors import PeerError, WireError
from flux.bridges.rtp.figures import RtpFigures
from flux.bridges.rtsp.pull_run import PullRun
from flux.core.persistent import Life, OnState, Outcome, PersistentSource, Then
from flux.net.backoff import Backoff
from media.publisher import Publishing
from protocols.rtsp.auth import Authenticator
from protocols.rtsp.options import PullOptions, TransportChoice
from protocols.rtsp.range import PlayRange
from protocols.rtsp.transport import Way
from protocols.rtsp.url import Url

REFUSALS = frozenset({"rtsp-unauthorized", "rtsp-auth-unsupported", "rtsp-403", "rtsp-404"})
MAX_REDIRECTS = 5  # in a row
SILENCE = 5.0  # seconds that a transport may bring nothing, where there is another one to try
END_SLACK = 2.0  # seconds before the end of a range at which its end is believed
ENDED = "source-ended"
# Ends of a run that may be the end of a recording, if there is no more of it to come.
ENDS_OF_RANGE = frozenset({"media-timeout", "peer-closed", "peer-teardown"})
INVALID_RANGE = "rtsp-457"  # nothing is left of it

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Retries:
    """How a source waits between its attempts; seconds, each with some jitter."""

    first: float = 1.0
    longest: float = 30.0
    refused_first: float = 30.0  # after REFUSALS
    refused_longest: float = 300.0


@dataclass(slots=True)
class _Life(Life):
    """What a life holds, and where it has got to."""

    url: Url
    range: PlayRange | None  # what is still to be played
    redirects: int = 0  # in a row
    connecting: "asyncio.Task[None] | None" = None
    run: PullRun | None = None
    is_resumed: bool = False  # some of the range has been played


@dataclass(slots=True)
class _End:
    """How a connection ended."""

    reason: str
    location: str = ""  # where the server sent us
    is_silent: bool = False  # it played but nothing came


class RtspSource(PersistentSource[_Life]):
    """Pulls one URL into one stream."""

    refusals = REFUSALS

    def __init__(
        self,
        name: str,
        url: str,
        router: Publishing,
        on_state: OnState,
        options: PullOptions | None = None,
        retries: Retries | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """Raises `WireError` for a URL that is none."""
        self._url = Url.parse(url)
        self._router = router
        self._options = options or PullOptions()
        self._random = chance or random.SystemRandom()
        self._authenticator = self._authenticator_for(self._url)
        wait = retries or Retries()
        self._udp_first = False  # of the transport auto: what brought media last
        self._silences = 0  # attempts in a row that played and brought nothing
        self._past = RtpFigures()  # of the runs that are over
        super().__init__(
            name,
            on_state,
            logger.bind(stream=name, protocol="rtsp", url=self._url.request),
            Backoff(wait.first, wait.longest, self._random.random),
            Backoff(wait.refused_first, wait.refused_longest, self._random.random),
        )

    def figures(self) -> RtpFigures:
        """What came in over RTP so far."""
        figures = replace(self._past)
        run = self._life.run if self._life is not None else None
        if run is not None and run.receiver is not None:
            figures.add(run.receiver)
        return figures

    def _begin(self) -> _Life:
        return _Life(self._url, self._options.range)

    def _halt(self, life: _Life, reason: str) -> None:
        # TEARDOWN goes out in the background and waits no longer than its timeout.
        if life.connecting is not None:
            life.connecting.cancel()
        if life.run is not None:
            life.run.close(reason)

    async def _attempt(self, life: _Life) -> Outcome:
        """One connection, and what it leads to."""
        url, redirects = life.url, life.redirects
        life.url, life.redirects = self._url, 0
        end = await self._pull(life, url)
        following = self._follow(url, end.location) if end.location else None
        if following is not None and redirects < MAX_REDIRECTS:
            self._log.info("redirected", to=following.request)
            life.url, life.redirects = following, redirects + 1
            return Outcome(end.reason, Then.AGAIN)
        if end.reason == ENDED and self._is_recording:
            return Outcome(ENDED, Then.END)
        if end.is_silent and self._silences % 2:  # the other one, at once, but once
            self._log.info("nothing came", next="udp" if self._udp_first else "tcp")
            return Outcome(end.reason, Then.AGAIN)
        return Outcome(end.reason)

    async def _pull(self, life: _Life, url: Url) -> _End:
        """One connection from begin to end."""
        is_own = self._is_own(url)
        run = PullRun(
            self.name,
            url,
            self._options_for(life, is_own=is_own),
            self._authenticator if is_own else self._authenticator_for(url),
            self._router,
            lambda: self._on_state("running", ""),
            self._random,
        )
        life.connecting = asyncio.get_running_loop().create_task(run.connect())
        try:
            await asyncio.wait((life.connecting,))
            if life.connecting.cancelled():
                run.close(life.reason)  # the connection may just have been made
                return _End(life.reason)
            life.connecting.result()
        except PeerError as error:
            return _End(error.reason)
        finally:
            life.connecting.cancel()
            life.connecting = None
        life.run = run
        if life.stopping.is_set():
            run.close(life.reason)
        reason = await run.closed
        await run.wait_closed()
        life.run = None
        self._past.packets += run.received.packets
        self._past.lost += run.received.lost
        self._past.duplicates += run.received.duplicates
        self._past.reordered += run.received.reordered
        self._played(run.played_at)
        if run.media_at is not None:
            self._udp_first, self._silences = run.way is Way.UDP, 0
        reason = self._judge_end(life, run, reason)
        is_silent = self._is_auto and reason == "media-timeout" and run.media_at is None
        if is_silent:
            self._udp_first, self._silences = run.way is not Way.UDP, self._silences + 1
        return _End(reason, run.location, is_silent)

    # Transports.

    @property
    def _is_auto(self) -> bool:
        return self._options.transport is TransportChoice.AUTO and not self._url.is_secure

    def _options_for(self, life: _Life, *, is_own: bool) -> PullOptions:
        options = self._options
        first = options.first_media_timeout
        if self._is_auto and self._silences < 2:
            first = min(first or options.media_timeout, SILENCE)
        return replace(
            options,
            udp_first=self._udp_first,
            first_media_timeout=first,
            range=life.range,
            fingerprint=options.fingerprint if is_own else b"",
        )

    # Recordings.

    @property
    def _is_recording(self) -> bool:
        return self._options.range is not None and not self._options.range.is_live

    def _judge_end(self, life: _Life, run: PullRun, reason: str) -> str:
        """What an end means for the part of a recording; moves on to what is left of it."""
        left = life.range
        if left is None or not self._is_recording:
            return reason
        if reason == INVALID_RANGE and life.is_resumed:
            return ENDED
        if run.played_at is None or run.media_at is None:
            return reason
        played = max(0.0, run.media_at - run.played_at)
        duration = left.duration
        if duration is None:
            duration = _duration_of(run.range)
        if reason in ENDS_OF_RANGE and duration is not None and played >= duration - END_SLACK:
            return ENDED
        life.range = left.advanced(played)
        life.is_resumed = life.is_resumed or life.range != left
        return reason

    # Redirects and credentials.

    def _is_own(self, url: Url) -> bool:
        """Whether the credentials of our URL may go there: to its host, and not in the clear."""
        return url.host == self._url.host and (url.is_secure or not self._url.is_secure)

    def _authenticator_for(self, url: Url) -> Authenticator:
        cnonce = f"{self._random.getrandbits(64):016x}"
        return Authenticator(url.username, url.password, cnonce)

    def _follow(self, url: Url, location: str) -> Url | None:
        """The URL of a redirect, which may be of another scheme and host."""
        try:
            return Url.parse(url.origin + location if location.startswith("/") else location)
        except WireError:
            return None


def _duration_of(told: str) -> float | None:
    """Seconds of the range that a server says it plays."""
    try:
        return abs(PlayRange.parse(told).duration or 0.0) or None
    except WireError:
        return None
