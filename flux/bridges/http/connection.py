"""One connection of the media listener: httptools parses, handlers answer, readers take it over.

Requests are answered one after the other, pipelined ones wait: for the answer before them, and for
the peer to take it, so that nobody makes us hold more than one answer. A handler may answer later
(a held playlist) or take the connection over for a stream, after which nothing but the peer's end
matters. `on_lost` belongs to the request being answered: it is given up before the answer, since
that already begins the next one.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import httptools

from flux.bridges.http.request import Request
from flux.bridges.http.response import CHALLENGE, CORS, PREFLIGHT, Header, head, text_body
from flux.bridges.http.websocket import CLOSE_TIMEOUT, Handshake, WebSocketLink, WebSocketSink
from flux.net.sink import TransportSink

if TYPE_CHECKING:
    from flux.bridges.http.server import HttpServer

MAX_BODY_BYTES = 64 << 10  # read and thrown away
MAX_PIPELINED = 16
MAX_STRAY_BYTES = 64 << 10  # from a reader that ought to listen only
IDLE_TIMEOUT = 60.0
WRITE_TIMEOUT = 30.0


class _Parser:
    """The httptools callbacks; closed once a connection becomes a reader, or ends."""

    __slots__ = ("_connection", "_headers", "_parser", "_target", "body_bytes", "header_bytes")

    def __init__(self, connection: "HttpConnection") -> None:
        self._connection = connection
        self._parser: Any = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: dict[str, str] = {}
        self.header_bytes = 0  # since the last whole message
        self.body_bytes = 0

    def feed(self, data: bytes) -> None:
        """Parse more bytes. Raises what httptools raises."""
        self._parser.feed_data(data)

    def close(self) -> None:
        """Parse no more, and let go of the parser, which holds these callbacks."""
        self._parser = None

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers = {}
        self.body_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.header_bytes = 0

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)

    def on_message_complete(self) -> None:
        parser = self._parser
        if parser is None:  # closed by the request before this one
            return
        self._connection.take_request(
            parser.get_method().decode("latin-1"),
            self._target,
            self._headers,
            parser.should_keep_alive(),
        )


class HttpConnection(asyncio.Protocol):
    """Bytes of one peer in, requests to the server's handlers, responses out."""

    __slots__ = (
        "_busy",
        "_is_full",
        "_parser",
        "_queue",
        "_server",
        "_stray_bytes",
        "_transport",
        "_websocket",
        "address",
        "deadline",
        "on_lost",
        "pending_at_sweep",
    )

    def __init__(self, server: "HttpServer") -> None:
        self._server = server
        self._parser: _Parser | None = _Parser(self)
        self._queue: deque[Request] = deque()
        self._busy: Request | None = None  # the request being answered
        self._is_full = False  # the peer has not taken what it was sent
        self._stray_bytes = 0
        self._transport: asyncio.Transport | None = None
        self._websocket: WebSocketLink | None = None
        self.address = ""
        self.deadline: float | None = None  # for headers, or of an idle connection
        self.pending_at_sweep = 0
        self.on_lost: Callable[[str], None] | None = None

    # -- transport ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The listener accepted a peer."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else "unix"
        self.deadline = self._server.now() + self._server.limits.header_timeout
        if not self._server.admit(self):
            self.fail(503, "too-many-connections")

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer is gone."""
        del exc
        self._server.forget(self)
        self._read_no_more()
        self._websocket = None
        on_lost, self.on_lost = self.on_lost, None
        if on_lost is not None:
            on_lost("peer-closed")

    def data_received(self, data: bytes) -> None:
        """Bytes of the peer; a reader has nothing to say and is cut if it insists."""
        while data:
            if self._websocket is not None:
                self._websocket.receive(data)
                return
            if self._parser is None:
                self._stray_bytes += len(data)
                if self._stray_bytes > MAX_STRAY_BYTES:
                    self._server.count("stray-data")
                    self.abort()
                return
            data = self._parse(self._parser, data)

    def _parse(self, parser: _Parser, data: bytes) -> bytes:
        """Parse bytes; answers those behind a request for an upgrade."""
        rest = b""
        parser.header_bytes += len(data)
        try:
            parser.feed(data)
        except httptools.HttpParserUpgrade as upgrade:
            # Whatever it has become: this parser reads no more.
            rest = data[upgrade.args[0] :]
            if self._parser is parser:
                parser.close()
                self._parser = _Parser(self)
        except httptools.HttpParserError:
            self.fail(400, "malformed-request")
        else:
            if parser.header_bytes > self._server.limits.header_bytes + parser.body_bytes:
                self.fail(431, "headers-too-large")
            elif parser.body_bytes > MAX_BODY_BYTES:
                self.fail(413, "body-too-large")
        return rest

    def pause_writing(self) -> None:
        """The transport holds more than it likes to."""
        self._is_full = True

    def resume_writing(self) -> None:
        """The peer has taken most of it."""
        self._is_full = False
        self._answer_next()

    # -- requests ----------------------------------------------------------------------------

    def take_request(
        self, method: str, target: bytes, headers: dict[str, str], keep_alive: bool
    ) -> None:
        """A whole request has been parsed."""
        if self._parser is None:
            return
        self._parser.header_bytes = 0
        request = Request.build(
            method,
            target,
            headers,
            keep_alive=keep_alive,
            address=self.address,
            arrived=self._server.now(),
        )
        if self._busy is None and not self._is_full:
            self._answer(request)
        elif len(self._queue) < MAX_PIPELINED:
            self._queue.append(request)
        else:
            self.fail(503, "too-many-pipelined-requests")

    def _read_no_more(self) -> None:
        """No request is taken from now on, and those that wait are forgotten."""
        parser, self._parser = self._parser, None
        if parser is not None:
            parser.close()
        self._queue.clear()

    def _answer_next(self) -> None:
        if self._queue and self._busy is None and not self._is_full:
            self._answer(self._queue.popleft())

    def _answer(self, request: Request) -> None:
        self._busy = request
        self.deadline = None
        if request.method == "OPTIONS":
            self.respond(204, PREFLIGHT)
        elif request.method not in ("GET", "HEAD"):
            self.refuse(405, "method-not-allowed", [("Allow", "GET, HEAD, OPTIONS")])
        else:
            self._server.dispatch(request, self)

    # -- responses ---------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether an answer can still be given."""
        return self._transport is not None and not self._transport.is_closing()

    def respond(self, status: int, headers: Sequence[Header], body: bytes = b"") -> None:
        """Answer the request being answered, then take the next one."""
        request = self._busy
        if request is not None:
            length = None if status in (204, 304) else len(body)
            first = head(status, headers, length=length, keep_alive=request.keep_alive)
            self.give(status, first, body)

    def give(self, status: int, first: bytes, body: bytes = b"") -> None:
        """The same with a head that was made before, for the request's `keep_alive`."""
        request, transport = self._busy, self._transport
        if request is None or transport is None or not self.is_open:
            return
        self._busy = None
        if request.method == "HEAD" or not body:
            transport.write(first)
        else:
            transport.writelines([first, body])
        self._server.count_response(status, len(body))
        if not request.keep_alive:
            transport.close()
            return
        self.deadline = self._server.now() + IDLE_TIMEOUT
        self._answer_next()

    def respond_head(self, headers: Sequence[Header]) -> None:
        """Answer HEAD for a body without end: 200, no length, and the connection closes."""
        if self._busy is not None and self._transport is not None and self.is_open:
            self._busy = None
            self._queue.clear()
            self._transport.write(head(200, headers, length=None, keep_alive=False))
            self._server.count_response(200, 0)
            self._transport.close()

    def refuse(self, status: int, reason: str, headers: Sequence[Header] = ()) -> None:
        """Answer with a status and its stable reason; counted by reason. 401 asks to log in."""
        self._server.count(reason)
        fields = [*CORS, *headers, ("Content-Type", "text/plain; charset=utf-8")]
        if status == 401:
            fields.append(CHALLENGE)
        self.respond(status, [*fields, ("Cache-Control", "no-store")], text_body(status, reason))

    def fail(self, status: int, reason: str) -> None:
        """Answer a connection that cannot go on, and end it."""
        self._server.count(reason)
        self._read_no_more()
        if self._transport is not None and self.is_open:
            body = text_body(status, reason)
            headers = [("Content-Type", "text/plain; charset=utf-8")]
            self._transport.write(head(status, headers, length=len(body), keep_alive=False) + body)
            self._transport.close()

    def start_stream(
        self, headers: Sequence[Header], on_lost: Callable[[str], None], send_buffer: int
    ) -> TransportSink | None:
        """Answer 200 with a close-delimited body and hand the transport over as a sink.

        `on_lost(reason)` is called once when the stream is over, whoever ended it. None if the
        peer has gone already.
        """
        transport = self._hand_over(200, on_lost)
        if transport is None:
            return None
        transport.write(head(200, headers, length=None, keep_alive=False))
        return TransportSink(transport, self._end, send_buffer)

    def start_websocket(
        self, handshake: Handshake, on_lost: Callable[[str], None], send_buffer: int
    ) -> TransportSink | None:
        """Answer 101 and hand the transport over as a sink for binary messages.

        Otherwise as `start_stream`.
        """
        transport = self._hand_over(101, on_lost)
        if transport is None:
            return None
        transport.write(handshake.accept())
        self._websocket = WebSocketLink(transport, self._end, self._server.now)
        return WebSocketSink(transport, self._end, send_buffer, self._websocket)

    def _hand_over(self, status: int, on_lost: Callable[[str], None]) -> asyncio.Transport | None:
        """The transport of what has become a reader; None if the peer has gone already."""
        if self._busy is None or self._transport is None or not self.is_open:
            return None
        self._busy = None
        self._read_no_more()
        self.deadline = None
        self.on_lost = on_lost
        self._server.count_response(status, 0)
        return self._transport

    def _end(self, reason: str) -> None:
        if self._websocket is not None:
            self.deadline = self._server.now() + CLOSE_TIMEOUT
        on_lost, self.on_lost = self.on_lost, None
        if on_lost is not None:
            on_lost(reason)

    # -- time --------------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """About once a second: headers that never come, idle peers, peers that take nothing."""
        transport = self._transport
        if transport is None:
            return
        if self._websocket is not None:
            self._websocket.sweep(now)
        if self.on_lost is not None:
            return
        pending = transport.get_write_buffer_size()
        if pending:
            if pending != self.pending_at_sweep or self.deadline is None:
                self.deadline = now + WRITE_TIMEOUT
            self.pending_at_sweep = pending
        if self.deadline is not None and now >= self.deadline:
            self._server.count("http-timeout")
            self.abort()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def finish(self) -> None:
        """The server stops: no more requests; what is pending still goes out."""
        self._read_no_more()
        if self.on_lost is None and self._transport is not None:
            self._transport.close()
