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
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

import aiohttp
import structlog

from flux.base.errors import WireError
from flux.bridges.flv.receiver import FlvReceiver
from flux.bridges.rtp.figures import RtpFigures
from flux.core.persistent import Life, OnState, Outcome, PersistentSource
from flux.net.backoff import Backoff
from media.publisher import Publishing

MAX_REDIRECTS = 5
MAX_MESSAGE_BYTES = 32 << 20
PING_INTERVAL = 20.0
ENDED = "source-ended"
REFUSALS = frozenset({"http-401", "http-403", "http-404", "http-410"})
HEADERS = {"User-Agent": "FLUX", "Accept-Encoding": "identity"}

logger = structlog.get_logger()

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
class _Life(Life):
    """What a life holds."""

    attempt: "asyncio.Task[str] | None" = None
    receiver: FlvReceiver | None = None


class FlvSource(PersistentSource[_Life]):
    """Pulls one URL into one stream."""

    refusals = REFUSALS

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
        self._address = Address.parse(url)
        self._router = router
        self._options = wait = options or PullOptions()
        chance = chance or random.SystemRandom()
        self._past = 0  # tags of the attempts that are over
        super().__init__(
            name,
            on_state,
            logger.bind(stream=name, protocol="http-flv"),
            Backoff(wait.retry_first, wait.retry_longest, chance.random),
            Backoff(wait.refused_first, wait.refused_longest, chance.random),
        )

    def figures(self) -> RtpFigures:
        """Tags that came."""
        receiver = self._life.receiver if self._life is not None else None
        return RtpFigures(packets=self._past + (receiver.tags if receiver is not None else 0))

    # -- inside ------------------------------------------------------------------------------

    def _begin(self) -> _Life:
        return _Life()

    def _halt(self, life: _Life, reason: str) -> None:
        if life.receiver is not None:
            life.receiver.close(reason, time.monotonic())
        if life.attempt is not None:
            life.attempt.cancel()

    async def _attempt(self, life: _Life) -> Outcome:
        """One connection from its beginning to its end."""
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
        self._played(began[0] if began else None)
        return Outcome(reason)

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
