"""RTSP over HTTP, server side: two connections that are one. Sans-IO.

The client opens a GET, whose endless reply carries everything to it, and a POST, whose body is
RTSP in base64 and carries everything from it; a cookie of the client's, `x-sessioncookie`, says
that they belong together (Apple's "Tunneling RTSP and RTP over HTTP", what VLC, ffmpeg and
GStreamer speak). A POST may end and another one take its place, on the same connection or on a new
one. Content-Length of the POST is a formality (32767): most clients go on writing beyond it.

Either half may come first and waits `timeout` seconds for the other. Both must come from one
address, so that nobody joins another's tunnel by guessing its cookie.
"""

import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar

import httptools

from flux.base.errors import WireError

MAX_HEAD_BYTES = 16 * 1024
MAX_COOKIE_CHARACTERS = 256
MAX_HALVES = 1024  # tunnels of which one half is missing
MAX_EARLY_BYTES = 64 * 1024  # of a POST before its GET
TUNNEL_TYPE = "application/x-rtsp-tunnelled"

BEGINNINGS = (b"GET ", b"POST ")
HEAD_END = re.compile(rb"\r?\n\r?\n")
QUANTA = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
SPACE = re.compile(rb"[\r\n\t ]+")

GET_REPLY = (
    b"HTTP/1.0 200 OK\r\n"
    b"Connection: close\r\n"
    b"Cache-Control: no-store\r\n"
    b"Pragma: no-cache\r\n"
    b"Content-Type: application/x-rtsp-tunnelled\r\n"
    b"\r\n"
)

Link = TypeVar("Link")


def looks_like_http(data: bytes) -> bool | None:
    """Whether a connection that begins like this is HTTP; None while that is open.

    `GET_PARAMETER` and `PLAY` are RTSP; four or five bytes decide.
    """
    if any(data.startswith(beginning) for beginning in BEGINNINGS):
        return True
    if any(beginning.startswith(data) for beginning in BEGINNINGS):
        return None
    return False


@dataclass(slots=True)
class HttpHead:
    """The head of one half of a tunnel."""

    method: str
    target: str
    headers: dict[str, str]  # lower-case names

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The head that ends with or before `data`'s empty line. Raises WireError."""
        collected = _Collected()
        parser: Any = httptools.HttpRequestParser(collected)
        try:
            parser.feed_data(HEAD_END.sub(b"\r\n\r\n", data, count=1))
            method = parser.get_method().decode("latin-1")
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise WireError("tunnel-http", str(error)[:64]) from error
        if not collected.is_complete:
            raise WireError("tunnel-http")
        return cls(method, collected.target.decode("latin-1"), collected.headers)

    @property
    def cookie(self) -> str:
        """What joins the halves; empty where this is no half of a tunnel."""
        cookie = self.headers.get("x-sessioncookie", "").strip()
        return cookie if len(cookie) <= MAX_COOKIE_CHARACTERS else ""

    @property
    def content_length(self) -> int | None:
        """Size of the body that was announced."""
        value = self.headers.get("content-length", "")
        return int(value) if value.isascii() and value.isdigit() and len(value) < 16 else None


