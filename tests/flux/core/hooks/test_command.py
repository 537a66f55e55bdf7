"""Command hooks: real processes, each a few lines of Python that tell what they are."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from config.hooks import AuthorizeSection, HookSection
from flux.core.bus import Bus
from flux.core.hooks import Hooks
from flux.core.hooks.events import HookFailed, HookOverflowed
from media.events import (
    DemandChanged,
    PublisherStarted,
    PublisherStopped,
    ReaderClosed,
    ReaderJoined,
    StreamDeleted,
    StreamStateChanged,
)
from tests.support.hook_peers import Changes, Ear, VirtualTime, ear, program

LINGER = "time.sleep(60)"
# Says so when it is told to go, and stays.
STUBBORN = (
    "signal.signal(signal.SIGTERM,lambda *a:s.send(b'TERM'));"
    "s.send(b'up');[time.sleep(60) for _ in 'ab']"
)


def ready(stream: str = "cam") -> StreamStateChanged:
    return StreamStateChanged(stream, "waiting-for-parameters", "ready", "")


def not_ready(stream: str = "cam") -> StreamStateChanged:
    return StreamStateChanged(stream, "ready", "lost", "media-timeout")


def joined(number: int) -> ReaderJoined:
    return ReaderJoined("cam", "hls", f"hls-{number}", 0.1)


def closed(number: int) -> ReaderClosed:
    return ReaderClosed("cam", "hls", f"hls-{number}", "peer-closed", 0)


class Rig:
    """The part with one command, its bus, its time and the ear that its processes tell."""

    def __init__(self, listener: Ear, argv: list[str], on: Any, options: dict[str, Any]) -> None:
        self.ear = listener
        self.bus = Bus()
        self.time = VirtualTime()
        self.events: list[object] = []
        self.changes = Changes()
        self.bus.subscribe(HookFailed, self._heard)
        self.bus.subscribe(HookOverflowed, self._heard)
        env = {**options.pop("env", {}), **listener.env}
        section = HookSection.model_validate(
            {"on": on, "command": {"argv": argv, "env": env, **options}}
        )
        timing = self.time.timing
        self.part = Hooks(
            self.bus, [section], AuthorizeSection(), address_of=lambda *_: "::1", timing=timing
        )

    def _heard(self, event: object) -> None:
        self.events.append(event)
        self.changes.tell()

    def emit(self, *events: object) -> None:
        for event in events:
            self.bus.emit(event)

    async def idle(self) -> None:
        """Return once no run is under way."""
        async with asyncio.timeout(10):
            while self.part.status()[0].running:  # noqa: ASYNC110  nobody tells of it
                await asyncio.sleep(0)

    async def failed(self, count: int = 1) -> list[str]:
        """The reasons of the failures, once there are so many."""
        await self.changes.until(lambda: len(self.reasons()) >= count)
        return self.reasons()

    def reasons(self) -> list[str]:
        return [event.reason for event in self.events if isinstance(event, HookFailed)]


@asynccontextmanager
async def hooked(on: Any, body: str = LINGER, **options: Any) -> AsyncIterator[Rig]:
    argv = options.pop("argv", None) or program(body)
    async with ear() as listener:
        rig = Rig(listener, argv, on, options)
        await rig.part.start()
        try:
            yield rig
        finally:
            stopping = asyncio.ensure_future(rig.part.stop())
            while not stopping.done():  # the part's own waits are in virtual time
                rig.time.advance(10.0)
                await asyncio.sleep(0)
            stopping.result()
            assert rig.part.status()[0].running == 0
            assert not any(is_there(told.pid) for told in listener.told)
            assert rig.bus.counters.faults == 0


def is_there(pid: int) -> bool:
    """Whether a process lives or waits to be reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def state_of(pid: int) -> str:
    """The letter of proc(5), empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


# -- what a command gets -------------------------------------------------------------------------


async def test_arguments_and_environment() -> None:
    argv = program(LINGER, "a b", "$HOME", "; exit", "")
    env = {"MINE": "x y", "FLUX_STREAM": "not this"}
    async with hooked("read", argv=argv, env=env) as rig:
        rig.emit(joined(7))
        await rig.ear.heard(1)
        (told,) = rig.ear.told
        assert told.arguments == ["a b", "$HOME", "; exit", ""]  # no shell has read them
        assert told.environment["MINE"] == "x y"
        assert told.environment["PATH"] == os.environ["PATH"]
        assert {n: v for n, v in told.environment.items() if n.startswith("FLUX_")} == {
            "FLUX_EVENT": "read",
            "FLUX_ID": "id-1",
            "FLUX_TIME": "2027-01-15T08:16:40.000Z",
            "FLUX_STREAM": "cam",
            "FLUX_SESSION": "hls-7",
            "FLUX_PROTOCOL": "hls",
            "FLUX_ADDRESS": "::1",
            "FLUX_REASON": "",
        }
        assert os.getpgid(told.pid) == told.pid
        assert os.getpriority(os.PRIO_PROCESS, told.pid) == min(19, os.nice(0) + 5)


async def test_a_moment_has_its_reason() -> None:
    async with hooked(["not-ready", "unread"], "pass") as rig:
        rig.emit(ready(), not_ready(), joined(1), closed(1))
        await rig.ear.heard(2)
        await rig.ear.silence()
        await rig.idle()
        assert rig.part.status()[0].done == 2
    told = {each.environment["FLUX_EVENT"]: each.environment for each in rig.ear.told}
    assert told["not-ready"]["FLUX_REASON"] == "media-timeout"
    assert told["unread"]["FLUX_REASON"] == "peer-closed"


async def test_a_name_that_no_environment_can_hold() -> None:
    async with hooked("ready", "pass") as rig:
        rig.emit(ready("a\0b\ud800ü"))
        await rig.ear.heard(1)
    assert rig.ear.told[0].environment["FLUX_STREAM"] == "ab?ü"


# -- life and end --------------------------------------------------------------------------------


async def test_a_command_is_killed_with_the_stream() -> None:
    async with hooked("ready", "s.send(b'up');" + LINGER) as rig:
        rig.emit(ready("a"), ready("b"))
        await rig.ear.changes.until(lambda: [t.received for t in rig.ear.told] == [b"up"] * 2)
        rig.emit(not_ready("a"))
        await rig.ear.changes.until(lambda: rig.ear.alive == 1)
        (alive,) = [told for told in rig.ear.told if told.alive]
        assert alive.environment["FLUX_STREAM"] == "b"
    assert rig.events == []
    assert rig.part.status()[0].done == 2


@pytest.mark.parametrize(
    ("on", "begin", "end"),
    [
        ("ready", ready(), not_ready()),
        ("ready", ready(), StreamDeleted("cam", "api")),
        ("read", joined(1), closed(1)),
        ("read", joined(1), StreamDeleted("cam", "api")),
        ("read", joined(1), StreamStateChanged("cam", "idle", "closed", "")),
        ("publish", PublisherStarted("cam", "rtmp", "p1"), PublisherStopped("cam", "", "p1", "")),
        ("publish", PublisherStarted("cam", "rtmp", "p1"), StreamDeleted("cam", "api")),
        ("demand", DemandChanged("cam", True, 1), StreamDeleted("cam", "api")),
    ],
)
async def test_what_ends_a_command(on: str, begin: object, end: object) -> None:
    async with hooked(on, "s.send(b'up');" + LINGER, restart=True) as rig:
        rig.emit(begin)
        await rig.ear.heard(1)
        rig.emit(closed(2), not_ready("other"), StreamDeleted("other", "api"))
        await rig.ear.changes.until(lambda: rig.ear.told[0].received == b"up")
        rig.emit(end)
        await rig.ear.silence()
        await rig.idle()
        assert rig.part.status()[0].retries == 0


async def test_sigkill_follows_where_sigterm_is_not_obeyed() -> None:
    async with hooked("ready", STUBBORN) as rig:
        rig.emit(ready())
        await rig.ear.changes.until(lambda: rig.ear.told and rig.ear.told[0].received == b"up")
        rig.emit(not_ready())
        await rig.ear.changes.until(lambda: rig.ear.told[0].received == b"upTERM")
        await rig.time.until(lambda: 1.0 in rig.time.asleep())
        assert rig.ear.alive == 1
        rig.time.advance(1.0)
        await rig.ear.silence()


async def test_what_the_command_started_goes_with_it() -> None:
    child = "p=os.fork();p and s.send(b'%d'%p);signal.signal(signal.SIGTERM,signal.SIG_IGN);"
    async with hooked("ready", child + LINGER) as rig:
        rig.emit(ready())
        await rig.ear.changes.until(lambda: rig.ear.told and rig.ear.told[0].received)
        pid = int(rig.ear.told[0].received)
        rig.emit(not_ready())
        await rig.time.until(lambda: 1.0 in rig.time.asleep())
        rig.time.advance(1.0)
        await rig.ear.silence()  # both held the connection
    assert state_of(pid) in ("", "Z")  # its reaper is not ours


async def test_a_child_that_is_left_behind_goes_too() -> None:
    async with hooked("not-ready", "os.fork() or time.sleep(60)") as rig:
        rig.emit(ready(), not_ready())
        await rig.ear.heard(1)
        await rig.ear.silence()


async def test_a_command_that_leaves_its_group_holds_nothing() -> None:
    # The child has left before its parent ends, and the group with it.
    leave = "r,w=os.pipe();os.fork() and (os.read(r,1),os._exit(0));os.setsid();os.write(w,b'x');"
    body = leave + "s.send(b'%d'%os.getpid());" + LINGER
    async with hooked("not-ready", body) as rig:
        rig.emit(ready(), not_ready())
        await rig.ear.changes.until(lambda: rig.ear.told and rig.ear.told[0].received)
        await rig.idle()  # although its output is still open
        os.kill(int(rig.ear.told[0].received), signal.SIGKILL)


async def test_a_stream_that_comes_back_waits_for_the_old_command_to_go() -> None:
    async with hooked("ready", STUBBORN) as rig:
        rig.emit(ready())
        await rig.ear.changes.until(lambda: rig.ear.told and rig.ear.told[0].received == b"up")
        rig.emit(not_ready(), ready(), not_ready(), ready())
        status = rig.part.status()[0]
        assert (status.running, status.waiting) == (1, 1)
        await rig.time.until(lambda: 1.0 in rig.time.asleep())
        rig.time.advance(1.0)
        await rig.ear.heard(2)
        assert rig.ear.most == 1
        rig.emit(ready())  # again, without an end between: it runs already
        assert rig.part.status()[0].waiting == 0


async def test_a_stream_that_comes_and_goes_leaves_nothing_waiting() -> None:
    async with hooked("ready") as rig:
        for _ in range(100):
            rig.emit(ready(), not_ready())
        await rig.idle()
        assert rig.part.status()[0].waiting == 0
    assert rig.ear.told == []


# -- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on", "option", "seconds"), [("ready", "5s", 5.0), ("unread", None, 60.0)]
)
async def test_a_command_has_a_limited_time(on: str, option: str | None, seconds: float) -> None:
    async with hooked(on, timeout=option) as rig:
        rig.emit(ready(), joined(1), closed(1))
        await rig.ear.heard(1)
        await rig.time.until(lambda: seconds in rig.time.asleep())
        rig.time.advance(seconds)
        assert await rig.failed() == ["command-timeout"]
        await rig.ear.silence()


async def test_what_lasts_has_no_limit_of_its_own() -> None:
    async with hooked("ready") as rig:
        rig.emit(ready())
        await rig.ear.heard(1)
        assert rig.time.delays == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [("sys.exit(3)", "command-exited"), ("os.kill(os.getpid(),9)", "command-killed")],
)
async def test_an_end_that_is_not_good(body: str, reason: str) -> None:
    async with hooked("ready", body) as rig:
        rig.emit(ready())
        assert await rig.failed() == [reason]
        await rig.idle()
        rig.emit(not_ready())
    assert len(rig.ear.told) == 1  # no restart is wanted


@pytest.mark.parametrize("argv", [["/nowhere/at/all"], ["/"], ["/etc/passwd", "x"]])
async def test_what_cannot_be_started(argv: list[str]) -> None:
    async with hooked(["ready", "not-ready"], argv=argv, restart=True) as rig:
        rig.emit(ready())
        await rig.time.until(rig.time.asleep)
        rig.time.advance(0.5)
        assert await rig.failed(2) == ["command-spawn-failed"] * 2
        rig.emit(not_ready())
        await rig.failed(3)
        await rig.idle()


async def test_a_restart_comes_with_back_off_as_long_as_the_stream_is_ready() -> None:
    async with hooked("ready", "sys.exit(1)", restart=True) as rig:
        rig.emit(ready())
        for runs, delay in enumerate((0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0), 1):
            await rig.time.until(lambda d=delay: rig.time.asleep() == [d])  # type: ignore[misc]
            assert len(rig.ear.told) == runs
            rig.time.advance(delay)
        await rig.ear.heard(9)
        await rig.time.until(lambda: rig.time.asleep() == [30.0])
        rig.emit(not_ready())
        await rig.idle()
    assert len(rig.ear.told) == 9
    assert rig.part.status()[0].retries == 8


async def test_a_long_run_takes_the_back_off_back() -> None:
    body = "s.send(b'up');s.recv(1)"
    async with hooked("ready", body, restart=True, timeout="30s") as rig:
        rig.emit(ready())
        for runs in (1, 2, 3):
            await rig.ear.heard(runs)
            await rig.time.until(lambda: 30.0 in rig.time.asleep())
            rig.time.advance(30.0)  # ended by its timeout
            await rig.failed(runs)
            await rig.time.until(lambda: rig.time.asleep() == [0.5])
            rig.time.advance(0.5)


# -- demand --------------------------------------------------------------------------------------


async def test_a_demand_starts_the_publisher_and_keeps_it_a_little_longer() -> None:
    wanted, unwanted = DemandChanged("cam", True, 1), DemandChanged("cam", False, 0)
    async with hooked("demand", close_after="20s") as rig:
        rig.emit(wanted)
        await rig.ear.heard(1)
        assert rig.ear.told[0].environment["FLUX_READERS"] == "1"
        rig.emit(unwanted)
        await rig.time.until(lambda: rig.time.asleep() == [20.0])
        rig.time.advance(19.0)
        rig.emit(wanted)  # a reader in time
        rig.time.advance(100.0)
        rig.emit(unwanted)
        await rig.time.until(lambda: 20.0 in rig.time.asleep())
        assert rig.ear.alive == 1
        rig.time.advance(20.0)
        await rig.ear.silence()
        await rig.idle()
        rig.emit(wanted)
        await rig.ear.heard(2)
    assert len(rig.ear.told) == 2
    assert rig.events == []


async def test_a_demand_without_delay() -> None:
    async with hooked("demand", "s.send(b'up');" + LINGER, close_after="0") as rig:
        rig.emit(DemandChanged("cam", False, 0))
        rig.emit(DemandChanged("cam", True, 1))
        await rig.ear.changes.until(lambda: rig.ear.told and rig.ear.told[0].received)
        rig.emit(DemandChanged("cam", False, 0))
        await rig.ear.silence()
    assert rig.time.delays.count(10.0) == 0


# -- bounds --------------------------------------------------------------------------------------


async def test_only_so_many_run_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    async with hooked("unread", "pass", concurrency=3) as rig:
        for number in range(12):
            rig.emit(joined(number), closed(number))
        status = rig.part.status()[0]
        assert (status.running, status.waiting) == (3, 9)
        await rig.ear.heard(12)
        await rig.ear.silence()
        await rig.idle()
        assert rig.ear.most <= 3
        assert rig.part.status()[0].done == 12
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= 30]
    assert warnings == ["hooks[0]: 3 commands run, others wait"]


async def test_a_full_queue_drops_its_oldest() -> None:
    async with hooked("read", concurrency=1, queue=3) as rig:
        rig.emit(*(joined(number) for number in range(10)))
        status = rig.part.status()[0]
        assert (status.running, status.waiting, status.dropped) == (1, 3, 6)
        assert rig.events == [HookOverflowed("hooks[0]", 1)]
        await rig.ear.heard(1)
        rig.emit(closed(7), closed(8))  # they have not begun: nothing of them remains
        assert rig.part.status()[0].waiting == 1
        rig.emit(closed(0))
        await rig.ear.heard(2)
        assert rig.ear.told[1].environment["FLUX_SESSION"] == "hls-9"


async def test_output_is_logged_and_bounded(caplog: pytest.LogCaptureFixture) -> None:
    body = "[print('line',n,flush=True) for n in range(5000)];print('error',file=sys.stderr)"
    with caplog.at_level(logging.INFO, logger="flux.core.hooks.process"):
        async with hooked("not-ready", body) as rig:
            rig.emit(ready(), not_ready())
            await rig.ear.heard(1)
            await rig.ear.silence()
            await rig.idle()
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "hooks[0] not-ready cam: line 0"
    assert 10 < len(lines) <= 60
    assert "more lines" in lines[-1] or lines[-1].startswith("hooks[0] not-ready cam: error")


# -- the end of the server -----------------------------------------------------------------------


async def test_at_the_end_what_lasts_is_ended_and_what_is_told_of_it_may_run() -> None:
    async with hooked(
        ["ready", "not-ready"], "'not' in os.environ['FLUX_EVENT'] or " + LINGER
    ) as rig:
        rig.emit(ready("a"), ready("b"))
        await rig.ear.heard(2)
        rig.emit(not_ready("a"))
        await rig.part.stop()
    events = [told.environment["FLUX_EVENT"] for told in rig.ear.told]
    assert sorted(events) == ["not-ready", "ready", "ready"]
    assert rig.events == []


async def test_a_part_that_is_cut_kills_at_once() -> None:
    async with hooked("ready", STUBBORN) as rig:
        rig.emit(ready())
        await rig.ear.changes.until(lambda: rig.ear.told and rig.ear.told[0].received == b"up")
        stopping = asyncio.create_task(rig.part.stop())
        await rig.ear.changes.until(lambda: rig.ear.told[0].received == b"upTERM")
        stopping.cancel()
        await asyncio.wait((stopping,))
        await rig.ear.silence()
        assert rig.time.now == 1000.0  # no grace was waited for


async def test_nothing_is_left_open() -> None:
    counts: list[int] = []
    for _ in range(3):  # a loop opens some for itself, once
        async with hooked(["ready", "not-ready"], "s.send(b'up')") as rig:
            rig.emit(ready(), not_ready(), ready("b"), not_ready("c"))
            await rig.ear.heard(2)
            await rig.ear.silence()
            await rig.idle()
        for _ in range(5):  # transports close their descriptors in the next turns of the loop
            await asyncio.sleep(0)
        counts.append(len(os.listdir("/proc/self/fd")))
    assert counts[2] <= counts[1]


@pytest.mark.parametrize(
    "scenario",
    [
        test_arguments_and_environment,
        test_a_command_is_killed_with_the_stream,
        test_sigkill_follows_where_sigterm_is_not_obeyed,
        test_what_the_command_started_goes_with_it,
        test_a_command_that_leaves_its_group_holds_nothing,
        test_a_demand_starts_the_publisher_and_keeps_it_a_little_longer,
        test_a_part_that_is_cut_kills_at_once,
        test_nothing_is_left_open,
    ],
)
def test_the_same_on_uvloop(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
