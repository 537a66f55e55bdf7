"""The API on a running server: streams that come, change and go while somebody reads them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest

from tests.support.api_camera import replayed
from tests.support.api_client import ApiClient
from tests.support.flux_process import FluxProcess

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

LIMIT = 20.0  # seconds for anything to come about
POLL = 0.02


@dataclass(frozen=True, slots=True)
class Site:
    """A camera and a server without streams."""

    camera: str
    flux: FluxProcess


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    settings = {"log": {"level": "warning"}, "sources": {"start_timeout": "3s"}}
    with (
        replayed() as camera,
        FluxProcess(tmp_path_factory.mktemp("api"), {}, settings) as flux,
    ):
        yield Site(camera, flux)
        assert "Traceback" not in flux.program.output
        assert "secret" not in flux.program.output


@asynccontextmanager
async def connected(site: Site) -> AsyncIterator[tuple[ApiClient, aiohttp.ClientSession]]:
    """A client of the API and one of the media listener."""
    limit = aiohttp.ClientTimeout(60)
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{site.flux.api_port}", timeout=limit) as own,
        aiohttp.ClientSession(f"http://127.0.0.1:{site.flux.http_port}", timeout=limit) as viewer,
    ):
        yield ApiClient(f"127.0.0.1:{site.flux.api_port}", own), viewer


async def ready(api: ApiClient, name: str) -> None:
    """Wait until a stream is ready."""
    async with asyncio.timeout(LIMIT):
        while True:
            if (await api(f"/api/v1/streams/{name}")).body["state"] == "ready":
                return
            await asyncio.sleep(POLL)


async def readers(api: ApiClient, name: str, count: int) -> list[str]:
    """Wait until a stream has so many readers; their ids."""
    async with asyncio.timeout(LIMIT):
        while True:
            page = (await api(f"/api/v1/sessions?role=reader&stream={name}")).body
            if page["item_count"] == count:
                return [item["id"] for item in page["items"]]
            await asyncio.sleep(POLL)


async def rest(response: aiohttp.ClientResponse) -> int:
    """Read to the end."""
    size = 0
    async with asyncio.timeout(LIMIT):
        async for data in response.content.iter_chunked(1 << 16):
            size += len(data)
    return size


async def test_a_stream_comes_plays_and_goes(site: Site) -> None:
    async with connected(site) as (api, viewer):
        path = "/api/v1/streams/live/a"
        assert (await api(path, "POST", json={"source": f"{site.camera}/a"})).status == 201
        await ready(api, "live/a")
        async with viewer.get("/live/a.flv") as response:
            assert response.status == 200
            assert await response.content.readexactly(3) == b"FLV"
            await readers(api, "live/a", 1)
            assert (await api(path, "DELETE")).status == 204
            await rest(response)
        assert (await api(path)).reason == "stream-not-found"
        async with viewer.get("/live/a.flv") as response:
            assert response.status == 404
        assert (await api("/api/v1/sessions?stream=live/a")).body["items"] == []


async def test_a_reader_stays_when_the_source_is_replaced(site: Site) -> None:
    async with connected(site) as (api, viewer):
        path = "/api/v1/streams/b"
        await api(path, "PUT", json={"source": f"{site.camera}/b"})
        await ready(api, "b")
        async with viewer.get("/b.flv") as response:
            await response.content.readexactly(100_000)
            (reader,) = await readers(api, "b", 1)
            reply = await api(path, "PATCH", json={"source": f"{site.camera}/other"})
            assert reply.status == 200
            await ready(api, "b")
            async with asyncio.timeout(LIMIT):
                await response.content.readexactly(300_000)
            assert await readers(api, "b", 1) == [reader]
            assert (await api(path)).body["settings"]["source"].endswith("/other")
        await api(path, "DELETE")


async def test_readers_of_both_outputs_are_kicked(site: Site) -> None:
    async with connected(site) as (api, viewer):
        await api("/api/v1/streams/c", "PUT", json={"source": f"{site.camera}/c"})
        await ready(api, "c")
        async with viewer.get("/c.flv") as response, viewer.get("/c/index.m3u8") as playlist:
            await response.content.readexactly(3)
            media = (await playlist.text()).splitlines()[-1]
            async with viewer.get(f"/c/{media}") as known:
                assert known.status == 200
            ids = await readers(api, "c", 2)
            for session in ids:
                assert (await api(f"/api/v1/sessions/{session}")).body["stream"] == "c"
                assert (await api(f"/api/v1/sessions/{session}", "DELETE")).status == 204
            await rest(response)
        await readers(api, "c", 0)
        for session in ids:
            reply = await api(f"/api/v1/sessions/{session}", "DELETE")
            assert reply.reason == "session-not-found"
        await api("/api/v1/streams/c", "DELETE")


async def test_a_stream_is_deleted_while_readers_join(site: Site) -> None:
    """Each reader gets media, or is told at once that there is no such stream; nobody hangs."""

    async def read(viewer: aiohttp.ClientSession, url: str) -> str:
        async with viewer.get(url) as response:
            if response.status != 200:
                return (await response.text()).strip()
            await rest(response)
            return "media"

    seen: Counter[str] = Counter()
    async with connected(site) as (api, viewer):
        for turn in range(20):
            name = f"race/{turn}"
            body = {"source": f"{site.camera}/{name}", "on_demand": turn % 2 == 0}
            assert (await api(f"/api/v1/streams/{name}", "POST", json=body)).status == 201
            urls = [f"/{name}.flv", f"/{name}.flv?start=live", f"/{name}/index.m3u8"] * 2
            joining = [asyncio.create_task(read(viewer, url)) for url in urls]
            await asyncio.sleep(0.01 * turn)  # from before the source was asked to after the start
            assert (await api(f"/api/v1/streams/{name}", "DELETE")).status == 204
            async with asyncio.timeout(LIMIT):
                seen.update(await asyncio.gather(*joining))
            assert (await api(f"/api/v1/streams/{name}")).status == 404
            await readers(api, name, 0)
    refusals = {"404 Not Found: stream-not-found", "404 Not Found: stream-deleted"}
    assert set(seen) <= {"media", *refusals}, seen
    assert seen["media"]
