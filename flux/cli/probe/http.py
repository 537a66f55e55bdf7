"""HTTP: the first bytes say what it is, HTTP-FLV or HLS. WebSocket: FLV."""

import asyncio
import time
from urllib.parse import urlsplit

import aiohttp

from flux.base.errors import WireError
from flux.cli.probe.engine import ProbeFailed, ProbeOptions
from flux.cli.probe.figures import Board
from flux.cli.probe.flv import FlvReader
from flux.cli.probe.hls import HlsReader
from flux.cli.probe.playlist import SIGNATURE as HLS_SIGNATURE
from media.flv.reader import SIGNATURE as FLV_SIGNATURE

MAX_PLAYLIST_BYTES = 4 << 20
MAX_MESSAGE_BYTES = 32 << 20
CLOSING = aiohttp.ClientWSTimeout(ws_close=1.0)
BOM = b"\xef\xbb\xbf"


class HttpProbe:
    """Reads an HTTP URL."""

    def __init__(self, url: str, options: ProbeOptions) -> None:
        self._url = url
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=options.timeout, sock_read=options.timeout
        )

    def refresh(self, board: Board) -> None:
        """Nothing: the readers count by themselves."""

    async def run(self, board: Board) -> str:
        """Read until cancelled, or until the stream ends."""
        try:
            async with aiohttp.ClientSession(
                timeout=self._timeout, headers={"User-Agent": "flux-probe"}
            ) as session:
                return await self._read(session, board)
        except TimeoutError:
            raise ProbeFailed("timeout") from None
        except aiohttp.InvalidURL:
            raise ProbeFailed("url") from None
        except aiohttp.ClientConnectorError as error:
            raise ProbeFailed("cannot-connect", error.os_error.strerror or str(error)) from None
        except aiohttp.ClientError as error:
            raise ProbeFailed("http-error", type(error).__name__) from None
        except WireError as error:
            raise ProbeFailed(error.reason, error.detail) from None

    async def _read(self, session: aiohttp.ClientSession, board: Board) -> str:
        if self._url.lower().startswith("ws"):
            return await self._read_messages(session, board)
        async with session.get(self._url) as answer:
            if answer.status != 200:
                raise ProbeFailed(f"http-{answer.status}", await _reason(answer))
            board.transport = "tls" if urlsplit(str(answer.url)).scheme == "https" else "tcp"
            first = await _first_bytes(answer.content)
            if first.startswith(FLV_SIGNATURE):
                board.protocol = "http-flv"
                return await self._flv(answer.content, first, board)
            text = first.removeprefix(BOM)
            if not text.startswith(HLS_SIGNATURE.encode()):
                raise ProbeFailed("unknown-format", answer.content_type)
            board.protocol = "hls"
            body = text + await _limited(answer.content, MAX_PLAYLIST_BYTES)
            url = str(answer.url)
        return await HlsReader(session, board).run(url, body)

    async def _read_messages(self, session: aiohttp.ClientSession, board: Board) -> str:
        """FLV in the binary messages of a WebSocket."""
        board.protocol = "ws-flv"
        board.transport = "tls" if self._url.lower().startswith("wss") else "tcp"
        reader = FlvReader(board)
        try:
            async with session.ws_connect(
                self._url, max_msg_size=MAX_MESSAGE_BYTES, timeout=CLOSING
            ) as socket:
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.BINARY:
                        reader.feed(message.data, time.monotonic())
        except aiohttp.WSServerHandshakeError as error:
            raise ProbeFailed(f"http-{error.status}") from None
        if not board.frames:
            raise ProbeFailed("no-media")
        return "source-ended"

    async def _flv(self, content: aiohttp.StreamReader, first: bytes, board: Board) -> str:
        reader = FlvReader(board)
        reader.feed(first, time.monotonic())
        try:
            while data := await content.readany():
                reader.feed(data, time.monotonic())
        except (TimeoutError, aiohttp.ClientError):
            if not board.frames:
                raise
            return "no-more-data"
        if not board.frames:
            raise ProbeFailed("no-media")
        return "source-ended"


async def _first_bytes(content: aiohttp.StreamReader) -> bytes:
    """Enough to tell what it is."""
    wanted = len(BOM) + len(HLS_SIGNATURE)
    found = b""
    while len(found) < wanted and (data := await content.readany()):
        found += data
    return found


async def _limited(content: aiohttp.StreamReader, limit: int) -> bytes:
    pieces = bytearray()
    while data := await content.readany():
        pieces += data
        if len(pieces) > limit:
            raise ProbeFailed("too-large")
    return bytes(pieces)


async def _reason(answer: aiohttp.ClientResponse) -> str:
    """The first line of an error's body, where it is text."""
    if not answer.content_type.startswith("text/plain"):
        return ""
    async with asyncio.timeout(2):
        body = await answer.content.read(200)
    return body.decode("utf-8", "replace").partition("\n")[0]
