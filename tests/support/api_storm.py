"""A storm of random operations on a running API, all of them drawn from one seed.

What it may change are the streams that it is given and those that it makes itself; it reads all.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

STREAMS, SESSIONS = "/api/v1/streams", "/api/v1/sessions"
JSON = {"Content-Type": "application/json"}
BAD_NAMES = ("..%2f..%2fetc", "a%00b", "_x", "x%2findex.m3u8", "a" * 300, "a%20b", "%ff")
BAD_BODIES = (
    b"",
    b"[]",
    b"{",
    b'{"source": 5}',
    b'{"source": "rtsp://"}',
    b'{"sauce": "rtsp://cam/1"}',
    b'{"on_demand": "perhaps"}',
    b"[" * 50_000,
    b'{"source": "\xff"}',
    b" " * (1 << 20),
)
QUERIES = (
    "",
    "?items_per_page=5&page=3",
    "?state=ready&sort=-received_bps",
    "?prefix=cam&sort=-name",
    "?protocol=rtsp&origin=config",
    "?sort=nothing",
    "?page=-1",
)
SESSION_QUERIES = ("", "?role=reader&sort=-lag", "?protocol=http-flv&items_per_page=20", "?role=x")


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)  # answers that should not be
    events: Counter[str] = field(default_factory=Counter)

    @property
    def operations(self) -> int:
        """How many there were."""
        return self.statuses.total()


class Storm:
    """Does the operations. `make_source` gives a source URL that works."""

    def __init__(
        self,
        api: str,
        media: str,
        changeable: Sequence[str],
        make_source: Callable[[random.Random], str],
        seed: int,
    ) -> None:
        self.outcome = Outcome()
        self._api = api
        self._media = media
        self._changeable = list(changeable)
        self._make_source = make_source
        self._random = random.Random(seed)
        self._readers: set[asyncio.Task[None]] = set()

    async def run(self, operations: int, seconds: float, at_once: int = 4) -> Outcome:
        """Do so many, evenly over some time, some of them at once."""
        kinds: list[tuple[Callable[[aiohttp.ClientSession], Awaitable[None]], int]] = [
            (self._list, 10),
            (self._get, 15),
            (self._sessions, 5),
            (self._put, 15),
            (self._patch, 20),
            (self._create, 8),
            (self._delete, 8),
            (self._race, 4),
            (self._kick, 4),
            (self._read, 5),
            (self._bad_name, 5),
            (self._bad_body, 5),
        ]
        doers, weights = zip(*kinds, strict=True)

        loop = asyncio.get_running_loop()
        begin = loop.time()

        async def work(client: aiohttp.ClientSession) -> None:
            while self.outcome.operations < operations:
                due = begin + self.outcome.operations * seconds / operations
                await asyncio.sleep(due - loop.time())
                await self._random.choices(doers, weights)[0](client)

        timeout = aiohttp.ClientTimeout(30)
        async with (
            aiohttp.ClientSession(self._api, timeout=timeout) as client,
            self._following(client),
        ):
            await asyncio.gather(*(work(client) for _ in range(at_once)))
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        return self.outcome

    @asynccontextmanager
    async def _following(self, client: aiohttp.ClientSession) -> AsyncIterator[None]:
        """Somebody follows the events meanwhile."""

        async def follow() -> None:
            timeout = aiohttp.ClientTimeout(None)
            async with client.get("/api/v1/events", timeout=timeout) as response:
                async for line in response.content:
                    if line.startswith(b"event: "):
                        self.outcome.events[line[7:].decode().strip()] += 1

        follower = asyncio.create_task(follow())
        try:
            yield
        finally:
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)

    async def _ask(
        self,
        client: aiohttp.ClientSession,
        method: str,
        path: str | URL,
        expected: Sequence[int],
        **options: Any,
    ) -> tuple[int, Any]:
        """One operation; what it answers must be one of `expected`, in its right form."""
        async with client.request(method, path, **options) as response:
            data = await response.read()
            status, kind = response.status, response.headers.get("Content-Type", "")
        body = json.loads(data) if "json" in kind and data else None
        self.outcome.statuses[method, status] += 1
        is_problem = kind == "application/problem+json" and "reason" in (body or {})
        if status not in expected or (status >= 400) != is_problem or b"Traceback" in data:
            self.outcome.wrong.append(f"{method} {path}: {status} {data[:300]!r}")
        return status, body

    def _name(self) -> str:
        """One of the streams that may be changed, or of those that come and go."""
        if self._random.random() < 0.7:
            return self._random.choice(self._changeable)
        return f"new/{self._random.randrange(10)}"

    def _settings(self) -> dict[str, object]:
        return {
            "source": self._make_source(self._random),
            "on_demand": self._random.random() < 0.3,
            "transport": self._random.choice(["auto", "tcp"]),
        }

    async def _list(self, client: aiohttp.ClientSession) -> None:
        query = self._random.choice(QUERIES)
        await self._ask(client, "GET", STREAMS + query, (200, 400))

    async def _get(self, client: aiohttp.ClientSession) -> None:
        name = self._random.choice(["cam0", "cam1", "nothing", self._name()])
        await self._ask(client, "GET", f"{STREAMS}/{name}", (200, 404))

    async def _sessions(self, client: aiohttp.ClientSession) -> None:
        query = self._random.choice(SESSION_QUERIES)
        await self._ask(client, "GET", SESSIONS + query, (200, 400))

    async def _put(self, client: aiohttp.ClientSession) -> None:
        path = f"{STREAMS}/{self._name()}"
        await self._ask(client, "PUT", path, (200, 201), json=self._settings())

    async def _patch(self, client: aiohttp.ClientSession) -> None:
        settings = self._settings()
        keys = self._random.sample(sorted(settings), self._random.randint(0, 2))
        changes = {key: None if key != "source" else settings[key] for key in keys}
        await self._ask(client, "PATCH", f"{STREAMS}/{self._name()}", (200, 404), json=changes)

    async def _create(self, client: aiohttp.ClientSession) -> None:
        path = f"{STREAMS}/{self._name()}"
        await self._ask(client, "POST", path, (201, 409), json=self._settings())

    async def _delete(self, client: aiohttp.ClientSession) -> None:
        await self._ask(client, "DELETE", f"{STREAMS}/{self._name()}", (204, 404))

    async def _race(self, client: aiohttp.ClientSession) -> None:
        """Two clients change the same version of a stream: one of them is told."""
        path = f"{STREAMS}/{self._random.choice(self._changeable)}"
        async with client.get(path) as response:
            tag = response.headers.get("ETag")
        if tag is None:
            return
        both = [
            self._ask(
                *(client, "PATCH", path, (200, 404, 412)),
                json={"source": self._make_source(self._random)},
                headers={"If-Match": tag},
            )
            for _ in range(2)
        ]
        done = sorted(status for status, _ in await asyncio.gather(*both))
        if done == [200, 200]:
            self.outcome.wrong.append(f"{path}: both clients changed version {tag}")

    async def _kick(self, client: aiohttp.ClientSession) -> None:
        """End a session of a stream that may be changed, or one that never was."""
        _, page = await self._ask(client, "GET", f"{SESSIONS}?items_per_page=1000", (200,))
        own = [
            item["id"]
            for item in page["items"]
            if item["stream"] in self._changeable or item["stream"].startswith("new/")
        ]
        session = self._random.choice(own) if own else "nobody"
        await self._ask(client, "DELETE", f"{SESSIONS}/{session}", (204, 404))

    async def _read(self, client: aiohttp.ClientSession) -> None:
        """Read a stream that may be changed, for as long as it lasts, and delete it meanwhile."""
        name = self._name()

        async def read() -> None:
            with suppress(aiohttp.ClientError, TimeoutError):
                timeout = aiohttp.ClientTimeout(60)
                async with (
                    aiohttp.ClientSession(self._media, timeout=timeout) as viewer,
                    viewer.get(f"/{name}.flv") as response,
                ):
                    async for _ in response.content.iter_chunked(1 << 16):
                        pass

        if len(self._readers) < 60:
            self._readers.add(asyncio.create_task(read()))
        if self._random.random() < 0.3:
            await self._ask(client, "DELETE", f"{STREAMS}/{name}", (204, 404))

    async def _bad_name(self, client: aiohttp.ClientSession) -> None:
        name = self._random.choice(BAD_NAMES)
        method = self._random.choice(["PUT", "PATCH", "DELETE", "POST"])
        url = URL(f"{self._api}{STREAMS}/{name}", encoded=True)
        await self._ask(client, method, url, (400,), json=self._settings())

    async def _bad_body(self, client: aiohttp.ClientSession) -> None:
        method = self._random.choice(["PUT", "PATCH", "POST"])
        body = self._random.choice(BAD_BODIES)

        async def pieces() -> AsyncIterator[bytes]:
            yield body

        path = f"{STREAMS}/{self._name()}"
        await self._ask(client, method, path, (400, 404, 413, 422), data=pieces(), headers=JSON)
