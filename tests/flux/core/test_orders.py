"""Orders before a worker that the test plays, on a clock that the test moves."""

import asyncio
from collections.abc import Callable, Iterator, Sequence

import pytest

from flux.base.errors import WireError
from flux.core.children import Child, ChildOptions, Children
from flux.core.orders import START_TIMEOUT, Orders, Worker
from media.track import Kind
from media.wire import (
    FLAG_KEY,
    Announcement,
    Decoder,
    Dropped,
    Message,
    Unknown,
    WireFrame,
    serialize_drop,
    serialize_frame,
    serialize_hello,
    serialize_tracks,
)
from tests.support.jump_clock import JumpClock

TRACKS = serialize_tracks((Announcement(0, Kind.DATA, "test", 1000),))
READY = serialize_hello("") + TRACKS
RUN_TIMEOUT, IDLE_AFTER = 5.0, 60.0
WORKER = Worker(
    "test", (), ChildOptions(), RUN_TIMEOUT, IDLE_AFTER,
    silent="test-worker-silent", timeout="test-timeout", failed="test-worker-failed",
)  # fmt: skip


def answer(number: int) -> bytes:
    """What the worker says to an order."""
    return serialize_frame(0, FLAG_KEY, number, number, 0, (b"made",))


class Wire(asyncio.WriteTransport):
    """The socket of one run: keeps what the worker is told."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    @property
    def numbers(self) -> list[int]:
        """The orders that the worker has got."""
        decoder = Decoder()
        decoder.receive_data(self.written)
        found: list[int] = []
        while (message := decoder.next_message()) is not None:
            if isinstance(message, WireFrame):
                found.append(message.pts)
        return found


class Puppet(Child):
    """A worker process that does what the test says."""

    def __init__(
        self,
        connect: Callable[[], asyncio.BaseProtocol],
        on_state: Callable[[str, str], None],
    ) -> None:
        super().__init__("test", (), connect, on_state, lambda _: None, ChildOptions(), lambda: 0.5)
        self._make, self._tell = connect, on_state
        self.failed: list[str] = []
        self.stopped: list[str] = []
        self.wire = Wire()

    def fail(self, reason: str) -> None:
        self.failed.append(reason)

    def stop(self, reason: str = "") -> None:
        self.stopped.append(reason)

    def run(self, *said: bytes) -> asyncio.Protocol:
        """A run begins, and says this."""
        protocol, self.wire = self._make(), Wire()
        assert isinstance(protocol, asyncio.Protocol)
        protocol.connection_made(self.wire)
        for data in said:
            protocol.data_received(data)
        return protocol

    def over(self, state: str, reason: str) -> None:
        self._tell(state, reason)


class Puppets(Children):
    """Starts puppets."""

    def __init__(self) -> None:
        super().__init__(lambda _: None)
        self.all: list[Puppet] = []

    def spawn(
        self,
        name: str,
        command: Sequence[str],
        connect: Callable[[], asyncio.BaseProtocol],
        on_state: Callable[[str, str], None],
        options: ChildOptions | None = None,
    ) -> Child:
        self.all.append(Puppet(connect, on_state))
        return self.all[-1]


class Errand:
    """An order that keeps what happened to it."""

    def __init__(self, then: Callable[[], None] | None = None) -> None:
        self.ends: list[str] = []
        self._then = then

    def serialize(self, number: int) -> bytes:
        return TRACKS + serialize_frame(0, FLAG_KEY, number, number, 0, (b"please",))

    def hear(self, message: Message, number: int) -> bool:
        if isinstance(message, Unknown):
            raise WireError("test-nonsense")
        return isinstance(message, Dropped) or (
            isinstance(message, WireFrame) and message.pts == number
        )

    def finish(self, reason: str) -> None:
        self.ends.append(reason)
        if self._then is not None:
            self._then()


class Rig:
    def __init__(self, clock: JumpClock) -> None:
        self._clock = clock
        self.puppets = Puppets()
        self.orders = Orders(self.puppets, WORKER)

    @property
    def worker(self) -> Puppet:
        return self.puppets.all[-1]

    def add(self, then: Callable[[], None] | None = None) -> Errand:
        errand = Errand(then)
        self.orders.add(errand)
        return errand

    async def after(self, seconds: float) -> None:
        self._clock.advance(seconds)
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.fixture
def clock() -> Iterator[JumpClock]:
    with JumpClock() as made:
        yield made


@pytest.fixture
async def rig(clock: JumpClock) -> Rig:
    return Rig(clock)


async def test_one_order_is_with_the_worker_at_a_time(rig: Rig) -> None:
    first, second = rig.add(), rig.add()
    assert len(rig.puppets.all) == 1
    run = rig.worker.run()
    assert rig.worker.wire.numbers == []  # it is not ready
    run.data_received(READY)
    assert (rig.worker.wire.numbers, len(rig.orders)) == ([1], 1)
    run.data_received(answer(7))  # nobody asked for this
    assert first.ends == []
    run.data_received(answer(1))
    assert (first.ends, second.ends, rig.worker.wire.numbers) == ([""], [], [1, 2])
    run.data_received(serialize_drop(0, 1, "no-way"))
    assert second.ends == [""]


async def test_an_order_that_takes_too_long_costs_the_worker_its_life(rig: Rig) -> None:
    later: list[Errand] = []
    first = rig.add(lambda: later.append(rig.add()))
    rig.worker.run(READY)
    wire = rig.worker.wire
    await rig.after(RUN_TIMEOUT - 0.1)
    assert first.ends == []
    await rig.after(0.2)
    assert (first.ends, rig.worker.failed) == (["test-timeout"], ["test-timeout"])
    assert wire.numbers == [1]  # what it led to waits for the next run
    rig.worker.over("waiting", "test-timeout")
    run = rig.worker.run(READY)
    run.data_received(answer(2))
    assert later[0].ends == [""]
    assert len(rig.puppets.all) == 1


async def test_what_the_worker_dies_of_is_told_and_the_rest_waits(rig: Rig) -> None:
    first, second = rig.add(), rig.add()
    rig.worker.run(READY).connection_lost(None)
    assert rig.worker.failed == ["worker-closed"]
    rig.worker.over("waiting", "worker-exited")
    assert (first.ends, second.ends) == (["test-worker-failed"], [])
    rig.worker.run(READY).data_received(answer(2))
    assert second.ends == [""]


async def test_nonsense_ends_the_run(rig: Rig) -> None:
    rig.add()
    run = rig.worker.run(READY)
    run.data_received(b"\x63\0\0\0\0")
    assert rig.worker.failed == ["test-nonsense"]
    run.data_received(answer(1))  # it is not listened to any more


async def test_a_worker_that_never_speaks_is_ended(rig: Rig) -> None:
    errand = rig.add()
    rig.worker.run()
    await rig.after(START_TIMEOUT - 0.1)
    assert rig.worker.failed == []
    await rig.after(0.2)
    assert rig.worker.failed == ["test-worker-silent"]
    assert errand.ends == []
    rig.worker.over("waiting", "test-worker-silent")
    rig.worker.run(READY).data_received(answer(1))
    assert errand.ends == [""]


async def test_it_goes_when_nobody_asks_and_comes_again(rig: Rig) -> None:
    rig.add()
    rig.worker.run(READY).data_received(answer(1))
    await rig.after(IDLE_AFTER - 0.1)
    assert rig.worker.stopped == []
    await rig.after(0.2)
    assert rig.worker.stopped == ["idle"]
    second = rig.add()
    assert len(rig.puppets.all) == 2
    rig.puppets.all[0].over("stopped", "idle")  # the one before has ended slowly
    rig.worker.run(READY).data_received(answer(2))
    assert second.ends == [""]


async def test_an_order_while_the_worker_starts_again_keeps_it(rig: Rig) -> None:
    rig.add()
    rig.worker.run(READY).data_received(answer(1))
    rig.worker.over("waiting", "worker-exited")
    await rig.after(IDLE_AFTER / 2)
    second = rig.add()
    await rig.after(IDLE_AFTER)
    assert rig.worker.stopped == []
    rig.worker.run(READY).data_received(answer(2))
    assert second.ends == [""]


async def test_a_worker_that_cannot_be_started_is_left_alone_when_nobody_asks(rig: Rig) -> None:
    errand = rig.add()
    rig.worker.over("waiting", "worker-spawn-failed")
    assert rig.orders.withdraw(errand)
    await rig.after(IDLE_AFTER + 0.1)
    assert rig.worker.stopped == ["idle"]
    assert errand.ends == []


async def test_what_is_with_the_worker_cannot_be_withdrawn(rig: Rig) -> None:
    first, second = rig.add(), rig.add()
    rig.worker.run(READY)
    assert not rig.orders.withdraw(first)
    assert rig.orders.withdraw(second) and not rig.orders.withdraw(second)
    assert len(rig.orders) == 0


async def test_a_worker_that_is_prepared_waits_for_an_order(rig: Rig) -> None:
    rig.orders.prepare()
    rig.orders.prepare()
    assert len(rig.puppets.all) == 1
    run = rig.worker.run(READY)
    errand = rig.add()
    run.data_received(answer(1))
    assert errand.ends == [""]
    await rig.after(IDLE_AFTER + 0.1)
    rig.orders.prepare()
    assert len(rig.puppets.all) == 2
    await rig.after(IDLE_AFTER + 0.1)
    assert rig.worker.stopped == ["idle"]


@pytest.mark.parametrize("who", ["close", "children"])
async def test_the_end_finishes_every_order_once(rig: Rig, who: str) -> None:
    errands = [rig.add(), rig.add()]
    rig.worker.run(READY)
    if who == "children":
        rig.worker.over("stopped", "server-stopping")
    rig.orders.close()
    assert [errand.ends for errand in errands] == [["server-stopping"]] * 2
    late = rig.add()
    assert late.ends == ["server-stopping"]
    rig.orders.prepare()
    assert len(rig.puppets.all) == 1
    assert rig.orders.pid == 0
