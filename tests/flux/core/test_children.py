"""Worker processes: real ones, each a few lines of Python without any import of ours."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from flux.core.children import (
    LINES_PER_SECOND,
    Child,
    ChildEnded,
    ChildOptions,
    Children,
    ChildStarted,
    LineLog,
)

QUICK = ChildOptions(stop_timeout=0.3, first_delay=0.01, longest_delay=0.02)
HELLO = "import os,socket,sys,time;s=socket.socket(fileno=int(os.environ['FLUX_WORKER_FD']));"
LINGER = HELLO + "s.send(b'up');time.sleep(60)"


class Owner:
    """What a source does: reads the socket, hears the states, and can be waited for."""

    def __init__(self) -> None:
        self.states: list[tuple[str, str]] = []
        self.events: list[object] = []
        self.received = b""
        self.child: Child | None = None
        self._changed = asyncio.Event()

    def on_state(self, state: str, reason: str) -> None:
        self.states.append((state, reason))
        self._changed.set()

    def emit(self, event: object) -> None:
        self.events.append(event)
        self._changed.set()

    def connect(self) -> asyncio.Protocol:
        return OwnerProtocol(self)

    def on_data(self, data: bytes) -> None:
        self.received += data
        self._changed.set()

    def on_lost(self) -> None:
        if self.child is not None:
            self.child.fail("worker-closed")

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_started(self) -> None:
        await self.until(lambda: bool(self.pids()))

    async def until_ended(self, count: int) -> None:
        await self.until(lambda: len(self.ended()) >= count)

    def ended(self) -> list[ChildEnded]:
        return [event for event in self.events if isinstance(event, ChildEnded)]

    def pids(self) -> list[int]:
        return [event.pid for event in self.events if isinstance(event, ChildStarted)]


class OwnerProtocol(asyncio.Protocol):
    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def data_received(self, data: bytes) -> None:
        self._owner.on_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.on_lost()


@asynccontextmanager
async def running(code: str, options: ChildOptions = QUICK) -> AsyncIterator[Owner]:
    owner = Owner()
    children = Children(owner.emit, rand=lambda: 0.0)
    command = (sys.executable, "-I", "-S", "-c", code)
    owner.child = children.spawn("w", command, owner.connect, owner.on_state, options)
    try:
        yield owner
    finally:
        await children.stop()
        assert children.alive == ()
        assert len(owner.ended()) == len(owner.pids())
        assert not any(is_there(pid) for pid in owner.pids())


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def process_state(pid: int) -> str:
    """The letter of proc(5), empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_a_worker_is_started_niced_and_stopped() -> None:
    async with running(LINGER) as owner:
        await owner.until(lambda: owner.received == b"up")
        (pid,) = owner.pids()
        assert owner.child is not None
        assert owner.child.pid == pid
        assert os.getpriority(os.PRIO_PROCESS, pid) == os.nice(0) + QUICK.nice
        assert os.getpgid(pid) == pid
        owner.child.stop("no-readers")
        owner.child.stop("again")
        await owner.until(lambda: len(owner.states) == 2)
    assert owner.states == [("connecting", ""), ("stopped", "no-readers")]
    assert owner.ended() == [ChildEnded("w", pid, -signal.SIGTERM, "no-readers")]


async def test_sigkill_follows_where_sigterm_is_ignored() -> None:
    code = "import signal;signal.signal(signal.SIGTERM,signal.SIG_IGN);" + LINGER
    async with running(code) as owner:
        await owner.until(lambda: owner.received == b"up")
    assert [event.status for event in owner.ended()] == [-signal.SIGKILL]


async def test_what_the_worker_started_is_killed_with_it() -> None:
    code = HELLO + "p=os.fork();p and s.send(b'%d'%p);time.sleep(60)"
    async with running(code) as owner:
        await owner.until(lambda: bool(owner.received))
    # The signal was sent; when the kernel has carried it out nobody tells, its reaper is not ours.
    async with asyncio.timeout(10):
        while process_state(int(owner.received)) not in ("", "Z"):  # noqa: ASYNC110 - see above
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("raise SystemExit(3)", 3, "worker-exited"),
        ("raise SystemExit(0)", 0, "worker-exited"),
        ("import os;os.kill(os.getpid(),9)", -9, "worker-killed"),
        (HELLO + "s.close();raise SystemExit(4)", 4, "worker-exited"),
    ],
)
async def test_a_worker_that_ends_is_started_again(code: str, status: int, reason: str) -> None:
    async with running(code) as owner:
        await owner.until_ended(3)
    assert owner.states[:4] == [("connecting", ""), ("waiting", reason)] * 2
    assert owner.states[-1] == ("stopped", "server-stopping")
    assert [(event.status, event.reason) for event in owner.ended()[:3]] == [(status, reason)] * 3
    attempts = [event.attempt for event in owner.events if isinstance(event, ChildStarted)]
    assert attempts[:3] == [1, 2, 3]


