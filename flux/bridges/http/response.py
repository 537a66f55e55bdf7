"""Heads and small bodies of HTTP responses; each is built once and may be shared."""

from collections.abc import Sequence
from http import HTTPStatus

Header = tuple[str, str]

# Players in browsers come from any origin; tokens travel in the URL, so no credentials are needed.
CORS: tuple[Header, ...] = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Expose-Headers", "Content-Length, Content-Range, ETag"),
)
PREFLIGHT: tuple[Header, ...] = (
    *CORS,
    ("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS"),
    ("Access-Control-Allow-Headers", "Range, If-Range, If-None-Match, Content-Type, Authorization"),
    ("Access-Control-Max-Age", "86400"),
    ("Allow", "GET, HEAD, OPTIONS"),
)
# RFC 7617; one realm for all paths, so that a browser asks its user once for the whole server.
CHALLENGE: Header = ("WWW-Authenticate", 'Basic realm="FLUX", charset="UTF-8"')


def head(status: int, headers: Sequence[Header], *, length: int | None, keep_alive: bool) -> bytes:
    """The status line and header fields, with the empty line; `length` None is close-delimited."""
    phrase = HTTPStatus(status).phrase
    lines = [f"HTTP/1.1 {status} {phrase}", "Server: FLUX"]
    lines += [f"{name}: {value}" for name, value in headers]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    if not keep_alive:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def text_body(status: int, reason: str) -> bytes:
    """A one-line body for people: the phrase and the stable reason."""
    return f"{status} {HTTPStatus(status).phrase}: {reason}\n".encode()
