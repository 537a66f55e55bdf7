"""A program of an asyncio test, with a pipe to its standard input; what it says is kept."""

import asyncio
import contextlib
import fcntl
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

F_SETPIPE_SZ = 1031  # linux/fcntl.h
PIPE_BYTES = 1 << 20


class Child:
    """One process. Its standard output goes nowhere."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""
        self._reading = asyncio.get_running_loop().create_task(self._read())

    @property
    def is_running(self) -> bool:
        """Whether it lives."""
        return self.process.returncode is None

    async def last_words(self) -> str:
        """End it; answers all that it said."""
        self.kill()
        await self._reading
        return self.said

    async def end(self, limit: float) -> None:
        """Let it finish its file, then end it."""
        for number in (signal.SIGINT, signal.SIGTERM):
            if self.is_running:
                self.process.send_signal(number)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(limit):
                        await self.process.wait()
        self.kill()

    def kill(self) -> None:
        """End it at once."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while data := await self.process.stderr.read(1 << 16):
            self.said += data.decode(errors="replace")


@contextlib.asynccontextmanager
async def child(command: Sequence[str | Path]) -> AsyncIterator[Child]:
    """A program while the block lasts."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    widen(process)
    program = Child(process)
    try:
        yield program
    finally:
        await program.last_words()
        await process.wait()


def widen(process: asyncio.subprocess.Process) -> None:
    """Let a program that is late find what it reads in whole writes, not cut where a pipe ended."""
    assert process.stdin is not None
    pipe = process.stdin.get_extra_info("pipe")
    if pipe.closed:  # a program that refuses what it was told has ended before this one goes on
        return
    with contextlib.suppress(OSError):  # beyond what the system allows
        fcntl.fcntl(pipe.fileno(), F_SETPIPE_SZ, PIPE_BYTES)
