"""The RTSP client against GStreamer's server and VLC: pulled and pushed, frame for frame."""

import asyncio
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from flux.bridges.rtsp.pull import RtspSource
from flux.bridges.rtsp.push import RtspPush
from media.router import Router
from media.stream import State, StreamOptions
from protocols.rtsp.options import PullOptions, PushOptions, TransportChoice, fingerprint_of
from tests.support import certificate, clip, frames
from tests.support.camera import Camera
from tests.support.certificate import Certificate
from tests.support.network import Network, NetworkImpossible, in_network
from tests.support.nobody import NOBODY
from tests.support.ports import free_port
from tests.support.program import Program
from tests.support.rtsp_house import FakePublisher, House

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

CLIP = "fragmented"  # 1.07 s, H.264 with B-frames and AAC
KINDS = {"video": "h264", "audio": "aac"}
NOT_MEDIA = {7, 8, 9, 12}  # parameter sets, delimiters, filler
PUSH_SECONDS = 2.0
REPORT_LIMIT = 9.0  # seconds until GStreamer's first receiver report; mostly two
TS_UNITS = 20
SRTP = {"/savp": "savp", "/savpf": "savpf", "/both": "avp+savp"}
VLC_STARTS = 2  # on a busy machine it sometimes answers 500 to everything for good


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """The servers' certificate."""
    return certificate.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def plain(own: Certificate) -> Iterator[Camera]:
    """GStreamer's server with the clip, and a transport stream within RTP."""
    del own
    serve = {"/a": str(clip.path_of(CLIP)), "/ts": f"{clip.path_of('h264ts')},mp2t"}
    with Camera(serve) as camera:
        yield camera


@pytest.fixture(scope="module")
def secure(own: Certificate) -> Iterator[Camera]:
    """The same behind TLS, as plain RTP and as SRTP."""
    serve = {"/a": str(clip.path_of(CLIP))}
    for path, profiles in SRTP.items():
        serve[path] = f"{clip.path_of(CLIP)},profiles={profiles}"
    serve["/udp-alone"] = f"{clip.path_of(CLIP)},profiles=savp,protocols=udp"
    with Camera(serve, options=("--tls", own.files)) as camera:
        yield camera


def media_of(publisher: FakePublisher, codec: str) -> list[tuple[int, tuple[bytes, ...]]]:
    """(timestamp, pieces) of a track, without what is no picture."""
    found = []
    for name, timestamp, payload in publisher.units:
        if name == codec:
            is_video = codec == "h264"
            pieces = tuple(p for p in payload if not is_video or p[0] & 31 not in NOT_MEDIA)
            if pieces:
                found.append((timestamp, pieces))
    return found


def assert_one_round(publisher: FakePublisher) -> None:
    """The clip's units came from the first on, each at its time."""
    for kind, codec in KINDS.items():
        expected = clip.units_of(CLIP)[kind].in_rtp_ticks().units
        got = media_of(publisher, codec)[: len(expected)]
        assert [pieces for _, pieces in got] == [unit.pieces for unit in expected]
        first = got[0][0] - expected[0].pts
        assert [timestamp - first for timestamp, _ in got] == [unit.pts for unit in expected]


async def pull(url: str, options: PullOptions, count: int) -> FakePublisher:
    """What a source got until it had so many units."""
    house = House(url, options)
    house.source.start()
    try:
        await house.until_units(count)
    finally:
        house.source.stop("not-wanted")
        await house.source.wait_stopped()
    return house.publishers[-1]


ONE_ROUND = sum(len(track.units) for track in clip.units_of(CLIP).values()) + 10


@pytest.mark.parametrize("choice", [c for c in TransportChoice if c != "multicast"])
async def test_pull(choice: TransportChoice, plain: Camera) -> None:
    publisher = await pull(plain.url("/a"), PullOptions(transport=choice), ONE_ROUND)
    assert_one_round(publisher)


@pytest.mark.parametrize("choice", [TransportChoice.AUTO, TransportChoice.HTTP])
async def test_pull_through_tls(choice: TransportChoice, secure: Camera, own: Certificate) -> None:
    options = PullOptions(transport=choice, fingerprint=fingerprint_of(own.fingerprint))
    assert_one_round(await pull(secure.url("/a"), options, ONE_ROUND))


@pytest.mark.parametrize("choice", ["tcp", "udp", "http"])
@pytest.mark.parametrize("path", SRTP)
async def test_pull_of_srtp(path: str, choice: str, secure: Camera, own: Certificate) -> None:
    """MIKEY in the description and in KeyMgmt: the clip, and nothing that could not be opened."""
    pin = fingerprint_of(own.fingerprint)
    options = PullOptions(transport=TransportChoice(choice), fingerprint=pin)
    publisher = await pull(secure.url(path), options, ONE_ROUND)
    assert_one_round(publisher)
    assert +publisher.reasons == {}
    assert publisher.link is not None
    assert publisher.link().transport == ("udp" if choice == "udp" else "tcp")


async def test_pull_of_srtp_by_udp_where_tcp_is_refused(secure: Camera, own: Certificate) -> None:
    options = PullOptions(fingerprint=fingerprint_of(own.fingerprint))
    publisher = await pull(secure.url("/udp-alone"), options, ONE_ROUND)
    assert_one_round(publisher)
    assert publisher.link is not None
    assert publisher.link().transport == "udp"


