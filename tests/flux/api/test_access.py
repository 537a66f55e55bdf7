"""The API with credentials: off localhost, on localhost if so configured, and for metrics."""

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from config.access import AccessSection
from config.addresses import ListenAddress
from flux.api.server import ApiServer
from flux.core.admission import Admission
from flux.security.access import Access
from tests.support.api_client import ApiClient, Reply
from tests.support.api_state import ApiState, populated
from tests.support.hook_peers import bad_receiver, hang, receiver

ADMIN = {"name": "admin", "password": "right", "permissions": [{"action": ["api", "metrics"]}]}
SCRAPER = {"name": "scraper", "password": "right", "permissions": [{"action": "metrics"}]}


def basic(user: str, password: str) -> dict[str, str]:
    pair = b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


RIGHT, WRONG = basic("admin", "right"), basic("admin", "wrong")
QUICK = {"delay": "10ms"}


class Rig:
    """An API with access, and its client."""

    def __init__(self, client: ApiClient, state: ApiState, access: Access) -> None:
        self.client = client
        self.state = state
        self.access = access

    async def get(self, path: str = "/api/v1/info", **options: Any) -> Reply:
        return await self.client(path, **options)


@asynccontextmanager
async def running(
    *users: object, host: str = "0.0.0.0", is_free: bool = True, **more: object
) -> AsyncIterator[Rig]:
    section = AccessSection.model_validate({"users": list(users), "penalties": QUICK, **more})
    state = populated()
    admission = Admission(state.bus.emit)
    access = Access(section, state.bus.emit)
    admission.add(access)
    server = ApiServer(
        ListenAddress(host, 0),
        state,
        state,
        state.bus,
        permit=admission.permit,
        is_free_on_localhost=is_free,
    )
    await access.start()
    await server.start()
    try:
        base = f"http://127.0.0.1:{server.address.port}"
        async with aiohttp.ClientSession(base) as session:
            yield Rig(ApiClient("", session), state, access)
    finally:
        await server.stop()
        await access.stop()


async def test_who_says_nothing_is_asked_who_it_is() -> None:
    async with running(ADMIN) as rig:
        for path in ("/api/v1/info", "/metrics", "/docs", "/api/v1/events/ws", "/nothing"):
            reply = await rig.get(path)
            assert (reply.status, reply.reason) == (401, "credentials-needed")
            assert reply.headers["WWW-Authenticate"] == 'Basic realm="FLUX API", charset="UTF-8"'
        for path in ("/healthz", "/readyz"):
            assert (await rig.get(path)).status == 200
        assert rig.access.figures().bans == 0


async def test_right_credentials_open_it() -> None:
    async with running(ADMIN) as rig:
        for path in ("/api/v1/info", "/metrics", "/docs", "/api/v1/openapi.json"):
            assert (await rig.get(path, headers=RIGHT)).status == 200
        assert (await rig.get("/api/v1/streams/a", method="DELETE", headers=RIGHT)).status == 204
        assert "a" not in rig.state.names


async def test_wrong_credentials_change_nothing() -> None:
    async with running(ADMIN) as rig:
        for auth in (WRONG, basic("nobody", "x")):
            reply = await rig.get("/api/v1/streams/a", method="DELETE", headers=auth)
            assert (reply.status, reply.reason) == (401, "credentials-wrong")
            assert "WWW-Authenticate" in reply.headers
        assert "a" in rig.state.names


async def test_metrics_have_a_permission_of_their_own() -> None:
    async with running(ADMIN, SCRAPER) as rig:
        auth = basic("scraper", "right")
        assert (await rig.get("/metrics", headers=auth)).status == 200
        assert (await rig.get("/metrics", method="HEAD", headers=auth)).status == 200
        reply = await rig.get(headers=auth)
        assert (reply.status, reply.reason) == (403, "permission-denied")


