"""The messages of the tunnel: two HTTP requests with one cookie, and base64 upwards.

Apple, "Tunnelling RTSP and RTP over HTTP" (QuickTime): the answer to a GET carries what the server
says, the body of a POST, in base64, what the client says. No RFC has it.
"""

import base64
import re

from flux.base.errors import WireError
from protocols.rtsp.message import LINE_END, MAX_HEAD_BYTES, Headers

CONTENT_TYPE = "application/x-rtsp-tunnelled"
# Any large number, says the description; this is its own, and servers read on beyond it.
POST_LENGTH = 32767
LONG_AGO = "Sun, 9 Jan 1972 00:00:00 GMT"

STATUS_LINE = re.compile(rb"HTTP/\d\.\d +([1-9]\d{2})(?: [^\r\n]*)?")
HEAD_END = re.compile(rb"\r?\n\r?\n")


def request(
    method: str, path: str, host: str, cookie: str, user_agent: str, authorization: str = ""
) -> bytes:
    """The head of the GET or of the POST. `host` is name and port as HTTP writes them."""
    lines = [
        f"{method} {path or '/'} HTTP/1.0",
        f"Host: {host}",
        f"User-Agent: {user_agent}",
        f"x-sessioncookie: {cookie}",
    ]
    if method == "GET":
        lines.append(f"Accept: {CONTENT_TYPE}")
    else:
        lines += [
            f"Content-Type: {CONTENT_TYPE}",
            f"Content-Length: {POST_LENGTH}",
            f"Expires: {LONG_AGO}",
        ]
    lines += ["Pragma: no-cache", "Cache-Control: no-cache"]
    if authorization:
        lines.append(f"Authorization: {authorization}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def encode(data: bytes) -> bytes:
    """What goes into the body of the POST. Each piece is padded by itself, as all clients do."""
    return base64.b64encode(data)


class ReplyReader:
    """Reads the head of a reply; what follows it is `rest`."""

    __slots__ = ("_buffer", "headers", "rest", "status")

    def __init__(self) -> None:
        self._buffer = b""
        self.status = 0  # until the head is whole
        self.headers = Headers()
        self.rest = b""

    def feed(self, data: bytes) -> bool:
        """Take bytes until the head is whole: then true, and no more may be given.

        Raises `WireError("tunnel-no-http")` where it can be none, `tunnel-reply-too-long`.
        """
        self._buffer += data
        end = HEAD_END.search(self._buffer, 0, MAX_HEAD_BYTES)
        if end is None:
            if len(self._buffer) >= MAX_HEAD_BYTES:
                raise WireError("tunnel-reply-too-long")
            if not b"HTTP/".startswith(self._buffer[:5]):
                raise WireError("tunnel-no-http")
            return False
        first, *fields = LINE_END.split(self._buffer[: end.start()])
        match = STATUS_LINE.fullmatch(first)
        if match is None:
            raise WireError("tunnel-no-http")
        self.headers = Headers.parse([field for field in fields if field])
        self.status = int(match[1])
        self.rest = self._buffer[end.end() :]
        self._buffer = b""
        return True
