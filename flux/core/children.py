"""Child processes: spawned by exec, watched, started again with back-off, ended within a bound.

Theory of operation. A `Child` keeps one worker process alive from `start` to `stop`:

    connecting --spawned--> connecting | running --run over--> waiting --delay--> connecting ...
         any --stop--> stopped

Each run of the process has one socket of its own, a socketpair: our end is given to the protocol
that the owner makes, the other end is inherited and named by the environment variable
`FLUX_WORKER_FD`. A run is over when the process ends, when the owner calls `fail` (its socket was
closed, it sent nonsense, it went silent), or at `stop`. Whatever was the cause, the process is
then gone before anything else happens: SIGTERM, after `stop_timeout` SIGKILL to its whole process
group, and it is reaped. The owner reports `running` itself, because only it knows what the first
frame is.

What a child writes to stderr goes to the log, bounded in lines per second and bytes per line.
One task per child; nothing here is on the path of a frame.
"""

import asyncio
import contextlib
import logging
import os
import random
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flux.net.backoff import Backoff

FD_VARIABLE = "FLUX_WORKER_FD"
SOCKET_BUFFER_BYTES = 1 << 20  # asked for; the kernel may give less
MAX_LINE_BYTES = 2000  # of stderr, the rest of a longer line is cut off
LINES_PER_SECOND = 10
LAST_WORDS = 0.5  # seconds for what an ended process still has in its socket and pipe

REASON_STOPPED = "stopped"
REASON_EXITED = "worker-exited"
REASON_KILLED = "worker-killed"  # by a signal that we did not send
REASON_CLOSED = "worker-closed"  # it closed its socket and lived on
REASON_SPAWN = "worker-spawn-failed"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChildStarted:
    """A worker process was started."""

    name: str
    pid: int
    attempt: int  # 1, 2, ... since the last run that was long enough


@dataclass(frozen=True, slots=True)
class ChildEnded:
    """A worker process is gone and reaped."""

    name: str
    pid: int
    status: int  # exit status, or minus the signal
    reason: str


@dataclass(frozen=True, slots=True)
class ChildOptions:
    """How one worker is run."""

    nice: int = 5  # added to our own priority value: media delivery comes first
    stop_timeout: float = 1.5  # seconds between SIGTERM and SIGKILL
    first_delay: float = 0.5  # seconds before the first restart
    longest_delay: float = 30.0
    healthy_after: float = 10.0  # a run of so many seconds takes the delay back to the first
    environment: Mapping[str, str] = field(default_factory=dict)


class LineLog:
    """Turns what a child writes into log lines, at most `LINES_PER_SECOND`, the rest counted."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._partial = b""
        self._second = 0
        self._lines = 0  # of this second
        self.suppressed = 0  # since the last line that came through

    def feed(self, data: bytes, now: float) -> None:
        """Take a piece of output."""
        *lines, rest = (self._partial + data).split(b"\n")
        self._partial = rest[:MAX_LINE_BYTES]
        for line in lines:
            self._line(line, now)

    def finish(self, now: float) -> None:
        """The output has ended: write what is left, and how much was not written."""
        self._line(self._partial, now)
        self._partial = b""
        if self.suppressed:
            self._write(f"{self.suppressed} more lines")
            self.suppressed = 0

    def _line(self, line: bytes, now: float) -> None:
        text = line[:MAX_LINE_BYTES].decode(errors="replace").rstrip()
        if not text:
            return
        if int(now) != self._second:
            self._second = int(now)
            self._lines = 0
        self._lines += 1
        if self._lines > LINES_PER_SECOND:
            self.suppressed += 1
            return
        if self.suppressed:
            text = f"{text} ({self.suppressed} lines before it left out)"
            self.suppressed = 0
        self._write(text)


def worker_command(module: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a Python module in a child; see `python_path` for its imports."""
    return (sys.executable, "-P", "-m", module, *arguments)


def python_path() -> str:
    """Our own import path, so that a child finds what we found, wherever it is started."""
    return os.pathsep.join(path or os.getcwd() for path in sys.path)


