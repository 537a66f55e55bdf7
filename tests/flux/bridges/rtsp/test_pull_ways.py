"""The pull source's choices: silent transports, recordings, redirects, transport streams."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flux.bridges.rtsp.pull import MAX_REDIRECTS, Retries
from protocols.rtsp.options import PullOptions, TransportChoice, fingerprint_of
from protocols.rtsp.range import PlayRange
from tests.support import certificate, clip
from tests.support.certificate import Certificate
from tests.support.rtsp_house import SOUND, House, singer, url_of
from tests.support.rtsp_peer import Camera, CameraServer, frame, rtp

QUICK = PullOptions(media_timeout=0.1, any_port_after=0.01)
TS_SDP = b"v=0\r\nm=video 0 RTP/AVP 33\r\na=control:trackID=1\r\n"
BYE = b"".join(frame(n, b"\x81\xcb\0\1\0\0\0\7") for n in (1, 3))  # of both tracks
PICTURE = frame(0, rtp(1, 90000, b"\x65\x88", 96))
pytestmark = pytest.mark.usefixtures("steady_time")


@pytest.fixture
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting between attempts is short, and long where it must not happen."""
    monkeypatch.setattr(House, "retries", Retries(first=0.001, longest=0.01))


@pytest.fixture
def _slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(House, "retries", Retries(first=60.0, longest=60.0))


def udp_only(camera: Camera) -> bytes:
    """Send sound if the client asked for UDP."""
    if camera.client_ports:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for n in range(50):
                packet = rtp(n, 8000 + 160 * n, bytes([n]) * 160)
                sock.sendto(packet, ("127.0.0.1", camera.client_ports[1][0]))
    return b""


def tcp_only(camera: Camera) -> bytes:
    """Send sound unless the client asked for UDP."""
    return b"" if camera.client_ports else SOUND


# -- transports ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("_slow")
async def test_tcp_that_brings_nothing_is_followed_by_udp_at_once() -> None:
    async with CameraServer(singer(after_play=udp_only)) as server:
        house = House(url_of(server), QUICK)
        house.source.start()
        await house.until_units(50)
        assert [len(camera.client_ports) for camera in server.cameras] == [0, 2]
        assert ("waiting", "media-timeout") not in house.states
        await house.stop()


@pytest.mark.usefixtures("_slow")
async def test_udp_that_brings_nothing_is_followed_by_tcp() -> None:
    """The camera worked over UDP, and after its restart behind a firewall over TCP alone."""
    scripts: list[Callable[[Camera], bytes]] = [lambda _: b"", udp_only, tcp_only, tcp_only]
    make = lambda: singer(after_play=scripts.pop(0))()  # noqa: E731 - as a value
    async with CameraServer(make) as server:
        house = House(url_of(server), QUICK)
        house.source.start()
        await house.until_units(50)
        house.source.stop("restart")
        house.source.start()
        await house.until(lambda: len(house.publishers) == 4)
        await house.until_units(50)
        assert [len(camera.client_ports) for camera in server.cameras] == [0, 2, 2, 0]
        await house.stop()


@pytest.mark.usefixtures("_fast")
async def test_a_camera_that_never_sends_is_asked_both_ways_and_then_waited_for() -> None:
    async with CameraServer(singer(after_play=lambda _: b"")) as server:
        house = House(url_of(server), QUICK)
        house.source.start()
        await house.until_said("waiting", "media-timeout", count=2)
        ways = [len(camera.client_ports) for camera in server.cameras]
        assert ways[:4] == [0, 2, 0, 2]
        await house.stop()


@pytest.mark.usefixtures("_fast")
@pytest.mark.parametrize("choice", [TransportChoice.TCP, TransportChoice.UDP])
async def test_a_transport_that_was_chosen_stays(choice: TransportChoice) -> None:
    options = PullOptions(media_timeout=0.05, transport=choice)
    async with CameraServer(singer(after_play=lambda _: b"")) as server:
        house = House(url_of(server), options)
        house.source.start()
        await house.until_said("waiting", "media-timeout", count=3)
        assert len({len(camera.client_ports) for camera in server.cameras}) == 1
        await house.stop()


# -- parts of recordings ------------------------------------------------------------------------


