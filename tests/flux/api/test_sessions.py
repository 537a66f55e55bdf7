"""Sessions over the API: lists, one, and its end."""

from collections.abc import AsyncIterator

import pytest

from tests.support.api_client import ApiClient, client_of
from tests.support.api_state import ApiState, populated


@pytest.fixture
def state() -> ApiState:
    return populated()


@pytest.fixture
async def api(state: ApiState) -> AsyncIterator[ApiClient]:
    async with client_of(state) as client:
        yield client


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["p1", "r1", "r2", "r3"]),
        ("?role=reader", ["r1", "r2", "r3"]),
        ("?role=publisher", ["p1"]),
        ("?protocol=hls", ["r2"]),
        ("?stream=live/cam1", ["r1", "r2"]),
        ("?address=10.0.0.2&protocol=http-flv", ["r3"]),
        ("?state=running", ["p1"]),
        ("?sort=-lag", ["r3", "r2", "r1", "p1"]),
        ("?sort=-since", ["r3", "r2", "r1", "p1"]),
        ("?sort=stream", ["p1", "r3", "r1", "r2"]),
        ("?sort=sent_bytes&role=reader", ["r3", "r2", "r1"]),
        ("?items_per_page=3&page=1", ["r3"]),
    ],
)
async def test_sessions_are_filtered_ordered_and_paged(
    api: ApiClient, query: str, expected: list[str]
) -> None:
    reply = await api(f"/api/v1/sessions{query}")
    assert reply.status == 200
    assert [session["id"] for session in reply.body["items"]] == expected


async def test_one_session(api: ApiClient) -> None:
    reply = await api("/api/v1/sessions/r1")
    assert reply.body == {
        "id": "r1",
        "role": "reader",
        "protocol": "http-flv",
        "stream": "live/cam1",
        "address": "10.0.0.1",
        "user_agent": "player",
        "since": "2026-11-20T11:43:21Z",
        "state": "",
        "lag": 0.1,
        "sent_bytes": 999,
        "received_bytes": 0,
        "dropped": 0,
        "interruptions": {
            "network": {"count": 0, "seconds": 0.0, "dropped": 0},
            "server": {"count": 0, "seconds": 0.0, "dropped": 0},
            "source": {"count": 0, "seconds": 0.0, "dropped": 0},
        },
        "link": None,
    }


async def test_a_session_is_ended_once(api: ApiClient, state: ApiState) -> None:
    assert (await api("/api/v1/sessions/r2", "DELETE")).status == 204
    assert (await api("/api/v1/sessions/r2", "DELETE")).reason == "session-not-found"
    assert (await api("/api/v1/sessions/r2")).reason == "session-not-found"
    assert state.kicked == ["r2"]
    assert [session.id for session in state.live_sessions] == ["r1", "r3", "p1"]