class _Collected:
    """What httptools calls."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: dict[str, str] = {}
        self.is_complete = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.is_complete = True


@dataclass(slots=True)
class HeadReader:
    """Collects the head of an HTTP request; `rest` is what followed it."""

    _data: bytes = b""
    rest: bytes = b""

    def receive(self, data: bytes) -> HttpHead | None:
        """The head, once it is whole. Raises WireError."""
        self._data += data
        end = HEAD_END.search(self._data, 0, MAX_HEAD_BYTES)
        if end is None:
            if len(self._data) >= MAX_HEAD_BYTES:
                raise WireError("tunnel-head-too-long")
            return None
        head, self.rest = self._data[: end.end()], self._data[end.end() :]
        self._data = b""
        return HttpHead.parse(head)


class TunnelInput:
    """The body of a POST, base64 in pieces, into RTSP bytes.

    Clients encode each message by itself, so padding stands in the middle of the body. Behind as
    many bytes as Content-Length said, another POST of the same cookie may follow. `fault` is the
    slug of what broke the tunnel; nothing comes out any more then.
    """

    __slots__ = ("_cookie", "_head", "_left", "_seam", "_tail", "fault")

    def __init__(self, head: HttpHead) -> None:
        self._cookie = head.cookie
        self._left = head.content_length  # of the announced body; None: without end
        self._tail = b""  # less than one quantum of four
        self._seam = b""  # behind the announced body, not yet enough to know what it is
        self._head: HeadReader | None = None  # of another POST
        self.fault = ""

    def receive(self, data: bytes) -> bytes:
        """Decoded bytes of what came."""
        decoded: list[bytes] = []
        while data and not self.fault:
            if self._head is not None:
                data = self._read_head(self._head, data)
            elif self._left == 0:
                data = self._cross_seam(data)
            else:
                piece = data if self._left is None else data[: self._left]
                data = data[len(piece) :]
                if self._left is not None:
                    self._left -= len(piece)
                decoded += self._decode(piece)
        return b"".join(decoded)

    def _read_head(self, reader: HeadReader, data: bytes) -> bytes:
        try:
            head = reader.receive(data)
        except WireError as error:
            self.fault = error.reason
            return b""
        if head is None:
            return b""
        if head.method != "POST" or head.cookie != self._cookie:
            self.fault = "tunnel-cookie"
        self._head = None
        self._left = head.content_length
        self._tail = b""
        return reader.rest

    def _cross_seam(self, data: bytes) -> bytes:
        """The announced body is over: another head, or more of the body? Base64 has no blank."""
        self._seam = (self._seam + data).lstrip(b"\r\n")
        is_http = looks_like_http(self._seam)
        if is_http is None:
            return b""
        data, self._seam = self._seam, b""
        if is_http:
            self._head = HeadReader()
        else:
            self._left = None  # it goes on beyond its end
        return data

    def _decode(self, piece: bytes) -> list[bytes]:
        text = SPACE.sub(b"", self._tail + piece)
        self._tail = b""
        out: list[bytes] = []
        position = 0
        while position < len(text):
            run = QUANTA.match(text, position)
            if run is None:
                self.fault = "tunnel-base64"
                break
            position = run.end()
            whole = len(run[0]) - len(run[0]) % 4
            if whole < len(run[0]):
                if position < len(text):
                    self.fault = "tunnel-base64"
                    break
                self._tail = run[0][whole:]
            try:
                out.append(binascii.a2b_base64(run[0][:whole]))
            except binascii.Error:
                self.fault = "tunnel-base64"
                break
        return out


@dataclass(slots=True)
class Tunnel(Generic[Link]):
    """One tunnel and the connections that it has at the moment."""

    cookie: str
    address: str
    out: Link | None = None  # the GET
    inward: Link | None = None  # the POST
    waits_until: float | None = None  # for its other half
    early: list[bytes] = field(default_factory=list)
    early_bytes: int = 0

    def keep(self, data: bytes) -> None:
        """Decoded bytes of a POST whose GET is not there yet. Raises WireError."""
        self.early_bytes += len(data)
        if self.early_bytes > MAX_EARLY_BYTES:
            raise WireError("tunnel-flood")
        self.early.append(data)


class TunnelRegistry(Generic[Link]):
    """Tunnels by cookie and address. Raises WireError where a half belongs nowhere."""

    def __init__(self, timeout: float, on_replaced: Callable[[Link], None]) -> None:
        """`on_replaced` gets the connection of a POST whose place another one takes."""
        self._timeout = timeout
        self._on_replaced = on_replaced
        self._tunnels: dict[tuple[str, str], Tunnel[Link]] = {}

    def __len__(self) -> int:
        return len(self._tunnels)

    def join(self, head: HttpHead, address: str, link: Link, now: float) -> Tunnel[Link]:
        """The tunnel to which a new half belongs, a new one where it is the first half."""
        cookie = head.cookie
        if head.method not in ("GET", "POST") or not cookie:
            raise WireError("tunnel-cookie")
        tunnel = self._tunnels.get((cookie, address))
        if tunnel is None:
            waiting = sum(t.waits_until is not None for t in self._tunnels.values())
            if waiting >= MAX_HALVES:
                raise WireError("tunnel-flood")
            tunnel = Tunnel(cookie, address, waits_until=now + self._timeout)
            self._tunnels[cookie, address] = tunnel
        if head.method == "GET":
            if tunnel.out is not None:
                raise WireError("tunnel-cookie-in-use")
            tunnel.out = link
        else:
            if tunnel.inward is not None:
                self._on_replaced(tunnel.inward)
            tunnel.inward = link
        if tunnel.out is not None and tunnel.inward is not None:
            tunnel.waits_until = None
        return tunnel

    def leave(self, tunnel: Tunnel[Link], link: Link) -> None:
        """A connection is gone. Without its GET the tunnel is over."""
        if tunnel.inward is link:
            tunnel.inward = None
        if tunnel.out is link:
            tunnel.out = None
        if tunnel.out is None and self._tunnels.get((tunnel.cookie, tunnel.address)) is tunnel:
            del self._tunnels[tunnel.cookie, tunnel.address]

    def expired(self, now: float) -> list[Link]:
        """The connections of tunnels whose other half did not come; they are forgotten here."""
        found: list[Link] = []
        for key, tunnel in tuple(self._tunnels.items()):
            if tunnel.waits_until is not None and now >= tunnel.waits_until:
                del self._tunnels[key]
                found += [link for link in (tunnel.out, tunnel.inward) if link is not None]
        return found

    def get_timer(self) -> float | None:
        """When the next tunnel expires."""
        ends = [t.waits_until for t in self._tunnels.values() if t.waits_until is not None]
        return min(ends) if ends else None
