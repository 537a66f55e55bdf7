"""The asyncio shell on loopback: TCP, UDP, floods, ends."""

import asyncio
import socket
from collections.abc import Callable, Coroutine

import pytest
import uvloop

from flux.base.errors import PeerError
from protocols.rtsp import events
from protocols.rtsp.auth import Authenticator
from protocols.rtsp.client import RtspClient
from protocols.rtsp.endpoint import MAX_UNSENT_BYTES
from protocols.rtsp.options import PullOptions, TransportChoice
from protocols.rtsp.url import Url
from tests.support.rtsp_peer import Camera, CameraServer, frame, rtp

CONTROLS = ("trackID=1", "trackID=2")
RTP = [rtp(number, 160 * number, bytes(160)) for number in range(200)]


class Owner:
    """Runs a client and keeps what it says."""

    def __init__(self, port: int, options: PullOptions | None = None) -> None:
        self.events: list[events.Event] = []
        self.packets: list[tuple[int, bytes]] = []
        self.changed = asyncio.Event()
        self.on_media: Callable[[], None] = lambda: None
        url = Url.parse(f"rtsp://127.0.0.1:{port}/live")
        self.client = RtspClient(url, options or PullOptions(), Authenticator("", "", "c"), self)

    def on_event(self, event: events.Event) -> None:
        self.events.append(event)
        self.changed.set()
        if isinstance(event, events.Described):
            self.client.set_up(CONTROLS, "*")

    def on_packets(self, packets: list[tuple[int, bytes]], now: float) -> None:
        self.packets += packets
        self.changed.set()
        self.on_media()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def until_end(self) -> None:
        await self.until(lambda: self.end != "")
        await self.client.wait_closed()

    @property
    def is_playing(self) -> bool:
        return any(isinstance(event, events.Playing) for event in self.events)

    @property
    def end(self) -> str:
        last = self.events[-1] if self.events else None
        return last.reason if isinstance(last, events.Closed) else ""

    async def finish(self) -> None:
        self.client.close("done")
        await self.until_end()


async def test_tcp() -> None:
    media = b"".join(frame(0, packet) for packet in RTP)
    async with CameraServer(lambda: Camera(after_play=lambda _: media)) as server:
        owner = Owner(server.port)
        await owner.client.connect()
        await owner.until(lambda: len(owner.packets) == len(RTP))
        assert owner.packets == [(0, packet) for packet in RTP]
        owner.client.send_rtcp(1, b"report")
        await owner.finish()
        assert owner.end == "done"
        camera = server.cameras[0]
        assert camera.methods[-1] == "TEARDOWN"
        assert camera.received == [(3, b"report")]


@pytest.fixture
def udp_camera() -> Callable[[], Camera]:
    """Cameras that send 200 packets of track 2 from a port that they never announced."""

    def send(camera: Camera) -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for packet in RTP:
                sock.sendto(packet, ("127.0.0.1", camera.client_ports[1][0]))
            sock.sendto(b"\x80\xc8\0\0", ("127.0.0.1", camera.client_ports[1][1]))
        return b""

    return lambda: Camera(transports=("UDP",), after_play=send)


@pytest.mark.parametrize("choice", [TransportChoice.AUTO, TransportChoice.UDP])
async def test_udp(choice: TransportChoice, udp_camera: Callable[[], Camera]) -> None:
    async with CameraServer(udp_camera) as server:
        owner = Owner(server.port, PullOptions(transport=choice))
        await owner.client.connect()
        await owner.until(lambda: len(owner.packets) == len(RTP) + 1)
        assert [data for channel, data in owner.packets if channel == 2] == RTP
        assert (3, b"\x80\xc8\0\0") in owner.packets
        setups = server.cameras[0].methods.count("SETUP")
        assert setups == (3 if choice is TransportChoice.AUTO else 2)
        await owner.finish()


