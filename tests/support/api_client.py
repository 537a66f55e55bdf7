"""The admin API over real HTTP: in the test's own loop, or in a thread for clients that block."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy

from config.addresses import ListenAddress
from flux.api.server import ApiServer
from tests.support.api_state import ApiState


@dataclass(frozen=True, slots=True)
class Reply:
    """What the API answered; `body` is parsed where it is JSON."""

    status: int
    headers: CIMultiDictProxy[str]
    body: Any

    @property
    def reason(self) -> str:
        """Of a refusal, whose form is checked."""
        assert self.headers["Content-Type"] == "application/problem+json"
        assert set(self.body) - {"errors"} == {"type", "title", "status", "detail", "reason"}
        assert self.body["status"] == self.status
        assert self.body["type"] == f"urn:flux:problem:{self.body['reason']}"
        reason: str = self.body["reason"]
        return reason

    @property
    def pointers(self) -> list[str]:
        """Where in the body the faults are."""
        return [error["pointer"] for error in self.body["errors"]]


class ApiClient:
    """Talks to one API."""

    def __init__(self, address: str, session: aiohttp.ClientSession) -> None:
        self.address = address  # host:port
        self.session = session

    async def __call__(self, path: str, method: str = "GET", **options: Any) -> Reply:
        async with self.session.request(method, path, **options) as response:
            body: Any = await response.read()
            if "json" in response.headers.get("Content-Type", "") and body:
                body = await response.json(content_type=None)
            return Reply(response.status, response.headers, body)


def server_of(state: ApiState, host: str = "127.0.0.1") -> ApiServer:
    """An API over this state, on a free port once it is started."""
    return ApiServer(ListenAddress(host, 0), state, state, state.bus)


@asynccontextmanager
async def client_of(state: ApiState) -> AsyncIterator[ApiClient]:
    """A client of a running API over this state."""
    server = server_of(state)
    await server.start()
    try:
        async with aiohttp.ClientSession(f"http://{server.address}") as session:
            yield ApiClient(str(server.address), session)
    finally:
        await server.stop()


@contextmanager
def served(state: ApiState) -> Iterator[str]:
    """The address of an API that runs in a thread of its own."""
    addresses: list[str] = []
    ready, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        server = server_of(state)
        await server.start()
        addresses.append(str(server.address))
        loops.append(asyncio.get_running_loop())
        ready.set()
        await stop.wait()
        await server.stop()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="api")
    thread.start()
    try:
        assert ready.wait(10), "the API did not start"
        yield addresses[0]
    finally:
        for loop in loops:
            loop.call_soon_threadsafe(stop.set)
        thread.join(10)
