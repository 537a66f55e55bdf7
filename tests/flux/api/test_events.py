"""Events over HTTP: server-sent events and the WebSocket."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from flux.api import events
from flux.api.ring import MAX_FOLLOWERS
from media.events import ReaderJoined, StreamCreated, StreamDeleted
from tests.support.api_client import ApiClient, client_of, server_of
from tests.support.api_state import ApiState, populated

SSE, SOCKET = "/api/v1/events", "/api/v1/events/ws"


@pytest.fixture
def state() -> ApiState:
    return populated()


@pytest.fixture
async def api(state: ApiState) -> AsyncIterator[ApiClient]:
    async with client_of(state) as client:
        yield client


async def block(response: aiohttp.ClientResponse) -> str:
    """The next block of a stream of server-sent events."""
    async with asyncio.timeout(5):
        return (await response.content.readuntil(b"\n\n")).decode()


def message(text: str) -> tuple[dict[str, str], Any]:
    """The fields of a block, and its data."""
    fields = dict(line.split(": ", 1) for line in text.strip().splitlines())
    return fields, json.loads(fields["data"])


async def test_server_sent_events(api: ApiClient, state: ApiState) -> None:
    async with api.session.get(SSE) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        assert await block(response) == "retry: 2000\n\n"
        state.bus.emit(StreamCreated("live/\u043a\u0443", "api"))
        fields, data = message(await block(response))
        assert fields["event"] == data["kind"] == "stream-created"
        assert fields["id"] == data["id"]
        assert data["data"] == {"stream": "live/\u043a\u0443", "origin": "api"}


async def test_kinds_and_stream_are_chosen(api: ApiClient, state: ApiState) -> None:
    query = "?kinds=stream-deleted,reader-joined&stream=a"
    async with api.session.get(SSE + query) as response:
        await block(response)
        state.bus.emit(StreamCreated("a", "api"))
        state.bus.emit(StreamDeleted("b", "api"))
        state.bus.emit(StreamDeleted("a", "api"))
        assert message(await block(response))[1]["kind"] == "stream-deleted"


async def is_free(api: ApiClient) -> bool:
    """Whether one more may follow."""
    async with api.session.get(SSE) as response:
        return response.status == 200


@pytest.mark.parametrize("is_header", [True, False])
async def test_a_client_goes_on_behind_what_it_saw(
    api: ApiClient, state: ApiState, is_header: bool
) -> None:
    async with api.session.get(SSE) as response:
        await block(response)
        state.bus.emit(StreamCreated("a", "api"))
        seen = message(await block(response))[0]["id"]
    state.bus.emit(StreamCreated("b", "api"))
    options: dict[str, Any] = (
        {"headers": {"Last-Event-ID": seen}} if is_header else {"params": {"after": seen}}
    )
    async with api.session.get(SSE, **options) as response:
        await block(response)
        assert message(await block(response))[1]["data"]["stream"] == "b"


async def test_signs_of_life(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT", 0.01)
    async with api.session.get(SSE) as response:
        await block(response)
        for _ in range(3):
            assert await block(response) == ": still here\n\n"


async def test_who_leaves_makes_room(api: ApiClient, state: ApiState) -> None:
    responses = [await api.session.get(SSE) for _ in range(MAX_FOLLOWERS)]
    reply = await api(SSE)
    assert (reply.status, reply.reason) == (503, "too-many-followers")
    assert reply.headers["Retry-After"] == "10"
    assert (await api(SOCKET, headers=UPGRADE)).status == 503
    for response in responses:
        response.close()
    async with asyncio.timeout(5):
        while not await is_free(api):
            pass  # each question gives the server a turn


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


async def test_the_web_socket(api: ApiClient, state: ApiState) -> None:
    async with api.session.ws_connect(f"{SOCKET}?kinds=reader-joined") as socket:
        state.bus.emit(StreamCreated("a", "api"))
        state.bus.emit(ReaderJoined("a", "hls", "r1", 0.5))
        event = await socket.receive_json(timeout=5)
        assert event["kind"] == "reader-joined"
        assert event["data"] == {"stream": "a", "protocol": "hls", "reader": "r1", "seconds": 0.5}
        seen = event["id"]
    state.bus.emit(ReaderJoined("b", "hls", "r1", 0.5))
    async with api.session.ws_connect(f"{SOCKET}?after={seen}") as socket:
        assert (await socket.receive_json(timeout=5))["data"]["stream"] == "b"


async def test_what_a_web_socket_client_says_means_nothing(api: ApiClient, state: ApiState) -> None:
    async with api.session.ws_connect(SOCKET) as socket:
        await socket.send_str('{"subscribe": "everything"}')
        await socket.send_str("\u0000")
        state.bus.emit(StreamCreated("a", "api"))
        assert (await socket.receive_json(timeout=5))["kind"] == "stream-created"
        await socket.send_str("x" * 5000)
        assert (await socket.receive(timeout=5)).type in (
            *(aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED),
        )
        assert socket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


async def test_a_page_of_another_site_gets_no_web_socket(api: ApiClient) -> None:
    reply = await api(SOCKET, headers={**UPGRADE, "Origin": "http://evil.example"})
    assert (reply.status, reply.reason) == (403, "foreign-origin")


async def test_all_end_with_the_server(state: ApiState) -> None:
    server = server_of(state)
    await server.start()
    async with aiohttp.ClientSession(f"http://{server.address}") as session:
        response = await session.get(SSE)
        await block(response)
        socket = await session.ws_connect(SOCKET)
        stopping = asyncio.create_task(server.stop())
        async with asyncio.timeout(5):
            assert await response.content.read() == b""
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
            await socket.close()
            await stopping


async def test_one_that_takes_nothing_is_cut(
    api: ApiClient, state: ApiState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that reads nothing holds up nobody and is gone after a while."""
    monkeypatch.setattr(events, "SEND_TIMEOUT", 0.05)
    monkeypatch.setattr(events, "MAX_FOLLOWERS", 1)
    host, _, port = api.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    writer.write(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b"retry: 2000")
    assert not await is_free(api)
    async with asyncio.timeout(10):
        while not await is_free(api):
            for _ in range(100):
                state.bus.emit(StreamCreated("x" * 10_000, "api"))
    writer.close()


def test_the_kinds_are_those_of_the_code() -> None:
    kinds = events.event_kinds()
    assert {"stream-created", "reader-joined", "part-started", "child-ended"} <= kinds
    assert not any("option" in kind for kind in kinds)