async def test_punches_and_reports_go_to_the_announced_ports(
    udp_camera: Callable[[], Camera],
) -> None:
    loop = asyncio.get_running_loop()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rtp_sock,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rtcp_sock,
    ):
        for sock in (rtp_sock, rtcp_sock):
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
        ports = (rtp_sock.getsockname()[1], rtcp_sock.getsockname()[1])

        def make() -> Camera:
            camera = udp_camera()
            camera.server_ports = ports
            return camera

        async with CameraServer(make) as server:
            owner = Owner(server.port)
            await owner.client.connect()
            await owner.until(lambda: owner.is_playing)
            assert len(await asyncio.wait_for(loop.sock_recv(rtp_sock, 100), 5)) == 12
            assert (await asyncio.wait_for(loop.sock_recv(rtcp_sock, 100), 5))[1] == 201
            owner.client.send_rtcp(0, b"report")
            received = b""
            while received != b"report":
                received = await asyncio.wait_for(loop.sock_recv(rtcp_sock, 100), 5)
            await owner.finish()


async def test_udp_only_refused() -> None:
    async with CameraServer(lambda: Camera(transports=("TCP",))) as server:
        owner = Owner(server.port, PullOptions(transport=TransportChoice.UDP))
        await owner.client.connect()
        await owner.until_end()
        assert owner.end == "rtsp-461"


async def test_refused_connection_raises_and_tells_nothing() -> None:
    async with CameraServer(Camera) as server:
        port = server.port
    owner = Owner(port)
    with pytest.raises(PeerError) as caught:
        await owner.client.connect()
    assert caught.value.reason == "connection-refused"
    assert owner.events == []


async def test_the_camera_hangs_up() -> None:
    async with CameraServer(Camera) as server:
        owner = Owner(server.port)
        await owner.client.connect()
        await owner.until(lambda: owner.is_playing)
        server.transports[0].abort()
        await owner.until_end()
        assert owner.end == "peer-closed"


async def test_a_camera_that_goes_silent() -> None:
    options = PullOptions(media_timeout=0.05)
    async with CameraServer(Camera) as server:
        owner = Owner(server.port, options)
        await owner.client.connect()
        await owner.until_end()
        assert owner.end == "media-timeout"
        await server.until(lambda: server.cameras[0].methods[-1] == "TEARDOWN")


async def test_close_from_inside_a_handler() -> None:
    media = b"".join(frame(0, packet) for packet in RTP)
    async with CameraServer(lambda: Camera(after_play=lambda _: media)) as server:
        owner = Owner(server.port)
        owner.on_media = lambda: owner.client.close("enough")
        await owner.client.connect()
        await owner.until_end()
        assert owner.end == "enough"
        assert server.cameras[0].methods[-1] == "TEARDOWN"


async def test_close_before_the_connection_stands() -> None:
    async with CameraServer(Camera) as server:
        owner = Owner(server.port)
        owner.client.close("changed-mind")
        assert owner.end == "changed-mind"
        await owner.client.connect()
        await server.until(lambda: server.closed == 1)
        assert server.cameras[0].asked == []


async def test_a_flood_is_read_no_faster_than_allowed() -> None:
    """8 MiB a second against a limit of 1 MiB: reading rests, the sender has to wait."""
    piece = frame(0, bytes(60_000)) * 140
    options = PullOptions(max_bytes_per_second=1024 * 1024)
    async with CameraServer(lambda: Camera(after_play=lambda _: piece)) as server:
        owner = Owner(server.port, options)
        await owner.client.connect()
        await owner.until(lambda: owner.client.drops["rtsp-flood-pause"] > 0)
        assert len(owner.packets) * 60_000 < 3 * 1024 * 1024
        await owner.until(lambda: len(owner.packets) * 60_000 > 3 * 1024 * 1024)
        assert owner.end == ""
        await owner.finish()


async def test_a_camera_that_does_not_read_is_given_up() -> None:
    async with CameraServer(Camera) as server:
        owner = Owner(server.port)
        await owner.client.connect()
        await owner.until(lambda: owner.is_playing)
        server.transports[0].pause_reading()
        for _ in range(MAX_UNSENT_BYTES * 64 // 60_000):
            owner.client.send_rtcp(0, bytes(60_000))
        await owner.until_end()
        assert owner.end == "peer-not-reading"


@pytest.mark.parametrize(
    "scenario",
    [
        test_tcp,
        test_the_camera_hangs_up,
        test_a_camera_that_goes_silent,
        test_close_from_inside_a_handler,
        test_a_flood_is_read_no_faster_than_allowed,
        test_a_camera_that_does_not_read_is_given_up,
    ],
)
def test_the_same_on_uvloop(scenario: Callable[[], Coroutine[None, None, None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


def test_udp_on_uvloop(udp_camera: Callable[[], Camera]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_udp(TransportChoice.AUTO, udp_camera))
