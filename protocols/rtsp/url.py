"""RTSP URLs, RFC 2326 section 3.2, and the control attribute, appendix C.1.1."""

import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote

from flux.base.errors import WireError

DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322}
MAX_URL_BYTES = 4096

PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)(?:#.*)?")
UNSAFE = re.compile(r"[\x00-\x20\x7f]")
HOST = re.compile(r"[^\[\]:@/\\]+|\[[0-9A-Fa-f:.%A-Za-z0-9]+\]")


@dataclass(frozen=True, slots=True)
class Url:
    """Where a stream is and who may see it. The credentials never stand in a request line."""

    scheme: str
    host: str  # without the brackets of IPv6
    port: int | None  # as written; None where the URL says nothing
    path: str  # begins with "/" or "?", or is empty; the query belongs to it
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """A URL of ours or a peer's; raises `WireError("rtsp-url")`.

        The password may hold a bare `@` or `:`, as people paste them: the last `@` before the
        path ends the credentials, the first `:` the name.
        """
        match = PARTS.fullmatch(text) if len(text) <= MAX_URL_BYTES else None
        if match is None or UNSAFE.search(text):
            raise WireError("rtsp-url")
        scheme, authority, path = match[1].lower(), match[2], match[3]
        if scheme not in DEFAULT_PORTS:
            raise WireError("rtsp-url-scheme", scheme[:16])
        credentials, _, place = authority.rpartition("@")
        username, _, password = credentials.partition(":")
        host, port = place, ""
        if not place.endswith("]") and ":" in place:
            host, _, port = place.rpartition(":")
        if not HOST.fullmatch(host) or (port and not (port.isascii() and port.isdigit())):
            raise WireError("rtsp-url")
        number = int(port[:6]) if port else None
        if number is not None and not 0 < number < 65536:
            raise WireError("rtsp-url")
        return cls(scheme, host.strip("[]"), number, path, unquote(username), unquote(password))

    @property
    def is_secure(self) -> bool:
        """The connection is TLS."""
        return self.scheme == "rtsps"

    @property
    def effective_port(self) -> int:
        """The port to connect to."""
        return self.port if self.port is not None else DEFAULT_PORTS[self.scheme]

    @property
    def origin(self) -> str:
        """Scheme, host and port, without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port is not None else "")

    @property
    def request(self) -> str:
        """What stands in the request line: everything but the credentials."""
        return self.origin + self.path


def strip_credentials(text: str) -> str:
    """An absolute URL of a peer without its credentials; anything else comes back as it is."""
    try:
        return Url.parse(text).request
    except WireError:
        return text


def base_url(request_url: str, content_base: str, content_location: str = "") -> str:
    """What relative control attributes hang on, appendix C.1.1.

    quirk: several cameras send a Content-Base that is a bare path, no URL at all, or names a host
    that is none (`rtsp://0.0.0.0/`); section 12.11 wants an absolute one. A bare path is joined to
    the request's host, the others count as absent.
    """
    for value in (content_base.strip(), content_location.strip()):
        if value.startswith("/") and not UNSAFE.search(value):
            return Url.parse(request_url).origin + value
        try:
            url = Url.parse(value)
        except WireError:
            continue
        if url.host not in ("0.0.0.0", "::"):
            return url.request
    return request_url


def resolve_control(base: str, control: str) -> str:
    """The URL of a control attribute: absolute, relative, or `*` for the base itself.

    A relative one is put behind the base, query and all (`rtsp://h/p?q=1/trackID=2`), not joined
    as RFC 3986 says: servers of the live555 line expect that, and so do all of its clients.
    """
    control = control.strip()
    if control in ("", "*") or UNSAFE.search(control):
        return base
    if "://" in control:
        return strip_credentials(control)
    if control.startswith("?"):
        return base.rstrip("/") + control if "?" not in base else base + "&" + control[1:]
    return base.rstrip("/") + "/" + control.lstrip("/")
