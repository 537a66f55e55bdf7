"""A pytest plugin that keeps a report of a run: `-p tests.support.long_report`.

`FLUX_LONG_REPORT` names the page; without it nothing is written. What stands there above the line
`MARK` stays, what is below is replaced: date, commit, and one row for each file with its tests.
"""

import datetime
import os
import platform
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

MARK = "## All tests of the last run"
ROOT = Path(__file__).parent.parent.parent


class LongReport:
    """Collects what became of each test, and writes it when all is over."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._began = time.monotonic()
        self._seconds: dict[str, float] = {}
        self._results: dict[str, Counter[str]] = {}
        self._slowest: dict[str, tuple[float, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note one phase of one test."""
        file, _, name = report.nodeid.partition("::")
        self._seconds[file] = self._seconds.get(file, 0.0) + report.duration
        if report.when == "call" or report.outcome != "passed":
            self._results.setdefault(file, Counter())[report.outcome] += 1
            self._slowest[file] = max(self._slowest.get(file, (0.0, "")), (report.duration, name))

    def pytest_sessionfinish(self) -> None:
        """Write the page."""
        before = self._file.read_text() if self._file.exists() else "# The tests at full scale\n\n"
        self._file.write_text(before.partition(MARK)[0].rstrip() + "\n\n" + self.page())

    def page(self) -> str:
        """What the run was."""
        now = datetime.datetime.now(tz=datetime.UTC)
        minutes = (time.monotonic() - self._began) / 60
        lines = [
            MARK,
            "",
            f"{now:%Y-%m-%d}, commit {commit()}, Python {platform.python_version()}, "
            f"{os.cpu_count()} cores, {minutes:.0f} minutes.",
            "",
            "| file | tests | seconds | slowest |",
            "| --- | --- | --- | --- |",
        ]
        for file, results in sorted(self._results.items()):
            told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(results.items()))
            seconds, name = self._slowest[file]
            slowest = f"`{name}`, {seconds:.0f} s"
            lines.append(f"| {file} | {told} | {self._seconds[file]:.0f} | {slowest} |")
        return "\n".join([*lines, ""])


def commit() -> str:
    """The commit that was tested, and whether there is more than it."""

    def git(*words: str) -> str:
        command = ("git", "-C", str(ROOT), *words)
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + (" and changes" if git("diff", "HEAD") else "")


def pytest_configure(config: pytest.Config) -> None:
    """Take part if somebody wants the page."""
    name = os.environ.get("FLUX_LONG_REPORT")
    if name and not hasattr(config, "workerinput"):
        config.pluginmanager.register(LongReport(Path(name)), "long-report")
