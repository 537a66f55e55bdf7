"""`http://`, `https://`, `ws://` and `wss://` as a source: FLV that another server sends.

    connecting  the request is on its way, or the answer is awaited
    running     media come
    waiting     with the reason, before the next attempt; longer where the server says no
    stopped

Satisfies `media.source.Source`.
"""

import asyncio
import random
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit

import aiohttp
import structlog

from flux.base.errors import WireError
from flux.bridges.flv.receiver import FlvReceiver, Publishing
from flux.bridges.rtp.figures import RtpFigures
from flux.net.backoff import Backoff

STABLE_AFTER = 30.0  # seconds of media, after which a failure is the first one again
MAX_REDIRECTS = 5
MAX_MESSAGE_BYTES = 32 << 20
PING_INTERVAL = 20.0
ENDED = "source-ended"
REFUSALS = frozenset({"http-401", "http-403", "http-404", "http-410"})
HEADERS = {"User-Agent": "FLUX", "Accept-Encoding": "identity"}

logger = structlog.get_logger()

OnState = Callable[[str, str], None]  # state, reason
Read = Callable[[], Awaitable[bytes]]  # empty at the end


@dataclass(frozen=True, slots=True)
class PullOptions:
    """What configuration says of such a source; seconds."""

    connect_timeout: float = 5.0
    request_timeout: float = 10.0  # until the answer begins, after the connection
    media_timeout: float = 10.0
    retry_first: float = 1.0
    retry_longest: float = 30.0
    refused_first: float = 60.0  # after REFUSALS
    refused_longest: float = 300.0
    fingerprint: bytes = b""  # SHA-256 of the certificate, in place of a check by authorities


