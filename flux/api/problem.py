"""Problem details, RFC 9457: how the API says no."""

import json
from http import HTTPStatus

from aiohttp import web

CONTENT_TYPE = "application/problem+json"


class ApiProblem(Exception):
    """A request that is refused. `reason` is a stable slug, `detail` one sentence for people."""

    def __init__(
        self, status: int, reason: str, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.detail = detail
        self.headers = headers or {}

    def response(self) -> web.Response:
        """The answer to send, RFC 9457 section 3."""
        body = {
            "type": f"urn:flux:problem:{self.reason}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason,
        }
        return web.Response(
            status=self.status,
            body=json.dumps(body).encode(),
            content_type=CONTENT_TYPE,
            headers={"Cache-Control": "no-store", **self.headers},
        )
