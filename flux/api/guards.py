"""What stands before every handler: who may come in, and that errors leave as problem details.

On localhost nobody has to log in unless the configuration says so, and a page in the user's own
browser must not become a client: a Host that is not this machine (DNS rebinding) and an Origin that
is not the page of this server are refused, and so are bodies that a form could send. Off localhost
the gates are asked about everything but health (`flux/security`); there, too, a foreign Origin is
refused, since a browser sends the credentials that it has learnt with a WebSocket of any page.
"""

import asyncio
import logging
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from flux.api.operation import JSON
from flux.api.problem import ApiProblem
from flux.api.settings import MERGE_PATCH, too_large
from flux.base.errors import PeerError
from flux.bridges.http.request import MAX_USER_AGENT, basic_credentials, bearer_token
from flux.core.admission import API, METRICS, AccessRequest, Gate, Verdict

HEALTH = frozenset({"/healthz", "/readyz"})  # probes call these by any name, they tell nothing
METRICS_PATH = "/metrics"
PROTOCOL = "api"
CHALLENGE = 'Basic realm="FLUX API", charset="UTF-8"'
SENTENCES = {
    "access-denied": "The access service refuses it.",
    "address-banned": "Too many wrong credentials came from this address.",
    "credentials-wrong": "The credentials are wrong.",
    "permission-denied": "The credentials are right, but this is not allowed with them.",
    "name-taken": "There is a stream of this name.",
    "stream-not-found": "There is no stream of this name.",
}

_log = logging.getLogger(__name__)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every refusal and every fault leaves as problem details; a fault tells nothing of itself."""
    try:
        return await handler(request)
    except ApiProblem as problem:
        return problem.response()
    except PeerError as error:
        return _from_peer(error).response()
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _from_http(error).response()
    except Exception:
        _log.exception("api-fault: %s %s", request.method, request.path)
        return ApiProblem(500, "internal-error", "The server failed; its log says why.").response()


def _from_peer(error: PeerError) -> ApiProblem:
    detail = SENTENCES.get(error.reason) or error.detail or "The server refuses it."
    return ApiProblem(error.status or 409, error.reason, detail)


def _from_http(error: web.HTTPException) -> ApiProblem:
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        detail = f"This resource knows {allowed} only."
        return ApiProblem(405, "method-not-allowed", detail, {"Allow": allowed})
    if error.status == 404:
        return ApiProblem(404, "not-found", "There is no such resource.")
    if error.status == 413:
        return too_large()
    return ApiProblem(error.status, "refused", error.reason)


def local_guard() -> Middleware:
    """For an API that only this machine can reach."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in HEALTH:
            host = request.headers.get("Host", "")
            if not is_local_host(host):
                detail = "The Host of the request is not this machine."
                raise ApiProblem(403, "foreign-host", detail)
            origin = request.headers.get("Origin")
            if origin is not None and origin.lower() != f"{request.scheme}://{host.lower()}":
                detail = "The request comes from a page of another site."
                raise ApiProblem(403, "foreign-origin", detail)
        return await handler(request)

    return guard


def remote_guard() -> Middleware:
    """For an API that others can reach."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if request.path not in HEALTH and origin is not None:
            host = request.headers.get("Host", "").lower()
            # The scheme may be another one: a proxy may have added TLS.
            if not host or _host_of(origin) != host:
                detail = "The request comes from a page of another site."
                raise ApiProblem(403, "foreign-origin", detail)
        return await handler(request)

    return guard


def access_guard(permit: Gate) -> Middleware:
    """Asks the gates about everything but health."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in HEALTH:
            verdict = await _ask(permit, request)
            if not verdict.allowed:
                raise _refusal(verdict)
        return await handler(request)

    return guard


async def _ask(permit: Gate, request: web.Request) -> Verdict:
    """The verdict on a request; gates answer within their own time, always."""
    answered: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()

    def answer(verdict: Verdict) -> None:
        if not answered.done():  # the client may have left
            answered.set_result(verdict)

    authorization = request.headers.get("Authorization", "")
    user, password = basic_credentials(authorization)
    wish = AccessRequest(
        METRICS if request.path == METRICS_PATH else API,
        "",
        PROTOCOL,
        request.remote or "",
        query=request.query_string,
        user_agent=request.headers.get("User-Agent", "")[:MAX_USER_AGENT],
        user=user,
        password=password,
        token=bearer_token(authorization),
    )
    permit(wish, answer)
    return await answered


def _refusal(verdict: Verdict) -> ApiProblem:
    status, reason = verdict.status, verdict.reason
    detail = SENTENCES.get(reason, "The credentials cannot be checked now.")
    if reason == "credentials-needed":
        detail = "The API needs credentials: Basic, or a Bearer token where a service takes one."
        if status != 401:
            detail = "Off localhost the API needs credentials, and none are configured."
    headers = {401: {"WWW-Authenticate": CHALLENGE}, 503: {"Retry-After": "2"}}.get(status)
    return ApiProblem(status, reason, detail, headers)


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


@web.middleware
async def json_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse bodies that are not JSON: those are what a foreign page can send unasked."""
    taken = (JSON, MERGE_PATCH) if request.method == "PATCH" else (JSON,)
    if request.body_exists and request.content_type not in taken:
        raise ApiProblem(415, "body-not-json", f"A body must be {' or '.join(taken)}.")
    return await handler(request)


def is_local_host(host: str) -> bool:
    """Whether a Host header names this machine; the port may be any (it may be forwarded)."""
    name, separator, port = host.rpartition(":")
    if not separator or not (port.isascii() and port.isdigit()):
        name = host
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name.lower().rstrip(".") == "localhost"