@dataclass(frozen=True, slots=True)
class Address:
    """A URL, its credentials apart."""

    url: str
    user: str = ""
    password: str = ""

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Raises WireError `url` for what is none."""
        try:
            parts = urlsplit(text)
            _ = parts.port
        except ValueError:
            raise WireError("url", "the host or the port is none") from None
        if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
            raise WireError("url", "expected http://host/path")
        host = parts.netloc.rpartition("@")[2]
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(urlunsplit(parts._replace(netloc=host, fragment="")), user, password)

    @property
    def is_websocket(self) -> bool:
        """Whether messages come, and not a body."""
        return self.url.startswith("ws")

    @property
    def headers(self) -> dict[str, str]:
        """The credentials (RFC 7617); aiohttp takes them out where it is sent to another origin."""
        if not self.user:
            return {}
        pair = f"{self.user}:{self.password}".encode()
        return {"Authorization": f"Basic {b64encode(pair).decode()}"}


@dataclass(slots=True)
class _Life:
    """The time from one `start` to its `stop`."""

    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = "cancelled"
    attempt: "asyncio.Task[str] | None" = None
    receiver: FlvReceiver | None = None


class FlvSource:
    """Pulls one URL into one stream. `on_state(state, reason)` is told every change."""

    def __init__(
        self,
        name: str,
        url: str,
        router: Publishing,
        on_state: OnState,
        options: PullOptions | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """Raises WireError for a URL that is none."""
        self.name = name
        self._address = Address.parse(url)
        self._router = router
        self._on_state = on_state
        self._options = wait = options or PullOptions()
        chance = chance or random.SystemRandom()
        self._quick = Backoff(wait.retry_first, wait.retry_longest, chance.random)
        self._slow = Backoff(wait.refused_first, wait.refused_longest, chance.random)
        self._past = 0  # tags of the attempts that are over
        self._life: _Life | None = None
        self._task: asyncio.Task[None] | None = None
        self._log = logger.bind(stream=name, protocol="http-flv")

    def start(self) -> None:
        """Begin, and go on through failures, until `stop`."""
        if self._life is None:
            self._life = _Life()
            self._task = asyncio.get_running_loop().create_task(
                self._live(self._life, self._task), name=f"flv source {self.name}"
            )

    def stop(self, reason: str) -> None:
        """End: nothing is taken any more when this returns."""
        life, self._life = self._life, None
        if life is None:
            return
        life.reason = reason
        life.stopping.set()
        if life.receiver is not None:
            life.receiver.close(reason, time.monotonic())
        if life.attempt is not None:
            life.attempt.cancel()

    def figures(self) -> RtpFigures:
        """Tags that came."""
        receiver = self._life.receiver if self._life is not None else None
        return RtpFigures(packets=self._past + (receiver.tags if receiver is not None else 0))

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
                reason = await self._attempt(life)
                if life.stopping.is_set():
                    break
                self._on_state("waiting", reason)
                backoff = self._slow if reason in REFUSALS else self._quick
                delay = backoff.next_delay()
                self._log.warning("source failed", reason=reason, retry_in=round(delay, 1))
                try:
                    async with asyncio.timeout(delay):
                        await life.stopping.wait()
                except TimeoutError:
                    self._on_state("connecting", "")
        finally:
            if life.attempt is not None:
                life.attempt.cancel()
            if life.receiver is not None:
                life.receiver.close("cancelled", time.monotonic())
            self._on_state("stopped", life.reason)

    async def _attempt(self, life: _Life) -> str:
        """One connection from its beginning to its end: why it ended."""
        began: list[float] = []

        def playing() -> None:
            began.append(time.monotonic())
            self._on_state("running", "")

        over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def ended(reason: str) -> None:
            if not over.done():
                over.set_result(reason)

        receiver = life.receiver = FlvReceiver(
            self.name, self._router, "http-flv", ended, on_playing=playing
        )
        attempt = life.attempt = asyncio.create_task(self._read(receiver))
        try:
            await asyncio.wait((attempt, over), return_when=asyncio.FIRST_COMPLETED)
            if over.done():
                reason = over.result()
            elif attempt.cancelled():
                reason = life.reason
            else:
                reason = attempt.result()
        finally:
            attempt.cancel()
            await asyncio.wait((attempt,))
            life.attempt = life.receiver = None
        receiver.close(reason, time.monotonic())
        self._past += receiver.tags
        if began and time.monotonic() - began[0] >= STABLE_AFTER:
            self._quick.reset()
            self._slow.reset()
        return reason

    async def _read(self, receiver: FlvReceiver) -> str:
        """Fetch until it ends; answers why."""
        try:
            async with AsyncExitStack() as stack:
                return await self._feed(receiver, await self._open(stack))
        except _RefusedError as error:
            return error.reason
        except (TimeoutError, aiohttp.ServerTimeoutError):
            return "connect-timeout"
        except aiohttp.TooManyRedirects:
            return "http-redirects"
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            return "http-redirect-unusable"
        except aiohttp.WSServerHandshakeError as error:
            return f"http-{error.status}"
        except aiohttp.ClientConnectorDNSError:
            return "dns-failure"
        except aiohttp.ServerFingerprintMismatch:
            return "tls-fingerprint-mismatch"
        except aiohttp.ClientConnectorCertificateError:
            return "tls-certificate-invalid"
        except aiohttp.ClientConnectorError as error:
            refused = isinstance(error.os_error, ConnectionRefusedError)
            return "connection-refused" if refused else "connect-failed"
        except (aiohttp.ClientError, OSError):
            return "connection-lost"
        except Exception:  # a fault of ours must not be the end of a source
            self._log.exception("source fault")
            return "internal-error"

    async def _open(self, stack: AsyncExitStack) -> Read:
        """Ask; answers what reads the next piece."""
        address, options = self._address, self._options
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=options.connect_timeout),
                headers=HEADERS,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        )
        tls: aiohttp.Fingerprint | bool = True
        if options.fingerprint:
            tls = aiohttp.Fingerprint(options.fingerprint)
        async with asyncio.timeout(options.connect_timeout + options.request_timeout):
            if address.is_websocket:
                socket = await stack.enter_async_context(
                    session.ws_connect(
                        address.url,
                        headers=address.headers,
                        ssl=tls,
                        heartbeat=PING_INTERVAL,
                        max_msg_size=MAX_MESSAGE_BYTES,
                    )
                )
                return lambda: _next_message(socket)
            answer = await stack.enter_async_context(
                session.get(
                    address.url, headers=address.headers, ssl=tls, max_redirects=MAX_REDIRECTS
                )
            )
        if answer.status != 200:
            raise _RefusedError(f"http-{answer.status}")
        return answer.content.readany

    async def _feed(self, receiver: FlvReceiver, read: Read) -> str:
        """Give what comes to the receiver, and the time while nothing comes."""
        limit = self._options.media_timeout
        now = heard = time.monotonic()
        while not receiver.closed:
            due, ends = receiver.get_timer(), heard + limit
            wait = (ends if due is None else min(due, ends)) - now
            try:
                async with asyncio.timeout(max(0.0, wait)):
                    piece = await read()
            except TimeoutError:
                now = time.monotonic()
                if now >= ends:
                    return "media-timeout"
            else:
                now = time.monotonic()
                if not piece:
                    return ENDED
                heard = now
                receiver.receive(piece, now)
            receiver.handle_timer(now)
        return ENDED


class _RefusedError(Exception):
    """The server answered something else."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def _next_message(socket: aiohttp.ClientWebSocketResponse) -> bytes:
    """What the next binary message holds; nothing at the end."""
    while True:
        message = await socket.receive()
        if message.type is aiohttp.WSMsgType.BINARY and message.data:
            return bytes(message.data)
        if message.type is aiohttp.WSMsgType.ERROR:
            raise aiohttp.ClientConnectionError("websocket")
        if message.type in (
            aiohttp.WSMsgType.CLOSE,
            aiohttp.WSMsgType.CLOSING,
            aiohttp.WSMsgType.CLOSED,
        ):
            return b""
