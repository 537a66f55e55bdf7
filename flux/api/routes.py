"""The routes of the admin API, and the application made of them."""

import secrets

from aiohttp import web

from flux.api import guards, settings
from flux.api.events import EventsApi
from flux.api.models import Health, Info, Readiness
from flux.api.observed import Observed
from flux.api.operation import Answer, Operation, model_response
from flux.api.pages import PagesApi
from flux.api.preconditions import Versions
from flux.api.query import NoQuery
from flux.api.ring import EventRing
from flux.api.sessions import SessionsApi
from flux.api.srt import SrtApi
from flux.api.streams import StreamsApi
from flux.core.admission import Gate
from flux.core.bus import Bus
from flux.core.control import Control
from flux.telemetry import metrics
from flux.telemetry.metrics import Metrics
from flux.telemetry.snapshot import SnapshotProvider


class ServerApi:
    """Health, metrics, info: what is of the server as a whole."""

    def __init__(self, provider: SnapshotProvider) -> None:
        self._provider = provider
        self._metrics = Metrics(provider)

    def operations(self) -> list[Operation]:
        """Its rows of the route table."""
        not_ready = Answer(503, "It may not, and why.", Readiness)
        return [
            Operation(
                id="health",
                method="GET",
                path="/healthz",
                tag="server",
                summary="Whether the server lives",
                handler=self.health,
                answers=(Answer(200, "It does.", Health),),
            ),
            Operation(
                id="readiness",
                method="GET",
                path="/readyz",
                tag="server",
                summary="Whether the server may get new work",
                handler=self.readiness,
                answers=(Answer(200, "It may.", Readiness), not_ready),
            ),
            Operation(
                id="metrics",
                method="GET",
                path="/metrics",
                tag="server",
                summary="Figures for Prometheus",
                handler=self.metrics,
                answers=(Answer(200, "Prometheus' text format.", None, "text/plain"),),
            ),
            Operation(
                id="info",
                method="GET",
                path="/api/v1/info",
                tag="server",
                summary="Version, phase, listeners",
                handler=self.info,
                answers=(Answer(200, "The server.", Info),),
            ),
        ]

    async def health(self, request: web.Request, query: NoQuery) -> web.Response:
        """The loop turns, or nobody would answer."""
        return model_response(Health())

    async def readiness(self, request: web.Request, query: NoQuery) -> web.Response:
        """200 if the server may get new work, else 503 with the reasons."""
        reasons = list(self._provider().not_ready())
        answer = Readiness(status="not ready" if reasons else "ready", reasons=reasons)
        return model_response(answer, 503 if reasons else 200)

    async def metrics(self, request: web.Request, query: NoQuery) -> web.Response:
        """Prometheus' text."""
        return web.Response(
            body=await self._metrics.render(), headers={"Content-Type": metrics.CONTENT_TYPE}
        )

    async def info(self, request: web.Request, query: NoQuery) -> web.Response:
        """Version, phase, listeners."""
        return model_response(Info.of(self._provider()))


class Api:
    """Everything that the API serves; all it knows of the server is what it is given."""

    def __init__(self, observed: Observed, control: Control, bus: Bus) -> None:
        instance = secrets.token_hex(4)  # tags and ids of one run mean nothing to the next
        self.ring = EventRing(bus, instance)
        self.operations = [
            *ServerApi(observed.snapshot).operations(),
            *StreamsApi(observed, control, Versions(instance)).operations(),
            *SessionsApi(observed, control).operations(),
            *SrtApi(observed).operations(),
            *EventsApi(self.ring).operations(),
        ]
        self.operations += PagesApi(tuple(self.operations)).operations()

    def routes(self) -> list[web.RouteDef]:
        """The route table, for aiohttp."""
        return [operation.route() for operation in self.operations]

    def close(self) -> None:
        """Let those go who follow the events."""
        self.ring.close()


def build_app(api: Api, *, is_local: bool, permit: Gate | None) -> web.Application:
    """The aiohttp application.

    `is_local` says whether only this machine can reach it; `permit` is asked about every request,
    None means that nobody has to say who it is.
    """
    app = web.Application(
        middlewares=[
            guards.problems,
            guards.local_guard() if is_local else guards.remote_guard(),
            *((guards.access_guard(permit),) if permit is not None else ()),
            guards.json_only,
        ],
        client_max_size=settings.MAX_BODY_BYTES,
    )
    app.add_routes(api.routes())
    app.on_response_prepare.append(_add_headers)
    return app


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers["Server"] = "FLUX"
