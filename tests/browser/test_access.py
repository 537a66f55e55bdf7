"""A browser logs in: the page asks for it, and media, state and list then come by themselves."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.async_api import Browser, Error

from tests.support.browser import DESKTOP, tab
from tests.support.flux_process import FluxProcess

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]

LOGGED_IN: dict[str, Any] = {
    **DESKTOP,
    "http_credentials": {"username": "ann", "password": "right"},
}


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FluxProcess]:
    """A `flux run` whose test card is for one user."""
    streams = {"demo": {"source": "testcard:", "on_demand": True}}
    user = {"name": "ann", "password": "right", "permissions": [{"action": "read"}]}
    settings: dict[str, dict[str, object]] = {
        "limits": {"loop_lag": "5s"},
        "access": {"users": [user]},
    }
    with FluxProcess(tmp_path_factory.mktemp("access"), streams, settings) as process:
        yield process


def page_of(flux: FluxProcess, path: str) -> str:
    """The address of a page."""
    return f"http://127.0.0.1:{flux.http_port}/{path}"


@pytest.mark.parametrize("protocol", ["flv", "ws", "hls"])
async def test_who_logs_in_sees_the_picture(
    browser: Browser, flux: FluxProcess, protocol: str
) -> None:
    async with tab(browser, LOGGED_IN, "light") as page:
        await page.open(page_of(flux, f"demo/?protocol={protocol}"))
        await page.until_shots(10, 30.0)
        assert page.problems == []


async def test_who_logs_in_sees_the_list(browser: Browser, flux: FluxProcess) -> None:
    async with tab(browser, LOGGED_IN, "light") as page:
        await page.open(page_of(flux, ""))
        await page.wait_for_text("#cards strong", "demo")
        assert page.problems == []


async def test_who_does_not_sees_nothing(browser: Browser, flux: FluxProcess) -> None:
    for path in ("", "demo/"):
        async with tab(browser, DESKTOP, "light") as page:
            with pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
                await page.open(page_of(flux, path))  # nobody is there to fill in the dialog
