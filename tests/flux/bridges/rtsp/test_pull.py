"""The pull source: cameras on loopback, good and bad, into a publisher that keeps what it gets."""

import asyncio
import copy
import random
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import pytest
import structlog.testing

from flux.base.errors import PeerError, WireError
from flux.bridges.rtsp.pull import PullRun, Retries, RtspSource
from media.frame import NO_TIME
from media.publisher import Publisher
from media.track import Track, TrackDescription
from protocols.rtsp.options import PullOptions, TransportChoice
from tests.support.rtsp_peer import SDP, Camera, CameraServer, frame, rtp

INFO = "url=trackID=1;seq=0;rtptime=90000,url=trackID=2;seq=0;rtptime=8000"
ZEROS = "url=trackID=1;seq=0;rtptime=0,url=trackID=2;seq=0;rtptime=0"
SOUND = b"".join(frame(2, rtp(n, 8000 + 160 * n, bytes([n]) * 160)) for n in range(50))


class FakePublisher:
    """Keeps what is written."""

    def __init__(
        self, descriptions: Sequence[TrackDescription], on_change: Callable[[], None]
    ) -> None:
        self._on_change = on_change
        self.tracks = tuple(
            Track(index, d.kind, d.codec, d.clock_rate, d.parameters)
            for index, d in enumerate(descriptions)
        )
        self.units: list[tuple[str, int, tuple[bytes, ...]]] = []
        self.anchors: list[dict[str, int]] = []
        self.reasons: Counter[str] = Counter()
        self.end = ""
        self.on_ended: Callable[[str], None] | None = None

    def write(
        self,
        track: Track,
        timestamp: int,
        payload: tuple[bytes, ...],
        arrived: float,
        dts: int = NO_TIME,
    ) -> None:
        assert self.end == ""
        self.units.append((track.codec, timestamp, payload))
        self._on_change()

    def anchor(self, timestamps: Mapping[Track, int]) -> None:
        self.anchors.append({track.codec: value for track, value in timestamps.items()})

    def sender_report(self, track: Track, ntp: int, timestamp: int, now: float) -> None:
        pass

    def dropped(self, reason: str, track: Track | None = None, count: int = 1) -> None:
        self.reasons[reason] += count

    def close(self, reason: str, now: float) -> None:
        assert self.end == ""
        self.end = reason


class House:
    """A router with one source, and what it said."""

    retries = Retries()

    def __init__(self, url: str, options: PullOptions | None = None) -> None:
        self.publishers: list[FakePublisher] = []
        self.states: list[tuple[str, str]] = []
        self.changed = asyncio.Event()
        self.is_taken = False
        chance = random.Random(1)
        self.source = RtspSource("cam", url, self, self.on_state, options, self.retries, chance)

    def publish(
        self, name: str, descriptions: Sequence[TrackDescription], *, now: float, origin: str
    ) -> Publisher:
        assert name == "cam"
        if self.is_taken:
            raise PeerError("name-taken", 409)
        self.publishers.append(FakePublisher(descriptions, self.changed.set))
        return cast(Publisher, self.publishers[-1])

    def on_state(self, state: str, reason: str) -> None:
        self.states.append((state, reason))
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def until_said(self, state: str, reason: str = "", count: int = 1) -> None:
        await self.until(lambda: self.states.count((state, reason)) >= count)

    async def until_units(self, count: int) -> None:
        await self.until(lambda: bool(self.publishers) and len(self.publishers[-1].units) >= count)

    async def stop(self) -> None:
        async with asyncio.timeout(3):
            self.source.stop("not-wanted")
            await self.source.wait_stopped()
        assert self.states[-1] == ("stopped", "not-wanted")
        left = [task.get_name() for task in asyncio.all_tasks() if "rtsp" in task.get_name()]
        assert left == []


