"""URLs of sources and of targets, and how a URL is shown: never with its credentials."""

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self
from urllib.parse import SplitResult, urlsplit

from config.datagram_url import DatagramUrl
from config.rtsp_target import RtspTarget
from config.srt_url import SrtUrl
from config.text_value import TextValue

HIDDEN = "***"
SOURCES = ("rtsp", "rtsps", "srt", "rtp", "udp", "http", "https", "ws", "wss", "testcard")
TARGETS = ("rtsp", "rtsps", "srt", "rtp", "udp")
RTSP = ("rtsp", "rtsps")
HTTP = ("http", "https", "ws", "wss")
NOT_YET = frozenset(
    {"rtmp", "rtmps", "http", "https", "ws", "wss", "tcp"}
    | {"whep", "whip", "wheps", "unix", "file"}
)
MAX_URL = 4096  # characters

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_AUTHORITY_END = re.compile(r"[/?#]")
_HOST_AND_PORT = re.compile(r"^(?:\[[0-9A-Fa-f:.]*\])?[^/?#:]*(?::[0-9]*)?(?=[/?#])")
_VARIABLE = re.compile(r"\$(?:name|[1-9])")
_TESTCARD_OPTION = re.compile(r"size=\d+x\d+|rate=\d+|bitrate=\d+[kKmM]?")
_SECRET_NAME = r"[\w.-]*(?:pass|pwd|token|secret|key|auth|sign|credential|jwt)[\w.-]*|s|sid|session"
_SECRET_VALUE = re.compile(rf"([?&;](?:{_SECRET_NAME})=)[^&;#\s]*", re.IGNORECASE)
_STREAM_ID = re.compile(r"([?&](?:srt_)?streamid=)[^&\s]*", re.IGNORECASE)  # may hold a password
_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+")


# What documents say of URLs; their reader takes some more.
_HOST = r"([A-Za-z]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?|[1-9]\d?(\.[1-9]\d?){3})"
_RTSP = rf"rtsps?://{_HOST}(:[1-9]\d{{0,3}})?(/[A-Za-z0-9._/-]*)?"
_SRT = rf"srt://{_HOST}:[1-9]\d{{3}}(\?latency=[1-9]\d{{0,3}})?"
_HTTP = rf"(https?|wss?)://{_HOST}(:[1-9]\d{{0,3}})?(/[A-Za-z0-9._-]*)?"
_DATAGRAM = rf"(rtp|udp)://{_HOST}:[1-9]\d{{3}}(\?interface=[A-Za-z0-9]{{1,15}})?"


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
    return f"{scheme}{separator}" + _hide_values(rest)


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
    text = _hide_values(text)
    return text if len(text) <= 80 else f"{text[:76]}...'"


def _hide_values(text: str) -> str:
    return _SECRET_VALUE.sub(rf"\1{HIDDEN}", _STREAM_ID.sub(rf"\1{HIDDEN}", text))


@dataclass(frozen=True, slots=True)
class SourceUrl(TextValue):
    """Where a stream comes from. `str()` and `repr()` hide credentials; `reveal()` does not."""

    expected = "expected a source URL such as rtsp://host/path"
    json_schema: ClassVar[dict[str, Any]] = {
        "pattern": rf"^({_RTSP}|{_SRT}|{_DATAGRAM}|{_HTTP}|testcard:)$"
    }

    scheme: str
    _url: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Check a source URL; `ValueError` says what is wrong without repeating it."""
        scheme = _scheme_of(text, "a source", SOURCES)
        if scheme == "testcard":
            _check_testcard(text[len("testcard:") :])
        elif scheme in RTSP or scheme in HTTP:
            _check_host(text)
        elif scheme == "srt":
            SrtUrl.parse(_filled(text))
        else:
            DatagramUrl.parse_source(_filled(text))
        return cls(scheme, text)

    def reveal(self) -> str:
        """The whole URL, credentials included: for the connection, never for people."""
        return self._url

    def __str__(self) -> str:
        return _shown(self.scheme, self._url)


@dataclass(frozen=True, slots=True)
class ForwardUrl(TextValue):
    """Where a stream is sent to. `str()` and `repr()` hide credentials; `reveal()` does not."""

    expected = "expected the URL of a target such as rtp://host:5004 or rtsp://host/path"
    json_schema: ClassVar[dict[str, Any]] = {"pattern": rf"^({_RTSP}|{_SRT}|{_DATAGRAM})$"}

    scheme: str
    _url: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Check the URL of a target; `ValueError` says what is wrong without repeating it."""
        scheme = _scheme_of(text, "a target", TARGETS)
        if scheme in RTSP:
            _check_host(RtspTarget.parse(text).url)
        elif scheme == "srt":
            SrtUrl.parse(_filled(text))
        else:
            DatagramUrl.parse_target(_filled(text))
        return cls(scheme, text)

    def reveal(self) -> str:
        """The whole URL, credentials included: for the connection, never for people."""
        return self._url

    def __str__(self) -> str:
        return _shown(self.scheme, self._url)


def _shown(scheme: str, url: str) -> str:
    # What stands before the @ of udp://SOURCE@GROUP is an address, not a password.
    return hide_credentials(url) if scheme not in ("rtp", "udp") else url


def _filled(url: str) -> str:
    """The URL as it may be once a pattern has filled it in."""
    return _VARIABLE.sub("1", url)


def _scheme_of(text: str, what: str, known: tuple[str, ...]) -> str:
    """The scheme, if it is one of `known`."""
    match = _SCHEME.match(text)
    if match is None:
        raise ValueError(f"expected {what} URL such as rtsp://user:password@host/path")
    scheme = match[1].lower()
    if scheme not in known:
        words = [f"{each}:" if each == "testcard" else f"{each}://" for each in known]
        why = "not supported yet" if scheme in NOT_YET else "not a known scheme"
        if scheme == "testcard":
            why = "no target"
        raise ValueError(f"expected {', '.join(words[:-1])} or {words[-1]}, {scheme} is {why}")
    if len(text) > MAX_URL or any(c.isspace() or not c.isprintable() for c in text):
        raise ValueError(f"expected a URL of at most {MAX_URL} characters without spaces")
    return scheme


def _check_host(text: str) -> None:
    """What `urlsplit` lets pass and a camera would not."""
    scheme = text.partition(":")[0].lower()
    try:
        parts: SplitResult = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(
            f"expected {scheme}://host:port/path with a port from 1 to 65535"
        ) from None
    if not text[len(scheme) + 1 :].startswith("//") or not host:
        raise ValueError(f"expected {scheme}://host/path, found no host")
    if port == 0:
        raise ValueError(f"expected {scheme}://host:port/path, a port from 1 to 65535")
    if "@" in parts.netloc and text.partition("?")[0].count("@") > 1:
        raise ValueError("expected one @ only; in a password @ is written %40, / as %2F, : as %3A")


def _check_testcard(rest: str) -> None:
    """What stands behind `testcard:`: nothing, or `?size=WxH&rate=N&bitrate=N`."""
    if not rest:
        return
    options = rest.removeprefix("?").split("&")
    if rest[0] != "?" or not all(map(_TESTCARD_OPTION.fullmatch, options)):
        raise ValueError("expected testcard: or testcard:?size=1280x720&rate=25&bitrate=2M")
