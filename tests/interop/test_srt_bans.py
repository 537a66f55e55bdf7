"""srt-live-transmit that guesses passphrases: late answers, a ban of its address alone."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.datagrams import until
from tests.support.flux_process import FluxProcess
from tests.support.srt_child import child

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

RIGHT, WRONG = "the-right-passphrase", "some-wrong-passphrase"
DELAY, FAILURES = 1.0, 3
OTHER_ADDRESS = "&mode=caller&adapter=127.0.0.2"


@pytest.fixture
def flux(tmp_path: Path) -> Iterator[FluxProcess]:
    penalties: object = {"delay": f"{DELAY:g}s", "failures": FAILURES, "exempt": []}
    settings: dict[str, dict[str, object]] = {
        "access": {"penalties": penalties},
        "srt": {"publish_passphrase": RIGHT},
    }
    with FluxProcess(tmp_path, {}, settings) as process:
        yield process


async def publish(flux: FluxProcess, passphrase: str, more: str = "") -> tuple[str, float]:
    """What the program says when it is refused, and how long that took."""
    url = f"{flux.srt('publish:cam')}&passphrase={passphrase}{more}"
    began = time.monotonic()
    async with child(["srt-live-transmit", "-a:no", "file://con", url]) as them:
        await until(lambda: "reject" in them.said.lower() or not them.is_running, "refused")
        took = time.monotonic() - began
        return await them.last_words(), took


async def test_guessing_is_slow_and_ends_in_a_ban(flux: FluxProcess) -> None:
    guesses = await asyncio.gather(*(publish(flux, WRONG) for _ in range(FAILURES)))
    for said, took in guesses:
        assert "Incorrect passphrase" in said
        assert took >= DELAY
    said, took = await publish(flux, RIGHT)
    assert "Application-defined rejection reason" in said
    assert took < DELAY, "who is banned is told at once"
    metrics = flux.get("/metrics")[1].decode()
    assert "flux_access_bans_total 1" in metrics
    assert 'reason="srt-bad-secret"' in metrics and 'reason="srt-forbidden"' in metrics
    # Another address is another caller.
    url = f"{flux.srt('publish:cam')}&passphrase={RIGHT}{OTHER_ADDRESS}"
    async with child(["srt-live-transmit", "-a:no", "file://con", url]) as them:
        one = "flux_srt_connections 1"
        await until(lambda: one in flux.get("/metrics")[1].decode(), "let in")
        assert them.is_running
