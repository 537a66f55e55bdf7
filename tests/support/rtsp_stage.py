"""The RTSP server bridge on a stage: a real router and admission, streams whose frames are written
by hand, real sockets on loopback, and a clock that can be moved on.

Whoever leaves the stage is looked at: nothing that the server held for its clients may be left.
"""

import asyncio
import gc
import socket
import ssl
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

import pytest

from flux.bridges.rtp.output import RtpOutput
from flux.bridges.rtsp.groups import Group
from flux.bridges.rtsp.play import PlaySession
from flux.bridges.rtsp.record import RecordSession
from flux.bridges.rtsp.server import RtspBridge, RtspBridgeOptions, RtspUsage
from flux.core.admission import Admission
from flux.net.tls import ServerTls
from media.codecs.g711 import G711Parameters
from media.codecs.h264 import H264Parameters
from media.publisher import Publisher
from media.router import Router
from media.stream import Stream, StreamOptions
from media.track import H264, PCMU, Kind, Track, TrackDescription
from protocols.rtsp.server import RtspPeer
from tests.support.certificate import Certificate
from tests.support.h264_sets import PPS, SPS
from tests.support.jump_clock import JumpClock
from tests.support.rtsp_caller import Caller, UdpPair, until

NAME = "cam"
SETS = H264Parameters.build([SPS], [PPS])
VIDEO = TrackDescription(Kind.VIDEO, H264, 90_000, SETS)
SOUND = G711Parameters(sample_rate=8_000, channels=1)
AUDIO = TrackDescription(Kind.AUDIO, PCMU, 8_000, SOUND)
IDR, SLICE = b"\x65\x88", b"\x41\x9a"
FRAME = 0.04  # seconds
LONG = 300.0  # seconds in which everything that waits has come to its end
NOTHING = RtspUsage(0, 0, 0, 0, 0, 0, 0)
WATCHED = (PlaySession, RecordSession, RtspPeer, RtpOutput, Group)

OPTIONS = RtspBridgeOptions(
    host="127.0.0.1", port=0, rtp=("127.0.0.1", 0), rtcp_port=0, group_interface="lo"
)


class Census:
    """Counts the living objects of some classes.

    What is over has to go at once, without the garbage collector, which is off meanwhile: a ring of
    references that each session leaves is memory that grows until it happens to run.
    """

    def __init__(self, classes: Sequence[type], patch: pytest.MonkeyPatch) -> None:
        self._seen: list[weakref.ref[object]] = []
        for each in classes:
            patch.setattr(each, "__init__", self._registering(each.__init__))  # type: ignore[misc]

    def _registering(self, born: Callable[..., None]) -> Callable[..., None]:
        def init(this: object, *args: object, **more: object) -> None:
            self._seen.append(weakref.ref(this))
            born(this, *args, **more)

        return init

    def living(self) -> list[str]:
        """The names of those that are still there."""
        return [type(this).__name__ for ref in self._seen if (this := ref()) is not None]


class Camera:
    """A source of video and audio whose frames are written one by one; each takes its time."""

    def __init__(self, stage: "Stage", name: str, descriptions: Sequence[TrackDescription]) -> None:
        self.stage = stage
        self.name = name
        self.descriptions = descriptions
        self._began = time.monotonic()
        self.publisher: Publisher | None = None
        self.times: list[list[float]] = [[] for _ in descriptions]  # when each track's frames came
        self.start()

    def start(self) -> None:
        """Begin a run."""
        self.publisher = self.stage.router.publish(
            self.name, self.descriptions, now=time.monotonic(), origin="test"
        )
        self._began = time.monotonic()

    def stop(self, reason: str = "source-ended") -> None:
        """The run is over."""
        if self.publisher is not None:
            self.publisher.close(reason, time.monotonic())
            self.publisher = None

    def write(self, track: int, payload: tuple[bytes, ...]) -> None:
        """One frame of a track, now."""
        assert self.publisher is not None
        now = time.monotonic()
        self.times[track].append(now)
        rate = self.descriptions[track].clock_rate
        self.publisher.write(
            self.publisher.tracks[track], round((now - self._began) * rate), payload, now
        )

    def video(self, *, key: bool = False, size: int = 1000) -> None:
        """One picture; the clock moves on by its duration."""
        self.write(0, ((IDR if key else SLICE) + bytes(size),))
        self.stage.clock.advance(FRAME)

    def audio(self) -> None:
        """One packet of sound."""
        self.write(1, (bytes(320),))

    async def flow(
        self,
        seconds: float,
        *,
        gop: int = 25,
        size: int = 1000,
        taken: Callable[[], bool] = lambda: True,
    ) -> None:
        """Pictures and sound for so long, a key frame each `gop`; the server has its turns.

        `taken` is waited for after each picture.
        """
        for index in range(round(seconds / FRAME)):
            self.run(key=index % gop == 0, size=size)
            self.stage.tick()
            await self.stage.settle()
            await until(taken)

    def run(self, frames: int = 1, *, key: bool = False, size: int = 1000) -> None:
        """So many pictures, each with its sound; the first may be a key frame."""
        for index in range(frames):
            if len(self.descriptions) > 1:
                self.audio()
            self.video(key=key and index == 0, size=size)


