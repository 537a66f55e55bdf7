"""Statistics of SRT sessions over the API."""

from collections.abc import AsyncIterator

import pytest

from tests.support.api_client import ApiClient, client_of
from tests.support.api_state import ApiState, populated


@pytest.fixture
def state() -> ApiState:
    found = populated()
    found.srt_sessions.add("r1")
    return found


@pytest.fixture
async def api(state: ApiState) -> AsyncIterator[ApiClient]:
    async with client_of(state) as client:
        yield client


async def test_the_statistics_of_a_session(api: ApiClient, state: ApiState) -> None:
    reply = await api("/api/v1/sessions/r1/srt")
    assert reply.status == 200
    assert reply.body == state.srt("r1", is_clearing=False)
    assert state.srt_cleared == 0
    assert (await api("/api/v1/sessions/r1/srt?clear=true")).status == 200
    assert state.srt_cleared == 1


async def test_the_form_of_the_tool(api: ApiClient, state: ApiState) -> None:
    """Off (`format` unknown) it is a 400."""
    reply = await api("/api/v1/sessions/r1/srt?format=tool&clear=true")
    assert reply.status == 200
    assert reply.body == state.srt("r1", is_clearing=False, is_tool=True)
    assert state.srt_cleared == 1
    same = await api("/api/v1/sessions/r1/srt?format=flux")
    assert same.body == state.srt("r1", is_clearing=False)


@pytest.mark.parametrize("query", ["", "?format=tool"])
@pytest.mark.parametrize("session", ["r2", "nobody"])
async def test_sessions_that_are_none_of_srt(api: ApiClient, session: str, query: str) -> None:
    reply = await api(f"/api/v1/sessions/{session}/srt{query}")
    assert reply.status == 404
    assert reply.body["reason"] == "session-not-found"


async def test_what_is_not_known_is_refused(api: ApiClient) -> None:
    assert (await api("/api/v1/sessions/r1/srt?clear=maybe")).status == 400
    assert (await api("/api/v1/sessions/r1/srt?clean=true")).status == 400
    assert (await api("/api/v1/sessions/r1/srt?format=csv")).status == 400