async def test_a_long_run_takes_the_delay_back() -> None:
    options = ChildOptions(stop_timeout=0.3, first_delay=0.01, healthy_after=0.0)
    async with running("pass", options) as owner:
        await owner.until_ended(3)
    attempts = [event.attempt for event in owner.events if isinstance(event, ChildStarted)]
    assert attempts[:3] == [1, 1, 1]


async def test_a_worker_that_closes_its_socket_and_lives_is_replaced() -> None:
    async with running(HELLO + "s.send(b'up');s.close();time.sleep(60)") as owner:
        await owner.until_ended(1)
    assert owner.ended()[0].reason == "worker-closed"
    assert owner.states[1] == ("waiting", "worker-closed")


async def test_the_owner_can_fail_a_run() -> None:
    async with running(LINGER) as owner:
        await owner.until(lambda: owner.received == b"up")
        assert owner.child is not None
        owner.child.fail("wire-magic")
        await owner.until(lambda: owner.received == b"upup")
    assert owner.ended()[0].reason == "wire-magic"


async def test_the_last_words_are_heard() -> None:
    async with running(HELLO + "s.send(b'x'*100000);os._exit(1)") as owner:
        await owner.until_ended(1)
        assert len(owner.received) == 100_000


async def test_a_command_that_does_not_exist() -> None:
    owner = Owner()
    children = Children(owner.emit, rand=lambda: 0.0)
    children.spawn("w", ("/nowhere/at/all",), owner.connect, owner.on_state, QUICK)
    await owner.until(lambda: len(owner.states) >= 4)
    await children.stop()
    assert owner.states[:2] == [("connecting", ""), ("waiting", "worker-spawn-failed")]
    assert owner.events == []


async def test_stop_right_after_start_and_during_the_delay() -> None:
    async with running(LINGER) as owner:
        pass
    assert owner.states == [("stopped", "server-stopping")]
    async with running(LINGER) as owner:
        await owner.until(lambda: owner.states == [("connecting", "")])
    assert owner.states[-1] == ("stopped", "server-stopping")
    slow = ChildOptions(first_delay=60.0)
    async with running("pass", slow) as owner:
        await owner.until(lambda: ("waiting", "worker-exited") in owner.states)
    assert owner.states[-1] == ("stopped", "server-stopping")


async def test_nothing_is_left_open() -> None:
    counts: list[int] = []
    for _ in range(3):  # a loop opens some for itself, once
        for code in ("pass", LINGER, HELLO + "s.close();time.sleep(60)"):
            async with running(code) as owner:
                await owner.until_started()
        async with running("pass") as owner:
            await owner.until_ended(3)
        for _ in range(5):  # transports close their sockets in the next turns of the loop
            await asyncio.sleep(0)
        counts.append(open_fds())
    assert counts[2] <= counts[1]


async def test_stderr_goes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    code = "import sys;[print('line',n,file=sys.stderr) for n in range(5000)]"
    with caplog.at_level(logging.WARNING, logger="flux.core.children"):
        async with running(code, ChildOptions(first_delay=60.0)) as owner:
            await owner.until_ended(1)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "worker w: line 0"
    assert LINES_PER_SECOND < len(lines) <= 4 * LINES_PER_SECOND
    assert "more lines" in lines[-1]


@pytest.mark.parametrize(
    "scenario",
    [
        test_a_worker_is_started_niced_and_stopped,
        test_sigkill_follows_where_sigterm_is_ignored,
        test_a_worker_that_closes_its_socket_and_lives_is_replaced,
        test_the_last_words_are_heard,
        test_a_command_that_does_not_exist,
        test_stop_right_after_start_and_during_the_delay,
        test_nothing_is_left_open,
    ],
)
def test_the_same_on_uvloop(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


class TestLineLog:
    def test_lines_are_joined_cut_and_counted(self) -> None:
        written: list[str] = []
        output = LineLog(written.append)
        output.feed(b"one\ntw", 1.0)
        output.feed(b"o\n\n\xff\n" + b"x" * 5000, 1.1)
        output.feed(b"y\n", 1.2)
        assert [line[:5] for line in written] == ["one", "two", "�", "xxxxx"]
        assert len(written[3]) == 2000

    def test_a_flood_is_counted_and_told_in_the_next_second(self) -> None:
        written: list[str] = []
        output = LineLog(written.append)
        output.feed(b"same\n" * 100, 5.0)
        assert len(written) == LINES_PER_SECOND
        output.feed(b"next\n", 6.0)
        assert written[-1] == f"next ({100 - LINES_PER_SECOND} lines before it left out)"
        output.feed(b"same\n" * 100, 6.5)
        output.finish(6.6)
        assert written[-1] == f"{101 - LINES_PER_SECOND} more lines"
