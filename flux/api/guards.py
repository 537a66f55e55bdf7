"""What stands before every handler: who may come in, and that errors leave as problem details.

On localhost nobody has to log in, so a page in the user's own browser must not become a client:
a Host that is not this machine (DNS rebinding) and an Origin that is not the page of this server
are refused, and so are bodies that a form could send. Off localhost everything but health and
metrics needs credentials.
"""

import logging
from ipaddress import ip_address

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from flux.api.operation import JSON
from flux.api.problem import ApiProblem
from flux.api.settings import MERGE_PATCH, too_large
from flux.base.errors import PeerError

HEALTH = frozenset({"/healthz", "/readyz"})  # probes call these by any name, they tell nothing
OPEN = HEALTH | {"/metrics"}  # served off localhost without credentials
SENTENCES = {
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
    """For an API that others can reach: without credentials only health and metrics."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in OPEN:
            detail = "Off localhost the API needs credentials, and none are configured."
            raise ApiProblem(403, "credentials-needed", detail)
        return await handler(request)

    return guard


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
