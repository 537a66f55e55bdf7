"""The client's ways to a camera on loopback: TLS, the HTTP tunnel, odd ports, odd answers."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from flux.base.errors import PeerError, WireError
from protocols.rtsp import events
from protocols.rtsp.auth import Authenticator
from protocols.rtsp.client import RtspClient
from protocols.rtsp.options import PullOptions, TransportChoice, fingerprint_of
from protocols.rtsp.url import Url
from tests.support import certificate
from tests.support.certificate import Certificate
from tests.support.rtsp_peer import Camera, CameraServer, frame, rtp
from tests.support.rtsp_tunnel import TunnelServer

RTP = [rtp(number, 160 * number, bytes(160)) for number in range(50)]
MEDIA = b"".join(frame(0, packet) for packet in RTP)
HTTP = PullOptions(transport=TransportChoice.HTTP)
CHALLENGE = b'HTTP/1.0 401 No\r\nWWW-Authenticate: Digest realm="r", nonce="n", qop="auth"\r\n\r\n'


class Owner:
    """Runs a client of one track and keeps what it says."""

    def __init__(self, url: str, options: PullOptions | None = None) -> None:
        self.events: list[events.Event] = []
        self.packets: list[tuple[int, bytes]] = []
        self.changed = asyncio.Event()
        parsed = Url.parse(url)
        auth = Authenticator(parsed.username, parsed.password, "c")
        self.client = RtspClient(parsed, options or PullOptions(), auth, self)

    def on_event(self, event: events.Event) -> None:
        self.events.append(event)
        self.changed.set()
        if isinstance(event, events.Described):
            self.client.set_up(["trackID=1"], "*")

    def on_packets(self, packets: list[tuple[int, bytes]], now: float) -> None:
        self.packets += packets
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def until_media(self, count: int = len(RTP)) -> None:
        await self.client.connect()
        await self.until(lambda: len(self.packets) >= count or self.end != "")
        assert self.end == ""

    async def finish(self) -> None:
        self.client.close("done")
        await self.until(lambda: self.end != "")
        await self.client.wait_closed()

    @property
    def end(self) -> str:
        last = self.events[-1] if self.events else None
        return last.reason if isinstance(last, events.Closed) else ""


def singer() -> Camera:
    return Camera(after_play=lambda _: MEDIA)


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """The camera's certificate."""
    return certificate.make(tmp_path_factory.mktemp("tls"))


