"""The server's shell on loopback: pumping, limits, tunnels, ends."""

import asyncio
import base64
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flux.net.tls import ServerTls
from protocols.rtsp import server_events as ask
from protocols.rtsp.link.server import MAX_OWED_BYTES, MAX_STRAY_BYTES
from protocols.rtsp.server import RtspPeer, RtspServer, ServerLimits
from protocols.rtsp.server_options import ServerOptions
from tests.support import certificate
from tests.support.rtsp_app import (
    TCP_01,
    URL,
    App,
    Reply,
    frame,
    parse_replies,
    request,
)
from tests.support.rtsp_players import FFPLAY, VLC, Player, play

RTP = b"\x80\x60" + bytes(50)


@dataclass
class Bridge:
    """Answers by an `App`; keeps what it hears."""

    app: App = field(default_factory=App)
    questions: list[tuple[RtspPeer, ask.Asked]] = field(default_factory=list)
    packets: list[tuple[int, bytes]] = field(default_factory=list)
    ended: list[ask.SessionEnded | ask.TrackEnded] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    on_play: Callable[[RtspPeer], None] = lambda peer: None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def on_request(self, peer: RtspPeer, event: ask.Asked) -> None:
        self.questions.append((peer, event))
        reply = self.app.reply(event)
        if reply is not None:
            assert peer.answer(event.handle, reply)
        if isinstance(event, ask.PlayAsked):
            self.on_play(peer)
        self.changed.set()

    def on_ended(self, peer: RtspPeer, event: ask.SessionEnded | ask.TrackEnded) -> None:
        self.ended.append(event)
        self.changed.set()

    def on_packets(self, peer: RtspPeer, packets: list[tuple[int, bytes]], now: float) -> None:
        self.packets += packets
        self.changed.set()

    def on_closed(self, peer: RtspPeer, reason: str) -> None:
        self.closed.append(reason)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@dataclass
class Stage:
    bridge: Bridge
    server: RtspServer
    host: str
    port: int

    async def connect(self) -> "Wire":
        reader, writer = await asyncio.open_connection(self.host, self.port)
        return Wire(reader, writer)


