"""The bus for clients: server-sent events and a WebSocket with the same messages."""

import asyncio

from aiohttp import WSMsgType, web

from flux.api.models import Event, EventsMissed
from flux.api.operation import Answer, Operation
from flux.api.problem import ApiProblem, Fault
from flux.api.query import EventsQuery, shorten
from flux.api.ring import MAX_FOLLOWERS, EventRing, Follower
from flux.core.catalogue import chapters, event_word

HEARTBEAT = 15.0  # seconds without an event until a sign of life
SEND_TIMEOUT = 30.0  # seconds that a client may take nothing
RETRY_MS = 2000  # when an EventSource comes back
MAX_MESSAGE = 4096  # bytes of what a WebSocket client may send; nothing it sends means anything
TOO_MANY = (503, "too-many-followers")


def event_kinds() -> frozenset[str]:
    """The words of all events that there are."""
    return frozenset(event_word(kind) for chapter in chapters() for kind in chapter.events)


class EventsApi:
    """Lets clients follow the bus."""

    def __init__(self, ring: EventRing) -> None:
        self._ring = ring
        self._kinds = event_kinds()

    def operations(self) -> list[Operation]:
        """Its rows of the route table."""
        text = "Begins with the next event, or behind the one whose id is given."
        return [
            Operation(
                id="followEvents",
                method="GET",
                path="/api/v1/events",
                tag="events",
                summary="Follow what happens, as server-sent events",
                text=f"{text} A comment comes after {HEARTBEAT:g} s without an event.",
                handler=self.sse,
                query=EventsQuery,
                headers=("Last-Event-ID",),
                answers=(Answer(200, "Events without end.", Event, "text/event-stream"),),
                problems=(TOO_MANY,),
            ),
            Operation(
                id="followEventsByWebSocket",
                method="GET",
                path="/api/v1/events/ws",
                tag="events",
                summary="Follow what happens, over a WebSocket",
                text=f"{text} Each text message is one event. A ping comes each {HEARTBEAT:g} s.",
                handler=self.websocket,
                query=EventsQuery,
                headers=("Last-Event-ID",),
                answers=(Answer(101, "The WebSocket is open."),),
                problems=(TOO_MANY, (426, "upgrade-needed")),
            ),
        ]

    async def sse(self, request: web.Request, query: EventsQuery) -> web.StreamResponse:
        """Server-sent events, as WHATWG HTML section 9.2 has them."""
        with self._follow(request, query) as follower:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            try:
                await _write(response, f"retry: {RETRY_MS}\n\n")
                while (events := await follower.next(HEARTBEAT)) is not None:
                    await _write(response, "".join(map(_frame, events)) or ": still here\n\n")
            except (TimeoutError, ConnectionError):
                _cut(request)  # it takes nothing, or has gone
        return response

    async def websocket(self, request: web.Request, query: EventsQuery) -> web.StreamResponse:
        """The same over RFC 6455."""
        socket = web.WebSocketResponse(
            heartbeat=HEARTBEAT, compress=False, max_msg_size=MAX_MESSAGE, timeout=1.0
        )
        if not socket.can_prepare(request):
            detail = "This resource speaks WebSocket only."
            headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
            raise ApiProblem(426, "upgrade-needed", detail, headers)
        with self._follow(request, query) as follower:
            await socket.prepare(request)
            sender = asyncio.create_task(_send(request, socket, follower))
            try:
                async for message in socket:
                    if message.type is WSMsgType.BINARY:
                        break
            finally:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)
        return socket

    def _follow(self, request: web.Request, query: EventsQuery) -> Follower:
        unknown = sorted(set(query.kinds) - self._kinds)
        if unknown:
            faults = [
                Fault(f"no event is called {shorten(kind)!r}", parameter="kinds")
                for kind in unknown
            ]
            detail = f"Known kinds: {', '.join(sorted(self._kinds))}."
            raise ApiProblem(400, "query-invalid", detail, errors=faults)
        if self._ring.followers >= MAX_FOLLOWERS:
            detail = f"{MAX_FOLLOWERS} clients follow the events already."
            raise ApiProblem(503, "too-many-followers", detail, {"Retry-After": "10"})
        last_id = query.after or request.headers.get("Last-Event-ID")
        return self._ring.follow(query.kinds, query.stream, last_id)


async def _write(response: web.StreamResponse, text: str) -> None:
    async with asyncio.timeout(SEND_TIMEOUT):
        await response.write(text.encode())


async def _send(request: web.Request, socket: web.WebSocketResponse, follower: Follower) -> None:
    """Send events until there are none any more or the client takes none."""
    try:
        while (events := await follower.next(SEND_TIMEOUT)) is not None:
            for event in events:
                async with asyncio.timeout(SEND_TIMEOUT):
                    await socket.send_str(event.model_dump_json())
    except (TimeoutError, ConnectionError):
        _cut(request)
    else:
        await socket.close()


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _frame(event: Event | EventsMissed) -> str:
    """One event as text; JSON has no line breaks of its own."""
    identity = f"id: {event.id}\n" if isinstance(event, Event) else ""
    return f"{identity}event: {event.kind}\ndata: {event.model_dump_json()}\n\n"
