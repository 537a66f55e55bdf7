"""Processes of a test: started, read until they are ready, and ended by their id."""

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parent.parent.parent
READY_LIMIT = 30.0  # seconds until a process must have said that it is ready
KEPT_LINES = 2000


class ProcessFailed(Exception):
    """A process did not do what the test needs; the message holds what it printed."""


class Program:
    """One child process in a session of its own; what it prints is kept for reports."""

    def __init__(
        self,
        command: Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.command = [str(part) for part in command]
        self.lines: list[str] = []
        self._arrived = threading.Condition()
        self._ended = False
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **(env or {})},
            cwd=cwd or ROOT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it lives."""
        return self._process.poll() is None

    @property
    def output(self) -> str:
        """What it printed so far, both channels."""
        return "\n".join(self.lines)

    def wait_for(self, text: str, limit: float = READY_LIMIT) -> str:
        """The first printed line that holds `text`."""

        def found() -> str | None:
            return next((line for line in self.lines if text in line), None)

        with self._arrived:
            self._arrived.wait_for(lambda: found() is not None or self._ended, limit)
            line = found()
        if line is None:
            raise ProcessFailed(f"{self.command} never said {text!r}:\n{self.output}")
        return line

    def wait_for_json(self, limit: float = READY_LIMIT) -> dict[str, Any]:
        """The first printed line that is a JSON object."""
        result: dict[str, Any] = json.loads(self.wait_for("{", limit))
        return result

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """Send it a signal."""
        if self.is_running:
            self._process.send_signal(number)

    def wait(self, limit: float) -> int:
        """Its exit status; ProcessFailed when it does not end in time."""
        try:
            status = self._process.wait(limit)
        except subprocess.TimeoutExpired:
            raise ProcessFailed(f"{self.command} runs on:\n{self.output}") from None
        self._reader.join(5)
        return status

    def stop(self, limit: float = 8.0) -> int:
        """End it: SIGTERM, then SIGKILL to its whole group; answers the status."""
        self.interrupt(signal.SIGTERM)
        try:
            status = self.wait(limit)
        except ProcessFailed:
            status = -signal.SIGKILL
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(5)
        self._reader.join(5)
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                with self._arrived:
                    self.lines.append(line.rstrip("\n"))
                    del self.lines[:-KEPT_LINES]
                    self._arrived.notify_all()
        with self._arrived:
            self._ended = True
            self._arrived.notify_all()


def rss_bytes(pid: int) -> int:
    """Resident memory of one process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
