"""Passwords: right and wrong ones, few checks for many questions, and a loop that goes on."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.security.passwords import (
    LIFETIME,
    PasswordChecker,
    as_bytes,
    hash_password,
    is_same,
    verify_hash,
)

QUICK = "$argon2id$v=19$m=64,t=1,p=1$"  # too cheap for anything but a test


def quick_hash(password: str) -> str:
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(as_bytes(password))


@given(st.text(max_size=50), st.text(max_size=50))
def test_sameness(one: str, other: str) -> None:
    assert is_same(one, one)
    assert is_same(one, other) is (one == other)


@given(st.text(max_size=50))
def test_any_password_has_a_hash(password: str) -> None:
    encoded = quick_hash(password)
    assert encoded.startswith(QUICK)
    assert verify_hash(encoded, as_bytes(password))
    assert not verify_hash(encoded, as_bytes(password + "x"))


def test_hashes_have_todays_costs() -> None:
    encoded = hash_password("pässword")
    assert encoded.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert verify_hash(encoded, "pässword".encode())


class Gatekeeper:
    """Checks by comparing, as slowly as the test wants, and counts."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.checked: list[bytes] = []
        self.threads: set[str] = set()

    def verify(self, encoded: str, password: bytes) -> bool:
        self.threads.add(threading.current_thread().name)
        self.open.wait(10)
        self.checked.append(password)
        if password == b"fault":
            raise RuntimeError("the library")
        return encoded.encode() == password


class Desk:
    """A checker, and the answers it gave."""

    def __init__(self, **options: int) -> None:
        self.now = 1000.0
        self.keeper = Gatekeeper()
        self.checker = PasswordChecker(lambda: self.now, self.keeper.verify, **options)
        self.answers: list[bool | None] = []
        self._changed = asyncio.Event()

    def ask(self, password: str, address: str = "a", encoded: str = "right") -> None:
        self.checker.check(encoded, password, address, self._answer)

    def _answer(self, verdict: bool | None) -> None:
        self.answers.append(verdict)
        self._changed.set()

    async def answered(self, count: int) -> list[bool | None]:
        async with asyncio.timeout(10):
            while len(self.answers) < count:
                self._changed.clear()
                await self._changed.wait()
        assert len(self.answers) == count
        return self.answers


@pytest.fixture
def desk() -> Iterator[Desk]:
    found = Desk()
    yield found
    found.keeper.open.set()
    found.checker.close()


async def test_right_and_wrong(desk: Desk) -> None:
    desk.keeper.open.set()
    desk.ask("right")
    assert desk.answers == []  # never within the call: it has to be checked
    desk.ask("wrong")
    assert sorted(map(bool, await desk.answered(2))) == [False, True]
    assert all(name.startswith("password") for name in desk.keeper.threads)


async def test_a_right_password_is_remembered_for_a_while(desk: Desk) -> None:
    desk.keeper.open.set()
    desk.ask("right")
    await desk.answered(1)
    for _ in range(500):
        desk.ask("right")
    assert (desk.answers, desk.checker.runs) == ([True] * 501, 1)
    desk.ask("right", encoded="another hash")
    await desk.answered(502)
    assert desk.checker.runs == 2  # it was right for one hash alone
    desk.now += LIFETIME
    desk.ask("right")
    await desk.answered(503)
    assert desk.checker.runs == 3


async def test_a_wrong_password_is_not_remembered(desk: Desk) -> None:
    desk.keeper.open.set()
    for count in (1, 2):
        desk.ask("wrong")
        await desk.answered(count)
    assert (desk.answers, desk.checker.runs) == ([False, False], 2)


async def test_equal_questions_at_a_time_are_one_check(desk: Desk) -> None:
    for _ in range(500):
        desk.ask("right")
    assert desk.checker.waiting == 1
    desk.keeper.open.set()
    assert await desk.answered(500) == [True] * 500
    assert len(desk.keeper.checked) == 1


async def test_one_address_does_not_take_every_place() -> None:
    desk = Desk(waiting=10, of_address=3)
    for number in range(20):
        desk.ask(f"guess-{number}", "hostile")
    assert desk.answers == [None] * 17
    for number in range(7):
        desk.ask("right" if number == 0 else f"wrong-{number}", f"friend-{number}")
    assert desk.answers == [None] * 17
    desk.ask("right", "one too many", encoded="full")
    assert desk.answers == [None] * 18
    desk.keeper.open.set()
    assert sorted(map(str, await desk.answered(28)))[:1] == ["False"]
    assert desk.answers.count(True) == 1
    desk.ask("again", "hostile")
    await desk.answered(29)
    assert desk.answers[-1] is False  # its places are free again
    desk.checker.close()


async def test_a_fault_of_the_library_is_no_yes(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.keeper.open.set()
    desk.ask("fault")
    assert await desk.answered(1) == [None]
    assert "could not be checked" in caplog.text
    assert "fault" not in caplog.text


async def test_the_end_answers_all_who_wait() -> None:
    desk = Desk()
    for number in range(5):
        desk.ask(f"guess-{number}")
    desk.checker.close()
    assert desk.answers == [None] * 5
    desk.ask("right")
    assert desk.answers == [None] * 6
    desk.keeper.open.set()
    await asyncio.sleep(0)
    assert len(desk.answers) == 6


async def test_real_checks_do_not_hold_the_loop() -> None:
    """Checks of 64 MiB each, one after the other; the loop's own work goes on meanwhile."""
    encoded = hash_password("right")
    checker = PasswordChecker(time.monotonic)
    answers: list[bool | None] = []
    done = asyncio.Event()

    def answer(verdict: bool | None) -> None:
        answers.append(verdict)
        if len(answers) == 8:
            done.set()

    turns = 0

    async def work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.001)

    working = asyncio.create_task(work())
    try:
        for number in range(8):
            began = time.perf_counter()
            checker.check(encoded, f"guess-{number}", "a", answer)
            assert time.perf_counter() - began < 0.05
        async with asyncio.timeout(30):
            await done.wait()
    finally:
        working.cancel()
        checker.close()
    assert answers == [False] * 8
    assert turns > 50  # checks on the loop would leave it a turn for each
