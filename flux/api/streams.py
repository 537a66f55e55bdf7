"""Streams: lists, one of them with everything, and changes of their settings at run time."""

import asyncio
from typing import Any

from aiohttp import web

from config.names import check_stream_name
from config.schema import StreamSection
from flux.api import settings
from flux.api.models import Settings, Stream, StreamPage
from flux.api.observed import Observed
from flux.api.operation import JSON, Answer, Body, Operation, json_response, model_response
from flux.api.paging import order, paginate
from flux.api.preconditions import Versions
from flux.api.problem import ApiProblem
from flux.api.query import NoQuery, StreamsQuery, SwitchQuery
from flux.base.errors import PeerError
from flux.core.control import Control
from flux.telemetry.snapshot import StreamSnapshot

PATH = "/api/v1/streams/{name}"
SWITCH_PATH = "/api/v1/switch/{name}"
SWITCH_REFUSALS = {
    "stream-not-found": "There is no stream of this name.",
    "source-not-found": "The stream has no source at this place.",
    "one-source-only": "The stream has no `fallback`, so there is nothing to choose from.",
}
CONDITIONS = ("If-Match", "If-None-Match")
NOT_FOUND = (404, "stream-not-found")
TAKEN = (409, "name-taken")
NAME_INVALID = (400, "name-invalid")
CHANGES = (
    NAME_INVALID,
    (409, "not-changeable"),
    (412, "precondition-failed"),
)
BODIES = (
    (400, "body-malformed"),
    (408, "body-timeout"),
    (422, "settings-invalid"),
)


