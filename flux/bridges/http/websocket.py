"""WebSockets on the media listener: a reader's media as binary messages (RFC 6455).

wsproto makes the handshake, reads the frames of the peer and writes ours. Media do not go through
it: `MEDIA_FRAMES`, a variant of feeds, frames them once for all readers, and they go
straight to the transports. A message holds whole chunks of the format. Nothing is compressed.

    open     media go out; pings are answered, messages are thrown away; a peer that says nothing
             for PING_AFTER is pinged, and cut if it does not answer although it takes its media
    closing  our Close is out, and the peer's is awaited: the listener's sweep ends the wait
    closed   the transport goes once it has sent what it holds
"""

import asyncio
import contextlib
import re
from collections.abc import Callable
from struct import Struct

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection
from wsproto.frame_protocol import (
    LOCAL_ONLY_CLOSE_REASONS,
    CloseReason,
    Frame,
    FrameDecoder,
    FrameProtocol,
    Opcode,
    ParseFailed,
)

from flux.base.errors import WireError
from flux.bridges.http.request import Request
from flux.net.sink import TransportSink

VERSION = "13"
SUBPROTOCOL = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")  # a token of RFC 9110
KEY = re.compile(r"[A-Za-z0-9+/]{22}==")  # sixteen bytes, RFC 6455 section 4.2.1
FORWARDED = ("sec-websocket-key", "sec-websocket-version")

BINARY = 0x82  # FIN and the opcode of a binary message, section 5.2
MESSAGE_BYTES = 64 << 10  # that several chunks are joined into one message up to
PING_AFTER = 20.0  # seconds without a word of the peer
PONG_TIMEOUT = 20.0
CLOSE_TIMEOUT = 3.0
MAX_STRAY_BYTES = 64 << 10  # that a peer may send at once; players have nothing to say
STRAY_BYTES_PER_SWEEP = 4096  # that it may send from then on
MAX_PENDING_FOR_PONG = 256 << 10  # a peer that takes nothing gets no pongs

# Why we close, as the numbers of section 7.4.1; everything else is a normal end.
CLOSE_CODES = {
    "server-stopping": CloseReason.GOING_AWAY,
    "kicked": CloseReason.POLICY_VIOLATION,
    "stray-data": CloseReason.POLICY_VIOLATION,
    "output-fault": CloseReason.INTERNAL_ERROR,
}

# Control frames of a server; nothing is read by it, and what it writes has no memory.
_WRITER = FrameProtocol(client=False, extensions=[])
_EMPTY_CLOSE = b"\x88\x80\x00\x00\x00\x00"  # of a client
_SHORT = Struct(">BB")
_MEDIUM = Struct(">BBH")
_LONG = Struct(">BBQ")


def frame_head(size: int) -> bytes:
    """What stands before a binary message of so many bytes of a server."""
    if size < 126:
        return _SHORT.pack(BINARY, size)
    if size < 1 << 16:
        return _MEDIUM.pack(BINARY, 126, size)
    return _LONG.pack(BINARY, 127, size)


class MediaFrames:
    """The variant of a feed for WebSockets."""

    def __call__(self, data: bytes) -> bytes:
        """What the readers in step get, as one message."""
        return frame_head(len(data)) + data if data else b""

    def pieces(self, chunks: list[bytes]) -> list[bytes]:
        """A list of chunks, as messages of whole chunks: nothing is copied."""
        framed: list[bytes] = []
        place, size = 0, 0
        for chunk in chunks:
            if not size or size + len(chunk) > MESSAGE_BYTES:
                if size:
                    framed[place] = frame_head(size)
                place, size = len(framed), 0
                framed.append(b"")
            framed.append(chunk)
            size += len(chunk)
        if size:
            framed[place] = frame_head(size)
        return framed


MEDIA_FRAMES = MediaFrames()


class Handshake:
    """A request for a WebSocket; nothing has been answered yet."""

    def __init__(self, request: Request) -> None:
        """Raises WireError `websocket-version` or `websocket-malformed`."""
        headers = request.headers
        if headers.get("sec-websocket-version", "").strip() != VERSION:
            raise WireError("websocket-version")
        if KEY.fullmatch(headers.get("sec-websocket-key", "").strip()) is None:
            raise WireError("websocket-malformed", "key")
        asked = headers.get("sec-websocket-protocol", "").split(",")
        names = [name.strip() for name in asked if SUBPROTOCOL.fullmatch(name.strip())]
        # A browser that names subprotocols gives up where none is taken.
        self._subprotocol = names[0] if names else None
        self._machine = WSConnection(ConnectionType.SERVER)
        known = [
            (b"host", b"flux"),
            (b"connection", b"upgrade"),
            (b"upgrade", b"websocket"),
            *((name.encode(), headers[name].strip().encode()) for name in FORWARDED),
        ]
        if self._subprotocol is not None:
            known.append((b"sec-websocket-protocol", self._subprotocol.encode()))
        self._machine.initiate_upgrade_connection(known, "/")
        for _ in self._machine.events():
            pass  # the request, which has been judged

    def accept(self) -> bytes:
        """The answer."""
        machine = self._machine
        accept = AcceptConnection(
            subprotocol=self._subprotocol, extra_headers=[(b"Server", b"FLUX")]
        )
        answer = machine.send(accept)
        # Its reader of frames is not used. It holds itself until it has come to an end.
        machine.receive_data(_EMPTY_CLOSE)
        for _ in machine.events():
            pass
        return answer


