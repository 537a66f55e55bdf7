"""The admin API over real HTTP: health, metrics, info, guards, problems, the part."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.api.guards import is_local_host
from flux.core.part import Part
from flux.telemetry.snapshot import ListenerSnapshot
from tests.support.api_client import ApiClient, client_of, server_of
from tests.support.api_state import ApiState, populated
from tests.support.snapshots import make_server


@pytest.fixture
def state() -> ApiState:
    return populated()


@pytest.fixture
async def api(state: ApiState) -> AsyncIterator[ApiClient]:
    async with client_of(state) as client:
        yield client


async def test_health_says_that_the_loop_turns(api: ApiClient, state: ApiState) -> None:
    state.fault = RuntimeError("nobody asks for the state")
    reply = await api("/healthz")
    assert (reply.status, reply.body) == (200, {"status": "ok"})


async def test_readiness_gives_reasons(api: ApiClient, state: ApiState) -> None:
    reply = await api("/readyz")
    assert (reply.status, reply.body) == (200, {"status": "ready", "reasons": []})
    listener = ListenerSnapshot(name="http", address=":8888", is_up=False)
    state.server = make_server(phase="draining", listeners=(listener,))
    reply = await api("/readyz")
    assert (reply.status, reply.body) == (
        503,
        {"status": "not ready", "reasons": ["phase: draining", "listener http is not up"]},
    )


async def test_metrics_are_text(api: ApiClient) -> None:
    reply = await api("/metrics")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b'flux_stream_ready{stream="live/cam1"} 1.0' in reply.body


async def test_info(api: ApiClient) -> None:
    reply = await api("/api/v1/info")
    assert reply.status == 200
    assert reply.body["version"] == "1.2.3"
    assert reply.body["compiled"] is True
    assert reply.body["started"] == "2026-11-20T11:58:30Z"
    assert [reply.body[key] for key in ("uptime", "streams", "readers")] == [90.0, 4, 6]


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/api/v1/streams/none", 404, "stream-not-found"),
        ("GET", "/api/v1/streams/..%2f..%2fetc%2fpasswd", 404, "stream-not-found"),
        ("GET", "/api/v1/streams/%00%ff%20\u043a\u0443", 404, "stream-not-found"),
        ("GET", "/api/v1/streams/", 404, "not-found"),
        ("GET", "/api/v1/nothing", 404, "not-found"),
        ("GET", "/", 404, "not-found"),
        ("GET", "/docs/..%2fserver.py", 404, "not-found"),
        ("GET", "/docs/swagger-ui.LICENSE", 404, "not-found"),
        ("GET", "/api/v1/streams?page=-1", 400, "query-invalid"),
        ("GET", "/api/v1/streams?page=x", 400, "query-invalid"),
        ("GET", "/api/v1/streams?page=", 400, "query-invalid"),
        ("GET", "/api/v1/streams?page=%D9%A3", 400, "query-invalid"),
        ("GET", "/api/v1/streams?page=1_0", 400, "query-invalid"),
        ("GET", "/api/v1/streams?page=1&page=2", 400, "query-invalid"),
        ("GET", "/api/v1/streams?page=" + "9" * 500, 400, "query-invalid"),
        ("GET", "/api/v1/streams?page=1000001", 400, "query-invalid"),
        ("GET", "/api/v1/streams?items_per_page=0", 400, "query-invalid"),
        ("GET", "/api/v1/streams?items_per_page=1001", 400, "query-invalid"),
        ("GET", "/api/v1/streams?itemsPerPage=5", 400, "query-unknown"),
        ("GET", "/api/v1/streams?sort=size", 400, "query-invalid"),
        ("GET", "/api/v1/streams?state=happy", 400, "query-invalid"),
        ("GET", "/api/v1/streams?prefix=" + "a" * 201, 400, "query-invalid"),
        ("GET", "/api/v1/info?x=1", 400, "query-unknown"),
        ("GET", "/api/v1/sessions?role=boss", 400, "query-invalid"),
        ("GET", "/api/v1/sessions/none", 404, "session-not-found"),
        ("GET", "/api/v1/sessions/a/b", 404, "not-found"),
        ("DELETE", "/api/v1/sessions/none", 404, "session-not-found"),
        ("GET", "/api/v1/events?kinds=party", 400, "query-invalid"),
        ("GET", "/api/v1/events/ws", 426, "upgrade-needed"),
        ("DELETE", "/api/v1/info", 405, "method-not-allowed"),
        ("OPTIONS", "/api/v1/streams", 405, "method-not-allowed"),
        ("POST", "/api/v1/sessions/r1", 405, "method-not-allowed"),
    ],
)
async def test_wrong_requests_are_refused_as_problems(
    api: ApiClient, method: str, path: str, status: int, reason: str
) -> None:
    reply = await api(path, method)
    assert (reply.status, reply.reason) == (status, reason)


async def test_a_wrong_query_is_told_parameter_by_parameter(api: ApiClient) -> None:
    reply = await api("/api/v1/streams?page=x&sort=size&state=happy&items_per_page=0")
    assert reply.reason == "query-invalid"
    assert [error["parameter"] for error in reply.body["errors"]] == [
        *("page", "items_per_page", "state", "sort")
    ]
    assert all("expected" in error["detail"] for error in reply.body["errors"])
    reply = await api("/api/v1/info?" + "x" * 300)
    assert reply.body["errors"][0]["parameter"] == "x" * 37 + "..."


async def test_what_may_be_done_is_told(api: ApiClient) -> None:
    reply = await api("/api/v1/streams/a", "OPTIONS")
    assert reply.headers["Allow"] == "DELETE, GET, HEAD, PATCH, POST, PUT"


async def test_head_answers_without_a_body(api: ApiClient) -> None:
    reply = await api("/api/v1/info", "HEAD")
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["Cache-Control"] == "no-store"


async def test_a_fault_tells_nothing_of_itself(
    api: ApiClient, state: ApiState, caplog: pytest.LogCaptureFixture
) -> None:
    state.fault = RuntimeError("the secret of the house")
    reply = await api("/api/v1/info")
    assert (reply.status, reply.reason) == (500, "internal-error")
    assert "secret" not in str(reply.body)
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
    api: ApiClient, headers: dict[str, str], status: int
) -> None:
    for path in ("/api/v1/info", "/metrics", "/docs"):
        assert (await api(path, headers=headers)).status == status
    assert (await api("/healthz", headers=headers)).status == 200


async def test_a_foreign_page_changes_nothing(api: ApiClient, state: ApiState) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        for method in ("DELETE", "PUT", "PATCH"):
            reply = await api("/api/v1/streams/a", method, json={}, headers=headers)
            assert reply.status == 403
    assert "a" in state.names


async def test_bodies_that_are_not_json_are_refused(api: ApiClient) -> None:
    for body in ({"data": {"a": "b"}}, {"data": b"{}"}):
        for method, path in (("POST", "/api/v1/info"), ("PUT", "/api/v1/streams/a")):
            reply = await api(path, method, **body)
            assert (reply.status, reply.reason) == (415, "body-not-json")
    reply = await api("/api/v1/info", "POST", json={})
    assert (reply.status, reply.reason) == (405, "method-not-allowed")


async def test_off_localhost_only_health_and_metrics_are_open(state: ApiState) -> None:
    server = server_of(state, "0.0.0.0")
    await server.start()
    open_paths: set[str] = set()
    closed_paths: set[str] = set()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.address.port}") as session:
        client = ApiClient("", session)
        for path in (
            *(
                "/healthz",
                "/readyz",
                "/metrics",
                "/api/v1/info",
                "/api/v1/streams/a",
                "/x",
                "/docs",
            ),
            *("/api/v1/sessions", "/api/v1/events", "/api/v1/events/ws", "/api/v1/openapi.json"),
        ):
            reply = await client(path, headers={"Host": "flux.example"})
            (open_paths if reply.status == 200 else closed_paths).add(path)
            assert reply.status == 200 or reply.reason == "credentials-needed"
    await server.stop()
    assert open_paths == {"/healthz", "/readyz", "/metrics"}
    assert len(closed_paths) == 8


async def test_the_server_is_a_part(state: ApiState) -> None:
    server = server_of(state)
    assert isinstance(server, Part)
    states = [server.is_up]
    await server.start()
    states.append(server.is_up)
    taken = replace(server.address)
    other = type(server)(taken, state, state, state.bus)
    with pytest.raises(OSError):
        await other.start()
    await server.stop()
    await server.stop()
    assert [*states, server.is_up] == [False, True, False]


RUBBISH = [
    b"\x16\x03\x01\x00\xa5\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nbad header\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
    b"PUT /api/v1/streams/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
]


async def exchange(address: str, request: bytes) -> bytes:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


@pytest.mark.parametrize("rubbish", RUBBISH)
async def test_rubbish_on_the_wire_is_a_problem_without_a_traceback(
    api: ApiClient, rubbish: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await exchange(api.address, rubbish)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"application/problem+json" in answer
    assert b'"malformed-request"' in answer
    assert b"Traceback" not in answer
    assert b'File "' not in answer
    assert caplog.text == ""


async def test_an_unknown_expectation_is_a_problem(api: ApiClient) -> None:
    reply = await api("/api/v1/info", headers={"Expect": "miracles"})
    assert (reply.status, reply.reason) == (417, "expectation-unknown")


@given(st.text(max_size=40))
def test_any_host_is_local_or_not(host: str) -> None:
    assert is_local_host(host) in (True, False)
