"""The admin API as the commands use it: one small client on the standard library."""

import json
from base64 import b64encode
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, unquote, urlencode, urlsplit

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.client import HTTPResponse

DEFAULT_API = "http://127.0.0.1:9997"
TIMEOUT = 5.0
ITEMS_PER_PAGE = 1000
MAX_PAGES = 1000
MAX_ANSWER_BYTES = 256 << 20

ApiOption = Annotated[
    str,
    typer.Option(
        "--api", metavar="URL", envvar="FLUX_API", help="Where the admin API of the server is."
    ),
]
UserOption = Annotated[
    str,
    typer.Option(
        "--user", metavar="NAME", envvar="FLUX_API_USER", help="User of the API, if it has users."
    ),
]
PasswordOption = Annotated[
    str,
    typer.Option(
        "--password",
        metavar="PASSWORD",
        envvar="FLUX_API_PASSWORD",
        help="Its password; better in the environment, where no list of processes shows it.",
    ),
]


class ApiError(Exception):
    """The server did not do it; the message is for people, `reason` a stable slug."""

    def __init__(self, message: str, reason: str, status: int = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status


class ApiClient:
    """One server. Raises `typer.BadParameter` for a URL that is none.

    A user given here goes before one in the URL.
    """

    def __init__(
        self, url: str, timeout: float = TIMEOUT, user: str = "", password: str = ""
    ) -> None:
        self._timeout = timeout
        text = url if "://" in url else f"http://{url}"
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or parts.scheme not in ("http", "https"):
            # Not repeated in the message: it may hold a password.
            raise typer.BadParameter("expected http://HOST:PORT", param_hint="--api")
        place = f"[{host}]" if ":" in host else host
        self.base = f"{parts.scheme}://{place}" + (f":{port}" if port else "")
        self.base += parts.path.rstrip("/").removesuffix("/api/v1")
        self._is_local = _is_local(host)
        self._authorization = ""
        if not user and parts.username is not None:
            user, password = unquote(parts.username), unquote(parts.password or "")
        if user:
            pair = f"{user}:{password}".encode("utf-8", "surrogateescape")
            self._authorization = f"Basic {b64encode(pair).decode()}"

    def get(self, path: str, query: "Mapping[str, object] | None" = None) -> Any:
        """What a resource holds; raises `ApiError`."""
        return self._ask("GET", path + (f"?{urlencode(query)}" if query else ""))

    def delete(self, path: str) -> None:
        """Delete a resource; raises `ApiError`."""
        self._ask("DELETE", path)

    def items(self, path: str) -> list[dict[str, Any]]:
        """All items of a list, through all of its pages."""
        found: list[dict[str, Any]] = []
        for page in range(MAX_PAGES):
            answer = self.get(path, {"page": page, "items_per_page": ITEMS_PER_PAGE})
            try:
                found += answer["items"]
                if page + 1 >= answer["page_count"]:
                    break
            except (KeyError, TypeError):
                raise ApiError(f"{self.base} is no FLUX API", "api-not-flux") from None
        return found

    def _ask(self, method: str, path: str) -> Any:
        from http.client import HTTPException
        from urllib.error import HTTPError, URLError
        from urllib.request import ProxyHandler, Request, build_opener

        headers = {"Accept": "application/json", "User-Agent": "flux-cli"}
        if self._authorization:
            headers["Authorization"] = self._authorization
        request = Request(self.base + path, method=method, headers=headers)
        proxies = ProxyHandler({}) if self._is_local else ProxyHandler()
        try:
            with build_opener(proxies).open(request, timeout=self._timeout) as answer:
                return self._read(answer)
        except HTTPError as error:
            with error:
                raise self._problem(error.code, error.read(1 << 16)) from None
        except URLError as error:
            raise self._unreachable(error.reason) from None
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from None

    def _read(self, answer: "HTTPResponse") -> Any:
        body = answer.read(MAX_ANSWER_BYTES)
        if not body:
            return None
        try:
            return json.loads(body)
        except ValueError:
            raise ApiError(f"{self.base} is no FLUX API", "api-not-flux", answer.status) from None

    def _unreachable(self, error: object) -> ApiError:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        hint = "is FLUX running there? Name another one with --api or FLUX_API"
        return ApiError(f"cannot reach {self.base}: {why}; {hint}", "api-unreachable")

    def _problem(self, status: int, body: bytes) -> ApiError:
        """Problem details, RFC 9457, or whatever else came with an error status."""
        try:
            problem = json.loads(body)
            return ApiError(str(problem["detail"]), str(problem["reason"]), status)
        except (ValueError, KeyError, TypeError):
            return ApiError(f"{self.base} answers {status}", "api-refused", status)


def path_of(kind: str, name: str) -> str:
    """The path of one stream or session; slashes of a name stay."""
    return f"/api/v1/{kind}/{quote(name)}"


def _is_local(host: str) -> bool:
    """Whether a host is this machine: a proxy of the environment is not asked for it."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
