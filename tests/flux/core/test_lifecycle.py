"""Parts start in order and stop in reverse, whatever they do."""

import asyncio
import os
import signal
from time import monotonic

import pytest

from flux.base.errors import StateError
from flux.core.events import PartStopped, PhaseChanged
from flux.core.lifecycle import Lifecycle, Phase
from flux.core.part import Part


class Recorder:
    """A part that notes what is asked of it."""

    def __init__(
        self,
        name: str,
        notes: list[str],
        *,
        fail: bool = False,
        fail_stop: bool = False,
        hang: bool = False,
        hang_start: bool = False,
    ) -> None:
        self.name = name
        self.notes = notes
        self.fail = fail
        self.fail_stop = fail_stop
        self.hang = hang
        self.hang_start = hang_start

    async def start(self) -> None:
        self.notes.append(f"start {self.name}")
        if self.fail:
            raise OSError("address in use")
        if self.hang_start:
            await asyncio.Event().wait()

    async def stop(self) -> None:
        self.notes.append(f"stop {self.name}")
        if self.fail_stop:
            raise RuntimeError("cannot stop")
        if self.hang:
            try:
                await asyncio.Event().wait()
            finally:
                self.notes.append(f"cut {self.name}")


async def test_parts_start_in_order_and_stop_in_reverse() -> None:
    notes, events = list[str](), list[object]()
    parts = [Recorder(name, notes) for name in "abc"]
    assert all(isinstance(part, Part) for part in parts)
    lifecycle = Lifecycle(parts, emit=events.append)
    await lifecycle.start()
    assert lifecycle.phase is Phase.RUNNING
    with pytest.raises(StateError):
        await lifecycle.start()
    await lifecycle.stop()
    await lifecycle.stop()
    assert notes == ["start a", "start b", "start c", "stop c", "stop b", "stop a"]
    phases = [event.after for event in events if isinstance(event, PhaseChanged)]
    assert phases == ["running", "draining", "stopped"]


async def test_a_part_that_cannot_start_ends_those_before_it() -> None:
    notes = list[str]()
    parts = [Recorder("a", notes), Recorder("b", notes, fail=True), Recorder("c", notes)]
    lifecycle = Lifecycle(parts)
    with pytest.raises(OSError, match="address in use"):
        await lifecycle.run()
    assert notes == ["start a", "start b", "stop a"]
    assert lifecycle.phase is Phase.STOPPED


async def test_a_part_that_cannot_stop_does_not_keep_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    notes, events = list[str](), list[object]()
    parts = [
        Recorder("a", notes),
        Recorder("b", notes, fail_stop=True),
        Recorder("c", notes, hang=True),
    ]
    lifecycle = Lifecycle(parts, emit=events.append, stop_timeout=0.05)
    await lifecycle.start()
    began = monotonic()
    await lifecycle.stop()
    assert monotonic() - began < 1
    assert notes[3:] == ["stop c", "cut c", "stop b", "stop a"]
    reasons = {event.part: event.reason for event in events if isinstance(event, PartStopped)}
    assert reasons == {"a": "stopped", "b": "failed", "c": "late"}
    assert "part-stop-failed: b" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_drains(number: signal.Signals) -> None:
    notes, events = list[str](), list[object]()
    lifecycle = Lifecycle([Recorder("a", notes)], emit=events.append)
    await asyncio.wait_for(
        lifecycle.run(on_running=lambda: os.kill(os.getpid(), number)), timeout=5
    )
    assert notes == ["start a", "stop a"]
    assert PhaseChanged("running", "draining", number.name) in events
    assert not lifecycle.is_cut


async def test_a_second_signal_cuts() -> None:
    notes, events = list[str](), list[object]()
    parts = [Recorder("a", notes), Recorder("b", notes, hang=True)]

    def on_event(event: object) -> None:
        events.append(event)
        if event == PhaseChanged("running", "draining", "SIGTERM"):
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)

    lifecycle = Lifecycle(parts, emit=on_event, stop_timeout=30)
    began = monotonic()
    await lifecycle.run(on_running=lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert monotonic() - began < 5
    assert lifecycle.is_cut
    reasons = {event.part: event.reason for event in events if isinstance(event, PartStopped)}
    assert reasons["b"] == "cut"
    assert notes[-1] == "stop a"


async def test_the_end_can_be_asked_for_while_parts_still_start() -> None:
    notes = list[str]()
    lifecycle = Lifecycle([Recorder("a", notes), Recorder("b", notes, hang_start=True)])
    asyncio.get_running_loop().call_soon(lifecycle.request_stop, "test")
    await asyncio.wait_for(lifecycle.run(), timeout=5)
    assert notes == ["start a", "start b", "stop a"]
    assert lifecycle.phase is Phase.STOPPED
