"""The gate that asks a service: yes, no, and services that hang, lie or reset."""

import asyncio
import gc
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from config.hooks import AuthorizeSection
from flux.core.admission import ALLOWED, AccessRequest, Admission, Verdict
from flux.core.bus import Bus
from flux.core.hooks import Hooks
from media.events import ReaderRefused
from tests.support.hook_peers import (
    Behaviour,
    Changes,
    VirtualTime,
    answering,
    bad_receiver,
    hang,
    hang_up,
    receiver,
    repeating,
    reset,
)
from tests.support.ports import free_port

READER = AccessRequest(
    "read",
    "live/cam",
    "http-flv",
    "192.0.2.7",
    query="token=a%20b&x=\ud800",
    user_agent="VLC/3",
    user="ann",
    password="pässword",
    session="http-flv-1",
)
PUBLISHER = AccessRequest("publish", "live/cam", "rtmp", "192.0.2.8")
OK = b"HTTP/1.1 200 OK\r\n"


class Door:
    """Asks the gate and keeps the answers."""

    def __init__(self, part: Hooks) -> None:
        assert part.gate is not None
        self._gate = part.gate
        self.answers: list[Verdict] = []
        self.changes = Changes()

    def knock(self, request: AccessRequest = READER) -> None:
        self._gate(request, self._answer)

    def _answer(self, verdict: Verdict) -> None:
        self.answers.append(verdict)
        self.changes.tell()

    async def answered(self, count: int = 1) -> Verdict:
        await self.changes.until(lambda: len(self.answers) >= count)
        assert len(self.answers) == count
        return self.answers[-1]


@asynccontextmanager
async def guarded(url: str, **options: Any) -> AsyncIterator[tuple[Door, Hooks]]:
    section = AuthorizeSection.model_validate({"url": url, **options})
    part = Hooks(Bus(), [], section, timing=VirtualTime().timing)
    await part.start()
    door = Door(part)
    try:
        yield door, part
    finally:
        await part.stop()
        await asyncio.sleep(0)
        assert not any(task.get_name() == "authorize" for task in asyncio.all_tasks())


async def test_what_the_service_is_told() -> None:
    async with receiver(200) as peer, guarded(peer.url, secret="s3cret") as (door, _):
        door.knock()
        assert door.answers == []  # never within the call: the service has to be asked
        assert await door.answered() == ALLOWED
    (post,) = peer.posts
    assert post.json == {
        "event": "authorize",
        "id": "id-1",
        "time": "2027-01-15T08:16:40.000Z",
        "action": "read",
        "stream": "live/cam",
        "protocol": "http-flv",
        "address": "192.0.2.7",
        "session": "http-flv-1",
        "query": "token=a%20b&x=\ud800",
        "user_agent": "VLC/3",
        "user": "ann",
        "password": "pässword",
    }
    digest = hmac.new(b"s3cret", b"1800001000." + post.body, hashlib.sha256).hexdigest()
    assert post.headers["X-Flux-Signature"] == f"sha256={digest}"
    assert post.headers["X-Flux-Event"] == "authorize"


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_allows(status: int) -> None:
    async with receiver(status) as peer, guarded(peer.url) as (door, _):
        door.knock()
        assert await door.answered() == ALLOWED


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (401, Verdict(False, "access-denied", 401)),
        (403, Verdict(False, "access-denied", 403)),
        (302, Verdict(False, "authorize-failed", 503)),
        (400, Verdict(False, "authorize-failed", 503)),
        (404, Verdict(False, "authorize-failed", 503)),
        (500, Verdict(False, "authorize-failed", 503)),
        (503, Verdict(False, "authorize-failed", 503)),
    ],
)
async def test_anything_else_refuses(status: int, verdict: Verdict) -> None:
    async with receiver(status) as peer, guarded(peer.url) as (door, _):
        door.knock()
        assert await door.answered() == verdict
        assert len(peer.posts) == 1  # asked once: the peer may come again


async def test_no_answer_is_remembered() -> None:
    async with receiver(403, 200, 401, 200) as peer, guarded(peer.url) as (door, _):
        for _ in range(4):
            door.knock()
            await door.answered(len(door.answers) + 1)
    assert [verdict.allowed for verdict in door.answers] == [False, True, False, True]


async def test_only_what_is_wanted_is_asked_for() -> None:
    async with receiver(403) as peer, guarded(peer.url, on="publish") as (door, _):
        door.knock(READER)
        assert door.answers == [ALLOWED]  # at once
        door.knock(PUBLISHER)
        assert not (await door.answered(2)).allowed
    assert [post.json["action"] for post in peer.posts] == ["publish"]