def context_of(own: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    return context


def pinned(own: Certificate, transport: TransportChoice = TransportChoice.AUTO) -> PullOptions:
    return PullOptions(transport=transport, fingerprint=fingerprint_of(own.fingerprint))


async def test_tls_with_a_fingerprint(own: Certificate) -> None:
    async with CameraServer(singer, context_of(own)) as server:
        owner = Owner(f"rtsps://127.0.0.1:{server.port}/live", pinned(own))
        await owner.until_media()
        assert owner.packets == [(0, packet) for packet in RTP]
        assert server.cameras[0].asked[0].url.startswith("rtsps://")
        await owner.finish()


async def test_tls_with_another_fingerprint_says_nothing_to_the_server(own: Certificate) -> None:
    options = PullOptions(fingerprint=bytes(32))
    async with CameraServer(singer, context_of(own)) as server:
        owner = Owner(f"rtsps://u:p@127.0.0.1:{server.port}/live", options)
        with pytest.raises(PeerError) as caught:
            await owner.client.connect()
        assert caught.value.reason == "tls-fingerprint-mismatch"
        await server.until(lambda: server.closed == 1)
        assert server.cameras[0].asked == []


async def test_tls_without_a_fingerprint_needs_an_authority(own: Certificate) -> None:
    async with CameraServer(singer, context_of(own)) as server:
        owner = Owner(f"rtsps://127.0.0.1:{server.port}/live")
        with pytest.raises(PeerError) as caught:
            await owner.client.connect()
        assert caught.value.reason == "tls-certificate-invalid"


async def test_tls_to_a_server_that_has_none(own: Certificate) -> None:
    async with CameraServer(singer) as server:
        owner = Owner(f"rtsps://127.0.0.1:{server.port}/live", PullOptions(connect_timeout=0.5))
        with pytest.raises(PeerError) as caught:
            await owner.client.connect()
        assert caught.value.reason == "tls-handshake-failed"


async def test_nothing_leaves_a_tls_connection_in_the_clear_by_itself(own: Certificate) -> None:
    make = lambda: Camera(transports=("UDP",))  # noqa: E731 - as a value
    async with CameraServer(make, context_of(own)) as server:
        owner = Owner(f"rtsps://127.0.0.1:{server.port}/live", pinned(own))
        await owner.client.connect()
        await owner.until(lambda: owner.end != "")
        assert owner.end == "rtsp-461"
        assert server.cameras[0].client_ports == []


@pytest.mark.parametrize("text", ["AB:CD", "zz", "0" * 63, "0" * 66])
def test_a_fingerprint_that_is_none(text: str) -> None:
    with pytest.raises(WireError):
        fingerprint_of(text)
    assert fingerprint_of("") == b""


async def test_the_tunnel() -> None:
    async with TunnelServer(singer) as server:
        owner = Owner(f"rtsp://127.0.0.1:{server.port}/live?a=1", HTTP)
        await owner.until_media()
        assert owner.packets == [(0, packet) for packet in RTP]
        owner.client.send_rtcp(0, b"report")
        await owner.finish()
        (pair,) = server.pairs.values()
        assert pair.camera.methods[-1] == "TEARDOWN"
        assert pair.camera.received == [(1, b"report")]
        assert pair.camera.asked[0].url == f"rtsp://127.0.0.1:{server.port}/live?a=1"
        get, post = server.heads
        assert get.startswith("GET /live?a=1 HTTP/1.0")
        assert post.startswith("POST /live?a=1 HTTP/1.0")


async def test_the_tunnel_within_tls(own: Certificate) -> None:
    async with TunnelServer(singer, context_of(own)) as server:
        owner = Owner(f"rtsps://127.0.0.1:{server.port}/live", pinned(own, TransportChoice.HTTP))
        await owner.until_media()
        await owner.finish()


async def test_the_tunnel_asks_for_a_password() -> None:
    make = lambda: Camera(user="u", password="p", after_play=lambda _: MEDIA)  # noqa: E731
    async with TunnelServer(make, get_replies=[CHALLENGE]) as server:
        owner = Owner(f"rtsp://u:p@127.0.0.1:{server.port}/live", HTTP)
        await owner.until_media()
        refused, get, post = server.heads
        assert "Authorization" not in refused
        assert 'Authorization: Digest username="u"' in get
        assert 'Authorization: Digest username="u"' in post
        await owner.finish()


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        ([b"HTTP/1.1 404 Not Found\r\n\r\n"], "tunnel-refused"),
        ([CHALLENGE, CHALLENGE], "rtsp-unauthorized"),
        ([b"RTSP/1.0 400 Bad Request\r\n\r\n"], "tunnel-no-http"),
        ([b"HTTP/1.0 200 " + b"x" * 20_000], "tunnel-reply-too-long"),
        ([b""], "peer-closed"),
    ],
)
async def test_no_tunnel(replies: list[bytes], reason: str) -> None:
    async with TunnelServer(singer, get_replies=replies) as server:
        owner = Owner(f"rtsp://u:p@127.0.0.1:{server.port}/live", HTTP)
        with pytest.raises(PeerError) as caught:
            await owner.client.connect()
        assert caught.value.reason == reason


async def test_a_tunnel_whose_server_says_nothing() -> None:
    options = PullOptions(transport=TransportChoice.HTTP, connect_timeout=0.1)
    async with TunnelServer(singer, get_replies=[b"HTTP/1.0 200 OK\r\n"]) as server:
        owner = Owner(f"rtsp://127.0.0.1:{server.port}/live", options)
        with pytest.raises(PeerError) as caught:
            await owner.client.connect()
        assert caught.value.reason == "connect-timeout"


