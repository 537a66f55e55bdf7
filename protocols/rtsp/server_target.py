"""Request URLs as a server reads them: which stream, which track (RFC 2326 section 3.2, C.1.1).

A track's control attribute is put behind the base by every client in its own way: behind the path
(`rtsp://h/live/trackID=1?x=1`), behind the query (`rtsp://h/live?x=1/trackID=1`, the live555 line
and ffmpeg), or behind a query that ends in a slash. All of them are the same track here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote

from flux.base.errors import WireError
from protocols.rtsp.url import resolve_control

MAX_URL_CHARACTERS = 4096
SCHEMES = ("rtsp", "rtsps", "rtspu")

ABSOLUTE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)(?:#.*)?")
UNSAFE = re.compile(r"[\x00-\x20\x7f]")
# The control attributes that servers and encoders give to tracks, as the last part of a URL.
CONTROL = re.compile(r"/((?:track-?ID|stream-?id|stream|track)=[\w.-]+)/?(?=\?|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """What a request line points at."""

    url: str  # as it came, but without credentials
    path: str  # unquoted, without slashes at its ends: the name of a stream, or empty
    query: str = ""  # as it came, without `?` and without the control attribute
    control: str = ""  # `trackID=1` where the URL names a track in a known way

    @classmethod
    def parse(cls, url: str) -> Self:
        """An absolute RTSP URL, an absolute path, or `*`; raises `WireError("rtsp-url")`."""
        if len(url) > MAX_URL_CHARACTERS or UNSAFE.search(url):
            raise WireError("rtsp-url")
        if url == "*":
            return cls("*", "")
        origin, rest = "", url
        if not url.startswith("/"):
            match = ABSOLUTE.fullmatch(url)
            if match is None or match[1].lower() not in SCHEMES:
                raise WireError("rtsp-url", url[:16])
            origin, rest = f"{match[1]}://{match[2].rpartition('@')[2]}", match[3]
        control = ""
        found = CONTROL.search(rest)
        plain = rest
        if found is not None:
            control = found[1]
            plain = rest[: found.start()] + rest[found.end() :]
        path, _, query = plain.partition("?")
        return cls(origin + rest, unquote(path).strip("/"), query.rstrip("/"), control)

    @property
    def is_any(self) -> bool:
        """`*`: the server as a whole."""
        return self.url == "*"

    @property
    def base(self) -> str:
        """The URL with a slash at its end, as Content-Base has it (section 12.11).

        Where it has a query there is a slash before that, too: live555 and ffmpeg put a relative
        control attribute behind all of it, GStreamer joins it to the path (RFC 3986).
        """
        path, mark, query = self.url.partition("?")
        base = path if path.endswith("/") else path + "/"
        return base + (f"?{query.rstrip('/')}/" if mark else "")


def same_place(first: str, second: str) -> bool:
    """Whether two URLs point at one track, whatever host and port they name."""
    try:
        one, two = Target.parse(first), Target.parse(second)
    except WireError:
        return False
    return (one.path, one.query, one.control.lower()) == (two.path, two.query, two.control.lower())


def track_of(url: str, base: str, controls: Sequence[str]) -> int | None:
    """The index of the track with this URL among a description's control attributes.

    `base` is what relative attributes hang on; absolute ones may name any host. None if no track
    fits, unless there is one track only: then its aggregate URL is as good.
    """
    for index, control in enumerate(controls):
        if same_place(url, resolve_control(base, control)):
            return index
    path = _tail(url)
    for index, control in enumerate(controls):  # the client may leave the query out, or add one
        name = control.strip().strip("/")
        if name and name != "*" and "://" not in name and path.endswith("/" + name):
            return index
    if len(controls) == 1 and same_place(url.rstrip("/"), base.rstrip("/")):
        return 0
    return None


def _tail(url: str) -> str:
    """The last part of a URL, wherever its query stands."""
    match = ABSOLUTE.fullmatch(url)
    rest = match[3] if match else url
    path, _, query = rest.partition("?")
    return "/" + (query if "/" in query.rstrip("/") else path).strip("/")