class StreamsApi:
    """The handlers of streams."""

    def __init__(self, observed: Observed, control: Control, versions: Versions) -> None:
        self._observed = observed
        self._control = control
        self._versions = versions

    def operations(self) -> list[Operation]:
        """Its rows of the route table."""
        return [
            Operation(
                id="listStreams",
                method="GET",
                path="/api/v1/streams",
                summary="A page of the streams",
                handler=self.list,
                query=StreamsQuery,
                answers=(Answer(200, "The page.", StreamPage),),
            ),
            Operation(
                id="getStream",
                method="GET",
                path=PATH,
                summary="One stream with its settings and its readers",
                handler=self.get,
                answers=(Answer(200, "The stream.", Stream, headers=("ETag",)),),
                problems=(NOT_FOUND,),
            ),
            Operation(
                id="switchSource",
                method="POST",
                path=SWITCH_PATH,
                summary="Prefer one of a stream's sources",
                text="It goes on air at its next key frame, and stays the preferred one until the "
                "choice is taken back by a request without `source`.",
                handler=self.switch,
                query=SwitchQuery,
                answers=(Answer(204, "It is preferred."),),
                problems=(NOT_FOUND, (404, "source-not-found"), (409, "one-source-only")),
            ),
            *self._changes(),
        ]

    def _changes(self) -> list[Operation]:
        changed = Answer(200, "The stream as it was changed.", Settings, headers=("ETag",))
        made = Answer(201, "The stream that was made.", Settings, headers=("ETag", "Location"))
        return [
            Operation(
                id="createStream",
                method="POST",
                path=PATH,
                summary="Make a stream",
                handler=self.create,
                body=Body("StreamSection"),
                headers=CONDITIONS,
                answers=(made,),
                problems=(*CHANGES, *BODIES, TAKEN),
            ),
            Operation(
                id="putStream",
                method="PUT",
                path=PATH,
                summary="Make a stream, or replace all of its settings",
                text="A hidden value that is sent as it was shown stands for the one that is set.",
                handler=self.put,
                body=Body("StreamSection"),
                headers=CONDITIONS,
                answers=(changed, made),
                problems=(*CHANGES, *BODIES, TAKEN, NOT_FOUND),
            ),
            Operation(
                id="patchStream",
                method="PATCH",
                path=PATH,
                summary="Change some of a stream's settings",
                text="A merge patch (RFC 7396): null gives a setting its default.",
                handler=self.patch,
                body=Body("StreamPatch", (JSON, settings.MERGE_PATCH)),
                headers=CONDITIONS,
                answers=(changed,),
                problems=(*CHANGES, *BODIES, NOT_FOUND),
            ),
            Operation(
                id="deleteStream",
                method="DELETE",
                path=PATH,
                summary="End a stream and its readers",
                handler=self.delete,
                headers=CONDITIONS,
                answers=(Answer(204, "It is gone."),),
                problems=(*CHANGES, NOT_FOUND),
            ),
        ]

    async def list(self, request: web.Request, query: StreamsQuery) -> web.Response:
        """A page of the streams."""
        server = self._observed.snapshot()
        wanted = sorted(
            (stream for stream in server.streams if _is_wanted(stream, query)),
            key=lambda stream: stream.name,
        )
        page = paginate(query, order(wanted, query.sort, _sort_key))

        def serialize() -> bytes:
            answer = StreamPage(
                item_count=page.item_count,
                page_count=page.page_count,
                page=page.page,
                items_per_page=page.items_per_page,
                items=[Stream.of(stream, server) for stream in page.items],
            )
            return answer.model_dump_json().encode()

        # In a thread: a thousand streams are tens of milliseconds, and media waits for the loop.
        return json_response(await asyncio.to_thread(serialize))

    async def get(self, request: web.Request, query: NoQuery) -> web.Response:
        """One stream with everything."""
        name, server = request.match_info["name"], self._observed.snapshot()
        stream = next((stream for stream in server.streams if stream.name == name), None)
        if stream is None:
            raise _not_found()
        section = self._control.section(name)
        shown = settings.show(section) if section is not None else None
        readers = self._observed.reader_list(name)
        tag = self._versions.tag(self._control.version(name))

        def serialize() -> bytes:
            return Stream.of(stream, server, shown, readers).model_dump_json().encode()

        return json_response(await asyncio.to_thread(serialize), ETag=tag)

    # Once a body is read, everything up to the answer happens in one turn of the loop: what the
    # preconditions hold true of cannot change before the change is made. They are looked at last,
    # RFC 9110 section 13.2.1.

    async def create(self, request: web.Request, query: NoQuery) -> web.Response:
        """Make a stream; never touches one that is there."""
        name = _valid_name(request)
        section = settings.build(await settings.read_settings(request), None)
        if self._control.section(name) is not None:
            raise ApiProblem(409, "name-taken", "There is a stream of this name.")
        self._check_conditions(request, name)
        return self._create(request, name, section)

    async def put(self, request: web.Request, query: NoQuery) -> web.Response:
        """Make a stream or replace its settings."""
        name = _valid_name(request)
        values = await settings.read_settings(request)
        current = self._control.section(name)
        section = settings.build(values, current)
        self._check_conditions(request, name)
        if current is None:
            return self._create(request, name, section)
        return self._change(name, section)

    async def patch(self, request: web.Request, query: NoQuery) -> web.Response:
        """Change some settings."""
        name = _valid_name(request)
        changes = await settings.read_settings(request)
        current = self._declared(name)
        section = settings.build(settings.patch(current, changes), current)
        self._check_conditions(request, name)
        return self._change(name, section)

    async def delete(self, request: web.Request, query: NoQuery) -> web.Response:
        """End a stream."""
        name = _valid_name(request)
        self._declared(name)
        self._check_conditions(request, name)
        self._control.delete(name)
        return web.Response(status=204)

    async def switch(self, request: web.Request, query: SwitchQuery) -> web.Response:
        """Prefer a source, or none."""
        try:
            self._control.switch(request.match_info["name"], query.source)
        except PeerError as error:
            raise ApiProblem(error.status, error.reason, SWITCH_REFUSALS[error.reason]) from None
        return web.Response(status=204)

    def _check_conditions(self, request: web.Request, name: str) -> None:
        """Raise 412 if the stream is not what the client holds it for."""
        exists = self._control.section(name) is not None
        self._versions.check(request, self._control.version(name), exists=exists)

    def _declared(self, name: str) -> StreamSection:
        """What a stream that can be changed is declared with."""
        section = self._control.section(name)
        if section is not None:
            return section
        if any(stream.name == name for stream in self._observed.snapshot().streams):
            detail = "This stream lives as long as its publisher; nobody declared it."
            raise ApiProblem(409, "not-changeable", detail)
        raise _not_found()

    def _create(self, request: web.Request, name: str, section: StreamSection) -> web.Response:
        self._control.create(name, section)
        return self._answer(name, section, 201, Location=request.rel_url.raw_path)

    def _change(self, name: str, section: StreamSection) -> web.Response:
        self._control.change(name, section)
        return self._answer(name, section, 200)

    def _answer(
        self, name: str, section: StreamSection, status: int, **headers: str
    ) -> web.Response:
        tag = self._versions.tag(self._control.version(name))
        answer = Settings(name=name, settings=settings.show(section))
        return model_response(answer, status, ETag=tag, **headers)


def _valid_name(request: web.Request) -> str:
    try:
        return check_stream_name(request.match_info["name"])
    except ValueError as error:
        detail = f"This cannot be a stream's name: {error}."
        raise ApiProblem(400, "name-invalid", detail) from None


def _not_found() -> ApiProblem:
    return ApiProblem(404, "stream-not-found", "There is no stream of this name.")


def _is_wanted(stream: StreamSnapshot, query: StreamsQuery) -> bool:
    protocol = stream.source.kind if stream.source is not None else None
    return (
        query.state in (None, stream.state)
        and query.protocol in (None, protocol)
        and query.origin in (None, stream.origin)
        and stream.name.startswith(query.prefix or "")
    )


def _sort_key(stream: StreamSnapshot, field: str) -> Any:
    if field == "readers":
        return sum(stream.readers.values())
    if field == "ready_since":
        return stream.ready_since or 0.0
    return getattr(stream, field)
