"""One row of the route table: the server is routed by it and the OpenAPI document made from it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from flux.api.connection import expect
from flux.api.query import NoQuery, Query, read_query

JSON = "application/json"
Handler = Callable[[web.Request, Any], Awaitable[web.StreamResponse]]  # the request and its query


@dataclass(frozen=True, slots=True)
class Answer:
    """One status that is no problem, and what comes with it."""

    status: int
    text: str
    body: type[BaseModel] | None = None
    media_type: str = JSON  # of the body; without a model it is text
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Body:
    """What a request carries."""

    schema: str  # a component of the document
    media_types: tuple[str, ...] = (JSON,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What one method of one path does."""

    id: str
    method: str
    path: str  # as OpenAPI writes it
    summary: str
    handler: Handler
    answers: tuple[Answer, ...]
    tag: str = "streams"
    text: str = ""
    query: type[Query] = NoQuery
    body: Body | None = None
    headers: tuple[str, ...] = ()  # request headers that it heeds
    problems: tuple[tuple[int, str], ...] = ()  # status and reason, beside those that all have
    is_documented: bool = True

    def route(self) -> web.RouteDef:
        """For aiohttp. A stream's name holds slashes, so `{name}` takes the rest of the path."""
        path = self.path.replace("{name}", "{name:(?s:.+)}")
        if self.method == "GET":  # HEAD, too
            return web.get(path, self.handle, expect_handler=expect)
        return web.route(self.method, path, self.handle, expect_handler=expect)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Read the query, then do it."""
        return await self.handler(request, read_query(request, self.query))


def model_response(model: BaseModel, status: int = 200, **headers: str) -> web.Response:
    """An answer of JSON; `ETag="x"` and the like are its headers."""
    return json_response(model.model_dump_json().encode(), status, **headers)


def json_response(body: bytes, status: int = 200, **headers: str) -> web.Response:
    """An answer whose JSON is written already."""
    return web.Response(
        status=status, body=body, content_type=JSON, charset="utf-8", headers=headers
    )
