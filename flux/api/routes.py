"""The routes of the admin API: health, metrics, info, streams."""

import asyncio
from collections.abc import Mapping

from aiohttp import web

from flux.api import guards
from flux.api.models import Info, Model, Stream, StreamPage
from flux.api.paging import check_query, paginate
from flux.api.problem import ApiProblem
from flux.telemetry import metrics
from flux.telemetry.metrics import Metrics
from flux.telemetry.snapshot import SnapshotProvider

MAX_BODY_BYTES = 1 << 20
PAGING = frozenset({"page", "items_per_page"})


class Api:
    """The handlers; all they know of the server is what `provider` tells."""

    def __init__(self, provider: SnapshotProvider) -> None:
        self._provider = provider
        self._metrics = Metrics(provider)

    def routes(self) -> list[web.RouteDef]:
        """The route table. Stream names hold slashes, so `{name}` takes the rest of the path."""
        return [
            web.get("/healthz", self.health),
            web.get("/readyz", self.readiness),
            web.get("/metrics", self.metrics),
            web.get("/api/v1/info", self.info),
            web.get("/api/v1/streams", self.streams),
            web.get("/api/v1/streams/{name:.+}", self.stream),
        ]

    async def health(self, request: web.Request) -> web.Response:
        """The loop turns, or nobody would answer."""
        return _json({"status": "ok"})

    async def readiness(self, request: web.Request) -> web.Response:
        """200 if the server may get new work, else 503 with the reasons."""
        reasons = self._provider().not_ready()
        status = "not ready" if reasons else "ready"
        return _json({"status": status, "reasons": reasons}, 503 if reasons else 200)

    async def metrics(self, request: web.Request) -> web.Response:
        """Prometheus' text."""
        return web.Response(
            body=await self._metrics.render(), headers={"Content-Type": metrics.CONTENT_TYPE}
        )

    async def info(self, request: web.Request) -> web.Response:
        """Version, phase, listeners."""
        check_query(request, frozenset())
        return _model(Info.of(self._provider()))

    async def streams(self, request: web.Request) -> web.Response:
        """A page of the streams, ordered by name."""
        check_query(request, PAGING)
        server = self._provider()
        page = paginate(request, sorted(server.streams, key=lambda stream: stream.name))

        def serialize() -> bytes:
            answer = StreamPage(
                item_count=page.item_count,
                page_count=page.page_count,
                page=page.page,
                items_per_page=page.items_per_page,
                items=[Stream.of(stream, server, whole=False) for stream in page.items],
            )
            return answer.model_dump_json().encode()

        # In a thread: a thousand streams are tens of milliseconds, and media waits for the loop.
        return _json_bytes(await asyncio.to_thread(serialize))

    async def stream(self, request: web.Request) -> web.Response:
        """One stream with its readers."""
        check_query(request, frozenset())
        name, server = request.match_info["name"], self._provider()
        for stream in server.streams:
            if stream.name == name:
                return _model(Stream.of(stream, server))
        raise ApiProblem(404, "stream-not-found", "There is no stream of this name.")


def build_app(provider: SnapshotProvider, *, is_local: bool) -> web.Application:
    """The aiohttp application; `is_local` says whether only this machine can reach it."""
    app = web.Application(
        middlewares=[
            guards.problems,
            guards.local_guard() if is_local else guards.remote_guard(),
            guards.json_only,
        ],
        client_max_size=MAX_BODY_BYTES,
    )
    app.add_routes(Api(provider).routes())
    app.on_response_prepare.append(_add_headers)
    return app


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers["Server"] = "FLUX"


def _model(model: Model) -> web.Response:
    return _json_bytes(model.model_dump_json().encode())


def _json_bytes(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json", charset="utf-8")


def _json(values: Mapping[str, object], status: int = 200) -> web.Response:
    return web.json_response(values, status=status)