def part(text: str, media_timeout: float = 0.1) -> PullOptions:
    return PullOptions(
        range=PlayRange.parse(text), media_timeout=media_timeout, transport=TransportChoice.TCP
    )


@pytest.mark.usefixtures("_fast")
@pytest.mark.parametrize(
    ("text", "after_play"),
    [
        ("npt=0-1", SOUND),  # silence after its end
        ("npt=0-", SOUND + PICTURE + BYE),
        ("clock=20261121T080000Z-", SOUND + b"PLAY_NOTIFY * RTSP/1.0\r\nCSeq: 1\r\n"
         b"Notify-Reason: end-of-stream\r\n\r\n"),
        ("npt=0-1", SOUND + b"TEARDOWN * RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
    ],
)  # fmt: skip
async def test_the_end_of_a_recording_is_the_end(text: str, after_play: bytes) -> None:
    async with CameraServer(singer(after_play=lambda _: after_play)) as server:
        house = House(url_of(server), part(text))
        house.source.start()
        await house.until_said("stopped", "source-ended")
        await house.source.wait_stopped()
        assert len(server.cameras) == 1
        assert server.cameras[0].asked[-1].method in ("TEARDOWN", "answer")
        play = next(asked for asked in server.cameras[0].asked if asked.method == "PLAY")
        assert play.headers["range"] == text
        assert house.publishers[0].end in ("source-ended", "media-timeout", "peer-teardown")
        house.source.start()  # who wants to see it again gets it from the beginning
        await house.until(lambda: len(server.cameras) == 2 and len(house.publishers) == 2)
        await house.stop()


@pytest.mark.usefixtures("_fast")
async def test_a_recording_that_breaks_goes_on_where_it_was() -> None:
    async with CameraServer(singer()) as server:
        house = House(url_of(server), part("npt=100-200", media_timeout=30.0))
        house.source.start()
        await house.until_units(50)
        await asyncio.sleep(0.05)  # some of it is played
        server.transports[0].write(PICTURE)
        await house.until(lambda: len(house.publishers[0].units) > 50)
        server.transports[0].abort()
        await house.until_said("running", count=2)
        play = next(asked for asked in server.cameras[1].asked if asked.method == "PLAY")
        left = PlayRange.parse(play.headers["range"])
        assert (left.unit, left.end) == ("npt", "200")
        assert 100.05 <= float(left.start) < 110
        await house.stop()


@pytest.mark.usefixtures("_fast")
async def test_a_recording_that_has_no_more() -> None:
    """The rest is refused with 457 Invalid Range: it has been played."""
    statuses: Iterator[list[int]] = iter([[]])
    make = lambda: singer(statuses={"PLAY": next(statuses, [457])})()  # noqa: E731 - as a value
    async with CameraServer(make) as server:
        house = House(url_of(server), part("npt=100-"))
        house.source.start()
        await house.until_units(50)
        await asyncio.sleep(0.05)
        server.transports[0].write(PICTURE)
        await house.until_said("stopped", "source-ended")
        assert len(server.cameras) == 2


@pytest.mark.usefixtures("_fast")
async def test_what_is_live_is_connected_again_after_a_goodbye() -> None:
    async with CameraServer(singer(after_play=lambda _: SOUND + PICTURE + BYE)) as server:
        house = House(url_of(server), part("npt=now-"))
        house.source.start()
        await house.until_said("waiting", "source-ended", count=2)
        await house.stop()
        assert len(server.cameras) >= 2


# -- redirects ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """The camera's certificate."""
    return certificate.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def context(own: Certificate) -> Iterator[ssl.SSLContext]:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(own.certificate, own.key)
    yield made


def redirecting(location: str, status: int) -> Callable[[], Camera]:
    extra = {"DESCRIBE": [("Location", location)]}
    return singer(statuses={"DESCRIBE": [status]}, extra=extra, user="u", password="p")


@pytest.mark.parametrize("status", [301, 302, 303, 307])
async def test_a_redirect_to_tls_on_the_own_host_takes_the_credentials(
    status: int, own: Certificate, context: ssl.SSLContext
) -> None:
    options = PullOptions(fingerprint=fingerprint_of(own.fingerprint))
    async with CameraServer(singer(user="u", password="p"), context) as target:
        location = f"rtsps://127.0.0.1:{target.port}/there"
        async with CameraServer(redirecting(location, status)) as server:
            house = House(url_of(server, "u:p@"), options)
            house.source.start()
            await house.until_units(50)
            assert target.cameras[0].asked[0].url == location
            await house.stop()


async def test_a_redirect_out_of_tls_does_not(own: Certificate, context: ssl.SSLContext) -> None:
    options = PullOptions(fingerprint=fingerprint_of(own.fingerprint))
    async with CameraServer(singer(user="u", password="p")) as target:
        location = f"rtsp://127.0.0.1:{target.port}/there"
        async with CameraServer(redirecting(location, 302), context) as server:
            house = House(f"rtsps://u:p@127.0.0.1:{server.port}/live", options)
            house.source.start()
            await house.until_said("waiting", "rtsp-unauthorized")
            assert all("authorization" not in asked.headers for asked in target.cameras[0].asked)
            await house.stop()


async def test_a_redirect_with_credentials_of_its_own() -> None:
    async with CameraServer(singer(user="x", password="y")) as target:
        location = f"rtsp://x:y@localhost:{target.port}/there"
        async with CameraServer(redirecting(location, 302)) as server:
            house = House(url_of(server, "u:p@"))
            house.source.start()
            await house.until_units(50)
            assert "x:y" not in target.cameras[0].asked[0].url
            await house.stop()


async def test_a_redirect_in_mid_session() -> None:
    async with CameraServer(singer()) as target:
        request = (
            f"REDIRECT * RTSP/1.0\r\nCSeq: 1\r\nLocation: rtsp://127.0.0.1:{target.port}/b\r\n\r\n"
        )
        first = singer(after_play=lambda _: SOUND + request.encode())
        async with CameraServer(first) as server:
            house = House(url_of(server))
            house.source.start()
            await house.until(lambda: len(house.publishers) == 2)
            assert target.cameras[0].asked[0].url.endswith("/b")
            assert house.states.count(("waiting", "rtsp-redirected")) == 0
            await house.stop()
        assert MAX_REDIRECTS > 1


# -- transport streams --------------------------------------------------------------------------


def packets_of(path: Path) -> list[bytes]:
    """A transport stream as RTP of payload type 33, seven packets each."""
    data = path.read_bytes()
    pieces = [data[at : at + 7 * 188] for at in range(0, len(data), 7 * 188)]
    return [rtp(n, 3000 * n, piece, 33) for n, piece in enumerate(pieces)]


async def test_a_transport_stream_within_rtp() -> None:
    media = b"".join(frame(0, packet) for packet in packets_of(clip.path_of("h264ts")))
    async with CameraServer(singer(sdp=TS_SDP, after_play=lambda _: media)) as server:
        house = House(url_of(server))
        house.source.start()
        await house.until_units(20)
        publisher = house.publishers[0]
        assert "h264" in {track.codec for track in publisher.tracks}
        known = {unit.pieces for unit in clip.units_of("h264ts")["video"].units}
        slices = [
            tuple(nal for nal in unit[2] if nal[0] & 31 not in (7, 8, 9, 12))
            for unit in publisher.units
            if unit[0] == "h264"
        ]
        assert all(each in known for each in slices if each)
        await house.stop()
        assert publisher.end == "not-wanted"


async def test_a_packet_of_a_transport_stream_that_is_lost() -> None:
    packets = packets_of(clip.path_of("h264ts"))
    del packets[10]
    media = b"".join(frame(0, packet) for packet in packets)
    async with CameraServer(singer(sdp=TS_SDP, after_play=lambda _: media)) as server:
        house = House(url_of(server))
        house.source.start()
        await house.until_units(15)
        assert house.publishers[0].reasons["rtp-packet-lost"] == 1
        await house.stop()


@pytest.mark.usefixtures("_fast")
async def test_a_transport_stream_without_a_program() -> None:
    """Null packets alone: named, and tried again."""
    null = b"\x47\x1f\xff\x10" + bytes(184)
    media = b"".join(frame(0, rtp(n, n, null * 7, 33)) for n in range(3))
    options = PullOptions(media_timeout=0.05, transport=TransportChoice.TCP)
    async with CameraServer(singer(sdp=TS_SDP, after_play=lambda _: media)) as server:
        house = House(url_of(server), options)
        house.source.start()
        await house.until_said("waiting", "media-timeout")
        assert house.publishers == []
        await house.stop()