class _Process(asyncio.SubprocessProtocol):
    """Collects one process: its stderr and its end."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._stderr = LineLog(lambda line: log.warning("worker %s: %s", name, line))
        self.exited: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._stderr.feed(data, self._loop.time())

    def process_exited(self) -> None:
        if not self.exited.done():
            self.exited.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stderr.finish(self._loop.time())
        if not self.closed.done():
            self.closed.set_result(None)


class Child:
    """One worker that is wanted from `start` to `stop`.

    `connect` makes the protocol of each run's socket; `on_state` hears connecting, waiting (with
    the reason why the last run ended) and stopped.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        connect: Callable[[], asyncio.BaseProtocol],
        on_state: Callable[[str, str], None],
        emit: Callable[[object], None],
        options: ChildOptions,
        rand: Callable[[], float],
    ) -> None:
        self.name = name
        self.pid = 0  # of the current run; 0 between runs
        self._command = tuple(command)
        self._connect = connect
        self._on_state = on_state
        self._emit = emit
        self._options = options
        self._backoff = Backoff(options.first_delay, options.longest_delay, rand)
        self._attempts = 0  # since the last run that was long enough
        self._stop = asyncio.Event()
        self._stop_reason = REASON_STOPPED
        self._failed: asyncio.Future[str] | None = None  # of the current run

    def fail(self, reason: str) -> None:
        """End the current run; the next one follows after the delay. Without a run, nothing."""
        if self._failed is not None and not self._failed.done():
            self._failed.set_result(reason)

    def stop(self, reason: str = REASON_STOPPED) -> None:
        """End the worker for good. Returns at once; `Children.stop` waits for the processes."""
        if not self._stop.is_set():
            self._stop_reason = reason
            self._stop.set()
            self.fail(reason)

    async def keep(self) -> None:
        """Run the worker again and again until `stop`; the body of the child's only task."""
        loop = asyncio.get_running_loop()
        while not self._stop.is_set():
            self._on_state("connecting", "")
            began_at = loop.time()
            self._attempts += 1
            reason = await self._run(loop)
            if self._stop.is_set():
                break
            if loop.time() - began_at >= self._options.healthy_after:
                self._backoff.reset()
                self._attempts = 0
            self._on_state("waiting", reason)
            delay = self._backoff.next_delay()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay)
        self._on_state("stopped", self._stop_reason)

    async def _run(self, loop: asyncio.AbstractEventLoop) -> str:
        """One run from spawn to reaped; the answer is why it ended."""
        self._failed = failed = loop.create_future()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        transport: asyncio.SubprocessTransport | None = None
        try:
            process, transport = await self._spawn(loop, theirs)
        except OSError as error:
            log.error("worker %s cannot be started: %s", self.name, error)
            return REASON_SPAWN
        finally:
            theirs.close()
            if transport is None:
                ours.close()
        self.pid = pid = transport.get_pid() or 0
        reason = ""
        try:
            self._emit(ChildStarted(self.name, pid, self._attempts))
            with contextlib.suppress(OSError):  # it may be gone already
                os.setpriority(os.PRIO_PROCESS, pid, os.nice(0) + self._options.nice)
            reason = await self._watch(loop, ours, process, failed)
        finally:
            await self._end(transport, process)
            status = transport.get_returncode() or 0
            self._failed = None
            self.pid = 0
            reason = reason or (REASON_KILLED if status < 0 else REASON_EXITED)
            self._emit(ChildEnded(self.name, pid, status, reason))
        return reason

    async def _spawn(
        self, loop: asyncio.AbstractEventLoop, theirs: socket.socket
    ) -> tuple[_Process, asyncio.SubprocessTransport]:
        fd = theirs.fileno()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        environment = {
            **os.environ,
            "PYTHONPATH": python_path(),
            **self._options.environment,
            FD_VARIABLE: str(fd),
        }
        transport, process = await loop.subprocess_exec(
            lambda: _Process(self.name, loop),
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=(fd,),
            env=environment,
            start_new_session=True,  # Ctrl-C in a terminal is ours to pass on, in order
        )
        return process, transport

    async def _watch(
        self,
        loop: asyncio.AbstractEventLoop,
        ours: socket.socket,
        process: _Process,
        failed: asyncio.Future[str],
    ) -> str:
        """Wait for the end of the run. The answer is empty if the process ended by itself."""
        ours.setblocking(False)
        if failed.done():  # stopped meanwhile
            ours.close()
            return failed.result()
        connection, _ = await loop.create_unix_connection(self._connect, sock=ours)
        both = (process.exited, failed)
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not failed.done() or failed.result() == REASON_CLOSED:
                # A process that ends closes its socket too, and its last message may say why.
                await asyncio.wait(both, timeout=LAST_WORDS)
        finally:
            connection.abort()
        reason = failed.result() if failed.done() else ""
        return "" if reason == REASON_CLOSED and process.exited.done() else reason

    async def _end(self, transport: asyncio.SubprocessTransport, process: _Process) -> None:
        """Make sure that the process and what it started are gone, and reap it."""
        pid = transport.get_pid() or 0
        if not process.exited.done():
            with contextlib.suppress(ProcessLookupError):
                transport.terminate()
            await asyncio.wait((process.exited,), timeout=self._options.stop_timeout)
        if pid > 1:  # 0 would be our own group
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)  # the group: also what the worker has started
        await asyncio.wait((process.exited,))
        await asyncio.wait((process.closed,), timeout=LAST_WORDS)
        transport.close()


class Children:
    """All worker processes of this server; a part of it, stopped after those that use them."""

    name = "children"

    def __init__(
        self, emit: Callable[[object], None], rand: Callable[[], float] = random.random
    ) -> None:
        self._emit = emit
        self._random = rand
        self._tasks: dict[asyncio.Task[Any], Child] = {}

    @property
    def alive(self) -> tuple[Child, ...]:
        """The children that are not stopped and reaped yet."""
        return tuple(self._tasks.values())

    def spawn(
        self,
        name: str,
        command: Sequence[str],
        connect: Callable[[], asyncio.BaseProtocol],
        on_state: Callable[[str, str], None],
        options: ChildOptions | None = None,
    ) -> Child:
        """Start a worker and keep it alive until its `stop`."""
        options = options or ChildOptions()
        child = Child(name, command, connect, on_state, self._emit, options, self._random)
        task = asyncio.get_running_loop().create_task(child.keep(), name=f"worker {name}")
        self._tasks[task] = child
        task.add_done_callback(self._forget)
        return child

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        child = self._tasks.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("worker %s is no longer watched", child.name, exc_info=error)

    async def start(self) -> None:
        """Nothing to do: workers are started by those who need them."""

    async def stop(self) -> None:
        """Stop every child and wait until the processes are gone: `stop_timeout` and a little."""
        for child in self.alive:
            child.stop("server-stopping")
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