class WebSocketLink:
    """One WebSocket after its handshake: everything but the media."""

    __slots__ = (
        "_decoder",
        "_heard_at",
        "_is_closing",
        "_now",
        "_on_end",
        "_pinged_at",
        "_stray_bytes",
        "_transport",
        "is_over",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        on_end: Callable[[str], None],
        now: Callable[[], float],
    ) -> None:
        """`on_end(reason)` is called when the peer ends it, or we do because of the peer."""
        self._decoder = FrameDecoder(client=False)
        self._transport = transport
        self._on_end = on_end
        self._now = now
        self._heard_at = now()
        self._pinged_at: float | None = None
        self._stray_bytes = 0
        self._is_closing = False  # our Close is out
        self.is_over = False  # nothing more is read

    def receive(self, data: bytes) -> None:
        """Take bytes of the peer."""
        if self.is_over:
            return
        self._heard_at = self._now()
        self._pinged_at = None
        self._stray_bytes += len(data)
        if self._stray_bytes > MAX_STRAY_BYTES:
            self._end("stray-data", CLOSE_CODES["stray-data"])
            return
        self._decoder.receive_bytes(data)
        try:
            while (frame := self._decoder.process_buffer()) is not None:
                if self._take(frame):
                    return
        except ParseFailed as error:
            self._end("websocket-malformed", error.code)

    def _take(self, frame: Frame) -> bool:
        """Take a frame, or a part of a message; whether it was the last one."""
        if frame.opcode is Opcode.PING:
            if self._transport.get_write_buffer_size() <= MAX_PENDING_FOR_PONG:
                self._send(_WRITER.pong(bytes(frame.payload)))  # type: ignore[arg-type]  # bytes
        elif frame.opcode is Opcode.CLOSE:
            if self._is_closing:
                self.is_over = True
                self._transport.close()
            else:
                self._end("peer-closed", _code_of(bytes(frame.payload)))  # type: ignore[arg-type]  # bytes
            return True
        return False

    def close(self, reason: str) -> None:
        """Say that it is over; the peer answers, or the listener ends it."""
        if not self.is_over and not self._is_closing:
            self._is_closing = True
            code = CLOSE_CODES.get(reason, CloseReason.NORMAL_CLOSURE)
            self._send(_WRITER.close(code, reason))

    def sweep(self, now: float) -> None:
        """About once a second: look whether the peer is still there."""
        self._stray_bytes = max(0, self._stray_bytes - STRAY_BYTES_PER_SWEEP)
        if self.is_over or self._is_closing:
            return
        if self._pinged_at is None:
            if now - self._heard_at >= PING_AFTER:
                self._pinged_at = now
                self._send(_WRITER.ping())
        elif self._transport.get_write_buffer_size():
            self._pinged_at = now  # the ping may stand behind media, whose rules hold then
        elif now - self._pinged_at >= PONG_TIMEOUT:
            self.is_over = True
            self._on_end("ping-timeout")
            self._transport.abort()

    def _end(self, reason: str, code: int) -> None:
        """The peer is done, or we are with it."""
        self.is_over = True
        if not self._is_closing:
            self._is_closing = True
            self._send(_WRITER.close(code))
        self._on_end(reason)
        self._transport.close()

    def _send(self, data: bytes | bytearray) -> None:
        if not self._transport.is_closing():
            with contextlib.suppress(RuntimeError):  # of uvloop: gone, and nobody told us
                self._transport.write(bytes(data))


def _code_of(payload: bytes) -> int:
    """What a Close is answered with: its own code if it has a good one; section 7.4."""
    if not payload:
        return CloseReason.NO_STATUS_RCVD
    code = int.from_bytes(payload[:2], "big")
    is_good = len(payload) > 1 and 1000 <= code < 5000 and code not in LOCAL_ONLY_CLOSE_REASONS
    return code if is_good else CloseReason.PROTOCOL_ERROR


class WebSocketSink(TransportSink):
    """The transport of a reader that is ended by a Close and not by the end of the connection."""

    __slots__ = ("_link", "_on_over")

    def __init__(
        self,
        transport: asyncio.Transport,
        on_end: Callable[[str], None],
        send_buffer: int,
        link: WebSocketLink,
    ) -> None:
        super().__init__(transport, on_end, send_buffer)
        self._on_over = on_end
        self._link = link

    def end(self, reason: str) -> None:
        """Say why and wait for the peer to agree; one that takes nothing is cut."""
        if reason == "reader-stalled":
            super().end(reason)
        else:
            self._link.close(reason)
            self._on_over(reason)
