"""What a process and a core did: CPU time, memory, and who else was busy."""

import os
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SERVER_CORE = 0
LOAD_CORE = 1
PIN_SERVER = ("taskset", "-c", str(SERVER_CORE))
PIN_LOAD = ("taskset", "-c", str(LOAD_CORE))


def require_cores() -> None:
    """Server and load need a core each; SystemExit where they cannot have it."""
    if not {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        raise SystemExit(f"this benchmark needs the cores {SERVER_CORE} and {LOAD_CORE}")


def stat_fields(pid: int) -> list[str]:
    """/proc/PID/stat from the state on: [0] state, [1] parent, [11] utime, [12] stime, ..."""
    text = Path(f"/proc/{pid}/stat").read_text()
    return text[text.rindex(")") + 2 :].split()


def family(root: int) -> list[int]:
    """A process and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                children.setdefault(int(stat_fields(int(entry))[1]), []).append(int(entry))
            except OSError:
                continue  # it ended while we looked
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def cpu_seconds(root: int) -> float:
    """CPU time of a process tree, with that of the children it has waited for."""
    total = 0
    for pid in family(root):
        try:
            total += sum(int(value) for value in stat_fields(pid)[11:15])
        except OSError:
            continue
    return total / TICK


def rss_bytes(root: int) -> int:
    """Resident memory of a process tree."""
    total = 0
    for pid in family(root):
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
        except OSError:
            continue
    return total


def core_seconds(core: int) -> tuple[float, float]:
    """Busy and stolen seconds of a core since the machine started."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{core} "):
            values = [int(value) for value in line.split()[1:]]
            busy = values[0] + values[1] + values[2] + values[5] + values[6]
            return busy / TICK, values[7] / TICK
    return 0.0, 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at a server and its core."""

    at: float
    cpu: float
    rss: int
    core_busy: float
    core_stolen: float


def look(root: int, now: float) -> Reading:
    """Read everything at once."""
    return Reading(now, cpu_seconds(root), rss_bytes(root), *core_seconds(SERVER_CORE))
