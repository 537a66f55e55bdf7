"""Source URLs, and how a URL is shown: never with its credentials."""

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self
from urllib.parse import SplitResult, urlsplit

from config.text_value import TextValue

HIDDEN = "***"
SUPPORTED = ("rtsp", "testcard")
NOT_YET = frozenset(
    {"rtsps", "rtmp", "rtmps", "srt", "http", "https", "ws", "wss", "udp", "tcp", "rtp"}
    | {"whep", "whip", "wheps", "unix", "file"}
)
MAX_URL = 4096  # characters

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_AUTHORITY_END = re.compile(r"[/?#]")
_HOST_AND_PORT = re.compile(r"^(?:\[[0-9A-Fa-f:.]*\])?[^/?#:]*(?::[0-9]*)?(?=[/?#])")
_TESTCARD_OPTION = re.compile(r"size=\d+x\d+|rate=\d+|bitrate=\d+[kKmM]?")
_SECRET_NAME = r"[\w.-]*(?:pass|pwd|token|secret|key|auth|sign|credential)[\w.-]*|s|sid|session"
_SECRET_VALUE = re.compile(rf"([?&;](?:{_SECRET_NAME})=)[^&;#\s]*", re.IGNORECASE)
_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+")


def hide_credentials(url: str) -> str:
    """The URL with user, password and secret query values replaced by `***`.

    A password may hold an unescaped `/`, `?` or `@`: if there is anything that can be one before
    the last `@` of the URL, all of it goes. Hiding too much is the safe side.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    before, at, after = rest.rpartition("@")
    if at and ("@" in _AUTHORITY_END.split(rest)[0] or ":" in _HOST_AND_PORT.sub("", before)):
        rest = f"{HIDDEN}@{after}"
    return f"{scheme}{separator}" + _SECRET_VALUE.sub(rf"\1{HIDDEN}", rest)


def hide_in_text(text: str) -> str:
    """Any text with the credentials of every URL in it hidden."""
    if "://" not in text:
        return text
    return _URL_IN_TEXT.sub(lambda match: hide_credentials(match[0]), text)


def show_value(value: object) -> str:
    """A configuration value for an error message: short, and without what may be a password."""
    text = repr(value) if not isinstance(value, str) else f"'{value}'"
    if "@" in text:
        text = f"'{HIDDEN}@{text.rpartition('@')[2]}"
    text = _SECRET_VALUE.sub(rf"\1{HIDDEN}", text)
    return text if len(text) <= 80 else f"{text[:76]}...'"


@dataclass(frozen=True, slots=True)
class SourceUrl(TextValue):
    """Where a stream comes from. `str()` and `repr()` hide credentials; `reveal()` does not."""

    expected = "expected a source URL such as rtsp://host/path"
    json_schema: ClassVar[dict[str, Any]] = {"pattern": r"^(rtsp://.+|testcard:(\?.*)?)$"}

    scheme: str
    _url: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Check a source URL; `ValueError` says what is wrong without repeating it."""
        match = _SCHEME.match(text)
        if match is None:
            raise ValueError("expected a source URL such as rtsp://user:password@host/path")
        scheme = match[1].lower()
        if scheme in NOT_YET:
            raise ValueError(f"expected rtsp:// or testcard:, {scheme} is not supported yet")
        if scheme not in SUPPORTED:
            raise ValueError(f"expected rtsp:// or testcard:, {scheme} is not a known scheme")
        if len(text) > MAX_URL or any(c.isspace() or not c.isprintable() for c in text):
            raise ValueError(f"expected a URL of at most {MAX_URL} characters without spaces")
        if scheme == "testcard":
            _check_testcard(text[len("testcard:") :])
        else:
            _check_rtsp(text)
        return cls(scheme, text)

    def reveal(self) -> str:
        """The whole URL, credentials included: for the connection, never for people."""
        return self._url

    def __str__(self) -> str:
        return hide_credentials(self._url)


def _check_rtsp(text: str) -> None:
    """What `urlsplit` lets pass and a camera would not."""
    try:
        parts: SplitResult = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("expected rtsp://host:port/path with a port from 1 to 65535") from None
    if not text[len("rtsp:") :].startswith("//") or not host:
        raise ValueError("expected rtsp://host/path, found no host")
    if port == 0:
        raise ValueError("expected rtsp://host:port/path with a port from 1 to 65535")
    if "@" in parts.netloc and text.partition("?")[0].count("@") > 1:
        raise ValueError("expected one @ only; in a password @ is written %40, / as %2F, : as %3A")


def _check_testcard(rest: str) -> None:
    """What stands behind `testcard:`: nothing, or `?size=WxH&rate=N&bitrate=N`."""
    if not rest:
        return
    options = rest.removeprefix("?").split("&")
    if rest[0] != "?" or not all(map(_TESTCARD_OPTION.fullmatch, options)):
        raise ValueError("expected testcard: or testcard:?size=1280x720&rate=25&bitrate=2M")
