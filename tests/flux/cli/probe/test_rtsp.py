"""The RTSP probe against scripted cameras on loopback."""

import asyncio
import copy
import ssl
from pathlib import Path
from typing import Any

import pytest

from flux.cli.probe.engine import ProbeFailed, ProbeOptions, probe_for
from flux.cli.probe.figures import Board
from tests.support import certificate
from tests.support.ports import free_port
from tests.support.rtsp_peer import Camera, CameraServer, frame, rtp
from tests.support.rtsp_tunnel import TunnelServer

GONE = (*range(10, 15), 30)
SOUND = b"".join(
    frame(2, rtp(n, 8000 + 160 * n, bytes([n]) * 160)) for n in range(50) if n not in GONE
)


def singing(**changes: Any) -> Camera:
    return copy.deepcopy(Camera(after_play=lambda _: SOUND, **changes))


async def measure(url: str, frames: int, options: ProbeOptions | None = None) -> Board:
    """Probe until so many frames came, then leave."""
    probe = probe_for(url, options or ProbeOptions(timeout=5))
    board = Board(url)
    task = asyncio.create_task(probe.run(board))
    async with asyncio.timeout(10):
        while board.frames < frames and not task.done():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
    if task.done():
        board.ended = await task
        return board
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return board


async def test_tracks_loss_and_a_proper_end() -> None:
    async with CameraServer(singing) as server:
        board = await measure(f"rtsp://127.0.0.1:{server.port}/cam", 44)
        assert server.cameras[0].methods[-1] == "TEARDOWN"
    video, sound = board.tracks
    assert (board.protocol, board.transport) == ("rtsp", "tcp")
    assert (video.codec, video.codec_string, video.frames) == ("h264", "avc1.42c01e", 0)
    assert (video.width, video.height) == (240, 160)
    assert (sound.codec, sound.sample_rate, sound.frames) == ("pcmu", 8000, 44)
    assert sound.span == pytest.approx(49 * 0.02)
    assert (sound.packets, sound.lost) == (44, 6)
    assert sound.loss == pytest.approx(6 / 50)
    assert board.notes["rtp-packet-lost"] == 6


async def test_the_credentials_of_the_url_are_used() -> None:
    make = lambda: singing(user="admin", password="p@ss")  # noqa: E731 - one word shorter
    async with CameraServer(make) as server:
        board = await measure(f"rtsp://admin:p%40ss@127.0.0.1:{server.port}/cam", 1)
        assert board.frames > 0
        with pytest.raises(ProbeFailed, match="rtsp-unauthorized"):
            await measure(f"rtsp://admin:wrong@127.0.0.1:{server.port}/cam", 1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"statuses": {"DESCRIBE": [404] * 9}}, "rtsp-404"),
        ({"sdp": b"nonsense"}, "sdp-"),
        ({"silent": {"DESCRIBE"}}, "request-timeout"),
    ],
)
async def test_why_there_is_nothing_to_measure(changes: dict[str, Any], reason: str) -> None:
    async with CameraServer(lambda: singing(**changes)) as server:
        with pytest.raises(ProbeFailed) as caught:
            url = f"rtsp://127.0.0.1:{server.port}/cam"
            await measure(url, 1, ProbeOptions(timeout=0.3))
    assert caught.value.reason.startswith(reason)


async def test_nobody_listens() -> None:
    with pytest.raises(ProbeFailed, match="connection-refused"):
        await measure(f"rtsp://127.0.0.1:{free_port()}/cam", 1)


@pytest.mark.parametrize(
    "url", ["rtsp://", "rtsp:///x", "rtsp://h:0x1/", "ftp://h/x.flv", "cam", ""]
)
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ProbeFailed) as caught:
        probe_for(url, ProbeOptions())
    assert caught.value.reason == "url"


@pytest.mark.parametrize("transport", ["auto", "http"])
async def test_tls_by_its_fingerprint(transport: str, tmp_path: Path) -> None:
    own = certificate.make(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    options = ProbeOptions(transport, own.fingerprint, timeout=5)
    tunnelled = TunnelServer(singing, context)
    async with tunnelled if transport == "http" else CameraServer(singing, context) as server:
        url = f"rtsps://127.0.0.1:{server.port}/cam"
        board = await measure(url, 44, options)
        assert (board.protocol, board.transport) == (
            "rtsps",
            {"auto": "tcp"}.get(transport, "http"),
        )
        with pytest.raises(ProbeFailed, match="tls-certificate-invalid"):
            await measure(url, 44, ProbeOptions(transport, timeout=5))


def test_a_fingerprint_that_is_none() -> None:
    with pytest.raises(ProbeFailed) as caught:
        probe_for("rtsps://cam/", ProbeOptions(fingerprint="AB:CD"))
    assert caught.value.reason == "fingerprint"