async def test_a_banned_address_is_told_so() -> None:
    async with running(ADMIN, penalties={"delay": "0", "failures": 2, "exempt": []}) as rig:
        for _ in range(2):
            assert (await rig.get(headers=WRONG)).status == 401
        reply = await rig.get(headers=RIGHT)
        assert (reply.status, reply.reason) == (403, "address-banned")
        assert (await rig.get("/healthz")).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "flux.example"}, 200),
        ({"Host": "flux.example", "Origin": "http://flux.example"}, 200),
        ({"Host": "flux.example", "Origin": "https://flux.example"}, 200),
        ({"Host": "flux.example", "Origin": "https://flux.example:8443"}, 403),
        ({"Host": "flux.example", "Origin": "https://evil.example"}, 403),
        ({"Host": "flux.example", "Origin": "null"}, 403),
        ({"Host": "", "Origin": "null"}, 403),
        ({"Host": "flux.example", "Origin": "http://[::1"}, 403),
    ],
)
async def test_a_page_of_another_site_does_not_use_what_a_browser_knows(
    headers: dict[str, str], status: int
) -> None:
    async with running(ADMIN) as rig:
        reply = await rig.get(headers=headers | RIGHT)
        assert reply.status == status
        assert status == 200 or reply.reason == "foreign-origin"
        assert (await rig.get("/healthz", headers=headers)).status == 200


async def test_on_localhost_it_is_free_unless_it_must_not_be() -> None:
    async with running(ADMIN, host="127.0.0.1") as rig:
        assert (await rig.get()).status == 200
        assert (await rig.get(headers=WRONG)).status == 200
    async with running(ADMIN, host="127.0.0.1", is_free=False) as rig:
        assert (await rig.get()).status == 401
        assert (await rig.get(headers=RIGHT)).status == 200
        reply = await rig.get(headers={"Host": "evil.example"} | RIGHT)
        assert (reply.status, reply.reason) == (403, "foreign-host")


async def test_a_service_sees_a_bearer_token() -> None:
    async with receiver(200, 401) as peer:
        callback = {"url": peer.url, "exclude": []}
        async with running(callback=callback) as rig:
            headers = {"Authorization": "Bearer abc.def", "User-Agent": "tool"}
            assert (await rig.get(headers=headers)).status == 200
            assert (await rig.get()).status == 401
    asked = peer.posts[0].json
    assert [asked[key] for key in ("action", "token", "protocol", "path", "id", "userAgent")] == [
        *("api", "abc.def", "", "", None, "tool"),
    ]


async def test_a_service_that_hangs_is_no_yes_and_health_goes_on() -> None:
    async with bad_receiver(hang) as peer:
        callback = {"url": peer.url, "exclude": [], "timeout": "200ms"}
        async with running(callback=callback) as rig:
            reply = await rig.get(headers=RIGHT)
            assert (reply.status, reply.reason) == (503, "auth-service-timeout")
            assert reply.headers["Retry-After"] == "2"
            assert (await rig.get("/healthz")).status == 200


async def test_a_client_that_leaves_meanwhile_is_no_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running(ADMIN, penalties={"delay": "300ms"}) as rig:
        with pytest.raises(TimeoutError):
            await rig.get(headers=WRONG, timeout=aiohttp.ClientTimeout(total=0.1))
        assert (await rig.get(headers=WRONG)).status == 401
    assert "api-fault" not in caplog.text


async def test_the_document_says_how_to_log_in() -> None:
    async with running(ADMIN) as rig:
        document = (await rig.get("/api/v1/openapi.json", headers=RIGHT)).body
        schemes = document["components"]["securitySchemes"]
        assert [each["scheme"] for each in schemes.values()] == ["basic", "bearer"]
        assert document["security"] == [{}, {"basic": []}, {"bearer": []}]
        answers = document["paths"]["/api/v1/info"]["get"]["responses"]
        assert "`credentials-wrong`" in answers["401"]["description"]
