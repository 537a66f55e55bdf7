"""One HTTP request of the media listener, as a handler sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

MAX_QUERY_FIELDS = 64


@dataclass(frozen=True, slots=True)
class Request:
    """A parsed request; bodies are not kept, media are only fetched here."""

    method: str
    path: str  # percent-decoded, with its leading slash
    query: Mapping[str, str]
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
        return cls(method, path, query, headers, keep_alive, address, arrived)
