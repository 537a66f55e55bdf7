"""A connection of the API: what is no HTTP is answered as a problem, too, and not with a traceback.

Everything below a request's head is aiohttp's; what it finds wrong there never reaches a handler.
"""

import logging

from aiohttp import web

from flux.api.problem import ApiProblem

_log = logging.getLogger(__name__)


class Connection(web.RequestHandler):
    """One client's connection."""

    __slots__ = ()

    def log_access(self, *_: object) -> None:
        """Requests are not logged."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to a request that cannot be read, and the end of its connection."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun, another cannot follow")
        if status < 500:
            problem = ApiProblem(status, "malformed-request", "The request is no HTTP.")
        else:
            _log.error("api-fault: a connection failed", exc_info=exc)
            problem = ApiProblem(500, "internal-error", "The server failed; its log says why.")
        response = problem.response()
        response.force_close()
        return response


async def expect(request: web.Request) -> web.StreamResponse | None:
    """`Expect: 100-continue` (RFC 9110 section 10.1.1); nothing else can be expected."""
    if request.headers.get("Expect", "").lower() != "100-continue":
        detail = "The API knows the expectation 100-continue only."
        return ApiProblem(417, "expectation-unknown", detail).response()
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # the answer itself has not begun
    return None
