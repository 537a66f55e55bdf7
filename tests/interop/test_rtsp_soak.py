"""A soak: sources that come and go under new names, players that join and leave, nothing grows."""

import asyncio
import os
import random
import time
from pathlib import Path

import pytest

from tests.support.flux_process import FluxProcess
from tests.support.soak import Soak, Tape, chart

pytestmark = [pytest.mark.interop, pytest.mark.alone]

PUBLISHERS, PLAYERS = 50, 200
SETTINGS = {
    "sources": {"close_after": "500ms", "grace_period": "500ms"},
    "limits": {"loop_lag": "0s"},  # a machine with other work must not have readers refused
    "log": {"level": "warning"},
}
MEASURED = ("RSS in MB", "open files", "tasks", "RTSP connections", "sessions", "streams")
# Of what the judge compares: growth by a share, and by what comes and goes by chance.
SHARE, SLACK = 0.03, 5.0
RSS_SHARE, RSS_SLACK = 0.01, 2.0  # MB
OVERRUN = 1e-3  # of the packets: datagrams for which a busy system had no room
UNANSWERED = 0.1  # of the samples, where the machine is too busy
END_LIMIT = 20.0


def measure(flux: FluxProcess) -> dict[str, float]:
    metrics = flux.metrics()

    def total(name: str) -> float:
        return sum(value for key, value in metrics.items() if key.partition("{")[0] == name)

    return {
        "RSS in MB": flux.rss_bytes / 1e6,
        "open files": len(os.listdir(f"/proc/{flux.pid}/fd")),
        "tasks": total("flux_tasks"),
        "RTSP connections": total("flux_rtsp_connections"),
        "sessions": total("flux_sessions"),
        "streams": total("flux_streams"),
    }


Rows = dict[str, list[tuple[float, float]]]  # figure -> (seconds, value)


async def soak(flux: FluxProcess, seconds: float) -> tuple[Soak, Rows]:
    """Run it; the figures over time."""
    run = Soak(flux.rtsp_port, Tape.record("bunny", 2.0))
    chance = random.Random(4)
    began = time.monotonic()
    rows: Rows = {name: [] for name in MEASURED}
    tasks = [
        asyncio.create_task(run.publisher(index, random.Random(chance.random())))
        for index in range(PUBLISHERS)
    ]
    tasks += [
        asyncio.create_task(run.player(random.Random(chance.random()))) for _ in range(PLAYERS)
    ]
    try:
        while (at := time.monotonic() - began) < seconds:
            try:
                figures = await asyncio.to_thread(measure, flux)
            except OSError:
                run.unanswered += 1
            else:
                for name, value in figures.items():
                    rows[name].append((at, value))
            await asyncio.sleep(max(1.0, seconds / 300))
            for task in tasks:
                if task.done():
                    task.result()  # a fault of the test itself
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return run, rows


def middle(points: list[tuple[float, float]], start: float, end: float) -> float:
    """The median between two shares of the run."""
    last = points[-1][0]
    values = sorted(value for at, value in points if start * last <= at <= end * last)
    return values[len(values) // 2]


def judge(rows: Rows) -> list[str]:
    """What grew: the last third against the middle one, since the first is warm-up."""
    problems = []
    for name, points in rows.items():
        before, after = middle(points, 0.33, 0.66), middle(points, 0.66, 1.0)
        is_rss = name == "RSS in MB"
        share, slack = (RSS_SHARE, RSS_SLACK) if is_rss else (SHARE, SLACK)
        if after > before * (1 + share) + slack:
            problems.append(f"{name}: {before:g} in the middle third, {after:g} in the last")
    return problems


def keep(picture: str, folder: Path) -> None:
    """Write the chart where `FLUX_SOAK_CHART` says, or where the test's files are."""
    Path(os.environ.get("FLUX_SOAK_CHART", folder / "soak.svg")).write_text(picture)


def test_the_judge_sees_growth() -> None:
    """The broken sample."""
    flat = [(float(at), 100.0 + at % 3) for at in range(90)]
    leak = [(float(at), 100.0 + at / 3) for at in range(90)]
    creep = [(float(at), 100.0 + at / 8) for at in range(90)]
    assert judge({"open files": flat, "RSS in MB": flat}) == []
    assert len(judge({"open files": leak, "RSS in MB": creep})) == 2


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(60, marks=pytest.mark.timeout(180)),
        pytest.param(1200, marks=[pytest.mark.long, pytest.mark.timeout(1500)]),
    ],
)
async def test_nothing_grows(seconds: int, tmp_path: Path) -> None:
    with FluxProcess(tmp_path, settings=SETTINGS) as flux:
        before = measure(flux)
        run, rows = await soak(flux, seconds)
        title = f"{PUBLISHERS} sources, {PLAYERS} players, {run.publishes} names, {run.joins} joins"
        await asyncio.to_thread(keep, chart(title, rows), tmp_path)
        assert run.faults == {}
        assert run.overrun < OVERRUN * run.packets
        assert run.publishes > PUBLISHERS + seconds
        assert run.joins > PLAYERS + seconds
        assert run.packets > 100 * seconds
        assert run.unanswered <= UNANSWERED * len(rows["tasks"])
        assert judge(rows) == []

        def is_over() -> bool:
            now = measure(flux)
            return (now["sessions"], now["RTSP connections"], now["streams"]) == (0, 0, 0)

        await asyncio.to_thread(flux.wait_until, is_over, "nothing is left", END_LIMIT)
        after = measure(flux)
        assert after["open files"] <= before["open files"] + 2
        assert after["tasks"] <= before["tasks"] + 2
