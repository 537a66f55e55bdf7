"""The player page through TLS: pictures, and secure WebSocket."""

from collections.abc import Iterator

import pytest
from playwright.async_api import Browser

from tests.support import certificate
from tests.support.browser import DESKTOP, tab
from tests.support.flux_process import FluxProcess
from tests.support.ports import free_port

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(60),
    pytest.mark.asyncio(loop_scope="package"),
]

TRUSTING = {**DESKTOP, "ignore_https_errors": True}


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a test card is served through TLS."""
    folder = tmp_path_factory.mktemp("https")
    own = certificate.make(folder, "flux")
    port = free_port()
    tls = {"certificate": str(own.certificate), "key": str(own.key)}
    http = {"tls_address": f"127.0.0.1:{port}", "tls": tls}
    settings = {"limits": {"loop_lag": "5s"}}  # browser and server share few cores here
    with FluxProcess(folder, {"demo": {"source": "testcard:"}}, settings, http=http):
        yield f"https://127.0.0.1:{port}"


@pytest.mark.parametrize("protocol", ["flv", "ws", "hls"])
async def test_the_page_plays(browser: Browser, origin: str, protocol: str) -> None:
    async with tab(browser, TRUSTING, "dark") as page:
        sockets: list[str] = []
        page.page.on("websocket", lambda found: sockets.append(found.url))
        await page.open(f"{origin}/demo/?protocol={protocol}")
        shots = await page.until_shots(50)
        assert all(shot.number is not None for shot in shots[10:])
        assert await page.page.evaluate("isSecureContext")
        assert page.problems == []
        wanted = [f"wss{origin.removeprefix('https')}/demo.flv"]
        assert sockets == (wanted if protocol == "ws" else [])
