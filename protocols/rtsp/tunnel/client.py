"""Two connections that look like one: what is written goes up in the POST, the GET brings down.

    connect -> GET -200-> connect -> POST -> the tunnel stands
                   -401-> connect -> GET with Authorization, once

The GET comes first and its answer is waited for: a server puts the two together by their cookie
when the second one arrives. The POST has no answer while the tunnel stands; one that comes
refuses it. When either connection goes the other is cut.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, cast

from flux.base.errors import PeerError, WireError
from flux.net import tcp
from flux.net.tls import ClientTls
from protocols.rtsp.auth import Authenticator
from protocols.rtsp.options import ClientOptions
from protocols.rtsp.tunnel.messages import ReplyReader, encode, request
from protocols.rtsp.url import Url

COOKIE_BYTES = 11  # 22 characters, as QuickTime sends
HTTP_PORT, HTTPS_PORT = 80, 443
UNAUTHORIZED = 401


async def open_tunnel(
    url: Url,
    options: ClientOptions,
    authenticator: Authenticator,
    tls: ClientTls | None,
    factory: Callable[[], asyncio.Protocol],
) -> None:
    """Make a tunnel and give it to the protocol that `factory` makes.

    Raises `PeerError`: those of `flux.net.tcp.connect`, `tunnel-refused`, `tunnel-no-http`,
    `tunnel-reply-too-long`, `rtsp-unauthorized`. The port is 80, or 443 with TLS, unless the URL
    names one.
    """
    try:
        async with asyncio.timeout(options.connect_timeout):
            await _Opening(url, options, authenticator, tls, factory).run()
    except TimeoutError:
        raise PeerError("connect-timeout") from None


class _Opening:
    """The way to a tunnel."""

    def __init__(
        self,
        url: Url,
        options: ClientOptions,
        authenticator: Authenticator,
        tls: ClientTls | None,
        factory: Callable[[], asyncio.Protocol],
    ) -> None:
        default = HTTPS_PORT if tls is not None else HTTP_PORT
        self._url = url
        self._port = url.port or default
        host = f"[{url.host}]" if ":" in url.host else url.host
        self._host = host if self._port == default else f"{host}:{self._port}"
        self._path = url.path if url.path.startswith("/") else f"/{url.path}"
        self._options = options
        self._authenticator = authenticator
        self._tls = tls
        self._factory = factory
        self._cookie = secrets.token_hex(COOKIE_BYTES)

    async def run(self) -> None:
        """Raises `PeerError`."""
        down = await self._get()
        if down.reply.status == UNAUTHORIZED and self._may_answer(down):
            down.abort()
            down = await self._get()
        if down.reply.status != 200:
            down.abort()
            status = down.reply.status
            reason = "rtsp-unauthorized" if status == UNAUTHORIZED else "tunnel-refused"
            raise PeerError(reason, status, f"HTTP status {status}")
        try:
            up = await self._connect()
        except BaseException:
            down.abort()
            raise
        up.transport.write(self._request("POST"))
        Tunnel(down, up, self._factory())

    async def _get(self) -> "_Half":
        half = await self._connect()
        try:
            half.transport.write(self._request("GET"))
            fault = await half.answered
        except BaseException:
            half.abort()
            raise
        if fault:
            half.abort()
            raise PeerError(fault)
        return half

    async def _connect(self) -> "_Half":
        timeout = self._options.connect_timeout
        return await tcp.connect(self._url.host, self._port, _Half, timeout=timeout, tls=self._tls)

    def _may_answer(self, half: "_Half") -> bool:
        challenge = self._authenticator.accept(half.reply.headers.get_all("WWW-Authenticate"))
        return challenge is not None and self._authenticator.has_credentials

    def _request(self, method: str) -> bytes:
        authorization = self._authenticator.authorization(method, self._path)
        agent = self._options.user_agent
        return request(method, self._path, self._host, self._cookie, agent, authorization)


class _Half(asyncio.Protocol):
    """One of the two connections; the tunnel hears of it once there is one."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.reply = ReplyReader()
        # The reason where there is no answer; not an error, which would hold who waits for it.
        self.answered: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.tunnel: Tunnel | None = None
        self.is_lost = False

    def abort(self) -> None:
        """Cut it."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """The reply's head, then what the tunnel carries."""
        if self.reply.status:
            if self.tunnel is not None:
                self.tunnel.receive(self, data)
            else:
                self.reply.rest += data
            return
        try:
            is_whole = self.reply.feed(data)
        except WireError as error:
            self._fail(error.reason)
            return
        if is_whole:
            self.transport.pause_reading()  # until the tunnel stands
            if not self.answered.done():
                self.answered.set_result("")
            if self.tunnel is not None:
                self.tunnel.post_answered(self.reply.status)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self.is_lost = True
        self._fail("peer-closed")
        if self.tunnel is not None:
            self.tunnel.lost()

    def pause_writing(self) -> None:
        """The transport holds enough."""
        if self.tunnel is not None:
            self.tunnel.pause_writing(self)

    def resume_writing(self) -> None:
        """It has drained."""
        if self.tunnel is not None:
            self.tunnel.resume_writing(self)

    def _fail(self, reason: str) -> None:
        if not self.answered.done():
            self.answered.set_result(reason)
        if not self.is_lost:
            self.abort()


class Tunnel(asyncio.Transport):
    """The transport that the protocol above sees."""

    def __init__(self, down: _Half, up: _Half, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._down = down
        self._up = up
        self._protocol = protocol
        down.tunnel = up.tunnel = self
        protocol.connection_made(self)
        down.transport.resume_reading()
        if down.reply.rest:
            protocol.data_received(down.reply.rest)
            down.reply.rest = b""
        if down.is_lost or up.is_lost:
            self.lost()

    # For the halves.

    def receive(self, half: _Half, data: bytes) -> None:
        """Bytes that came down."""
        if half is self._down:
            self._protocol.data_received(data)

    def post_answered(self, status: int) -> None:
        """The POST was answered before its end: it is refused, or the server ends the session."""
        del status
        self.abort()

    def lost(self) -> None:
        """One half is gone: so goes the other, and then both are."""
        if self._down.is_lost and self._up.is_lost:
            protocol, self._protocol = self._protocol, asyncio.Protocol()  # nobody, from now on
            self._down.tunnel = self._up.tunnel = None
            protocol.connection_lost(None)
        else:
            self.abort()

    def pause_writing(self, half: _Half) -> None:
        """The upper half holds enough."""
        if half is self._up:
            self._protocol.pause_writing()

    def resume_writing(self, half: _Half) -> None:
        """The upper half has drained."""
        if half is self._up:
            self._protocol.resume_writing()

    # The transport.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send upwards."""
        self._up.transport.write(encode(bytes(data)))

    def writelines(self, list_of_data: Any) -> None:
        """Send several pieces upwards, as one."""
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        """Whether either half goes or is gone."""
        return self._down.transport.is_closing() or self._up.transport.is_closing()

    def close(self) -> None:
        """Close both, after what is written has left."""
        self._up.transport.close()
        self._down.transport.close()

    def abort(self) -> None:
        """Cut both."""
        self._up.transport.abort()
        self._down.transport.abort()

    def pause_reading(self) -> None:
        """Take no more for now."""
        self._down.transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on."""
        self._down.transport.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Bytes that have not left yet, in base64."""
        return self._up.transport.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """When `pause_writing` and `resume_writing` are called."""
        self._up.transport.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known of the upper half."""
        return self._up.transport.get_extra_info(name, default)
