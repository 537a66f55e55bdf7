"""The push: streams of a router to scripted servers on loopback."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import uvloop

from flux.base.errors import PeerError, WireError
from flux.bridges.rtsp.push import RtspPush
from flux.core.forward import FAILED, RUNNING
from media.codecs.g711 import G711Parameters
from media.codecs.h264 import H264Parameters
from media.publisher import Publisher
from media.router import Router
from media.stream import State, StreamOptions
from media.track import H264, PCMU, Kind, TrackDescription
from protocols.rtcp import Goodbye, ReceiverReport, ReportBlock, SenderReport, parse_compound
from protocols.rtp import RtpPacket
from protocols.rtsp.options import PushOptions, TransportChoice, fingerprint_of
from protocols.sdp import SessionDescription
from tests.support import certificate
from tests.support.h264_sets import PPS, SPS
from tests.support.rtsp_peer import Camera, CameraServer
from tests.support.rtsp_tunnel import TunnelServer

VIDEO = TrackDescription(Kind.VIDEO, H264, 90_000, H264Parameters.build([SPS], [PPS]))
AUDIO = TrackDescription(Kind.AUDIO, PCMU, 8_000, G711Parameters(sample_rate=8_000, channels=1))
IDR, SLICE = b"\x65\x88" + bytes(3000), b"\x41\x9a" + bytes(500)
SOUND = bytes(range(160))


class House:
    """A router with one stream, and one push of it."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.router = Router(self.events.append)
        self.stream = self.router.declare("cam", StreamOptions()).stream
        self.publisher = self.publish(VIDEO, AUDIO)
        self.said: list[tuple[str, str]] = []
        self.changed = asyncio.Event()
        self.count = 0
        self.write(3)

    def publish(self, *descriptions: TrackDescription) -> Publisher:
        now = asyncio.get_running_loop().time()
        return self.router.publish("cam", descriptions, now=now, origin="test")

    def write(self, count: int) -> None:
        """Frames of both tracks, a key frame each third."""
        for _ in range(count):
            now = asyncio.get_running_loop().time()
            video, audio = self.publisher.tracks
            picture = IDR if self.count % 3 == 0 else SLICE
            self.publisher.write(video, 1800 * self.count, (picture,), now)
            self.publisher.write(audio, 160 * self.count, (SOUND,), now)
            self.count += 1

    def push(self, url: str, options: PushOptions | None = None) -> RtspPush:
        return RtspPush("cam", url, self.on_state, self.events.append, options)

    def on_state(self, state: str, reason: str) -> None:
        self.said.append((state, reason))
        self.changed.set()

    async def until_said(self, state: str, reason: str = "") -> None:
        async with asyncio.timeout(10):
            while (state, reason) not in self.said:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def pushing(
    url: str, options: PushOptions | None = None
) -> AsyncIterator[tuple[House, RtspPush]]:
    """A house whose push runs, and is stopped in the end."""
    house = House()
    push = house.push(url, options)
    push.start(house.stream)
    yield house, push
    push.stop("done")
    await asyncio.wait_for(push.wait_stopped(), 5)
    assert "rtp" not in house.stream.outputs


def rtp_of(camera: Camera, channel: int) -> list[RtpPacket]:
    return [RtpPacket.parse(data) for number, data in camera.received if number == channel]


def url_of(server: CameraServer, path: str = "in") -> str:
    return f"rtsp://127.0.0.1:{server.port}/{path}"


async def test_interleaved() -> None:
    async with CameraServer(Camera) as server, pushing(url_of(server)) as (house, push):
        await house.until_said(RUNNING)
        camera = server.cameras[0]
        assert camera.methods == ["OPTIONS", "ANNOUNCE", "SETUP", "SETUP", "RECORD"]
        announced = SessionDescription.parse(camera.asked[1].body)
        assert push.description() == camera.asked[1].body
        assert [media.kind for media in announced.media] == ["video", "audio"]
        controls = [
            asked.url.rpartition("/")[2] for asked in camera.asked if "SETUP" in asked.method
        ]
        assert controls == [media.control for media in announced.media]
        house.write(6)
        await server.until(lambda: len(rtp_of(camera, 2)) >= 9)
        sound = rtp_of(camera, 2)
        assert {packet.payload for packet in sound} == {SOUND}
        assert {packet.payload_type for packet in sound} == {0}
        steps = {(after.sequence - before.sequence) & 0xFFFF for before, after in pairwise(sound)}
        assert steps == {1}
        reports = [parse_compound(data)[0] for number, data in camera.received if number == 1]
        assert isinstance(reports[0], SenderReport)
        assert push.figures().sent_bytes > 3000
    assert camera.methods[-1] == "TEARDOWN"


