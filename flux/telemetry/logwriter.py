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
TICK = 0.5  # seconds between looks for held lines, while there may be some
CLOSE_TIMEOUT = 1.0  # seconds to write what is left


class LogWriter(logging.Handler):
    """The only handler: formats in the caller's thread, writes in its own."""

    def __init__(
        self,
        stream: TextIO,
        held_lines: Callable[[bool], list[str]],
        may_hold: Callable[[], bool],
    ) -> None:
        """`held_lines(everything)` gives lines that were held back and are due now; `may_hold`:
        whether some will be, though no other line comes."""
        super().__init__()
        self.dropped = 0
        self._stream = stream
        self._held_lines = held_lines
        self._may_hold = may_hold
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
            for line in self._take_held(everything=True)[0]:
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

    def _take_held(self, *, everything: bool) -> tuple[list[str], bool]:
        """Lines that are due; whether there may be more of them, by and by."""
        self.acquire()
        try:
            return self._held_lines(everything), self._may_hold()
        finally:
            self.release()

    def _run(self) -> None:
        may_hold = False
        while True:
            try:  # who holds a line back has let one of its kind pass, which is here or will be
                line = self._lines.get(timeout=TICK if may_hold else None)
            except queue.Empty:
                line = ""
            if line is None:
                return
            held, may_hold = self._take_held(everything=False)
            lines = [line, *held] if line else held
            if self.dropped > self._reported and self._lines.qsize() < MAX_LINES // 2:
                lines.append(f'{{"event":"log-lines-dropped","count":{self.dropped}}}')
                self._reported = self.dropped
            try:
                self._stream.writelines(f"{each}\n" for each in lines)
                if lines and self._lines.empty():
                    self._stream.flush()
            except (OSError, ValueError):
                self.dropped += 1  # the reader of our output is gone; the server goes on
