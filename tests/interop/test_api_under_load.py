"""A thousand random API operations while 50 streams live: who is not meant loses no frame."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from benchmarks import native
from benchmarks.media import make
from tests.support import clip
from tests.support.api_camera import CLIP, replayed
from tests.support.api_storm import Storm
from tests.support.flux_process import FluxProcess

pytestmark = [pytest.mark.interop, pytest.mark.alone, pytest.mark.timeout(240)]

STREAMS = 50
WATCHED = 10  # of them: these are left alone and watched
READERS = 20  # of each
OPERATIONS = 1000
STORM = 20.0  # seconds that they are spread over
WINDOW = 30.0  # seconds that the readers read at least
SEED = 20240607


@pytest.fixture
def camera() -> Iterator[str]:
    """Where a camera plays the clip under any path."""
    with replayed() as url:
        yield url


def watch(url: str, reference: Path) -> dict[str, Any]:
    """What the readers of one stream got."""
    command = [native.program("fluxload"), "-q", "-d", WINDOW, "-r", "2", "-w", "1", "-g", "1000"]
    command += ["-F", reference, "flv", url, READERS]
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=200, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def readers_of(flux: FluxProcess) -> int:
    """How many there are; -1 if a machine that is busy with others lets no answer come in time."""
    try:
        _, body = flux.get("/api/v1/info")
    except TimeoutError:
        return -1
    return int(json.loads(body)["readers"])


def test_unchanged_streams_lose_no_frame(camera: str, tmp_path: Path) -> None:
    reference = tmp_path / "clip.flv"
    make(("-i", str(clip.path_of(CLIP)), "-c", "copy"), reference)
    names = [f"cam{number}" for number in range(STREAMS)]
    watched, changeable = names[:WATCHED], names[WATCHED:]
    streams = {name: {"source": f"{camera}/{name}"} for name in names}
    with FluxProcess(tmp_path, streams, {"log": {"level": "warning"}}) as flux:
        flux.wait_until(
            lambda: all(flux.stream(name)["state"] == "ready" for name in names),
            "all streams are ready",
            60,
        )
        storm = Storm(
            f"http://127.0.0.1:{flux.api_port}",
            f"http://127.0.0.1:{flux.http_port}",
            changeable,
            lambda chance: f"{camera}/{chance.randrange(10_000)}",
            SEED,
        )
        with ThreadPoolExecutor(WATCHED) as pool:
            watchers = [pool.submit(watch, flux.flv(name), reference) for name in watched]
            flux.wait_until(lambda: readers_of(flux) == WATCHED * READERS, "all readers read", 30)
            outcome = asyncio.run(storm.run(OPERATIONS, STORM))
            assert not any(each.done() for each in watchers), "they read to the end of it"
            results = [each.result() for each in watchers]

        assert outcome.wrong == []
        assert outcome.operations >= OPERATIONS
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            assert sum(n for (own, status), n in outcome.statuses.items() if own == method) > 50
        assert {"stream-created", "stream-changed", "stream-deleted"} <= set(outcome.events)

        for name, result in zip(watched, results, strict=True):
            assert result["complete"] == READERS, (name, result)
            assert result["check"]["frames"] > READERS * WINDOW * 40, (name, result)
            assert (result["check"]["wrong"], result["check"]["missing"]) == (0, 0), name
            stream = flux.stream(name)
            assert (stream["drops"], stream["rtp"]["lost"], stream["state"]) == ({}, 0, "ready")
        assert flux.metrics()["flux_event_faults_total"] == 0
        output = flux.program.output
        assert "Traceback" not in output
        assert "fault" not in output
        assert "secret" not in output
