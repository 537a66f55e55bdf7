"""FLV and MPEG-TS over WebSocket: the bytes of HTTP in messages, to a client that is not ours."""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import WSMsgType

from flux.bridges.http.websocket import (
    CLOSE_TIMEOUT,
    MAX_STRAY_BYTES,
    MESSAGE_BYTES,
    PING_AFTER,
    PONG_TIMEOUT,
    MediaFrames,
    frame_head,
)
from flux.core.admission import AccessRequest, Answer, Verdict
from media.events import ReaderClosed, ReaderJoined
from media.track import Kind
from tests.support import clips, flv_check, ts_check
from tests.support.conform.flv import check_flv
from tests.support.conform.problem import told
from tests.support.feed_rig import FeedRig as Rig
from tests.support.feed_rig import Response, running

BUNNY = clips.read(clips.BUNNY)
FIRST, REST = BUNNY[:40], BUNNY[40:]
PICTURES = [frame.payload for frame in BUNNY if frame.track.kind is Kind.VIDEO]

KEY = base64.b64encode(bytes(16)).decode()
UPGRADE = {
    "Host": "h",
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "WebSocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


@asynccontextmanager
async def socket(
    rig: Rig, path: str, protocols: Sequence[str] = ()
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A client's WebSocket; it answers pings by itself."""
    url = f"http://127.0.0.1:{rig.port}{path}"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, max_msg_size=0, protocols=protocols) as opened,
    ):
        yield opened


async def read_all(opened: aiohttp.ClientWebSocketResponse) -> list[bytes]:
    """Every message until the server closes."""
    messages: list[bytes] = []
    while True:
        message = await opened.receive(timeout=10)
        if message.type is not WSMsgType.BINARY:
            assert message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED)
            return messages
        messages.append(message.data)


