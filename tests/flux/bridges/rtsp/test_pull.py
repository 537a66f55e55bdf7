"""The pull source: cameras on loopback, good and bad, into a publisher that keeps what it gets."""

import asyncio
import socket
from typing import cast

import pytest
import structlog.testing

from flux.base.errors import WireError
from flux.bridges.rtsp.pull import Retries, RtspSource
from flux.bridges.rtsp.pull_run import PullRun
from protocols.rtsp.options import PullOptions, TransportChoice
from tests.support.rtsp_house import SOUND, ZEROS, House, singer, url_of
from tests.support.rtsp_peer import SDP, Camera, CameraServer, frame, rtp


@pytest.fixture
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between attempts."""
    monkeypatch.setattr(House, "retries", Retries(first=0.001, longest=0.01))


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


@pytest.mark.parametrize("url", ["http://cam/", "rtsp://", "rtsps://"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(WireError):
        RtspSource("cam", url, cast(House, None), lambda state, reason: None)