class OnDemand:
    """A source that a camera plays when it is told to; it remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def start(self) -> None:
        self.told.append("start")

    def stop(self, reason: str) -> None:
        self.told.append(reason)


class Stage:
    """The bridge and its world. `async with Stage(...) as stage`."""

    def __init__(self, certificate: Certificate | None = None, **options: object) -> None:
        self.tls: ServerTls | None = None
        if certificate is not None:
            options["tls_address"] = ("127.0.0.1", 0)
            self.tls = ServerTls(certificate.certificate, certificate.key)
            self._trust = ssl.create_default_context(cafile=certificate.certificate)
        self.clock = JumpClock()
        self.events: list[object] = []
        self.router = Router(self.events.append)
        self.admission = Admission(self.events.append)
        self.options = replace(OPTIONS, **options)  # type: ignore[arg-type]  # as they are named
        self.bridge: RtspBridge
        self.callers: list[Caller] = []
        self.pairs: list[UdpPair] = []
        self.cameras: list[Camera] = []
        self.faults: list[str] = []
        self._wall_offset = 0.0  # the wall clock moves on with the other one
        self._echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._patch = pytest.MonkeyPatch()
        self._census = Census(WATCHED, self._patch)

    async def __aenter__(self) -> Self:
        self._echo.bind(("127.0.0.1", 0))
        self._echo.connect(self._echo.getsockname())
        self._echo.setblocking(False)
        gc.disable()
        self._wall_offset = time.time() - time.monotonic()
        self.clock.__enter__()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.faults.append(str(context)))
        self.router.defer = lambda callback: (loop.call_soon(callback), None)[1]
        self.bridge = RtspBridge(
            self.router, self.admission, self.events.append, self.options, self.tls
        )
        await self.bridge.start()
        self.tick()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                await self.check_nothing_is_left()
        finally:
            await self.bridge.stop()
            self.router.close(time.monotonic())
            for pair in self.pairs:
                pair.close()
            self._echo.close()
            self._patch.undo()
            gc.enable()
            self.clock.__exit__(kind, error, traceback)

    # -- what is on it -----------------------------------------------------------------------

    @property
    def port(self) -> int:
        """Of RTSP."""
        return self.bridge.addresses[0][1]

    @property
    def rtp_port(self) -> int:
        """Of RTP over UDP; that of RTCP is the next one."""
        ports = self.bridge.udp_ports
        assert ports is not None
        return ports[0]

    def stream(self, name: str = NAME) -> Stream:
        """A stream that there is."""
        found = self.router.find(name)
        assert found is not None
        return found

    def camera(
        self, name: str = NAME, descriptions: Sequence[TrackDescription] = (VIDEO, AUDIO)
    ) -> Camera:
        """A stream with a source that runs; a group of two pictures has come."""
        if self.router.find(name) is None:
            self.router.declare(name, StreamOptions())
        camera = Camera(self, name, descriptions)
        self.cameras.append(camera)
        if descriptions[0].kind is Kind.VIDEO:
            camera.run(2, key=True)
        return camera

    def url(self, name: str = NAME, query: str = "") -> str:
        """Where a stream is played."""
        return f"rtsp://127.0.0.1:{self.port}/{name}{query}"

    async def call(
        self, name: str = NAME, query: str = "", *, secure: bool = False, room: int = 0
    ) -> Caller:
        """A client that is connected."""
        if secure:
            port = self.bridge.addresses[1][1]
            url = f"rtsps://localhost:{port}/{name}{query}"
            caller = await Caller.call(url, port, self._trust)
        else:
            caller = await Caller.call(self.url(name, query), self.port, room=room)
        self.callers.append(caller)
        return caller

    def pair(self, host: str = "127.0.0.1", ports: tuple[int, int] = (0, 0)) -> UdpPair:
        """Two UDP ports."""
        pair = UdpPair(host, ports)
        self.pairs.append(pair)
        return pair

    # -- time --------------------------------------------------------------------------------

    def tick(self) -> None:
        """What the server does a few times a second."""
        self.router.tick(time.monotonic(), self._wall_offset)

    async def settle(self) -> None:
        """What was sent so far arrives and is taken.

        Loopback delivers in order, so behind a datagram of our own; a turn or two later it is done.
        """
        self._echo.send(b"x")
        await asyncio.get_running_loop().sock_recv(self._echo, 1)
        for _ in range(3):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        """Time goes by; what is due is done."""
        await self.settle()
        self.clock.advance(seconds)
        self.tick()
        await self.settle()

    def heard(self, kind: type) -> list[object]:
        """Events of one class so far."""
        return [event for event in self.events if isinstance(event, kind)]

    # -- the end -----------------------------------------------------------------------------

    async def check_nothing_is_left(self) -> None:
        """All clients leave: no connection, session, claim, hold, receiver or group remains."""
        for caller in self.callers:
            caller.hang_up()
        await until(lambda: self.bridge.usage() == NOTHING, f"left: {self.bridge.usage()}")
        for stream in self.router.streams():
            assert stream.readers == {}
            await until(lambda: "rtp" not in stream.outputs, "an output without readers")  # noqa: B023  it is awaited
            assert self.router.leases(stream.name) == 0
        for camera in self.cameras:
            camera.stop()
        await self.advance(LONG)
        await until(lambda: self._census.living() == [], f"alive: {self._census.living()}")
        assert self.faults == []


def track_of(camera: Camera, index: int) -> Track:
    """One track that a camera publishes."""
    assert camera.publisher is not None
    return camera.publisher.tracks[index]