async def test_what_the_server_reports() -> None:
    async with CameraServer(Camera) as server, pushing(url_of(server)) as (house, push):
        await house.until_said(RUNNING)
        camera = server.cameras[0]
        await server.until(lambda: any(number == 1 for number, _ in camera.received))
        first = next(data for number, data in camera.received if number == 1)
        sent = parse_compound(first)[0]
        assert isinstance(sent, SenderReport)
        block = ReportBlock(sent.ssrc, 10, 7, 100, 0, sent.ntp >> 16 & 0xFFFF_FFFF, 0)
        report = ReceiverReport(9, (block,)).serialize()
        server.transports[0].write(b"$\1" + len(report).to_bytes(2, "big") + report)
        async with asyncio.timeout(5):
            while push.figures().round_trip is None:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.001)
        assert push.figures().lost == 7


@pytest.mark.parametrize("choice", [TransportChoice.AUTO, TransportChoice.UDP])
async def test_udp(choice: TransportChoice) -> None:
    loop = asyncio.get_running_loop()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rtp_sock,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rtcp_sock,
    ):
        for sock in (rtp_sock, rtcp_sock):
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
        ports = (rtp_sock.getsockname()[1], rtcp_sock.getsockname()[1])
        make = lambda: Camera(transports=("UDP",), server_ports=ports)  # noqa: E731 - as a value
        async with (
            CameraServer(make) as server,
            pushing(url_of(server), PushOptions(transport=choice)) as (house, push),
        ):
            await house.until_said(RUNNING)
            assert "mode=record" in server.cameras[0].asked[-2].headers["transport"]
            house.write(3)
            got: list[RtpPacket] = []
            while sum(packet.payload == SOUND for packet in got) < 3:
                data = await asyncio.wait_for(loop.sock_recv(rtp_sock, 2000), 5)
                got.append(RtpPacket.parse(data))
            report = parse_compound(await asyncio.wait_for(loop.sock_recv(rtcp_sock, 2000), 5))
            assert isinstance(report[0], SenderReport)
            assert push.figures().sent_bytes > 0
        assert server.cameras[0].methods[-1] == "TEARDOWN"


