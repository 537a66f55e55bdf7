"""Problem details, RFC 9457: how the API says no."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

CONTENT_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a request: in its body, or in its query."""

    detail: str
    pointer: str | None = None  # into the body, RFC 6901
    parameter: str | None = None  # of the query

    def describe(self) -> dict[str, str]:
        """As the answer has it."""
        found = {"detail": self.detail, "pointer": self.pointer, "parameter": self.parameter}
        return {key: value for key, value in found.items() if value is not None}


class ApiProblem(Exception):
    """A request that is refused. `reason` is a stable slug, `detail` one sentence for people."""

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str,
        headers: dict[str, str] | None = None,
        errors: Sequence[Fault] = (),
    ) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.detail = detail
        self.headers = headers or {}
        self.errors = tuple(errors)

    def response(self) -> web.Response:
        """The answer to send, RFC 9457 section 3."""
        body: dict[str, object] = {
            "type": f"urn:flux:problem:{self.reason}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason,
        }
        if self.errors:
            body["errors"] = [fault.describe() for fault in self.errors]
        return web.Response(
            status=self.status,
            body=json.dumps(body).encode(),
            content_type=CONTENT_TYPE,
            headers={"Cache-Control": "no-store", **self.headers},
        )


def pointer_to(path: Sequence[str | int]) -> str:
    """The JSON pointer of keys and indices, RFC 6901 section 3."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)
