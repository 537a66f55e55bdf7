"""What the browser tests share: one Chromium and servers with a test card."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from flux.bridges.player.bridge import PlayerOptions
from tests.support.browser import PlayerRig, chromium, player_rig
from tests.support.flux_process import FluxProcess


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncIterator[Browser]:
    """A headless Chromium."""
    async with chromium() as found:
        yield found


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def rig() -> AsyncIterator[PlayerRig]:
    """A server whose `demo` runs while somebody watches."""
    made = PlayerRig(PlayerOptions())
    made.testcard("demo", on_demand=True)
    async with player_rig(made) as serving:
        yield serving


@pytest.fixture(scope="package")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FluxProcess]:
    """A `flux run` with a test card, as its users have it."""
    streams = {"demo": {"source": "testcard:", "on_demand": True}}
    settings = {"limits": {"loop_lag": "5s"}}  # browser and server share few cores here
    with FluxProcess(tmp_path_factory.mktemp("flux"), streams, settings) as process:
        yield process