async def raw(
    rig: Rig, path: str, **headers: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that has asked for an upgrade by hand."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    fields = {**UPGRADE, **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"{name}: {value}" for name, value in fields.items() if value]
    writer.write("\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode())
    return reader, writer


async def head_of(reader: asyncio.StreamReader) -> Response:
    return Response(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5))


async def refused(rig: Rig, path: str, **headers: str) -> Response:
    reader, writer = await raw(rig, path, Connection="Upgrade, close", **headers)
    response = Response(await asyncio.wait_for(reader.read(), 5))
    writer.close()
    return response


def client_frame(opcode: int, payload: bytes = b"") -> bytes:
    """A small masked frame; the mask is zero."""
    assert len(payload) < 126
    return bytes((0x80 | opcode, 0x80 | len(payload))) + bytes(4) + payload


def reasons(rig: Rig) -> list[str]:
    return [event.reason for event in rig.events if isinstance(event, ReaderClosed)]


async def test_flv_readers_get_every_frame_and_a_proper_end() -> None:
    async with running() as rig:
        rig.begin(BUNNY)
        await rig.send(FIRST)
        async with socket(rig, "/live/cam.flv") as opened:
            await rig.until_leased(1)
            await rig.send(REST)
            assert [reader.protocol for reader in rig.stream.readers.values()] == ["ws-flv"]
            rig.stream.end_outputs("test-over")
            messages = await read_all(opened)
            assert (opened.close_code, opened.closed) == (1000, True)
        await rig.until(lambda: not rig.server.connections)
    report = flv_check.check(b"".join(messages))
    assert report.problems == []
    problems = check_flv(b"".join(messages))
    assert problems == [], told(problems)
    assert [tag.payload for tag in report.frames(flv_check.VIDEO)] == PICTURES
    joined = [event for event in rig.events if isinstance(event, ReaderJoined)]
    assert [(event.protocol, event.reader) for event in joined] == [("ws-flv", "ws-flv-1")]
    assert reasons(rig) == ["test-over"]
    assert rig.server.responses[101] == 1


async def test_messages_hold_whole_tags() -> None:
    async with running() as rig:
        rig.begin(BUNNY)
        await rig.send(BUNNY)
        async with socket(rig, "/live/cam.flv") as opened:
            await rig.until_leased(1)
            rig.stream.end_outputs("test-over")
            messages = await read_all(opened)
    assert len(messages) > 1
    head = messages[0][:13]
    for number, message in enumerate(messages):
        body = message[13:] if not number else message
        at = 0
        while at < len(body):
            at += 15 + int.from_bytes(body[at + 1 : at + 4], "big")
        assert at == len(body)
    assert head.startswith(b"FLV\x01\x05")


async def test_ts_over_websocket() -> None:
    async with running() as rig:
        rig.begin(BUNNY)
        await rig.send(FIRST)
        async with socket(rig, "/live/cam.ts") as opened:
            await rig.until_leased(1)
            await rig.send(REST)
            rig.stream.end_outputs("test-over")
            data = b"".join(await read_all(opened))
    assert ts_check.check(data, tables_within=0).problems == []
    closed = [event for event in rig.events if isinstance(event, ReaderClosed)]
    assert [event.protocol for event in closed] == ["ws-ts"]


async def test_http_and_websocket_readers_share_one_feed() -> None:
    async with running() as rig:
        rig.begin(BUNNY)
        await rig.send(FIRST)
        async with socket(rig, "/live/cam.flv") as opened:
            reader, writer = await rig.open("/live/cam.flv")
            await rig.until_leased(2)
            assert list(rig.stream.outputs) == ["flv"]
            await rig.send(REST)
            rig.stream.end_outputs("test-over")
            framed = b"".join(await read_all(opened))
            plain = Response(await asyncio.wait_for(reader.read(), 10)).body
            writer.close()
    assert framed == plain


async def test_the_handshake_waits_for_the_stream() -> None:
    async with running(on_demand=True) as rig:
        reader, writer = await raw(rig, "/live/cam.flv")
        await rig.until(lambda: rig.source.calls == ["start"])
        rig.begin(BUNNY)
        await rig.send(FIRST)
        head = await head_of(reader)
        assert head.status == 101
        # The example of RFC 6455 has another key; this is the hash of the nonce of zeros.
        assert head.headers["Sec-WebSocket-Accept"] == "ICX+Yqv66kxgM0FcWaLWlFLwTAI="
        assert "Sec-WebSocket-Extensions" not in head.headers
        writer.close()


@pytest.mark.parametrize(
    ("path", "headers", "status", "reason"),
    [
        ("/live/none.flv", {}, 404, "stream-not-found"),
        ("/live/cam.flv?start=x", {}, 400, "unknown-start"),
        ("/live/cam.flv", {"Sec_WebSocket_Version": "8"}, 426, "websocket-version"),
        ("/live/cam.flv", {"Sec_WebSocket_Key": "short"}, 400, "websocket-malformed"),
        ("/live/cam.flv", {"Sec_WebSocket_Key": ""}, 400, "websocket-malformed"),
        ("/nothing", {}, 404, "not-found"),
    ],
)
async def test_refusals(path: str, headers: dict[str, str], status: int, reason: str) -> None:
    async with running() as rig:
        rig.begin(BUNNY)
        response = await refused(rig, path, **headers)
    assert (response.status, response.reason) == (status, reason)
    if status == 426:
        assert response.headers["Sec-WebSocket-Version"] == "13"


async def test_other_upgrades_are_passed_over() -> None:
    async with running() as rig:
        rig.begin(BUNNY)
        reader, writer = await raw(rig, "/nothing", Upgrade="h2c")
        writer.write(b"GET /other HTTP/1.1\r\nConnection: close\r\n\r\n")
        both = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert both.count(b"HTTP/1.1 404 Not Found") == 2


async def test_a_subprotocol_that_a_browser_asks_for_is_taken() -> None:
    async with running() as rig:
        rig.begin(BUNNY)
        await rig.send(FIRST)
        async with socket(rig, "/live/cam.flv", protocols=["flv", "other"]) as opened:
            assert opened.protocol == "flv"


async def test_pings_are_answered_and_what_a_player_says_is_ignored() -> None:
    async with running() as rig:
        rig.begin(BUNNY)
        await rig.send(FIRST)
        reader, writer = await raw(rig, "/live/cam.flv?start=key")
        assert (await head_of(reader)).status == 101
        writer.write(client_frame(1, b"hello") + client_frame(9, b"are you there"))
        data = await asyncio.wait_for(reader.readuntil(b"are you there"), 5)
        assert data[-15:-13] == b"\x8a\x0d"
        writer.write(client_frame(8, b"\x03\xe8"))
        rest = await asyncio.wait_for(reader.read(), 5)
        assert rest == b"\x88\x02\x03\xe8"
        writer.close()
        await rig.until(lambda: reasons(rig) == ["peer-closed"])


@pytest.mark.parametrize(
    ("junk", "reason"),
    [
        (b"\x81\x01x", "websocket-malformed"),  # without a mask
        (b"\x83\x80" + bytes(4), "websocket-malformed"),  # no opcode
        (b"GET / HTTP/1.1\r\n\r\n", "websocket-malformed"),
        (client_frame(9, b"x" * 125) * (MAX_STRAY_BYTES // 131 + 2), "stray-data"),
        (b"\x82\xff" + (1 << 40).to_bytes(8, "big") + bytes(MAX_STRAY_BYTES), "stray-data"),
    ],
)
async def test_junk_ends_it(junk: bytes, reason: str) -> None:
    async with running() as rig:
        rig.begin(BUNNY)
        await rig.send(FIRST)
        reader, writer = await raw(rig, "/live/cam.flv")
        assert (await head_of(reader)).status == 101
        writer.write(junk)
        await asyncio.wait_for(reader.read(), 5)
        writer.close()
        await rig.until(lambda: reasons(rig) == [reason])
        await rig.until(lambda: not rig.server.connections)


async def test_a_peer_that_is_silent_is_pinged_and_then_cut() -> None:
    async with running() as rig:
        rig.begin(BUNNY)
        await rig.send(FIRST)
        reader, writer = await raw(rig, "/live/cam.flv?start=key")
        assert (await head_of(reader)).status == 101
        connection = next(iter(rig.server._connections))  # noqa: SLF001 - the sweep is its timer
        heard = rig.now
        connection.sweep(heard + PING_AFTER)
        await asyncio.wait_for(reader.readuntil(b"\x89\x00"), 5)
        rig.now += PING_AFTER
        writer.write(client_frame(10) + client_frame(9, b"x"))  # its answer, and a sign for us
        await asyncio.wait_for(reader.readuntil(b"\x8a\x01x"), 5)
        connection.sweep(heard + PING_AFTER + PONG_TIMEOUT)
        assert reasons(rig) == []
        connection.sweep(rig.now + PING_AFTER + 1)
        connection.sweep(rig.now + PING_AFTER + PONG_TIMEOUT + 2)
        assert reasons(rig) == ["ping-timeout"]
        await rig.until(lambda: not rig.server.connections)
        writer.close()


async def test_a_peer_that_does_not_answer_our_close_is_cut() -> None:
    async with running() as rig:
        rig.begin(BUNNY)
        await rig.send(FIRST)
        reader, writer = await raw(rig, "/live/cam.flv?start=key")
        assert (await head_of(reader)).status == 101
        rig.stream.end_outputs("server-stopping")
        await asyncio.wait_for(reader.readuntil(b"\x03\xe9server-stopping"), 5)
        connection = next(iter(rig.server._connections))  # noqa: SLF001 - see above
        connection.sweep(rig.now + CLOSE_TIMEOUT - 0.1)
        assert connection.is_open
        connection.sweep(rig.now + CLOSE_TIMEOUT)
        await rig.until(lambda: not rig.server.connections)
        writer.close()


async def test_credentials_that_a_browser_adds_for_another_page_do_not_count() -> None:
    class Gate:
        def __init__(self) -> None:
            self.asked: list[AccessRequest] = []

        def admit(self, request: AccessRequest, done: Answer) -> None:
            self.asked.append(request)
            done(Verdict(True))

    gate = Gate()
    basic = "Basic " + base64.b64encode(b"ann:right").decode()
    async with running() as rig:
        rig.admission.add(gate.admit)
        rig.begin(BUNNY)
        await rig.send(FIRST)
        for origin in ("http://h", "http://elsewhere", ""):
            path = "/live/cam.flv?token=abc"
            _, writer = await raw(rig, path, Authorization=basic, Origin=origin)
            await rig.until_leased(1)
            writer.close()
            await rig.until_leased(0)
    assert [request.user for request in gate.asked] == ["ann", "", "ann"]
    assert [request.token for request in gate.asked] == ["abc"] * 3
    assert {request.protocol for request in gate.asked} == {"ws-flv"}


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_frames_are_those_of_a_library(size: int) -> None:
    from wsproto.frame_protocol import FrameProtocol

    data = bytes(size)
    assert frame_head(size) + data == bytes(FrameProtocol(False, []).send_data(data))


def test_lists_of_chunks_become_messages_of_whole_chunks() -> None:
    frames = MediaFrames()
    chunks = [bytes([n]) * size for n, size in enumerate((10, 60_000, 10_000, 100_000, 5))]
    pieces = frames.pieces(chunks)
    assert [piece for piece in pieces if piece in chunks] == chunks
    heads = [frame_head(size) for size in (60_010, 10_000, 100_000, 5)]
    assert [piece for piece in pieces if piece not in chunks] == heads
    assert frames.pieces([]) == []
    assert max(60_010, 10_005) <= MESSAGE_BYTES
