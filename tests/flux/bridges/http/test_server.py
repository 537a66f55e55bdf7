"""The media listener: requests, limits, bad clients, streams."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flux.bridges.http.connection import HttpConnection
from flux.bridges.http.request import Request
from flux.bridges.http.server import HttpLimits, HttpServer
from flux.net.sink import TransportSink

LARGE = bytes(24 << 20)  # more than the kernel takes


class Echo:
    """Answers `/echo`, holds `/held`, streams `/stream`."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.held: list[HttpConnection] = []
        self.sinks: list[TransportSink] = []
        self.lost: list[str] = []
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 5)

    def note_lost(self, reason: str) -> None:
        self.lost.append(reason)
        self._changed.set()

    def handle(self, request: Request, connection: HttpConnection) -> bool:
        self.requests.append(request)
        asyncio.get_running_loop().call_soon(self._changed.set)
        if request.path == "/echo":
            connection.respond(200, [("Content-Type", "text/plain")], b"hello")
        elif request.path == "/large":
            connection.respond(200, [], LARGE)
        elif request.path == "/held":
            self.held.append(connection)
        elif request.path == "/stream":
            sink = connection.start_stream([("X-Live", "1")], self.note_lost, 1 << 16)
            assert sink is not None
            self.sinks.append(sink)
        else:
            return False
        return True


class Clock:
    def __init__(self) -> None:
        self.time = 50.0
        self.fault = False

    def __call__(self) -> float:
        if self.fault:
            raise ValueError("a fault")
        return self.time


class Rig:
    def __init__(self, limits: HttpLimits) -> None:
        self.echo = Echo()
        self.clock = Clock()
        self.server = HttpServer([self.echo], limits, self.clock)
        self.port = 0

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def exchange(self, data: bytes) -> bytes:
        """Send `data`, and read until the server closes."""
        reader, writer = await self.connect()
        writer.write(data)
        answer = await reader.read()
        writer.close()
        return answer


@asynccontextmanager
async def running(limits: HttpLimits | None = None) -> AsyncIterator[Rig]:
    rig = Rig(limits or HttpLimits())
    _, rig.port = await rig.server.start("127.0.0.1", 0)
    try:
        yield rig
    finally:
        await rig.server.stop(timeout=0.2)


def get(target: str, *, method: str = "GET", close: bool = True) -> bytes:
    extra = "Connection: close\r\n" if close else ""
    return f"{method} {target} HTTP/1.1\r\nHost: x\r\n{extra}\r\n".encode()


async def test_a_get_is_answered_and_the_connection_kept() -> None:
    async with running() as rig:
        answer = await rig.exchange(get("/echo", close=False) + get("/echo?a=1&b=%20"))
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert answer.count(b"hello") == 2
    assert rig.echo.requests[1].query == {"a": "1", "b": " "}
    assert rig.server.responses[200] == 2


async def test_pipelined_requests_are_answered_in_order_even_if_the_first_is_held() -> None:
    async with running() as rig:
        reader, writer = await rig.connect()
        writer.write(get("/held", close=False) + get("/echo"))
        await rig.echo.until(lambda: bool(rig.echo.held))
        rig.echo.held[0].respond(200, [], b"first")
        answer = await reader.read()
        writer.close()
    assert answer.index(b"first") < answer.index(b"hello")


async def test_every_split_of_a_request_parses_alike() -> None:
    request = get("/echo")
    async with running() as rig:
        for at in range(1, len(request), 7):
            reader, writer = await rig.connect()
            writer.write(request[:at])
            await asyncio.sleep(0)
            writer.write(request[at:])
            assert (await reader.read()).endswith(b"hello"), at
            writer.close()


async def test_head_options_and_other_methods() -> None:
    async with running() as rig:
        head = await rig.exchange(get("/echo", method="HEAD"))
        options = await rig.exchange(get("/echo", method="OPTIONS"))
        post = await rig.exchange(get("/echo", method="DELETE"))
    assert b"Content-Length: 5" in head
    assert head.endswith(b"\r\n\r\n")
    assert options.startswith(b"HTTP/1.1 204")
    assert b"Access-Control-Allow-Methods: GET, HEAD, OPTIONS" in options
    assert post.startswith(b"HTTP/1.1 405")
    assert b"Allow: GET, HEAD, OPTIONS" in post


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (get("/nothing"), 404, "not-found"),
        (b"NONSENSE\r\n\r\n", 400, "malformed-request"),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400, "malformed-request"),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 20_000, 431, "headers-too-large"),
        (b"GET /" + b"a" * 20_000, 431, "headers-too-large"),
        (
            b"GET /held HTTP/1.1\r\nContent-Length: 99999\r\n\r\n" + bytes(70_000),
            413,
            "body-too-large",
        ),
        (b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n" * 20, 503, "too-many-pipelined-requests"),
    ],
)
async def test_bad_requests_get_a_status_and_a_counted_reason(
    data: bytes, status: int, reason: str
) -> None:
    async with running() as rig:
        answer = await rig.exchange(data)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert reason.encode() in answer
    assert rig.server.refusals[reason] == 1