async def test_through_tls_and_a_tunnel(tmp_path: Path) -> None:
    own = certificate.make(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    fingerprint = fingerprint_of(own.fingerprint)
    options = PushOptions(fingerprint=fingerprint)
    async with (
        CameraServer(Camera, context) as server,
        pushing(url_of(server).replace("rtsp", "rtsps"), options) as (house, _),
    ):
        await house.until_said(RUNNING)
        house.write(3)
        await server.until(lambda: len(rtp_of(server.cameras[0], 2)) >= 3)
    options = PushOptions(transport=TransportChoice.HTTP, fingerprint=fingerprint)
    async with TunnelServer(Camera, context) as tunnel:
        url = f"rtsps://127.0.0.1:{tunnel.port}/in"
        async with pushing(url, options) as (house, _):
            await house.until_said(RUNNING)
            house.write(3)
            (pair,) = tunnel.pairs.values()
            await tunnel.until(lambda: len(rtp_of(pair.camera, 2)) >= 3)
        assert pair.camera.methods[-1] == "TEARDOWN"


async def test_a_password() -> None:
    make = lambda: Camera(user="u", password="p")  # noqa: E731 - as a value
    async with CameraServer(make) as server:
        async with pushing(url_of(server).replace("//", "//u:p@")) as (house, _):
            await house.until_said(RUNNING)
        async with pushing(url_of(server)) as (house, _):
            await house.until_said(FAILED, "rtsp-unauthorized")


@pytest.mark.parametrize(
    ("camera", "reason"),
    [
        (lambda: Camera(statuses={"ANNOUNCE": [403]}), "rtsp-403"),
        (lambda: Camera(statuses={"SETUP": [200, 404]}), "rtsp-404"),
        (lambda: Camera(transports=()), "rtsp-461"),
        (lambda: Camera(silent={"ANNOUNCE"}), "request-timeout"),
    ],
)
async def test_refusals_are_named_and_let_go_of_the_stream(
    camera: Callable[[], Camera], reason: str
) -> None:
    async with CameraServer(camera) as server:
        options = PushOptions(request_timeout=0.1)
        async with pushing(url_of(server), options) as (house, push):
            await house.until_said(FAILED, reason)
            assert "rtp" not in house.stream.outputs
            assert [state for state, _ in house.said] == [FAILED]
            assert push.is_over


async def test_nobody_listens() -> None:
    async with CameraServer(Camera) as server:
        url = url_of(server)
    async with pushing(url) as (house, _):
        await house.until_said(FAILED, "connection-refused")


async def test_the_server_hangs_up() -> None:
    async with CameraServer(Camera) as server, pushing(url_of(server)) as (house, _):
        await house.until_said(RUNNING)
        server.transports[0].abort()
        await house.until_said(FAILED, "peer-closed")


async def test_the_end_of_the_stream_is_told_with_a_goodbye() -> None:
    async with CameraServer(Camera) as server, pushing(url_of(server)) as (house, _):
        await house.until_said(RUNNING)
        house.publisher.close("source-ended", asyncio.get_running_loop().time())
        await house.until_said(FAILED, "source-ended")
        await server.until(lambda: server.cameras[0].methods[-1] == "TEARDOWN")
        reports = [
            parse_compound(data) for channel, data in server.cameras[0].received if channel == 1
        ]
        assert isinstance(reports[-1][-1], Goodbye)


async def test_a_redirect_is_followed_and_credentials_stay_at_home() -> None:
    make = lambda: Camera(user="u", password="p")  # noqa: E731 - as a value
    async with CameraServer(make) as target:
        extra = {"ANNOUNCE": [("Location", f"rtsp://localhost:{target.port}/there")]}
        first = lambda: Camera(statuses={"ANNOUNCE": [302]}, extra=extra)  # noqa: E731
        async with (
            CameraServer(first) as server,
            pushing(url_of(server).replace("//", "//u:p@")) as (house, _),
        ):
            await house.until_said(FAILED, "rtsp-unauthorized")
            assert target.cameras[0].asked[0].url.endswith("/there")
            assert all("authorization" not in asked.headers for asked in target.cameras[0].asked)


async def test_a_ring_of_redirects() -> None:
    extra = {"ANNOUNCE": [("Location", "/ring")]}
    make = lambda: Camera(statuses={"ANNOUNCE": [302]}, extra=extra)  # noqa: E731 - as a value
    async with CameraServer(make) as server, pushing(url_of(server)) as (house, _):
        await house.until_said(FAILED, "rtsp-redirected")
        assert len(server.cameras) == 6


async def test_a_stream_that_rtp_cannot_carry() -> None:
    house = House()
    house.publisher.close("source-ended", asyncio.get_running_loop().time())
    other = TrackDescription(Kind.DATA, "ts/f0", 90_000, None)
    house.publisher = house.publish(other)
    house.publisher.write(house.publisher.tracks[0], 0, (b"x",), 0.0)
    push = house.push("rtsp://127.0.0.1:1/x")
    if house.stream.state is State.READY:
        with pytest.raises(PeerError) as caught:
            push.start(house.stream)
        assert caught.value.reason == "no-playable-track"


async def test_a_url_that_is_none() -> None:
    with pytest.raises(WireError):
        House().push("http://host/x")


async def test_stop_at_any_time() -> None:
    async with CameraServer(lambda: Camera(silent={"ANNOUNCE"})) as server:
        async with pushing(url_of(server)) as (house, push):
            push.stop("at once")
            push.stop("again")
        async with pushing(url_of(server)):
            await server.until(lambda: any("ANNOUNCE" in c.methods for c in server.cameras))
        assert house.said == []


def test_the_same_on_uvloop(tmp_path: Path) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_interleaved())
        runner.run(test_udp(TransportChoice.AUTO))
        runner.run(test_through_tls_and_a_tunnel(tmp_path))
