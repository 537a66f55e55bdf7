"""The OpenAPI document, and the pages that let people browse it. Nothing comes from elsewhere."""

import asyncio
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from aiohttp import web

import flux
from flux.api import openapi
from flux.api.operation import Answer, Operation, json_response
from flux.api.query import NoQuery

ASSETS = Path(__file__).with_name("assets")
PAGE = "index.html"
FILES = {
    PAGE: "text/html",
    "page.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


class PagesApi:
    """The handlers of what describes the API; `operations` are what it describes."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._described = operations

    def operations(self) -> list[Operation]:
        """Its rows of the route table."""
        document = Operation(
            id="openapi",
            method="GET",
            path="/api/v1/openapi.json",
            tag="server",
            summary="This document",
            handler=self.document,
            answers=(Answer(200, "OpenAPI 3.1."),),
        )
        page = Operation(
            id="page",
            method="GET",
            path="/docs",
            summary="This document, to browse",
            handler=self.page,
            answers=(Answer(200, "HTML.", None, "text/html"),),
            is_documented=False,
        )
        asset = Operation(
            id="asset",
            method="GET",
            path="/docs/{file}",
            summary="What the page is made of",
            handler=self.asset,
            answers=(Answer(200, "A file."),),
            is_documented=False,
        )
        self._described = (*self._described, document)
        return [document, page, asset]

    @cached_property
    def _document(self) -> bytes:
        return openapi.document(self._described, flux.__version__)

    async def document(self, request: web.Request, query: NoQuery) -> web.Response:
        """OpenAPI 3.1; made when somebody asks for the first time."""
        return json_response(await asyncio.to_thread(lambda: self._document))

    async def page(self, request: web.Request, query: NoQuery) -> web.StreamResponse:
        """The page."""
        return _file(PAGE)

    async def asset(self, request: web.Request, query: NoQuery) -> web.StreamResponse:
        """A file of the page."""
        name = request.match_info["file"]
        if name not in FILES:
            raise web.HTTPNotFound
        return _file(name)


def _file(name: str) -> web.FileResponse:
    headers = {
        "Content-Type": FILES[name],
        "Cache-Control": "no-cache",
        "Content-Security-Policy": POLICY,
        "Referrer-Policy": "no-referrer",
    }
    return web.FileResponse(ASSETS / name, headers=headers)
