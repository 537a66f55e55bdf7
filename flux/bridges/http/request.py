"""One HTTP request of the media listener, as a handler sees it."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from config.names import check_stream_name
from flux.core.admission import READ, TOKEN_KEYS, AccessRequest

MAX_QUERY_FIELDS = 64
MAX_USER_AGENT = 256  # characters kept


@dataclass(frozen=True, slots=True)
class Request:
    """A parsed request; bodies are not kept, media are only fetched here."""

    method: str
    path: str  # percent-decoded, with its leading slash
    query: Mapping[str, str]
    raw_query: str  # as it came, without the question mark
    headers: Mapping[str, str]  # names in lower case
    keep_alive: bool
    address: str  # of the peer, without the port
    arrived: float  # monotonic seconds

    @classmethod
    def build(
        cls,
        method: str,
        target: bytes,
        headers: Mapping[str, str],
        *,
        keep_alive: bool,
        address: str,
        arrived: float,
    ) -> "Request":
        """From the request target as it came; undecodable bytes become U+FFFD."""
        raw_path, _, raw_query = target.decode("latin-1").partition("?")
        if "://" in raw_path.split("/", 1)[0] + "//":  # absolute form, RFC 9112 section 3.2.2
            raw_path = "/" + raw_path.split("://", 1)[-1].partition("/")[2]
        path = unquote(raw_path, errors="replace") or "/"
        query = dict(parse_qsl(raw_query, max_num_fields=MAX_QUERY_FIELDS)) if raw_query else {}
        return cls(method, path, query, raw_query, headers, keep_alive, address, arrived)

    @property
    def user_agent(self) -> str:
        """What the client says it is, not longer than is worth keeping."""
        return self.headers.get("user-agent", "")[:MAX_USER_AGENT]

    @property
    def wants_websocket(self) -> bool:
        """Whether the connection is to become a WebSocket; RFC 6455 section 4.2.1."""
        return (
            self.method == "GET"
            and "websocket" in _tokens(self.headers.get("upgrade", ""))
            and "upgrade" in _tokens(self.headers.get("connection", ""))
        )

    @property
    def is_from_elsewhere(self) -> bool:
        """Whether a page of another origin asks.

        Pages may open WebSockets anywhere, and browsers add the credentials that they know. CORS
        keeps the answers of requests with credentials from such pages; here nothing else would.
        """
        origin = self.headers.get("origin", "")
        if not origin:
            return False
        own = self.headers.get("host", "").strip().lower()
        return origin.strip().lower().partition("://")[2] != own

    def to_read(self, stream: str, protocol: str, session: str) -> AccessRequest:
        """This request as the wish to read a stream, with the credentials that it carries."""
        authorization = self.headers.get("authorization", "")
        if self.wants_websocket and self.is_from_elsewhere:
            authorization = ""  # what a browser adds by itself is not the page's
        user, password = basic_credentials(authorization)
        return AccessRequest(
            READ,
            stream,
            protocol,
            self.address,
            query=self.raw_query,
            user_agent=self.user_agent,
            user=user,
            password=password,
            session=session,
            token=bearer_token(authorization) or self._query_token(),
        )

    def _query_token(self) -> str:
        """The token of a player that can send no headers."""
        return next((self.query[key] for key in TOKEN_KEYS if key in self.query), "")


def _tokens(field: str) -> list[str]:
    """The members of a header field that is a list of tokens, in lower case."""
    return [token.strip() for token in field.lower().split(",")] if field else []


def is_stream_name(name: str) -> bool:
    """Whether a stream may be called like this: nobody is asked about anything else."""
    try:
        check_stream_name(name)
    except ValueError:
        return False
    return True


def basic_credentials(authorization: str) -> tuple[str, str]:
    """User and password of a Basic header field (RFC 7617); two empty strings if it is none."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        text = base64.b64decode(token.strip(), validate=True).decode()
    except ValueError:
        return "", ""
    user, _, password = text.partition(":")
    return user, password


def bearer_token(authorization: str) -> str:
    """The token of a Bearer header field (RFC 6750 section 2.1); empty if it is none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
