"""Posts to services of others: signed, bounded in time, and without trust in the answer.

Of the answer only the status is looked at: its body is never read, redirects are not followed,
cookies are not kept, and each post has a connection of its own, so that nothing is left of one.
"""

import asyncio
import hashlib
import hmac
from typing import TYPE_CHECKING

from flux import __version__
from flux.base.errors import PeerError

if TYPE_CHECKING:
    import aiohttp

TIMEOUT = "receiver-timeout"
UNREACHABLE = "receiver-unreachable"  # no address, no route, nobody listens, no valid certificate
RESET = "receiver-reset"  # the connection was closed without an answer
MALFORMED = "receiver-malformed"  # the answer is no HTTP, or larger than a head may be
STATUS_REASONS = {1: "receiver-1xx", 3: "receiver-3xx", 4: "receiver-4xx", 5: "receiver-5xx"}


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """HMAC-SHA256 of `TIMESTAMP.BODY`, as the header `X-Flux-Signature` has it."""
    message = b"%d." % timestamp + body
    return "sha256=" + hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def headers_of(event: str, number: str, timestamp: int, body: bytes, secret: str) -> dict[str, str]:
    """The headers of one post; the signature covers the time, so that it cannot be sent again."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"FLUX/{__version__}",
        "X-Flux-Event": event,
        "X-Flux-Id": number,
        "X-Flux-Timestamp": str(timestamp),
    }
    if secret:
        headers["X-Flux-Signature"] = sign(secret, timestamp, body)
    return headers


class Poster:
    """The HTTP client of all hooks."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the client. The library is imported here: who has no webhook does not load it."""
        from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

        self._session = ClientSession(
            # A connection kept alive may have been closed just now, and a refusal for that reason
            # would be a lie. How many there are is bounded by who posts.
            connector=TCPConnector(limit=0, force_close=True),
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=ClientTimeout(total=None),
        )

    async def post(
        self,
        url: str,
        body: bytes,
        headers: dict[str, str],
        timeout: float,
        fingerprint: str = "",
    ) -> int:
        """The status of the answer, which comes within `timeout` seconds; else `PeerError`.

        With a `fingerprint` (SHA-256, hexadecimal) the certificate must be this one, whoever issued
        it and for whatever name.
        """
        from aiohttp import (
            ClientConnectionError,
            ClientConnectorError,
            ClientError,
            Fingerprint,
            ServerFingerprintMismatch,
        )

        if self._session is None:
            raise PeerError(UNREACHABLE, detail="not open")
        try:
            async with (
                asyncio.timeout(timeout),
                self._session.post(
                    url,
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    ssl=Fingerprint(bytes.fromhex(fingerprint)) if fingerprint else True,
                ) as answer,
            ):
                return answer.status
        except TimeoutError as error:
            raise PeerError(TIMEOUT) from error
        except (ClientConnectorError, ServerFingerprintMismatch) as error:
            raise PeerError(UNREACHABLE, detail=str(error)) from error
        except (ClientConnectionError, OSError) as error:
            raise PeerError(RESET, detail=str(error)) from error
        except (ClientError, ValueError) as error:
            raise PeerError(MALFORMED, detail=str(error)) from error

    async def close(self) -> None:
        """Cut what is open."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def is_success(status: int) -> bool:
    """Any 2xx."""
    return 200 <= status < 300


def status_reason(status: int) -> str:
    """Why a status is no success."""
    return STATUS_REASONS.get(status // 100, MALFORMED)