TIMEOUT = Verdict(False, "authorize-timeout", 503)
FAILED = Verdict(False, "authorize-failed", 503)


@pytest.mark.parametrize(
    ("behave", "verdict"),
    [
        (hang, TIMEOUT),
        (answering(OK), TIMEOUT),
        (repeating(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), TIMEOUT),
        (reset, FAILED),
        (hang_up, FAILED),
        (answering(b"yes"), FAILED),
        (answering(b"200 OK\r\n\r\n"), FAILED),
        (answering(OK + b"X: " + b"x" * 200_000), FAILED),
        (answering(b"HTTP/1.1 200000 OK\r\n\r\n"), FAILED),
        (repeating(OK + b"Content-Length: 99999999999\r\n\r\n", b"x" * 65536), ALLOWED),
        (answering(OK + b"Content-Length: 10\r\n\r\n"), ALLOWED),
    ],
)
async def test_a_service_that_misbehaves(behave: Behaviour, verdict: Verdict) -> None:
    async with bad_receiver(behave) as peer, guarded(peer.url, timeout="150ms") as (door, _):
        door.knock()
        assert await door.answered() == verdict
        await peer.changes.until(lambda: peer.open_now == 0)  # nothing is held


async def test_nobody_listens() -> None:
    async with guarded(f"http://127.0.0.1:{free_port()}/") as (door, _):
        door.knock()
        assert await door.answered() == FAILED


async def test_questions_are_bounded_and_wait_within_their_timeout() -> None:
    async with (
        bad_receiver(hang) as peer,
        guarded(peer.url, timeout="200ms", concurrency=3) as (door, _),
    ):
        for _ in range(50):
            door.knock()
        await door.answered(50)
        assert set(door.answers) == {TIMEOUT}
        assert peer.most <= 3
        await peer.changes.until(lambda: peer.open_now == 0)


async def test_too_many_questions_are_refused_at_once() -> None:
    async with bad_receiver(hang) as peer, guarded(peer.url, timeout="30s") as (door, part):
        for _ in range(2010):
            door.knock()
        assert door.answers == [Verdict(False, "authorize-busy", 503)] * 10
        await part.stop()
        assert len(door.answers) == 2010  # each is answered once
        assert set(door.answers[10:]) == {Verdict(False, "server-stopping", 503)}


async def test_behind_a_full_house_others_get_their_turn() -> None:
    async with receiver() as peer, guarded(peer.url, concurrency=2) as (door, _):
        for _ in range(100):
            door.knock()
        await door.answered(100)
        assert set(door.answers) == {ALLOWED}
    assert len(peer.posts) == 100


async def test_after_the_end_nobody_enters() -> None:
    async with receiver() as peer, guarded(peer.url) as (door, part):
        await part.stop()
        door.knock()
        assert door.answers == [Verdict(False, "server-stopping", 503)]
    assert peer.posts == []


async def test_a_peer_that_left_meanwhile_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))

    def broken(verdict: Verdict) -> None:
        raise ValueError("gone")

    async with receiver() as peer, guarded(peer.url) as (door, part):
        assert part.gate is not None
        part.gate(READER, broken)
        door.knock()
        assert await door.answered() == ALLOWED
        gc.collect()
    assert [type(fault["exception"]) for fault in faults] == [ValueError]


async def test_the_gate_among_others() -> None:
    refused: list[object] = []
    async with receiver(200, 403) as peer, guarded(peer.url) as (door, part):
        bus = Bus()
        bus.subscribe(ReaderRefused, refused.append)
        admission = Admission(bus.emit)
        assert part.gate is not None
        admission.add(part.gate)
        answers: list[Verdict] = []
        changes = Changes()

        def done(verdict: Verdict) -> None:
            answers.append(verdict)
            changes.tell()

        admission.admit(READER, done)
        await changes.until(lambda: len(answers) == 1)
        admission.admit(READER, done)
        await changes.until(lambda: len(answers) == 2)
    assert [verdict.allowed for verdict in answers] == [True, False]
    assert refused == [ReaderRefused("live/cam", "http-flv", "192.0.2.7", "access-denied")]
    assert door.answers == []


async def test_passwords_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    url = f"http://hook:secret1@127.0.0.1:{free_port()}/?token=secret2"
    async with guarded(url) as (door, _):
        door.knock()
        await door.answered()
    assert "authorize-failed" in caplog.text
    assert "secret" not in caplog.text
    assert "pässword" not in caplog.text
