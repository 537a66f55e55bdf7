"""What one player costs the loop when it comes and goes: no turn above 5 ms (DESIGN 2)."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import certificate
from tests.support.rtsp_app import TCP_01, TCP_23
from tests.support.rtsp_caller import Caller, until
from tests.support.rtsp_stage import Camera, Stage
from tests.support.steady import own_time

TURN = 0.005  # seconds
GOP = 50  # pictures of 40 ms
KEY, OTHER = 120_000, 17_800  # bytes: with the sound 4 Mbit/s
TRIES = 20  # at most, of which the best counts: the machine has other work


@contextmanager
def longest_turn() -> Iterator[list[float]]:
    """Seconds of the longest callback of the loop in the block."""
    found = [0.0]
    run = asyncio.Handle._run  # noqa: SLF001  nothing public tells it, and it is not ours

    def timed(handle: asyncio.Handle) -> None:
        began = own_time()
        run(handle)
        found[0] = max(found[0], own_time() - began)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.Handle, "_run", timed)
        yield found


def fill(camera: Camera) -> None:
    """Two seconds of 4 Mbit/s."""
    for index in range(GOP):
        camera.audio()
        camera.video(key=index == 0, size=OTHER if index else KEY)


OFFERS = {
    "tcp": [TCP_01, TCP_23],
    "other channels": [
        "RTP/AVP/TCP;unicast;interleaved=8-9",
        "RTP/AVP/TCP;unicast;interleaved=4-5",
    ],
    "srtp": [
        "RTP/SAVP/TCP;unicast;interleaved=0-1",
        "RTP/SAVP/TCP;unicast;interleaved=2-3",
    ],
    "multicast": ["RTP/AVP;multicast"] * 2,
}


async def exchange(stage: Stage, caller: Caller, offers: list[str]) -> dict[str, float]:
    """Seconds of the longest turn of each request."""
    found: dict[str, float] = {}
    session = ""
    for method in ("DESCRIBE", "SETUP", "SETUP ", "PLAY", "PAUSE", "TEARDOWN"):
        headers: dict[str, object] = {"Session": session} if session else {}
        url = caller.url
        if method.startswith("SETUP"):
            headers["Transport"] = offers[method == "SETUP "]
            url += f"/trackID={int(method == 'SETUP ')}"
        with longest_turn() as longest:
            reply = await caller.ask(method.strip(), url, b"", **headers)
            await stage.settle()
        assert reply.status == 200, reply
        session = reply.session or session
        found[method] = longest[0]
    return found


@pytest.mark.parametrize("way", [*OFFERS, "udp", "srtp by udp"])
async def test_no_request_holds_the_loop(way: str, tmp_path: Path) -> None:
    best: dict[str, float] = {}
    async with Stage(certificate.make(tmp_path) if "srtp" in way else None) as stage:
        camera = stage.camera()
        for _ in range(TRIES):
            fill(camera)
            pairs = [stage.pair(), stage.pair()] if "udp" in way else []
            offers = [pair.offer for pair in pairs] or OFFERS[way]
            if "srtp" in way:
                offers = [offer.replace("RTP/AVP", "RTP/SAVP") for offer in offers]
            caller = await stage.call(secure="srtp" in way)
            for method, seconds in (await exchange(stage, caller, offers)).items():
                best[method] = min(best.get(method, 1.0), seconds)
            caller.hang_up()
            await until(lambda: stage.stream().outputs == {})
            if max(best.values()) <= TURN:
                break
    assert {method: seconds for method, seconds in best.items() if seconds > TURN} == {}


async def test_the_end_of_many_is_cut_into_turns() -> None:
    """A hundred players by UDP and the end of their stream."""
    best = 1.0
    for _ in range(TRIES):
        async with Stage() as stage:
            camera = stage.camera()
            pair = stage.pair()
            for _ in range(100):
                await (await stage.call()).play(pair.offer)
            camera.run(2)
            with longest_turn() as longest:
                stage.router.remove("cam", "stream-deleted", time.monotonic())
                await until(lambda: stage.bridge.usage().sessions == 0)
            best = min(best, longest[0])
        if best < TURN:
            break
    assert best < TURN
