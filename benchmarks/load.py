"""The load generator and the bare C floor: what they say, and what the server did meanwhile."""

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

from benchmarks import machine, native


def _nothing() -> None:
    """What is to be looked at besides the server's process."""


def run(
    pid: int, *arguments: object, at_last: Callable[[], None] = _nothing
) -> tuple[dict[str, Any], machine.Reading, machine.Reading]:
    """Run the load generator: its result, and the server as its window opens and closes.

    `at_last` is called when the window has closed, while all are still connected.
    """
    command = [*machine.PIN_LOAD, str(native.program("fluxload")), "-q", *map(str, arguments)]
    looks: list[machine.Reading] = []
    result: dict[str, Any] | None = None
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as load:
        assert load.stdout is not None
        for line in load.stdout:
            message = json.loads(line)
            if "mark" in message:
                looks.append(machine.look(pid, time.monotonic()))
                if len(looks) == 2:
                    at_last()
            else:
                result = message
    if result is None or len(looks) != 2:
        raise SystemExit("the load generator gave no result")
    return result, looks[0], looks[1]


def floor(kind: str, connections: int, seconds: float, chunk: int, interval_ms: float) -> float:
    """CPU seconds a gigabit of a bare C sender: `chunk` bytes to each in every interval."""
    command = [native.program("floor"), kind, connections, seconds, chunk, interval_ms]
    answer = subprocess.run(
        [str(part) for part in command], check=True, capture_output=True, text=True
    )
    return float(json.loads(answer.stdout)["cpu_s_per_gbit"])