async def test_a_post_that_is_refused_ends_the_tunnel() -> None:
    make = lambda: Camera(silent={"OPTIONS"})  # noqa: E731 - as a value
    async with TunnelServer(make, post_reply=b"HTTP/1.0 403 No\r\n\r\n") as server:
        owner = Owner(f"rtsp://127.0.0.1:{server.port}/live", HTTP)
        await owner.client.connect()
        await owner.until(lambda: owner.end != "")
        assert owner.end == "peer-closed"


@pytest.mark.parametrize("half", ["up", "down"])
async def test_half_a_tunnel_is_none(half: str) -> None:
    async with TunnelServer(singer) as server:
        owner = Owner(f"rtsp://127.0.0.1:{server.port}/live", HTTP)
        await owner.until_media()
        (pair,) = server.pairs.values()
        getattr(pair, half).abort()
        await owner.until(lambda: owner.end != "")
        assert owner.end == "peer-closed"
        await owner.client.wait_closed()
        await server.until(lambda: server.open == 0)


def other_port(announced: tuple[int, int]) -> Callable[[], Camera]:
    """Cameras that announce one port and send from another."""

    def send(camera: Camera) -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for packet in RTP:
                sock.sendto(packet, ("127.0.0.1", camera.client_ports[0][0]))
        return b""

    return lambda: Camera(transports=("UDP",), server_ports=announced, after_play=send)


@pytest.mark.parametrize("announced", [(9, 10), (0, 0)])
async def test_other_ports(announced: tuple[int, int]) -> None:
    async with CameraServer(other_port(announced)) as server:
        owner = Owner(
            f"rtsp://127.0.0.1:{server.port}/live", PullOptions(transport=TransportChoice.UDP)
        )
        await owner.until_media()
        assert [data for _, data in owner.packets] == RTP
        await owner.finish()
        assert owner.client.drops["rtp-foreign-source"] == 0


async def test_another_port_is_no_match_for_one_that_sends() -> None:
    """A session of before, from the same host, does not get into this one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as announced:
        announced.bind(("127.0.0.1", 0))
        port = announced.getsockname()[1]

        def send(camera: Camera) -> bytes:
            target = ("127.0.0.1", camera.client_ports[0][0])
            announced.sendto(RTP[0], target)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                for packet in RTP[1:20]:
                    other.sendto(packet, target)
            for packet in RTP[1:]:
                announced.sendto(packet, target)
            return b""

        make = lambda: Camera(  # noqa: E731 - as a value
            transports=("UDP",), server_ports=(port, port + 1), after_play=send
        )
        async with CameraServer(make) as server:
            options = PullOptions(transport=TransportChoice.UDP)
            owner = Owner(f"rtsp://127.0.0.1:{server.port}/live", options)
            await owner.until_media()
            await owner.finish()
            assert [data for _, data in owner.packets] == RTP
            assert owner.client.drops["rtp-foreign-source"] == 19


async def test_udp_first() -> None:
    async with CameraServer(other_port((9, 10))) as server:
        options = PullOptions(udp_first=True)
        owner = Owner(f"rtsp://127.0.0.1:{server.port}/live", options)
        await owner.until_media()
        assert server.cameras[0].methods.count("SETUP") == 1
        await owner.finish()


async def test_a_camera_without_multicast() -> None:
    async with CameraServer(singer) as server:
        options = PullOptions(transport=TransportChoice.MULTICAST)
        owner = Owner(f"rtsp://127.0.0.1:{server.port}/live", options)
        await owner.client.connect()
        await owner.until(lambda: owner.end != "")
        assert owner.end == "rtsp-461"


async def test_a_group_that_cannot_be_joined() -> None:
    async with CameraServer(lambda: Camera(transports=("MULTICAST",))) as server:
        options = PullOptions(transport=TransportChoice.MULTICAST, interface="no-such-link")
        owner = Owner(f"rtsp://127.0.0.1:{server.port}/live", options)
        await owner.client.connect()
        await owner.until(lambda: owner.end != "")
        assert owner.end == "interface-not-found"


def test_tls_and_the_tunnel_on_uvloop(own: Certificate, tmp_path: Path) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_tls_with_a_fingerprint(own))
        runner.run(test_the_tunnel())
        runner.run(test_the_tunnel_within_tls(own))
        runner.run(test_half_a_tunnel_is_none("up"))
