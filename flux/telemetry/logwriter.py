"""Writes log lines from a thread of its own: a terminal or pipe that blocks must not hold media.

Lines wait in a bounded queue. When it is full new lines are dropped and counted; the count is
written as a line of its own when there is room again.
"""

import logging
import queue
import threading
from collections.abc import Callable
from typing import TextIO

from structlog import DropEvent

MAX_LINES = 10_000
TICK = 0.5  # seconds between looks for held lines
CLOSE_TIMEOUT = 1.0  # seconds to write what is left


class LogWriter(logging.Handler):
    """The only handler: formats in the caller's thread, writes in its own."""

    def __init__(self, stream: TextIO, held_lines: Callable[[bool], list[str]]) -> None:
        """`held_lines(everything)` gives lines that were held back and are due now."""
        super().__init__()
        self.dropped = 0
        self._stream = stream
        self._held_lines = held_lines
        self._lines: queue.Queue[str | None] = queue.Queue(MAX_LINES)
        self._reported = 0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Format and queue one record; never blocks, never raises."""
        try:
            line = self.format(record)
        except DropEvent:
            return
        except Exception:
            self.handleError(record)
            return
        self._put(line)

    def close(self) -> None:
        """Write what is left, for a bounded time."""
        if self._thread.is_alive():
            for line in self._take_held(everything=True):
                self._put(line)
            try:
                self._lines.put(None, timeout=CLOSE_TIMEOUT)
            except queue.Full:
                return
            self._thread.join(CLOSE_TIMEOUT)
        super().close()

    def _put(self, line: str) -> None:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    def _take_held(self, *, everything: bool) -> list[str]:
        self.acquire()
        try:
            return self._held_lines(everything)
        finally:
            self.release()

    def _run(self) -> None:
        while True:
            try:
                line = self._lines.get(timeout=TICK)
            except queue.Empty:
                line = ""
            if line is None:
                return
            lines = [line] if line else []
            lines += self._take_held(everything=False)
            if self.dropped > self._reported and self._lines.qsize() < MAX_LINES // 2:
                lines.append(f'{{"event":"log-lines-dropped","count":{self.dropped}}}')
                self._reported = self.dropped
            try:
                self._stream.writelines(f"{each}\n" for each in lines)
                if lines and self._lines.empty():
                    self._stream.flush()
            except (OSError, ValueError):
                self.dropped += 1  # the reader of our output is gone; the server goes on
