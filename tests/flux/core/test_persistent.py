"""A source that is kept going: its states, its waits, and how it ends."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
import structlog

from flux.base.errors import PeerError, WireError
from flux.core.persistent import STABLE_AFTER, Life, Outcome, PersistentSource, Then
from flux.net.backoff import Backoff
from tests.support.jump_clock import JumpClock

QUICK, SLOW = 4.0, 40.0  # seconds of the first wait
HOUR = 3600.0


@dataclass(slots=True)
class Try(Life):
    """What a life holds."""

    ended: "asyncio.Future[str] | None" = None
    is_halted: str = ""


class Scripted(PersistentSource[Try]):
    """Each attempt ends as the test says."""

    refusals = frozenset({"no"})

    def __init__(self) -> None:
        self.states: list[tuple[str, str]] = []
        self.lives: list[Try] = []
        self.attempts = 0
        self.then = Then.REST
        self.fault: Exception | None = None
        self.running_since: float | None = None
        super().__init__(
            "cam",
            lambda *state: self.states.append(state),
            structlog.get_logger(),
            Backoff(QUICK, HOUR, lambda: 0.5),
            Backoff(SLOW, HOUR, lambda: 0.5),
        )

    def _begin(self) -> Try:
        self.lives.append(Try())
        return self.lives[-1]

    def _halt(self, life: Try, reason: str) -> None:
        life.is_halted = life.is_halted or reason

    async def _attempt(self, life: Try) -> Outcome:
        self.attempts += 1
        if self.fault is not None:
            raise self.fault
        life.ended = asyncio.get_running_loop().create_future()
        reason = await life.until(life.ended)
        self._played(self.running_since)
        return Outcome(reason, self.then)

    async def end(self, reason: str, then: Then = Then.REST) -> None:
        """The attempt that is being made ends like this."""
        self.then = then
        ended = self.lives[-1].ended
        assert ended is not None
        ended.set_result(reason)
        await settle()


async def settle() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


async def after(clock: JumpClock, seconds: float) -> None:
    clock.advance(seconds)
    await settle()


@pytest.fixture
def clock() -> Iterator[JumpClock]:
    with JumpClock() as made:
        yield made


@pytest.fixture
async def source(clock: JumpClock) -> AsyncIterator[Scripted]:
    made = Scripted()
    made.start()
    await settle()
    yield made
    made.stop("over")
    await made.wait_stopped()


async def test_a_failure_is_told_and_tried_again_after_a_wait(
    source: Scripted, clock: JumpClock
) -> None:
    assert source.states == [("connecting", "")]
    await source.end("lost")
    assert source.states[1:] == [("waiting", "lost")]
    await after(clock, QUICK - 0.1)
    assert source.attempts == 1
    await after(clock, 0.2)
    assert (source.attempts, source.states[2:]) == (2, [("connecting", "")])
    await source.end("lost")
    await after(clock, QUICK + 0.1)
    assert source.attempts == 2  # twice as long
    await after(clock, QUICK)
    assert source.attempts == 3


async def test_a_refusal_is_waited_out_longer(source: Scripted, clock: JumpClock) -> None:
    await source.end("no")
    await after(clock, SLOW - 0.1)
    assert source.attempts == 1
    await after(clock, 0.2)
    assert source.attempts == 2


async def test_after_media_a_failure_is_the_first_again(source: Scripted, clock: JumpClock) -> None:
    await source.end("lost")
    await after(clock, QUICK + 0.1)
    source.running_since = clock()
    await after(clock, STABLE_AFTER)
    await source.end("lost")
    await after(clock, QUICK + 0.1)
    assert source.attempts == 3


async def test_what_follows_at_once(source: Scripted) -> None:
    await source.end("silent", Then.QUIET)
    assert (source.attempts, source.states[1:]) == (2, [("waiting", "silent")])
    await source.end("moved", Then.AGAIN)
    assert (source.attempts, source.states[2:]) == (3, [("connecting", "")])


async def test_an_end_is_an_end_until_the_next_start(source: Scripted) -> None:
    await source.end("played", Then.END)
    assert source.states[1:] == [("stopped", "played")]
    assert source.is_at_rest
    source.start()
    await settle()
    assert (source.attempts, source.states[2:]) == (2, [("connecting", "")])


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (PeerError("port-taken"), "port-taken"),
        (WireError("sdp-broken"), "sdp-broken"),
        (ZeroDivisionError(), "internal-error"),
    ],
)
async def test_a_fault_is_a_failure(
    source: Scripted, clock: JumpClock, fault: Exception, reason: str
) -> None:
    source.fault = fault
    await source.end("lost", Then.AGAIN)
    assert source.states[-1] == ("waiting", reason)
    assert source.lives[0].is_halted == reason
    source.fault = None
    await after(clock, QUICK + 0.1)
    assert source.states[-1] == ("connecting", "")


@pytest.mark.parametrize("is_waiting", [False, True])
async def test_a_stop_ends_attempts_and_waits(source: Scripted, is_waiting: bool) -> None:
    if is_waiting:
        await source.end("lost")
    source.stop("config")
    assert source.lives[0].is_halted == "config"
    source.stop("again")
    await source.wait_stopped()
    assert source.states[-1] == ("stopped", "config")
    assert source.attempts == 1


async def test_the_next_life_waits_for_the_one_before(source: Scripted) -> None:
    source.stop("config")
    assert not source.is_at_rest
    source.start()
    source.start()
    await settle()
    assert source.states[1:] == [("stopped", "config"), ("connecting", "")]
    assert len(source.lives) == 2
