"""Sessions: every reader and publisher of every protocol, and the end of one."""

import asyncio
from operator import attrgetter
from typing import Any

from aiohttp import web

from flux.api.models import Session, SessionPage
from flux.api.observed import Observed
from flux.api.operation import Answer, Operation, json_response, model_response
from flux.api.paging import order, paginate
from flux.api.problem import ApiProblem
from flux.api.query import NoQuery, SessionsQuery
from flux.core.control import Control
from flux.telemetry.snapshot import SessionSnapshot

PATH = "/api/v1/sessions/{id}"
NOT_FOUND = (404, "session-not-found")
FILTERS = ("role", "protocol", "stream", "address", "state")


class SessionsApi:
    """The handlers of sessions."""

    def __init__(self, observed: Observed, control: Control) -> None:
        self._observed = observed
        self._control = control

    def operations(self) -> list[Operation]:
        """Its rows of the route table."""
        return [
            Operation(
                id="listSessions",
                method="GET",
                path="/api/v1/sessions",
                tag="sessions",
                summary="A page of the sessions",
                handler=self.list,
                query=SessionsQuery,
                answers=(Answer(200, "The page.", SessionPage),),
            ),
            Operation(
                id="getSession",
                method="GET",
                path=PATH,
                tag="sessions",
                summary="One session",
                handler=self.get,
                answers=(Answer(200, "The session.", Session),),
                problems=(NOT_FOUND,),
            ),
            Operation(
                id="kickSession",
                method="DELETE",
                path=PATH,
                tag="sessions",
                summary="End a session",
                handler=self.kick,
                answers=(Answer(204, "It is gone."),),
                problems=(NOT_FOUND,),
            ),
        ]

    async def list(self, request: web.Request, query: SessionsQuery) -> web.Response:
        """A page of the sessions."""
        wanted = sorted(
            (session for session in self._observed.sessions() if _is_wanted(session, query)),
            key=attrgetter("id"),
        )
        page = paginate(query, order(wanted, query.sort, _sort_key))

        def serialize() -> bytes:
            answer = SessionPage(
                item_count=page.item_count,
                page_count=page.page_count,
                page=page.page,
                items_per_page=page.items_per_page,
                items=[Session.of(session) for session in page.items],
            )
            return answer.model_dump_json().encode()

        return json_response(await asyncio.to_thread(serialize))

    async def get(self, request: web.Request, query: NoQuery) -> web.Response:
        """One session."""
        wanted = request.match_info["id"]
        for session in self._observed.sessions():
            if session.id == wanted:
                return model_response(Session.of(session))
        raise _not_found()

    async def kick(self, request: web.Request, query: NoQuery) -> web.Response:
        """End a session."""
        if not self._control.kick(request.match_info["id"]):
            raise _not_found()
        return web.Response(status=204)


def _not_found() -> ApiProblem:
    return ApiProblem(404, "session-not-found", "There is no session of this id.")


def _is_wanted(session: SessionSnapshot, query: SessionsQuery) -> bool:
    return all(getattr(query, name) in (None, getattr(session, name)) for name in FILTERS)


def _sort_key(session: SessionSnapshot, field: str) -> Any:
    return getattr(session, field)
