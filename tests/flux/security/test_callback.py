"""The service that decides: what it is asked, what its answers mean, and when it misbehaves."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from config.access import CallbackSection
from flux.core.admission import ALLOWED, AccessRequest, Verdict
from flux.core.hooks.post import Poster
from flux.security.callback import MAX_OF_ADDRESS, Callback
from flux.security.places import place_of
from flux.security.verdicts import (
    DENIED,
    SERVICE_BUSY,
    SERVICE_FAILED,
    SERVICE_TIMEOUT,
    SERVICE_UNREACHABLE,
    STOPPING,
    WRONG,
)
from tests.support.hook_peers import (
    Behaviour,
    Changes,
    answering,
    bad_receiver,
    hang,
    hang_up,
    receiver,
    repeating,
    reset,
)
from tests.support.ports import free_port

READER = AccessRequest(
    "read",
    "live/cam",
    "hls",
    "::ffff:192.0.2.7",
    query="token=a%20b&x=\ud800",
    user_agent="VLC/3",
    user="ann",
    password="pässword",
    session="hls-1",
    token="a b",
)
SCRAPER = AccessRequest("metrics", "", "api", "192.0.2.9")


class Door:
    """Asks, and keeps the verdicts."""

    def __init__(self, callback: Callback) -> None:
        self.callback = callback
        self.verdicts: list[Verdict] = []
        self.changes = Changes()

    def knock(self, request: AccessRequest = READER) -> None:
        self.callback.ask(request, place_of(request.address), self._answer)

    def _answer(self, verdict: Verdict) -> None:
        self.verdicts.append(verdict)
        self.changes.tell()

    async def answered(self, count: int = 1) -> Verdict:
        await self.changes.until(lambda: len(self.verdicts) >= count)
        assert len(self.verdicts) == count
        return self.verdicts[-1]


@asynccontextmanager
async def asked(url: str, **options: Any) -> AsyncIterator[Door]:
    poster = Poster()
    await poster.open()
    callback = Callback(CallbackSection.model_validate({"url": url, **options}), poster)
    try:
        yield Door(callback)
    finally:
        await callback.close()
        await poster.close()
        assert not any(task.get_name() == "access" for task in asyncio.all_tasks())


async def test_the_service_is_asked_as_services_of_mediamtx_are() -> None:
    async with receiver(200, 200) as peer, asked(peer.url, exclude=[]) as door:
        door.knock()
        assert await door.answered() == ALLOWED
        door.knock(SCRAPER)
        assert await door.answered(2) == ALLOWED
    first, second = peer.posts
    assert first.headers["Content-Type"] == "application/json"
    assert first.json == {
        "user": "ann",
        "password": "pässword",
        "token": "a b",
        "ip": "192.0.2.7",
        "action": "read",
        "path": "live/cam",
        "protocol": "hls",
        "id": "hls-1",
        "query": "token=a%20b&x=\ud800",
        "userAgent": "VLC/3",
    }
    assert second.json == {
        **dict.fromkeys(("user", "password", "token", "path", "protocol", "query"), ""),
        "ip": "192.0.2.9",
        "action": "metrics",
        "id": None,
        "userAgent": "",
    }


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *((status, ALLOWED) for status in (200, 201, 204, 206, 209)),
        (401, WRONG),
        *((status, DENIED) for status in (400, 403, 404, 418, 429)),
        *((status, SERVICE_FAILED) for status in (300, 302, 304, 500, 503)),
    ],
)
async def test_what_a_status_means(status: int, verdict: Verdict) -> None:
    async with receiver(status) as peer, asked(peer.url) as door:
        door.knock()
        assert await door.answered() == verdict
    assert len(peer.posts) == 1  # redirects are not followed, nothing is asked twice


BAD: list[tuple[Behaviour, Verdict]] = [
    (hang, SERVICE_TIMEOUT),
    (hang_up, SERVICE_FAILED),
    (reset, SERVICE_FAILED),
    (answering(b"HTTP/1.1 2"), SERVICE_TIMEOUT),
    (answering(b"SSH-2.0-OpenSSH\r\n\r\n"), SERVICE_FAILED),
    (answering(b"HTTP/1.1 200000 OK\r\n\r\n"), SERVICE_FAILED),
    (answering(b"HTTP/1.1 100 Continue\r\n\r\n"), SERVICE_TIMEOUT),
    (repeating(b"HTTP/1.1 200 OK\r\n", b"X: " + b"x" * 1000 + b"\r\n"), SERVICE_FAILED),
]


@pytest.mark.parametrize(("behave", "verdict"), BAD)
async def test_a_service_that_hangs_or_lies_lets_nobody_in(
    behave: Behaviour, verdict: Verdict, caplog: pytest.LogCaptureFixture
) -> None:
    async with bad_receiver(behave) as peer, asked(peer.url, timeout="300ms") as door:
        door.knock()
        assert await door.answered() == verdict
    assert "pässword" not in caplog.text


async def test_nobody_listens() -> None:
    async with asked(f"http://127.0.0.1:{free_port()}/") as door:
        door.knock()
        assert await door.answered() == SERVICE_UNREACHABLE


async def test_so_many_questions_at_a_time_and_one_address_is_not_all() -> None:
    async with bad_receiver(hang) as peer, asked(peer.url, concurrency=4, timeout="500ms") as door:
        for _ in range(MAX_OF_ADDRESS + 50):
            door.knock()
        assert door.verdicts == [SERVICE_BUSY] * 50
        door.knock(SCRAPER)
        assert door.verdicts == [SERVICE_BUSY] * 50
        await peer.changes.until(lambda: peer.open_now == 4)
        assert await door.answered(MAX_OF_ADDRESS + 51) == SERVICE_TIMEOUT
        assert peer.most == 4
        door.knock()
        assert await door.answered(MAX_OF_ADDRESS + 52) == SERVICE_TIMEOUT


async def test_the_end_refuses_who_waits() -> None:
    async with bad_receiver(hang) as peer, asked(peer.url) as door:
        door.knock()
        await peer.changes.until(lambda: peer.open_now == 1)
        await door.callback.close()
        assert await door.answered() == STOPPING
        door.knock()
        assert await door.answered(2) == STOPPING


def test_what_it_decides() -> None:
    decides = Callback(CallbackSection.model_validate({"url": "http://a/"}), Poster()).decides
    assert [decides(action) for action in ("read", "publish", "playback", "api", "metrics")] == [
        *(True, True, True),
        *(False, False),
    ]
    assert not Callback(CallbackSection(), Poster()).decides("read")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, chain = folder / "key.pem", folder / "chain.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=elsewhere", "-keyout", key, "-out", chain],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return key, chain


@pytest.mark.parametrize(
    ("fingerprint", "verdict"),
    [("right", ALLOWED), ("wrong", SERVICE_UNREACHABLE), ("", SERVICE_UNREACHABLE)],
)
async def test_a_certificate_by_its_fingerprint(
    certificate: tuple[Path, Path], fingerprint: str, verdict: Verdict
) -> None:
    key, chain = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    digest = sha256(ssl.PEM_cert_to_DER_cert(chain.read_text())).hexdigest()
    asks: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        asks.append((await request.json())["path"])
        return web.Response()

    app = web.Application()
    app.router.add_post("/", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}/"
    pin = {"right": digest.upper(), "wrong": "0" * 64, "": ""}[fingerprint]
    try:
        async with asked(url, fingerprint=pin) as door:
            door.knock()
            assert await door.answered() == verdict
    finally:
        await runner.cleanup()
    assert asks == (["live/cam"] if verdict.allowed else [])  # no password to a stranger