@dataclass
class Wire:
    """A client on a socket."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def reply(self) -> Reply:
        async with asyncio.timeout(10):
            data = await self.reader.readuntil(b"\r\n\r\n")
            length = 0
            for line in data.split(b"\r\n"):
                if line.startswith(b"Content-Length: "):
                    length = int(line[16:])
            data += await self.reader.readexactly(length)
        (reply,) = parse_replies(data)
        return reply

    async def ask(self, method: str, url: str = URL, **headers: str) -> Reply:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.send(f"{method} {url} RTSP/1.0\r\nCSeq: 1\r\n{lines}\r\n".encode())
        return await self.reply()

    async def rest(self) -> bytes:
        """Everything until the end; empty where it was cut."""
        try:
            async with asyncio.timeout(10):
                return await self.reader.read(-1)
        except ConnectionError:
            return b""

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return


@asynccontextmanager
async def stage(
    bridge: Bridge | None = None,
    options: ServerOptions | None = None,
    limits: ServerLimits | None = None,
    host: str | None = "127.0.0.1",
) -> AsyncIterator[Stage]:
    bridge = bridge or Bridge()
    server = RtspServer(bridge, options or ServerOptions(), limits or ServerLimits())
    address, port = await server.start(host, 0)
    try:
        yield Stage(bridge, server, "127.0.0.1" if address in ("::", "0.0.0.0") else address, port)
    finally:
        await server.stop()
    assert not server.peers


async def test_a_session_on_a_socket() -> None:
    async with stage() as here:
        wire = await here.connect()
        options = await wire.ask("OPTIONS")
        assert options["Date"].endswith(" GMT")
        described = await wire.ask("DESCRIBE")
        assert described.status == 200
        reply = await wire.ask("SETUP", URL + "/trackID=0", Transport=TCP_01)
        assert len(reply.session) == 32
        assert (await wire.ask("PLAY", Session=reply.session)).status == 200
        wire.send(frame(1, b"rr") + frame(1, b"bye"))
        await here.bridge.until(lambda: len(here.bridge.packets) == 2)
        (peer,) = here.server
        assert (peer.address, peer.local_address) == ("127.0.0.1", "127.0.0.1")
        assert peer.sessions == (reply.session,)
        assert (peer.is_secure, peer.is_tunnelled) == (False, False)
        await wire.close()
        await here.bridge.until(lambda: bool(here.bridge.closed))
        assert here.bridge.ended == [ask.SessionEnded(reply.session, "peer-closed")]
        assert here.bridge.closed == ["peer-closed"]


async def test_the_address_of_ipv4_on_a_socket_for_both() -> None:
    async with stage(host=None) as here:
        wire = await here.connect()
        await wire.ask("DESCRIBE")
        assert here.bridge.questions[0][0].address == "127.0.0.1"
        await wire.close()


async def test_media_comes_behind_the_reply_to_play_and_before_that_to_teardown() -> None:
    """Also when TEARDOWN stands behind PLAY in one segment."""
    media = frame(0, RTP) * 3
    bridge = Bridge(on_play=lambda peer: peer.transport.write(media))
    async with stage(bridge) as here:
        wire = await here.connect()
        session = (await wire.ask("SETUP", URL + "/trackID=0", Transport=TCP_01)).session
        wire.send(
            request("PLAY", CSeq=2, Session=session)
            + request("OPTIONS", CSeq=3, Session=session)
            + request("TEARDOWN", CSeq=4, Session=session, Connection="close")
        )
        data = await wire.rest()
        first, second, third = data.index(b"CSeq: 2"), data.index(media), data.index(b"CSeq: 4")
        assert first < second < third
        assert first < data.index(b"CSeq: 3") < third
        replies = parse_replies(data.replace(media, b""))
        assert [reply["CSeq"] for reply in replies] == ["2", "3", "4"]
        await wire.close()


async def test_an_answer_that_comes_later() -> None:
    bridge = Bridge(App(held={ask.DescribeAsked}))
    async with stage(bridge) as here:
        wire = await here.connect()
        wire.send(request("DESCRIBE", CSeq=1) + request("OPTIONS", CSeq=2))
        await bridge.until(lambda: bool(bridge.questions))
        peer, event = bridge.questions[0]
        assert peer.answer(event.handle, ask.Description(b"v=0\r\n"))
        assert not peer.answer(event.handle, ask.Description(b"v=0\r\n"))
        assert (await wire.reply())["CSeq"] == "1"
        assert (await wire.reply())["CSeq"] == "2"
        await wire.close()
        await bridge.until(lambda: bool(bridge.closed))
        assert not peer.answer(event.handle, ask.Description(b"v=0\r\n"))


async def test_verbs_of_the_bridge_within_its_calls() -> None:
    bridge = Bridge(App(held={ask.PlayAsked}))
    async with stage(bridge) as here:
        wire = await here.connect()
        session = (await wire.ask("SETUP", URL + "/trackID=0", Transport=TCP_01)).session
        bridge.on_play = lambda peer: peer.close("not-today")
        wire.send(request("PLAY", CSeq=2, Session=session))
        assert await wire.rest() == b""
        assert bridge.closed == ["not-today"]
        assert bridge.ended == [ask.SessionEnded(session, "not-today")]
        await wire.close()


async def test_a_session_that_is_kicked() -> None:
    async with stage() as here:
        wire = await here.connect()
        session = (await wire.ask("SETUP", URL + "/trackID=0", Transport=TCP_01)).session
        (peer,) = here.server
        peer.end_session(session, "kicked")
        assert here.bridge.ended == [ask.SessionEnded(session, "kicked")]
        assert (await wire.ask("PLAY", Session=session)).status == 454
        await wire.close()


async def test_timers_run() -> None:
    options = ServerOptions(session_timeout=0.05, session_grace=0.0, idle_timeout=0.05)
    async with stage(options=options) as here:
        wire = await here.connect()
        await wire.ask("SETUP", URL + "/trackID=0", Transport=TCP_01)
        assert await wire.rest() == b""
        assert [event.session_id != "" for event in here.bridge.ended] == [True]
        assert here.bridge.closed == ["idle-timeout"]
        await wire.close()


async def test_touch_and_media_received_reach_the_machine() -> None:
    options = ServerOptions(session_timeout=0.1, session_grace=0.0, media_timeout=0.1)
    async with stage(options=options) as here:
        wire = await here.connect()
        offer = "RTP/AVP;unicast;client_port=5000-5001"
        later = time.monotonic() + 3600
        sessions = []
        for _ in range(2):
            reply = await wire.ask("SETUP", URL + "/trackID=0", Transport=offer)
            sessions.append(reply.session)
            (peer,) = here.server
            peer.touch(sessions[0], later)
        publisher = await here.connect()
        lines = "CSeq: 1\r\nContent-Length: 5\r\n\r\nv=0\r\n"
        publisher.send(f"ANNOUNCE rtsp://h/pub RTSP/1.0\r\n{lines}".encode())
        published = (await publisher.reply()).session
        await publisher.ask("SETUP", "rtsp://h/pub/trackID=0", Transport=offer)
        await publisher.ask("RECORD", "rtsp://h/pub")
        other = next(peer for peer in here.server if published in peer.sessions)
        other.media_received(published, later)
        await here.bridge.until(lambda: bool(here.bridge.ended))
        assert here.bridge.ended == [ask.SessionEnded(sessions[1], "session-timeout")]
        await wire.close()
        await publisher.close()


@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.0\r\nX: "])
async def test_a_connection_that_says_nothing_whole(sent: bytes) -> None:
    options = ServerOptions(idle_timeout=0.05, request_timeout=0.05)
    async with stage(options=options) as here:
        wire = await here.connect()
        wire.send(sent)
        assert await wire.rest() == b""
        assert here.server.refusals["rtsp-silent-connection"] == 1
        await wire.close()


async def test_connections_are_bounded() -> None:
    async with stage(limits=ServerLimits(connections_per_address=2)) as here:
        wires = [await here.connect() for _ in range(2)]
        for wire in wires:
            assert (await wire.ask("OPTIONS")).status == 200
        third = await here.connect()
        assert b"503" in await third.rest()
        assert here.server.refusals["rtsp-too-many-connections"] == 1
        await wires[0].close()
        await here.bridge.until(lambda: len(here.bridge.closed) == 1)
        fourth = await here.connect()
        assert (await fourth.ask("OPTIONS")).status == 200
        for wire in (*wires[1:], third, fourth):
            await wire.close()


async def test_a_peer_that_asks_and_never_reads_is_cut() -> None:
    options = ServerOptions(max_requests_per_second=1_000_000)
    limits = ServerLimits(max_bytes_per_second=1 << 30)
    async with stage(options=options, limits=limits) as here:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (here.host, here.port))
        flood = request("OPTIONS", CSeq=1) * 500
        sent = 0
        try:
            async with asyncio.timeout(20):
                while sent < 100 * MAX_OWED_BYTES:
                    await loop.sock_sendall(sock, flood)
                    sent += len(flood)
        except ConnectionError:
            pass
        assert here.server.refusals["rtsp-peer-not-reading"] == 1
        sock.close()
        await here.bridge.until(lambda: bool(here.bridge.closed))


async def test_a_flood_of_frames_is_read_no_faster() -> None:
    async with stage(limits=ServerLimits(max_bytes_per_second=20_000)) as here:
        wire = await here.connect()
        await wire.ask("OPTIONS")
        wire.send(frame(0, bytes(60_000)))
        async with asyncio.timeout(10):
            await wire.ask("OPTIONS")
        assert here.server.drops["rtsp-flood-pause"] >= 1
        await wire.close()


async def test_stopping_ends_everybody() -> None:
    async with stage() as here:
        wires = [await here.connect() for _ in range(3)]
        for wire in wires[:2]:
            await wire.ask("SETUP", URL + "/trackID=0", Transport=TCP_01)
        await here.server.stop()
        assert here.bridge.closed == ["server-stopping"] * 2
        assert here.server.connections == 0
        for wire in wires:
            await wire.rest()
            await wire.close()


@pytest.mark.parametrize("habits", [VLC, FFPLAY])
async def test_scripted_players_on_sockets(habits: object) -> None:
    bridge = Bridge()
    async with stage(bridge) as here:
        chosen = VLC if habits is VLC else FFPLAY
        player = Player(f"rtsp://127.0.0.1:{here.port}/live/cam", chosen)
        await play(player, here.host, here.port, lambda p: p.is_playing)
        await bridge.until(lambda: bool(bridge.closed))
        assert [e.reason for e in bridge.ended if isinstance(e, ask.SessionEnded)] == ["teardown"]


# Tunnels.


def half(method: str, cookie: str = "c00kie") -> bytes:
    return (
        f"{method} /live/cam HTTP/1.0\r\nx-sessioncookie: {cookie}\r\n"
        "Content-Type: application/x-rtsp-tunnelled\r\nContent-Length: 32767\r\n\r\n"
    ).encode()


async def opened(wire: Wire) -> None:
    async with asyncio.timeout(10):
        head = await wire.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"Content-Type: application/x-rtsp-tunnelled" in head


@pytest.mark.parametrize("is_post_first", [False, True])
async def test_a_session_through_a_tunnel(is_post_first: bool) -> None:
    bridge = Bridge(on_play=lambda peer: peer.transport.write(frame(0, RTP)))
    async with stage(bridge) as here:
        out, inward = await here.connect(), await here.connect()
        if is_post_first:
            inward.send(half("POST") + base64.b64encode(request("OPTIONS", CSeq=1)))
            other = await here.connect()
            await other.ask("OPTIONS")  # what was sent before has been read
            await other.close()
            await bridge.until(lambda: bool(bridge.closed))
            bridge.closed.clear()
            assert len(here.server.tunnels) == 1
            out.send(half("GET"))
            await opened(out)
        else:
            out.send(half("GET"))
            await opened(out)
            inward.send(half("POST") + base64.b64encode(request("OPTIONS", CSeq=1)))
        assert (await out.reply())["CSeq"] == "1"
        for data in (
            request("SETUP", URL + "/trackID=0", CSeq=2, Transport=TCP_01),
            request("PLAY", CSeq=3),
        ):
            inward.send(base64.b64encode(data))
            assert (await out.reply()).status == 200
        assert await out.reader.readexactly(4 + len(RTP)) == frame(0, RTP)
        (peer,) = here.server
        assert peer.is_tunnelled
        inward.send(base64.b64encode(frame(1, b"rr")))
        await bridge.until(lambda: bridge.packets == [(1, b"rr")])
        # The POST ends, another one takes its place on a new connection.
        await inward.close()
        again = await here.connect()
        again.send(half("POST") + base64.b64encode(request("GET_PARAMETER", CSeq=4)))
        assert (await out.reply())["CSeq"] == "4"
        await out.close()
        await bridge.until(lambda: bool(bridge.closed))
        assert await again.rest() == b""
        await again.close()
        assert len(here.server.tunnels) == 0


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_half_a_tunnel(method: str) -> None:
    async with stage(limits=ServerLimits(tunnel_timeout=0.05)) as here:
        wire = await here.connect()
        wire.send(half(method))
        await wire.rest()
        assert here.server.refusals["tunnel-half"] == 1
        await wire.close()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "tunnel-cookie"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "tunnel-cookie"),
        (b"GET / HTTP/1.1\r\n" + b"x" * 17_000, "tunnel-head-too-long"),
        (b"GET nonsense\r\n\r\n", "tunnel-http"),
    ],
)
async def test_http_that_is_no_tunnel(data: bytes, reason: str) -> None:
    async with stage() as here:
        wire = await here.connect()
        wire.send(data)
        assert b"400 Bad Request" in await wire.rest()
        assert here.server.refusals[reason] == 1
        await wire.close()


async def test_a_tunnel_whose_cookie_is_in_use() -> None:
    async with stage() as here:
        out, thief = await here.connect(), await here.connect()
        out.send(half("GET"))
        await opened(out)
        thief.send(half("GET"))
        assert b"400" in await thief.rest()
        assert here.server.refusals["tunnel-cookie-in-use"] == 1
        await thief.close()
        await out.close()


async def test_what_is_not_base64_ends_the_tunnel() -> None:
    async with stage() as here:
        out, inward = await here.connect(), await here.connect()
        out.send(half("GET"))
        await opened(out)
        inward.send(half("POST") + b"OPTIONS * RTSP/1.0\r\n\r\n")
        assert await out.rest() == b""
        await inward.rest()
        assert here.bridge.closed == ["tunnel-base64"]
        await out.close()
        await inward.close()


async def test_a_flood_on_the_get() -> None:
    async with stage() as here:
        out = await here.connect()
        out.send(half("GET"))
        await opened(out)
        out.send(bytes(MAX_STRAY_BYTES + 1))
        await out.rest()
        assert here.bridge.closed == ["tunnel-flood"]
        await out.close()


async def test_a_post_that_waits_holds_little() -> None:
    async with stage() as here:
        inward = await here.connect()
        inward.send(half("POST") + base64.b64encode(bytes(100_000)))
        await inward.rest()
        assert here.server.refusals["tunnel-flood"] == 1
        await inward.close()


async def test_rtsps_is_a_second_listener_of_one_server(tmp_path: Path) -> None:
    made = certificate.make(tmp_path)
    async with stage() as here:
        tls = ServerTls(made.certificate, made.key)
        host, port = await here.server.start("127.0.0.1", 0, tls)
        context = ssl.create_default_context(cafile=made.certificate)
        reader, writer = await asyncio.open_connection(host, port, ssl=context)
        wire = Wire(reader, writer)
        assert (await wire.ask("SETUP", URL + "/trackID=0", Transport=TCP_01)).status == 200
        (peer,) = here.server
        assert peer.is_secure
        plain = await here.connect()  # speaks TLS to the other one
        plain.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert await plain.rest() == b""
        assert here.bridge.closed == ["rtsp-tls-on-plain-port"]
        await plain.close()
        await wire.close()
