"""One run of a command: started by exec, bounded in time, ended with all that it has started.

The process leads a session, and so a process group, of its own. However its run ends, the whole
group is gone afterwards: SIGTERM, after `TERM_GRACE` SIGKILL. Output goes to the log line by line
through `LineLog`, which bounds lines a second and bytes a line.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flux.core.children import LAST_WORDS, LineLog
from flux.core.hooks.timing import Timing

TERM_GRACE = 1.0  # seconds between SIGTERM and SIGKILL
NICE = 5  # added to our own priority value: media delivery comes first

EXITED = "command-exited"  # with a status that is not 0
KILLED = "command-killed"  # by a signal that we did not send
TIMED_OUT = "command-timeout"
SPAWN_FAILED = "command-spawn-failed"
ENDED = "command-ended"  # its cause is over

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended; an empty reason is exit status 0."""

    reason: str
    status: int = 0  # exit status, or minus the signal


class _Watch(asyncio.SubprocessProtocol):
    """Collects one process: its output and its end."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._output = LineLog(lambda line: log.info("%s: %s", name, line))
        self.exited: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._output.feed(data, self._loop.time())

    def process_exited(self) -> None:
        if not self.exited.done():
            self.exited.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._output.finish(self._loop.time())
        if not self.closed.done():
            self.closed.set_result(None)


async def run_command(
    name: str,
    argv: Sequence[str],
    environment: Mapping[str, str],
    ended: asyncio.Event,
    timeout: float | None,
    timing: Timing,
) -> Outcome:
    """Run until the process ends by itself, `ended` is set or `timeout` seconds have passed.

    If this is cancelled, the group is killed at once.
    """
    if ended.is_set():
        return Outcome(ENDED)
    loop = asyncio.get_running_loop()
    try:
        transport, watch = await loop.subprocess_exec(
            lambda: _Watch(name, loop),
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        log.warning("%s cannot be started: %s", name, error)
        return Outcome(SPAWN_FAILED)
    group = transport.get_pid() or 0
    reason = ""
    try:
        with contextlib.suppress(OSError):  # it may be gone already
            os.setpriority(os.PRIO_PROCESS, group, os.nice(0) + NICE)
        if not await timing.first_of(watch.exited, ended.wait(), timeout=timeout):
            reason = TIMED_OUT
        elif ended.is_set() and not watch.exited.done():
            reason = ENDED
        if not watch.exited.done():
            _signal_group(group, signal.SIGTERM)
            await timing.first_of(watch.exited, timeout=TERM_GRACE)
    finally:
        _signal_group(group, signal.SIGKILL)  # also what the command has started and left behind
        try:
            await asyncio.wait((watch.exited,))
            await asyncio.wait((watch.closed,), timeout=LAST_WORDS)
        finally:
            transport.close()
    status = transport.get_returncode() or 0
    if not reason and status:
        reason = KILLED if status < 0 else EXITED
    return Outcome(reason, status)


def _signal_group(group: int, number: signal.Signals) -> None:
    if group > 1:  # 0 would be our own group
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