@pytest.mark.parametrize("choice", [TransportChoice.TCP, TransportChoice.UDP])
async def test_pull_of_a_transport_stream(choice: TransportChoice, plain: Camera) -> None:
    publisher = await pull(plain.url("/ts"), PullOptions(transport=choice), TS_UNITS)
    known = {unit.pieces for unit in clip.units_of("h264ts")["video"].units}
    got = [pieces for _, pieces in media_of(publisher, "h264")]
    assert got
    assert all(pieces in known for pieces in got)


@pytest.mark.parametrize("groups", ["239.255.7.1-239.255.7.9", "232.7.7.1-232.7.7.9"])
def test_pull_by_multicast(groups: str) -> None:
    """Two sources share one group; 232/8 is joined for the server's address alone."""

    def body(network: Network) -> None:
        serve = {"/a": f"{clip.path_of(CLIP)},protocols=mcast,groups={groups}:15000-15100"}
        with Camera(serve, host=network.far, wrapper=network.wrapper) as camera:
            asyncio.run(both(camera.url("/a"), network.interface))

    async def both(url: str, interface: str) -> None:
        options = PullOptions(transport=TransportChoice.MULTICAST, interface=interface)
        publishers = await asyncio.gather(*(pull(url, options, ONE_ROUND) for _ in range(2)))
        known = {unit.pieces for track in clip.units_of(CLIP).values() for unit in track.units}
        for publisher in publishers:
            got = [pieces for codec in KINDS.values() for _, pieces in media_of(publisher, codec)]
            assert all(pieces in known for pieces in got)
            assert publisher.reasons["rtp-packet-lost"] == 0

    try:
        in_network(body)
    except NetworkImpossible as error:
        pytest.skip(f"no network namespace: {error}")


@pytest.mark.parametrize("choice", [TransportChoice.AUTO, TransportChoice.UDP])
async def test_pull_from_vlc(choice: TransportChoice, public_folder: Path) -> None:
    """VLC serves RTSP over UDP alone (461 to TCP), and does not run as root."""
    file = shutil.copy(clip.path_of("bunny"), public_folder / "clip.mp4")
    command = [*NOBODY, "cvlc", "-I", "dummy", str(file), "--loop", "--sout-keep", "--sout"]
    publisher = None
    for _ in range(VLC_STARTS):
        port = free_port()
        sout = f"#rtp{{sdp=rtsp://127.0.0.1:{port}/x}}"
        url = f"rtsp://127.0.0.1:{port}/x"
        home = {"HOME": str(public_folder)}
        with Program([*command, sout], home), contextlib.suppress(TimeoutError):
            publisher = await pull(url, PullOptions(transport=choice), 100)
            break
    assert publisher is not None
    known = {unit.pieces for unit in clip.units_of("bunny")["video"].units}
    got = [pieces for _, pieces in media_of(publisher, "h264")]
    assert len(got) > 20
    assert all(pieces in known for pieces in got)


@pytest.mark.parametrize(
    ("server", "choice"),
    [
        *(("plain", choice) for choice in TransportChoice if choice != "multicast"),
        *(("tls", choice) for choice in ("auto", "tcp", "http")),
        *(("srtp", choice) for choice in ("auto", "udp", "http")),
    ],
)
async def test_push(
    server: str, choice: str, plain: Camera, own: Certificate, tmp_path: Path
) -> None:
    """What GStreamer recorded are the clip's units, in order and without a gap.

    A server of SRTP takes nothing else: within TLS that is announced after the other was refused.
    """
    file = tmp_path / "recorded.ts"
    options = ["--record", f"/in={file},h264+aac"]
    if server != "plain":
        options += ["--tls", own.files]
    if server == "srtp":
        options += ["--record-profiles", "savp"]
    router = Router(lambda event: None)
    stream = router.declare("cam", StreamOptions()).stream
    source = RtspSource("cam", plain.url("/a"), router, lambda state, reason: None)
    said: list[tuple[str, str]] = []
    with Camera({}, options=options) as target:
        source.start()
        async with asyncio.timeout(10):
            while stream.state is not State.READY:  # noqa: ASYNC110 - the router has no waiter
                await asyncio.sleep(0.01)
        chosen = PushOptions(
            transport=TransportChoice(choice), fingerprint=fingerprint_of(own.fingerprint)
        )
        push = RtspPush(
            "cam", target.url("/in"), lambda *state: said.append(state), lambda event: None, chosen
        )
        push.start(stream)
        await asyncio.sleep(PUSH_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REPORT_LIMIT - PUSH_SECONDS):
                while push.figures().round_trip is None:  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0.02)
        figures = push.figures()
        push.stop("done")
        await push.wait_stopped()
        source.stop("done")
        await source.wait_stopped()
    assert said == [("running", "")]
    assert (figures.dropped, figures.lost) == (0, 0)
    assert figures.round_trip is not None, "GStreamer's receiver reports were heard"
    assert_in_a_row(file)


def assert_in_a_row(file: Path) -> None:
    """Every unit of a recording is the clip's next one; the clip begins anew at its end."""
    recorded = frames.read(file, "mpegts")
    assert set(recorded) == set(KINDS)
    for kind, track in recorded.items():
        expected = [unit.pieces for unit in clip.units_of(CLIP)[kind].units]
        got = [unit.pieces for unit in track.units]
        assert len(got) > 20
        place = expected.index(got[0])
        for number, pieces in enumerate(got):
            assert pieces == expected[(place + number) % len(expected)], f"{kind} unit {number}"
