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
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import structlog

from flux.base.errors import PeerError, WireError
from flux.bridges.rtp.figures import RtpFigures
from flux.bridges.rtsp.pull_run import Publishing, PullRun
from flux.net.backoff import Backoff
from protocols.rtsp.auth import Authenticator
from protocols.rtsp.options import PullOptions, TransportChoice
from protocols.rtsp.range import PlayRange
from protocols.rtsp.transport import Way
from protocols.rtsp.url import Url

REFUSALS = frozenset({"rtsp-unauthorized", "rtsp-auth-unsupported", "rtsp-403", "rtsp-404"})
STABLE_AFTER = 30.0  # of play, after which a failure is the first one again
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
class _Life:
    """The time from one `start` to its `stop`."""

    range: PlayRange | None  # what is still to be played
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = "cancelled"
    connecting: "asyncio.Task[None] | None" = None
    run: PullRun | None = None
    is_resumed: bool = False  # some of the range has been played


@dataclass(slots=True)
class _Outcome:
    """What one attempt came to."""

    reason: str
    location: str = ""  # where the server sent us
    is_silent: bool = False  # it played but nothing came


class RtspSource:
    """Pulls one URL into one stream. `on_state(state, reason)` is told every change."""

    def __init__(
        self,
        name: str,
        url: str,
        router: Publishing,
        on_state: Callable[[str, str], None],
        options: PullOptions | None = None,
        retries: Retries | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """Raises `WireError` for a URL that is none."""
        self._name = name
        self._url = Url.parse(url)
        self._router = router
        self._on_state = on_state
        self._options = options or PullOptions()
        self._random = chance or random.SystemRandom()
        self._authenticator = self._authenticator_for(self._url)
        wait = retries or Retries()
        self._quick = Backoff(wait.first, wait.longest, self._random.random)
        self._slow = Backoff(wait.refused_first, wait.refused_longest, self._random.random)
        self._udp_first = False  # of the transport auto: what brought media last
        self._silences = 0  # attempts in a row that played and brought nothing
        self._past = RtpFigures()  # of the runs that are over
        self._life: _Life | None = None
        self._task: asyncio.Task[None] | None = None
        self._log = logger.bind(stream=name, protocol="rtsp", url=self._url.request)

    def start(self) -> None:
        """Begin, and go on through failures, until `stop`."""
        if self._life is None:
            self._life = _Life(self._options.range)
            self._task = asyncio.get_running_loop().create_task(
                self._live(self._life, self._task), name=f"rtsp source {self._name}"
            )

    def stop(self, reason: str) -> None:
        """End; TEARDOWN goes out in the background and waits no longer than its timeout."""
        life, self._life = self._life, None
        if life is None:
            return
        life.reason = reason
        life.stopping.set()
        if life.connecting is not None:
            life.connecting.cancel()
        if life.run is not None:
            life.run.close(reason)

    def figures(self) -> RtpFigures:
        """What came in over RTP so far."""
        figures = replace(self._past)
        run = self._life.run if self._life is not None else None
        if run is not None and run.receiver is not None:
            figures.add(run.receiver)
        return figures

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
        url, redirects = self._url, 0
        try:
            while not life.stopping.is_set():
                self._on_state("connecting", "")
                outcome = await self._safe_attempt(life, url)
                reason = outcome.reason
                if life.stopping.is_set():
                    break
                following = self._follow(url, outcome.location) if outcome.location else None
                if following is not None and redirects < MAX_REDIRECTS:
                    self._log.info("redirected", to=following.request)
                    url, redirects = following, redirects + 1
                    continue
                url, redirects = self._url, 0
                if reason == ENDED and self._is_recording:
                    self._finish(life)
                    break
                if outcome.is_silent and self._silences % 2:  # the other one, at once, but once
                    self._log.info("nothing came", next="udp" if self._udp_first else "tcp")
                    continue
                backoff = self._slow if reason in REFUSALS else self._quick
                delay = backoff.next_delay()
                self._log.warning("source failed", reason=reason, retry_in=round(delay, 1))
                self._on_state("waiting", reason)
                try:
                    async with asyncio.timeout(delay):
                        await life.stopping.wait()
                except TimeoutError:
                    continue
        finally:
            if life.run is not None:
                life.run.close("cancelled")
            self._on_state("stopped", life.reason)

    async def _safe_attempt(self, life: _Life, url: Url) -> _Outcome:
        try:
            return await self._attempt(life, url)
        except Exception:  # a fault of ours must not be the end of a camera
            self._log.exception("source fault")
            if life.run is not None:
                life.run.close("internal-error")
                life.run = None
            return _Outcome("internal-error")

    async def _attempt(self, life: _Life, url: Url) -> _Outcome:
        """One connection from begin to end."""
        is_own = self._is_own(url)
        run = PullRun(
            self._name,
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
                return _Outcome(life.reason)
            life.connecting.result()
        except PeerError as error:
            return _Outcome(error.reason)
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
        if run.played_at is not None and time.monotonic() - run.played_at >= STABLE_AFTER:
            self._quick.reset()
            self._slow.reset()
        if run.media_at is not None:
            self._udp_first, self._silences = run.way is Way.UDP, 0
        reason = self._judge_end(life, run, reason)
        is_silent = self._is_auto and reason == "media-timeout" and run.media_at is None
        if is_silent:
            self._udp_first, self._silences = run.way is not Way.UDP, self._silences + 1
        return _Outcome(reason, run.location, is_silent)

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

    def _finish(self, life: _Life) -> None:
        """The recording has been played: nothing is connected again until the next `start`."""
        self._log.info("source ended")
        life.reason = ENDED
        if self._life is life:
            self._life = None

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
