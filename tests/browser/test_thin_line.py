"""A viewer whose line is too thin for some seconds: the picture comes back to the live edge."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
from playwright.async_api import Browser

from tests.support.browser import DESKTOP, tab
from tests.support.flux_process import FluxProcess

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(90),
    pytest.mark.asyncio(loop_scope="package"),
]

SEGMENT = 2.0  # seconds: its key frames
STREAMS: dict[str, dict[str, object]] = {
    "demo": {"source": "testcard:", "on_demand": True},
    "low": {"source": "testcard:", "on_demand": True, "hls": {"low_latency": True}},
}
THIN, WIDE = 10_000, 10_000_000  # bytes a second; the test card takes some ten times the first
CHUNK = 2_000  # bytes
RATE = 25  # pictures a second
SETTLED = 6.0  # seconds
LASTS = 5.0  # seconds
RETURN = 15.0  # seconds
SEEN = 2.0  # seconds at the end of these, in which pictures are looked at


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FluxProcess]:
    settings = {"limits": {"loop_lag": "5s"}}
    with FluxProcess(tmp_path_factory.mktemp("flux"), STREAMS, settings) as process:
        yield process


class ThinLine:
    """Connections to a port of this machine that all together bear so many bytes a second."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.rate = WIDE  # towards the viewer
        self._free_at = 0.0  # when the line has borne what was put on it

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join one connection of the viewer with one to the server, until either is over."""
        inner = await asyncio.open_connection("127.0.0.1", self._port, limit=CHUNK)
        self._writers += [writer, inner[1]]
        ways = (
            self._pass(reader, inner[1], is_thin=False),
            self._pass(inner[0], writer, is_thin=True),
        )
        self._tasks |= {asyncio.create_task(way) for way in ways}

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_thin: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError):
            while data := await reader.read(CHUNK):
                if is_thin:
                    self._free_at = max(self._free_at, loop.time()) + len(data) / self.rate
                    await asyncio.sleep(self._free_at - loop.time())
                writer.write(data)
                await writer.drain()
        writer.close()

    async def close(self) -> None:
        """Let go of everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def thin_line(port: int) -> AsyncIterator[tuple[ThinLine, int]]:
    """A line to this port, and the port that it begins at."""
    line = ThinLine(port)
    server = await asyncio.start_server(line.accept, "127.0.0.1", 0, limit=CHUNK)
    try:
        yield line, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await line.close()


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        pytest.param("demo/?protocol=flv", 0.7, id="flv", marks=pytest.mark.long),
        pytest.param("demo/?protocol=hls", 3 * SEGMENT, id="hls"),
        pytest.param("low/?protocol=hls", 1.5, id="low-latency"),
    ],
)
async def test_the_picture_comes_back_to_the_live_edge(
    browser: Browser, server: FluxProcess, path: str, limit: float
) -> None:
    async with (
        thin_line(server.http_port) as (line, port),
        tab(browser, DESKTOP, "dark") as page,
    ):
        await page.open(f"http://127.0.0.1:{port}/{path}")
        await page.until_shots(1)
        await asyncio.sleep(SETTLED)
        before = await page.shots()
        line.rate = THIN
        await asyncio.sleep(LASTS)
        line.rate = WIDE
        thin = await page.shots()
        await asyncio.sleep(RETURN)
        shots = await page.shots()
        last = [shot.latency for shot in shots if shot.shown > shots[-1].shown - SEEN]
        assert len(thin) - len(before) < 0.8 * RATE * LASTS
        assert max(last) < limit
        assert len(last) > 0.5 * RATE * SEEN
        assert not await page.page.locator("#notice").is_visible()
        assert sum(server.stream(path.partition("/")[0])["readers"].values()) == 1