async def test_connections_are_limited_by_address() -> None:
    async with running(HttpLimits(connections_per_address=2)) as rig:
        kept = [await rig.connect() for _ in range(2)]
        answer = await rig.exchange(get("/echo"))
        for _, writer in kept:
            writer.close()
    assert answer.startswith(b"HTTP/1.1 503")
    assert rig.server.refusals["too-many-connections"] == 1


async def test_a_client_that_never_ends_its_head_is_cut() -> None:
    async with running() as rig:
        reader, writer = await rig.connect()
        writer.write(b"GET /echo HTTP/1.1\r\n")
        rig.clock.time += 11.0
        assert await reader.read() == b""
        writer.close()
    assert rig.server.refusals["http-timeout"] == 1


async def test_a_stream_is_close_delimited_and_ends_properly() -> None:
    async with running() as rig:
        reader, writer = await rig.connect()
        writer.write(get("/stream"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"X-Live: 1" in head
        assert b"Content-Length" not in head
        sink = rig.echo.sinks[0]
        sink.write(b"one")
        sink.writelines([b"two", b"three"])
        sink.end("source-lost")
        assert await reader.read() == b"onetwothree"
        assert rig.echo.lost == ["source-lost"]
        writer.close()


async def test_a_reader_that_leaves_or_talks_too_much_is_noticed() -> None:
    async with running() as rig:
        reader, writer = await rig.connect()
        writer.write(get("/stream"))
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        await rig.echo.until(lambda: bool(rig.echo.lost))
        reader, writer = await rig.connect()
        writer.write(get("/stream"))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(bytes(70_000))
        with pytest.raises(ConnectionResetError):
            while await reader.read():
                pass
            raise ConnectionResetError
        writer.close()
    assert rig.echo.lost == ["peer-closed", "peer-closed"]
    assert rig.server.refusals["stray-data"] == 1


async def test_stopping_lets_answers_go_out_and_cuts_the_rest() -> None:
    async with running() as rig:
        reader, writer = await rig.connect()
        writer.write(get("/stream"))
        await reader.readuntil(b"\r\n\r\n")
        rig.echo.sinks[0].write(b"last words")
        rig.echo.sinks[0].end("server-stopping")
        await rig.server.stop(timeout=1.0)
        assert await reader.read() == b"last words"
        assert rig.server.connections == 0
        writer.close()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=300))
async def test_any_bytes_leave_the_listener_working(data: bytes) -> None:
    async with running() as rig:
        reader, writer = await rig.connect()
        writer.write(data)
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert (await rig.exchange(get("/echo"))).endswith(b"hello")


async def test_pipelined_requests_wait_until_the_answer_before_them_is_taken() -> None:
    async with running() as rig:
        reader, writer = await rig.connect()
        writer.write(get("/large", close=False) * 9 + get("/echo"))
        await rig.echo.until(lambda: bool(rig.echo.requests))
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(rig.echo.requests) == 1  # else a few bytes make us hold gigabytes
        answer = await reader.read()
        writer.close()
        assert len(rig.echo.requests) == 10
        assert answer.count(b"HTTP/1.1 200 OK\r\n") == 10
        assert len(answer) > 9 * len(LARGE)


async def test_who_pipelines_too_much_and_takes_nothing_is_cut() -> None:
    async with running() as rig:
        _, writer = await rig.connect()
        writer.write(get("/large", close=False) * 100)
        await rig.echo.until(lambda: rig.server.refusals["too-many-pipelined-requests"] == 1)
        assert len(rig.echo.requests) == 1
        writer.transport.abort()


async def test_a_fault_in_one_sweep_is_not_the_last_sweep() -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    async with running() as rig:
        _, writer = await rig.connect()
        await rig.exchange(get("/echo"))
        rig.clock.fault = True
        async with asyncio.timeout(5):
            while not faults:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        rig.clock.fault = False
        rig.clock.time += 1000.0
        async with asyncio.timeout(5):
            while not rig.server.refusals["http-timeout"]:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        writer.close()
