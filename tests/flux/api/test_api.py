"""The admin API over real HTTP: health, metrics, streams, guards, problems."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.addresses import ListenAddress
from flux.api.guards import is_local_host
from flux.api.routes import build_app
from flux.api.server import ApiServer
from flux.core.part import Part
from flux.telemetry.snapshot import ListenerSnapshot, ServerSnapshot
from tests.support.snapshots import make_server, make_stream

Call = Callable[..., Awaitable[tuple[int, object, aiohttp.ClientResponse]]]


class Api:
    """A running API whose server state a test sets."""

    def __init__(self) -> None:
        self.state = make_server(make_stream("live/cam1"), make_stream("b"), make_stream("a"))
        self.fault: Exception | None = None

    def provide(self) -> ServerSnapshot:
        if self.fault is not None:
            raise self.fault
        return self.state


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
async def call(api: Api) -> AsyncIterator[Call]:
    server = ApiServer(ListenAddress("127.0.0.1", 0), api.provide)
    await server.start()
    async with aiohttp.ClientSession(f"http://{server.address}") as client:

        async def request(
            path: str, method: str = "GET", **options: object
        ) -> tuple[int, object, aiohttp.ClientResponse]:
            async with client.request(method, path, **options) as response:  # type: ignore[arg-type]
                if "json" in response.headers.get("Content-Type", ""):
                    return response.status, await response.json(content_type=None), response
                return response.status, await response.text(), response

        yield request
    await server.stop()


def reason_of(body: object) -> object:
    assert isinstance(body, dict)
    assert set(body) == {"type", "title", "status", "detail", "reason"}
    return body["reason"]


async def test_health_says_that_the_loop_turns(call: Call, api: Api) -> None:
    api.fault = RuntimeError("nobody asks the provider")
    assert (await call("/healthz"))[:2] == (200, {"status": "ok"})


async def test_readiness_gives_reasons(call: Call, api: Api) -> None:
    assert (await call("/readyz"))[:2] == (200, {"status": "ready", "reasons": []})
    listener = ListenerSnapshot(name="http", address=":8888", is_up=False)
    api.state = make_server(phase="draining", listeners=(listener,))
    assert (await call("/readyz"))[:2] == (
        503,
        {"status": "not ready", "reasons": ["phase: draining", "listener http is not up"]},
    )


async def test_metrics_are_text(call: Call) -> None:
    status, text, response = await call("/metrics")
    assert status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'flux_stream_ready{stream="live/cam1"} 1.0' in str(text)


async def test_info(call: Call) -> None:
    status, body, _ = await call("/api/v1/info")
    assert isinstance(body, dict)
    assert status == 200
    assert body["version"] == "1.2.3"
    assert body["started"] == "2026-11-20T11:58:30Z"
    assert (body["uptime"], body["streams"], body["readers"]) == (90.0, 3, 6)


async def test_a_stream_whose_name_holds_slashes(call: Call) -> None:
    for path in ("/api/v1/streams/live/cam1", "/api/v1/streams/live%2Fcam1"):
        status, body, _ = await call(path)
        assert isinstance(body, dict)
        assert status == 200
        assert body["name"] == "live/cam1"
        assert body["source"]["url"] == "rtsp://***@cam/1"
        assert body["source"]["since"] == "2026-11-20T11:59:00Z"
        assert [track["codec_string"] for track in body["tracks"]] == ["avc1.64001f", None]
        assert [reader["id"] for reader in body["reader_list"]] == ["r1", "r2"]
        assert body["dropped_tracks"][0]["text"] == "audio dropped: pcma not in hls-ts"
        assert body["drops"] == {"h264-fu-loss": 3}
        assert body["rtp"]["lost"] == 12


async def test_streams_come_in_pages(call: Call) -> None:
    status, body, _ = await call("/api/v1/streams?items_per_page=2&page=0")
    assert isinstance(body, dict)
    assert status == 200
    assert (body["item_count"], body["page_count"]) == (3, 2)
    assert [stream["name"] for stream in body["items"]] == ["a", "b"]
    assert body["items"][0]["reader_list"] is None
    _, body, _ = await call("/api/v1/streams?items_per_page=2&page=1")
    assert isinstance(body, dict)
    assert [stream["name"] for stream in body["items"]] == ["live/cam1"]
    _, body, _ = await call("/api/v1/streams?page=7")
    assert isinstance(body, dict)
    assert body["items"] == []


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/api/v1/streams/none", 404, "stream-not-found"),
        ("GET", "/api/v1/streams/..%2f..%2fetc%2fpasswd", 404, "stream-not-found"),
        ("GET", "/api/v1/streams/%00%ff%20\u043a\u0443", 404, "stream-not-found"),
        ("GET", "/api/v1/nothing", 404, "not-found"),
        ("GET", "/", 404, "not-found"),
        ("GET", "/api/v1/streams?page=-1", 400, "query-invalid"),
        ("GET", "/api/v1/streams?page=x", 400, "query-invalid"),
        ("GET", "/api/v1/streams?page=%D9%A3", 400, "query-invalid"),
        ("GET", "/api/v1/streams?page=1&page=2", 400, "query-invalid"),
        ("GET", "/api/v1/streams?page=" + "9" * 500, 400, "query-invalid"),
        ("GET", "/api/v1/streams?items_per_page=0", 400, "query-invalid"),
        ("GET", "/api/v1/streams?items_per_page=1001", 400, "query-invalid"),
        ("GET", "/api/v1/streams?itemsPerPage=5", 400, "query-unknown"),
        ("GET", "/api/v1/info?x=1", 400, "query-unknown"),
        ("DELETE", "/api/v1/info", 405, "method-not-allowed"),
        ("OPTIONS", "/api/v1/streams", 405, "method-not-allowed"),
    ],
)
async def test_wrong_requests_are_refused_as_problems(
    call: Call, method: str, path: str, status: int, reason: str
) -> None:
    answered, body, response = await call(path, method)
    assert (answered, reason_of(body)) == (status, reason)
    assert response.headers["Content-Type"] == "application/problem+json"


async def test_head_answers_without_a_body(call: Call) -> None:
    status, text, response = await call("/api/v1/info", "HEAD")
    assert (status, text) == (200, None)
    assert response.headers["Cache-Control"] == "no-store"


async def test_a_fault_tells_nothing_of_itself(
    call: Call, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    api.fault = RuntimeError("the secret of the house")
    status, body, _ = await call("/api/v1/info")
    assert (status, reason_of(body)) == (500, "internal-error")
    assert "secret" not in str(body)
    assert "api-fault" in caplog.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:9997"}, 200),
        ({"Host": "LOCALHOST"}, 200),
        ({"Host": "[::1]:9997"}, 200),
        ({"Host": "127.9.9.9:1"}, 200),
        ({"Host": "localhost:9997", "Origin": "http://localhost:9997"}, 200),
        ({"Host": "evil.example:9997"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": "192.168.1.5:9997"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "localhost:9997", "Origin": "http://localhost:3000"}, 403),
        ({"Host": "localhost:9997", "Origin": "https://localhost:9997"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
async def test_a_foreign_page_is_refused_on_localhost(
    call: Call, headers: dict[str, str], status: int
) -> None:
    for path in ("/api/v1/info", "/metrics"):
        assert (await call(path, headers=headers))[0] == status
    assert (await call("/healthz", headers=headers))[0] == 200


async def test_bodies_that_are_not_json_are_refused(call: Call) -> None:
    status, body, _ = await call("/api/v1/info", "POST", data={"a": "b"})
    assert (status, reason_of(body)) == (415, "body-not-json")
    status, body, _ = await call("/api/v1/info", "POST", data=b"{}")
    assert (status, reason_of(body)) == (415, "body-not-json")
    status, body, _ = await call("/api/v1/info", "POST", json={})
    assert (status, reason_of(body)) == (405, "method-not-allowed")


async def test_off_localhost_only_health_and_metrics_are_open(api: Api) -> None:
    server = ApiServer(ListenAddress("0.0.0.0", 0), api.provide)
    await server.start()
    statuses = {}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.address.port}") as client:
        for path in ("/healthz", "/readyz", "/metrics", "/api/v1/info", "/api/v1/streams/a", "/x"):
            async with client.get(path, headers={"Host": "flux.example"}) as response:
                statuses[path] = response.status
    await server.stop()
    assert statuses == {
        "/healthz": 200,
        "/readyz": 200,
        "/metrics": 200,
        "/api/v1/info": 403,
        "/api/v1/streams/a": 403,
        "/x": 403,
    }


async def test_the_server_is_a_part(api: Api) -> None:
    server = ApiServer(ListenAddress("127.0.0.1", 0), api.provide)
    assert isinstance(server, Part)
    states = [server.is_up]
    await server.start()
    states.append(server.is_up)
    taken = ApiServer(server.address, api.provide)
    with pytest.raises(OSError):
        await taken.start()
    await server.stop()
    await server.stop()
    assert [*states, server.is_up] == [False, True, False]


async def test_rubbish_on_the_wire_gets_no_traceback(api: Api) -> None:
    server = ApiServer(ListenAddress("127.0.0.1", 0), api.provide)
    await server.start()
    for rubbish in (b"\x16\x03\x01\x00\xa5\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.address.port)
        writer.write(rubbish)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert b"Traceback" not in answer
        assert b'File "' not in answer
    await server.stop()


@given(st.text(max_size=40))
def test_any_host_is_local_or_not(host: str) -> None:
    assert is_local_host(host) in (True, False)


def test_the_application_can_be_extended() -> None:
    state = replace(make_server(), phase="running")
    app = build_app(lambda: state, is_local=True)
    paths = {resource.canonical for resource in app.router.resources()}
    assert paths >= {"/healthz", "/readyz", "/metrics", "/api/v1/streams/{name}"}