@pytest.fixture
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between attempts."""
    monkeypatch.setattr(House, "retries", Retries(first=0.001, longest=0.01))


def url_of(server: CameraServer, credentials: str = "") -> str:
    return f"rtsp://{credentials}127.0.0.1:{server.port}/live"


def singer(**changes: object) -> Callable[[], Camera]:
    """Cameras that send a second of sound after PLAY."""

    def make() -> Camera:
        camera = Camera(extra={"PLAY": [("RTP-Info", INFO)]}, after_play=lambda _: SOUND)
        for name, value in changes.items():
            setattr(camera, name, copy.deepcopy(value))
        return camera

    return make


async def test_sound_comes_through() -> None:
    async with CameraServer(singer()) as server:
        house = House(url_of(server))
        house.source.start()
        await house.until_units(50)
        publisher = house.publishers[0]
        assert [track.codec for track in publisher.tracks] == ["h264", "pcmu"]
        assert [unit[2] for unit in publisher.units] == [(bytes([n]) * 160,) for n in range(50)]
        times = [unit[1] for unit in publisher.units]
        assert publisher.anchors[0]["pcmu"] == times[0]
        assert times == [times[0] + 160 * n for n in range(50)]
        await house.stop()
        assert house.states == [("connecting", ""), ("running", ""), ("stopped", "not-wanted")]
        assert publisher.end == "not-wanted"
        camera = server.cameras[0]
        assert camera.methods[-1] == "TEARDOWN"
        assert {channel for channel, _ in camera.received} <= {1, 3}


async def test_sound_comes_through_by_udp() -> None:
    def send(camera: Camera) -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for n in range(50):
                packet = rtp(n, 8000 + 160 * n, bytes([n]) * 160)
                sock.sendto(packet, ("127.0.0.1", camera.client_ports[1][0]))
        return b""

    async with CameraServer(singer(transports=("UDP",), after_play=send)) as server:
        house = House(url_of(server))
        house.source.start()
        await house.until_units(50)
        assert len(house.publishers[0].units) == 50
        await house.stop()


async def test_rtp_info_of_zeros_is_no_anchor() -> None:
    async with CameraServer(singer(extra={"PLAY": [("RTP-Info", ZEROS)]})) as server:
        house = House(url_of(server))
        house.source.start()
        await house.until_units(50)
        assert house.publishers[0].anchors == []
        await house.stop()


async def test_a_refused_track_leaves_the_other() -> None:
    async with CameraServer(singer(statuses={"SETUP": [404]})) as server:
        house = House(url_of(server))
        house.source.start()
        await house.until_units(50)
        assert [track.codec for track in house.publishers[0].tracks] == ["pcmu"]
        await house.stop()


async def test_a_codec_that_nobody_knows_is_taken_all_the_same() -> None:
    sdp = SDP.replace(b"H264/90000", b"X-STRANGE/90000")
    async with CameraServer(singer(sdp=sdp)) as server:
        house = House(url_of(server))
        house.source.start()
        await house.until_units(50)
        assert house.publishers[0].tracks[0].codec == "rtp/x-strange"
        await house.stop()


@pytest.mark.parametrize(
    ("changes", "credentials", "reason"),
    [
        ({"user": "u", "password": "p"}, "", "rtsp-unauthorized"),
        ({"user": "u", "password": "p"}, "u:wrong@", "rtsp-unauthorized"),
        ({"statuses": {"DESCRIBE": [404]}}, "", "rtsp-404"),
    ],
)
async def test_a_camera_that_says_no_is_left_alone(
    changes: dict[str, object], credentials: str, reason: str
) -> None:
    async with CameraServer(singer(**changes)) as server:
        house = House(url_of(server, credentials))
        house.source.start()
        await house.until_said("waiting", reason)
        assert len(server.cameras) == 1
        await house.stop()


@pytest.mark.usefixtures("_fast")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sdp": b"v=0\r\nm=application 0 TCP/X 0\r\n"}, "no-usable-track"),
        ({"sdp": b"rubbish"}, "sdp-empty"),
        ({"sdp": b""}, "rtsp-no-sdp"),
        ({"statuses": {"PLAY": [500]}}, "rtsp-500"),
        ({"before_answer": b"\0" * 300_000}, "rtsp-no-sync"),
        ({"after_play": lambda _: b"\0" * 300_000}, "rtsp-no-sync"),
        (
            {"after_play": lambda _: SOUND + b"OPTIONS * RTSP/1.0\r\n\r\n" * 99},
            "rtsp-request-flood",
        ),
    ],
)
async def test_bad_cameras_are_named_and_tried_again(
    changes: dict[str, object], reason: str
) -> None:
    async with CameraServer(singer(**changes)) as server:
        house = House(url_of(server))
        house.source.start()
        await house.until_said("waiting", reason, count=3)
        assert len(server.cameras) >= 3
        await house.stop()
        assert all(publisher.end for publisher in house.publishers)


@pytest.mark.usefixtures("_fast")
async def test_a_camera_that_stops_in_mid_frame_and_comes_back() -> None:
    async with CameraServer(singer(after_play=lambda _: SOUND[:-50])) as server:
        house = House(url_of(server))
        house.source.start()
        for count in (1, 2):
            await house.until_said("running", count=count)
            await house.until_units(49)
            server.transports[-1].abort()
            await house.until_said("waiting", "peer-closed", count=count)
        assert [publisher.end for publisher in house.publishers][:2] == ["peer-closed"] * 2
        await house.stop()


async def test_a_sender_that_restarts_all_the_time_is_one_line_a_second() -> None:
    def packet(ssrc: int, number: int) -> bytes:
        data = rtp(number, 8000 + 160 * number, bytes([ssrc]) * 160)
        return frame(2, data[:8] + ssrc.to_bytes(4, "big") + data[12:])

    media = b"".join(packet(ssrc, number) for ssrc in range(1, 60) for number in range(20))
    async with CameraServer(singer(after_play=lambda _: media)) as server:
        house = House(url_of(server))
        with structlog.testing.capture_logs() as lines:
            house.source.start()
            await house.until_units(600)
            await house.stop()
        assert 1 <= [line["event"] for line in lines].count("source restarted") <= 10


@pytest.mark.usefixtures("_fast")
async def test_a_kicked_publisher_is_connected_anew() -> None:
    async with CameraServer(singer()) as server:
        house = House(url_of(server))
        house.source.start()
        await house.until_units(50)
        kicked = house.publishers[0]
        assert kicked.on_ended is not None
        kicked.on_ended("kicked")
        kicked.on_ended("kicked")
        await house.until_said("waiting", "kicked")
        await house.until_said("running", count=2)
        assert len(house.publishers) == 2
        assert server.cameras[0].methods.count("TEARDOWN") == 1
        await house.stop()


@pytest.mark.usefixtures("_fast")
async def test_a_fault_of_ours_is_not_the_end_of_a_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [ValueError("a fault")]

    class Faulty(PullRun):
        async def connect(self) -> None:
            if faults:
                raise faults.pop()
            await super().connect()

    monkeypatch.setattr("flux.bridges.rtsp.pull.PullRun", Faulty)
    async with CameraServer(singer()) as server:
        house = House(url_of(server))
        house.source.start()
        await house.until_units(50)
        assert ("waiting", "internal-error") in house.states
        await house.stop()


@pytest.mark.usefixtures("_fast")
async def test_a_silent_camera_is_given_up() -> None:
    options = PullOptions(media_timeout=0.05, transport=TransportChoice.TCP)
    async with CameraServer(Camera) as server:
        house = House(url_of(server), options)
        house.source.start()
        await house.until_said("waiting", "media-timeout", count=2)
        await house.stop()


@pytest.mark.usefixtures("_fast")
async def test_nobody_at_home() -> None:
    async with CameraServer(Camera) as server:
        url = url_of(server)
    house = House(url)
    house.source.start()
    await house.until_said("waiting", "connection-refused", count=2)
    await house.stop()
    house = House("rtsp://nowhere.invalid/")
    house.source.start()
    await house.until_said("waiting", "dns-failure")
    await house.stop()


@pytest.mark.usefixtures("_fast")
async def test_a_name_that_is_taken() -> None:
    async with CameraServer(singer()) as server:
        house = House(url_of(server))
        house.is_taken = True
        house.source.start()
        await house.until_said("waiting", "name-taken", count=2)
        house.is_taken = False
        await house.until_units(50)
        await house.stop()


async def test_redirects_are_followed_and_credentials_stay_at_home() -> None:
    async with CameraServer(singer()) as target:
        location = f"rtsp://localhost:{target.port}/there"
        changes = {"statuses": {"DESCRIBE": [302]}, "extra": {"DESCRIBE": [("Location", location)]}}
        async with CameraServer(singer(**changes, user="u", password="p")) as server:
            house = House(url_of(server, "u:p@"))
            house.source.start()
            await house.until_units(50)
            assert target.cameras[0].asked[0].url == location
            assert all("authorization" not in asked.headers for asked in target.cameras[0].asked)
            await house.stop()


@pytest.mark.usefixtures("_fast")
async def test_a_ring_of_redirects_is_a_fault() -> None:
    changes: dict[str, object] = {
        "statuses": {"DESCRIBE": [302]},
        "extra": {"DESCRIBE": [("Location", "/ring")]},
    }
    async with CameraServer(singer(**changes)) as server:
        house = House(url_of(server))
        house.source.start()
        await house.until_said("waiting", "rtsp-redirected")
        assert [camera.asked[0].url.rpartition("/")[2] for camera in server.cameras[:6]] == [
            "live",
            *["ring"] * 5,
        ]
        await house.stop()


@pytest.mark.parametrize("method", ["OPTIONS", "DESCRIBE", "SETUP", "PLAY", "TEARDOWN"])
async def test_stop_is_bounded_wherever_the_camera_hangs(method: str) -> None:
    options = PullOptions(teardown_timeout=0.05)
    async with CameraServer(singer(silent={method})) as server:
        house = House(url_of(server), options)
        house.source.start()
        if method == "TEARDOWN":
            await house.until_said("running")
        else:
            await server.until(lambda: any(method in c.methods for c in server.cameras))
        await house.stop()


async def test_stop_while_connecting_and_start_again_at_once() -> None:
    async with CameraServer(singer()) as server:
        house = House(url_of(server))
        house.source.start()
        house.source.start()  # a second start does nothing
        await asyncio.sleep(0)
        house.source.stop("not-wanted")
        house.source.stop("not-wanted")
        house.source.start()
        await house.until_units(50)
        assert len(house.publishers) == 1
        await house.stop()


async def test_stop_and_start_while_the_old_run_leaves() -> None:
    options = PullOptions(teardown_timeout=0.05)
    async with CameraServer(singer(silent={"TEARDOWN"})) as server:
        house = House(url_of(server), options)
        for count in (1, 2, 3):
            house.source.start()
            await house.until_said("running", count=count)
            house.source.stop("not-wanted")
        await house.source.wait_stopped()
        assert [publisher.end for publisher in house.publishers] == ["not-wanted"] * 3


@pytest.mark.parametrize("url", ["http://cam/", "rtsp://", "rtsps://cam/"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(WireError):
        RtspSource("cam", url, cast(House, None), lambda state, reason: None)
