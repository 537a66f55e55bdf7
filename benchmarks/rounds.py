"""What benchmarks in rounds have in common: options, the rounds, the table, the figures in JSON."""

import argparse
import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from benchmarks.tables import table

NOISE = 0.1  # of the server's core, taken by others: times are then not FLUX's alone


class Round(Protocol):
    """One measured round of one case."""

    @property
    def other_share(self) -> float:
        """What else kept the server's core busy."""

    @property
    def is_right(self) -> bool:
        """Whether everything came as it ought to."""


Case = TypeVar("Case", bound=Hashable)
Run = TypeVar("Run", bound=Round)


def options(description: str, *, seconds: float, settle: float) -> argparse.ArgumentParser:
    """A command line with what all of them can be told."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=seconds, help="steady window measured")
    parser.add_argument(
        "--settle", type=float, default=settle, help="seconds before the first reader"
    )
    parser.add_argument("--loop", default="auto", help="event loop: auto, uvloop, asyncio")
    parser.add_argument("--json", type=Path, help="write every round there")
    return parser


def measure_all(
    cases: Sequence[Case], rounds: int, measure: Callable[[Case], Run], say: Callable[[Run], str]
) -> dict[Case, list[Run]]:
    """Every case once in each round, so that all have the same share of a busy machine."""
    runs: dict[Case, list[Run]] = {case: [] for case in cases}
    for number in range(rounds):
        for case in cases:
            run = measure(case)
            runs[case].append(run)
            print(f"round {number + 1}: {say(run)}", flush=True)
    return runs


def report(
    runs: Mapping[Case, list[Run]],
    heads: Sequence[str],
    row: Callable[[list[Run]], list[str]],
    figures: Callable[[Run], dict[str, Any]],
    path: Path | None,
) -> int:
    """Print the table and write `figures` of each round; a status: whether all was right."""
    every = [run for each in runs.values() for run in each]
    print()
    print(table(heads, [row(each) for each in runs.values()]))
    if any(run.other_share > NOISE for run in every):
        print("\nOther programs used the server's core: trust the CPU time, not milliseconds.")
    if path:
        path.write_text(json.dumps([figures(run) for run in every], indent=1))
    return 0 if all(run.is_right for run in every) else 1
