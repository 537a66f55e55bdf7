"""Targets as the configuration writes them, and what becomes of them."""

import asyncio
import ssl
from pathlib import Path

import pytest

from config.schema import Config, StreamSection
from flux.app.sources import make_forwards, targets_of
from flux.bridges.srt.sessions import SrtSessions
from media.codecs.g711 import G711Parameters
from media.router import Router
from media.stream import StreamOptions
from media.track import PCMU, Kind, TrackDescription
from tests.support import certificate
from tests.support.rtsp_peer import Camera, CameraServer

AUDIO = TrackDescription(Kind.AUDIO, PCMU, 8_000, G711Parameters(sample_rate=8_000, channels=1))


@pytest.mark.parametrize("choice", ["tcp", "udp"])
async def test_an_rtsp_target_with_settings(choice: str, tmp_path: Path) -> None:
    """They are kept to, and the server does not see them."""
    own = certificate.make(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    is_secure = choice == "tcp"
    router = Router(lambda event: None)
    forwards = make_forwards(Config(), router, lambda event: None, SrtSessions())
    stream = router.declare("cam", StreamOptions()).stream
    publisher = router.publish("cam", [AUDIO], now=0.0, origin="test")
    publisher.write(publisher.tracks[0], 0, (bytes(160),), 0.0)
    async with CameraServer(Camera, context if is_secure else None) as server:
        pin = f"&flux-fingerprint={own.fingerprint}" if is_secure else ""
        scheme = "rtsps" if is_secure else "rtsp"
        url = f"{scheme}://127.0.0.1:{server.port}/$name?room=2&flux-transport={choice}{pin}"
        section = StreamSection.model_validate({"forward": [url]})
        forwards.declare(stream.name, targets_of(section, "cam", ()), passive=True)
        forwards.tick(asyncio.get_running_loop().time())
        try:
            await server.until(
                lambda: bool(server.cameras) and "SETUP" in server.cameras[0].methods
            )
        finally:
            forwards.close()
            await forwards.wait_closed()
    asked = server.cameras[0].asked
    assert asked[1].url == url.replace("$name", "cam").partition("&flux")[0]
    transport = next(each for each in asked if each.method == "SETUP").headers["transport"]
    assert transport.startswith("RTP/AVP;" if choice == "udp" else "RTP/AVP/TCP;")
