"""RTSP messages: requests and responses, RFC 2326 sections 4 to 7 (RFC 7826 where it is kinder)."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Self

from flux.base.errors import StateError, WireError

MAX_HEAD_BYTES = 16 * 1024  # start line, headers and the empty line
MAX_BODY_BYTES = 1024 * 1024
MAX_HEADERS = 128

VERSION = "RTSP/1.0"

STATUS_LINE = re.compile(r"RTSP/(\d)\.(\d) +(\d{3})(?: +(.*))?")
REQUEST_LINE = re.compile(r"([A-Z][A-Z_]*) +(\S+) +RTSP/(\d)\.(\d) *")
LINE_END = re.compile(rb"\r?\n")
UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # what no header value may carry (tab may pass)

PHRASES = {
    200: "OK",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    451: "Parameter Not Understood",
    453: "Not Enough Bandwidth",
    454: "Session Not Found",
    455: "Method Not Valid In This State",
    457: "Invalid Range",
    459: "Aggregate Operation Not Allowed",
    461: "Unsupported Transport",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "RTSP Version Not Supported",
    551: "Option Not Supported",
}


class Headers:
    """Header fields in the order of the wire; names compare without case."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields = list(fields)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # mutable; mypy models __hash__ as a method

    def __repr__(self) -> str:
        return f"Headers({self._fields!r})"

    def get(self, name: str, default: str = "") -> str:
        """The first value of `name`."""
        lower = name.lower()
        for key, value in self._fields:
            if key.lower() == lower:
                return value
        return default

    def get_all(self, name: str) -> list[str]:
        """Every value of `name`, in order: WWW-Authenticate may come several times."""
        lower = name.lower()
        return [value for key, value in self._fields if key.lower() == lower]

    def add(self, name: str, value: str) -> None:
        """Append one field."""
        self._fields.append((name, value))

    @classmethod
    def parse(cls, lines: list[bytes]) -> Self:
        """Fields of header lines, section 4.2. What is none is skipped: cameras send such."""
        if len(lines) > MAX_HEADERS:
            raise WireError("rtsp-too-many-headers")
        fields: list[tuple[str, str]] = []
        for line in lines:
            text = line.decode("utf-8", "replace")
            if text[:1] in (" ", "\t") and fields:  # folded line, RFC 822 section 3.1.1
                name, value = fields.pop()
                value = f"{value} {text.strip()}"
            else:
                name, colon, value = text.partition(":")
                name, value = name.strip(), value.strip()
                if not colon or not name:
                    continue
            if not UNSAFE.search(value) and not UNSAFE.search(name):
                fields.append((name, value))
        return cls(fields)


def _serialize(start: str, headers: Headers, body: bytes) -> bytes:
    lines = [start]
    for name, value in headers:
        if name.lower() != "content-length":
            lines.append(f"{name}: {value}")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    if any(UNSAFE.search(line) for line in lines):
        raise StateError("a control character in an RTSP header")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass(slots=True)
class Request:
    """A request, section 6. Content-Length is made from the body."""

    method: str
    url: str
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""
    version: str = VERSION

    def serialize(self) -> bytes:
        """The bytes of this request."""
        return _serialize(f"{self.method} {self.url} {self.version}", self.headers, self.body)


@dataclass(slots=True)
class Response:
    """A response, section 7. Content-Length is made from the body."""

    status: int
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""
    phrase: str = ""

    def serialize(self) -> bytes:
        """The bytes of this response."""
        phrase = self.phrase or PHRASES.get(self.status, "Status")
        return _serialize(f"{VERSION} {self.status} {phrase}", self.headers, self.body)


Message = Request | Response


def parse_head(head: bytes) -> Message:
    """The message of `head`, which ends before or with its empty line; the body is still empty."""
    lines = LINE_END.split(head)
    start = lines[0].decode("utf-8", "replace")
    fields = [line for line in lines[1:] if line]
    if answer := STATUS_LINE.fullmatch(start):
        phrase = UNSAFE.sub("", answer[4] or "")
        return Response(int(answer[3]), Headers.parse(fields), phrase=phrase)
    if request := REQUEST_LINE.fullmatch(start):
        if UNSAFE.search(request[2]):
            raise WireError("rtsp-request-url")
        version = f"RTSP/{request[3]}.{request[4]}"
        return Request(request[1], request[2], Headers.parse(fields), version=version)
    raise WireError("rtsp-start-line", start[:64])


def content_length(headers: Headers) -> int:
    """Size of the body that follows the head; 0 where nothing is said, section 12.14."""
    values = set(headers.get_all("Content-Length"))
    if not values:
        return 0
    value = values.pop()
    if values or not value.isascii() or not value.isdigit() or len(value) > 16:
        raise WireError("rtsp-content-length", value[:32])
    length = int(value)
    if length > MAX_BODY_BYTES:
        raise WireError("rtsp-body-too-long", value)
    return length


def parse_message(data: bytes) -> Message:
    """One whole message; anything missing or left over is an error."""
    end = re.search(rb"\r?\n\r?\n", data)
    if end is None:
        raise WireError("rtsp-truncated")
    if end.end() > MAX_HEAD_BYTES:
        raise WireError("rtsp-headers-too-long")
    message = parse_head(data[: end.start()])
    if content_length(message.headers) != len(data) - end.end():
        raise WireError("rtsp-truncated")
    message.body = data[end.end() :]
    return message
