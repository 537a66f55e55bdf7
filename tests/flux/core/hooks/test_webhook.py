"""Webhooks: what is posted, how it is signed, and receivers that hang, lie or reset."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
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
    ReaderClosed,
    ReaderJoined,
    StreamStateChanged,
)
from tests.support.hook_peers import (
    Behaviour,
    Changes,
    Post,
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

ROOT = Path(__file__).parents[4]
READY = StreamStateChanged("cam", "waiting-for-parameters", "ready", "")
LOST = StreamStateChanged("cam", "ready", "lost", "media-timeout")
KEY = "a secret, ünïcode"


class Rig:
    """The part with one webhook, its bus and its time."""

    def __init__(self, url: str, options: dict[str, Any], names: list[str], streams: Any) -> None:
        self.bus = Bus()
        self.time = VirtualTime()
        self.events: list[object] = []
        self.changes = Changes()
        self.bus.subscribe(HookFailed, self._heard)
        self.bus.subscribe(HookOverflowed, self._heard)
        webhook = {"url": url, "timeout": "2s", **options}
        section = HookSection.model_validate({"on": names, "streams": streams, "webhook": webhook})
        self.part = Hooks(
            self.bus,
            [section],
            AuthorizeSection(),
            address_of=lambda stream, session: f"192.0.2.1/{stream}/{session}",
            timing=self.time.timing,
        )

    def _heard(self, event: object) -> None:
        self.events.append(event)
        self.changes.tell()

    async def failed(self) -> HookFailed:
        await self.changes.until(lambda: self.failures())
        return self.failures()[-1]

    def failures(self) -> list[HookFailed]:
        return [event for event in self.events if isinstance(event, HookFailed)]


@asynccontextmanager
async def hooked(
    url: str, names: tuple[str, ...] = ("ready",), streams: Any = "all", **options: Any
) -> AsyncIterator[Rig]:
    before = asyncio.all_tasks()
    rig = Rig(url, options, list(names), streams)
    await rig.part.start()
    try:
        yield rig
    finally:
        await rig.part.stop()
        for _ in range(3):  # what was cancelled ends in the next turns of the loop
            await asyncio.sleep(0)
        ours = {task for task in asyncio.all_tasks() - before if is_ours(task)}
        assert ours == set()
        assert rig.time.asleep() == []
        assert rig.bus.counters.faults == 0


def is_ours(task: "asyncio.Task[Any]") -> bool:
    """Whether a task belongs to the part, not to a server of the test."""
    return task.get_name().startswith("hooks")


# -- what is posted ------------------------------------------------------------------------------


async def test_a_stream_that_is_ready_and_then_not() -> None:
    async with receiver() as peer, hooked(peer.url, ("ready", "not-ready")) as rig:
        rig.bus.emit(StreamStateChanged("cam", "idle", "starting", ""))
        rig.bus.emit(READY)
        rig.bus.emit(LOST)
        rig.bus.emit(StreamStateChanged("cam", "lost", "idle", "media-timeout"))
        await peer.got(2)
    common = {"stream": "cam", "session": "", "protocol": "", "address": ""}
    time = "2027-01-15T08:16:40.000Z"
    assert [post.json for post in peer.posts] == [
        {"event": "ready", "id": "id-1", "time": time, "reason": "", **common},
        {"event": "not-ready", "id": "id-2", "time": time, "reason": "media-timeout", **common},
    ]
    assert rig.part.status()[0].done == 2


async def test_readers_publishers_and_demand() -> None:
    names = ("publish", "read", "unread", "demand")
    async with receiver() as peer, hooked(peer.url, names) as rig:
        rig.bus.emit(DemandChanged("cam", True, 1))
        rig.bus.emit(PublisherStarted("cam", "rtmp", "rtmp-publisher-1"))
        rig.bus.emit(ReaderJoined("cam", "hls", "hls-1", 0.2))
        rig.bus.emit(ReaderClosed("cam", "hls", "hls-1", "session-idle", 1000))
        rig.bus.emit(ReaderClosed("cam", "hls", "hls-2", "peer-closed", 0))  # it never joined
        rig.bus.emit(DemandChanged("cam", False, 0))
        await peer.got(5)
    told = [post.json for post in peer.posts]
    assert [each["event"] for each in told] == ["demand", "publish", "read", "unread", "demand"]
    assert [(told[n]["wanted"], told[n]["readers"]) for n in (0, 4)] == [(True, 1), (False, 0)]
    assert (told[1]["session"], told[1]["protocol"]) == ("rtmp-publisher-1", "rtmp")
    assert (told[2]["session"], told[2]["protocol"]) == ("hls-1", "hls")
    assert told[2]["address"] == told[3]["address"] == "192.0.2.1/cam/hls-1"
    assert told[3]["reason"] == "session-idle"


async def test_only_the_named_streams_and_events_are_told() -> None:
    patterns = ["live/*", "~^cam[0-9]$", "exact"]
    async with receiver() as peer, hooked(peer.url, ("ready",), patterns) as rig:
        for name in ("live/a", "live/a/b", "live", "cam1", "cam10", "exact", "exactly"):
            rig.bus.emit(StreamStateChanged(name, "idle", "ready", ""))
            rig.bus.emit(StreamStateChanged(name, "ready", "idle", ""))
        rig.bus.emit(PublisherStarted("exact", "rtmp", "p"))
        await peer.got(4)
    assert [post.json["stream"] for post in peer.posts] == ["live/a", "live/a/b", "cam1", "exact"]


async def test_any_name_comes_through() -> None:
    name = 'käse/"\\/\x00\ud800'
    async with receiver() as peer, hooked(peer.url) as rig:
        rig.bus.emit(StreamStateChanged(name, "idle", "ready", ""))
        await peer.got(1)
    assert peer.posts[0].json["stream"] == name
    assert peer.posts[0].body.isascii()


def test_record_segment_is_a_name_without_an_event() -> None:
    section = HookSection.model_validate(
        {"on": "record-segment", "webhook": {"url": "http://127.0.0.1/"}}
    )
    assert list(section.on) == ["record-segment"]


# -- the signature -------------------------------------------------------------------------------


def hmac_sha256(key: bytes, message: bytes) -> str:
    """RFC 2104 by hand."""
    if len(key) > 64:
        key = hashlib.sha256(key).digest()
    key = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).hexdigest()


async def signed_post(secret: str) -> Post:
    async with receiver() as peer, hooked(peer.url, secret=secret) as rig:
        rig.bus.emit(READY)
        await peer.got(1)
    return peer.posts[0]


@pytest.mark.parametrize("secret", ["s", KEY, "long" * 50])
async def test_the_signature_covers_time_and_body(secret: str) -> None:
    post = await signed_post(secret)
    assert post.headers["Content-Type"] == "application/json"
    assert post.headers["X-Flux-Event"] == "ready"
    assert post.headers["X-Flux-Id"] == post.json["id"] == "id-1"
    assert post.headers["X-Flux-Timestamp"] == "1800001000"
    message = b"1800001000." + post.body
    assert post.headers["X-Flux-Signature"] == "sha256=" + hmac_sha256(secret.encode(), message)


async def test_without_a_secret_there_is_no_signature() -> None:
    post = await signed_post("")
    assert "X-Flux-Signature" not in post.headers
    assert "X-Flux-Timestamp" in post.headers


async def test_the_check_in_the_documentation_works() -> None:
    text = (ROOT / "docs/hooks.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    scope: dict[str, Any] = {}
    exec(code, scope)
    is_from_flux = scope["is_from_flux"]
    post = await signed_post(KEY)
    now = 1_800_001_010
    assert is_from_flux(KEY, post.headers, post.body, now)
    assert not is_from_flux("other", post.headers, post.body, now)
    assert not is_from_flux(KEY, post.headers, post.body + b" ", now)
    assert not is_from_flux(KEY, post.headers, post.body, now + 3600)
    later = {**post.headers, "X-Flux-Timestamp": str(now + 3600)}
    assert not is_from_flux(KEY, later, post.body, now + 3600)


# -- attempts ------------------------------------------------------------------------------------


async def test_an_attempt_that_fails_is_repeated_with_back_off() -> None:
    async with receiver(500, 429, 503) as peer, hooked(peer.url, secret=KEY) as rig:
        rig.bus.emit(READY)
        for attempt, delay in enumerate((1.0, 2.0, 4.0), 1):
            await peer.got(attempt)
            await rig.time.until(lambda d=delay: rig.time.asleep() == [d])  # type: ignore[misc]
            rig.time.advance(delay)
        await peer.got(4)
    assert rig.events == []
    (status,) = rig.part.status()
    assert (status.done, status.failed, status.retries) == (1, 0, 3)
    assert len({post.body for post in peer.posts}) == 1  # the same id: a receiver can tell
    stamps = [int(post.headers["X-Flux-Timestamp"]) - 1_800_001_000 for post in peer.posts]
    assert stamps == [0, 1, 3, 7]
    assert len({post.headers["X-Flux-Signature"] for post in peer.posts}) == 4


async def test_after_the_last_attempt_it_is_given_up() -> None:
    async with receiver(500, 502, 503) as peer, hooked(peer.url, retries=1) as rig:
        rig.bus.emit(READY)
        await rig.time.until(rig.time.asleep)
        rig.time.advance(1.0)
        assert await rig.failed() == HookFailed("hooks[0]", "ready", "cam", "receiver-5xx")
        assert len(peer.posts) == 2


@pytest.mark.parametrize(
    ("status", "reason"),
    [(400, "receiver-4xx"), (403, "receiver-4xx"), (404, "receiver-4xx"), (301, "receiver-3xx")],
)
async def test_a_final_status_is_not_tried_again_nor_followed(status: int, reason: str) -> None:
    async with receiver(status) as peer, hooked(peer.url) as rig:
        rig.bus.emit(READY)
        assert (await rig.failed()).reason == reason
        rig.bus.emit(READY)
        await peer.got(2)
        assert rig.time.delays == []
    assert len(peer.posts) == 2


async def test_order_is_kept_behind_an_attempt_that_waits() -> None:
    async with receiver(500) as peer, hooked(peer.url, ("ready", "not-ready")) as rig:
        rig.bus.emit(READY)
        rig.bus.emit(LOST)
        await rig.time.until(rig.time.asleep)
        assert len(peer.posts) == 1
        rig.time.advance(1.0)
        await peer.got(3)
    assert [post.json["event"] for post in peer.posts] == ["ready", "ready", "not-ready"]


async def test_one_post_at_a_time_and_no_connection_kept() -> None:
    async with (
        bad_receiver(answering(b"HTTP/1.1 204 No Content\r\n\r\n")) as peer,
        hooked(peer.url) as rig,
    ):
        for _ in range(20):
            rig.bus.emit(READY)
        await peer.changes.until(lambda: peer.opened == 20 and not peer.open_now)
    assert peer.most == 1
    assert rig.part.status()[0].done == 20


# -- receivers that misbehave --------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\n"
LIARS: list[tuple[Behaviour, str]] = [
    (hang, "receiver-timeout"),
    (answering(OK), "receiver-timeout"),  # a head that does not end
    (repeating(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "receiver-timeout"),
    (reset, "receiver-reset"),
    (hang_up, "receiver-reset"),
    (answering(b"\x16\x03\x01" + bytes(range(256))), "receiver-malformed"),
    (answering(b"HTTP/9.9 abc\r\n\r\n"), "receiver-malformed"),
    (answering(OK + b"X: " + b"x" * 200_000), "receiver-malformed"),
    (answering(b"HTTP/1.1 204 No Content\r\n: :\r\n\r\n"), "receiver-malformed"),
]


@pytest.mark.parametrize(("behave", "reason"), LIARS)
async def test_a_receiver_that_misbehaves(behave: Behaviour, reason: str) -> None:
    async with bad_receiver(behave) as peer, hooked(peer.url, timeout="200ms", retries=0) as rig:
        rig.bus.emit(READY)
        assert (await rig.failed()).reason == reason
        # Nothing is held: the connection is closed while the part lives on.
        await peer.changes.until(lambda: peer.open_now == 0)


@pytest.mark.parametrize(
    "behave",
    [
        repeating(OK + b"Content-Length: 99999999999\r\n\r\n", b"x" * 65536),
        repeating(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        answering(OK + b"Content-Length: 10\r\n\r\n"),  # and the body never comes
        answering(OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nxyz"),
        answering(OK + b"Set-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"),
    ],
)
async def test_a_body_is_never_waited_for(behave: Behaviour) -> None:
    async with bad_receiver(behave) as peer, hooked(peer.url, retries=0) as rig:
        rig.bus.emit(READY)
        rig.bus.emit(READY)
        await peer.changes.until(lambda: peer.opened == 2 and peer.open_now == 0)
    assert rig.events == []
    assert rig.part.status()[0].done == 2


async def test_nobody_listens() -> None:
    async with hooked(f"http://127.0.0.1:{free_port()}/", retries=0) as rig:
        rig.bus.emit(READY)
        assert (await rig.failed()).reason == "receiver-unreachable"


async def test_a_service_that_speaks_no_tls() -> None:
    async with receiver() as peer:
        async with hooked(peer.url.replace("http:", "https:"), retries=0) as rig:
            rig.bus.emit(READY)
            assert (await rig.failed()).reason in ("receiver-unreachable", "receiver-reset")
        assert peer.posts == []


# -- bounds --------------------------------------------------------------------------------------


async def test_a_full_queue_drops_its_oldest_and_says_so_once() -> None:
    names = ("ready", "not-ready")
    async with bad_receiver(hang) as peer, hooked(peer.url, names, queue=5) as rig:
        for number in range(100):
            rig.bus.emit(StreamStateChanged(f"s{number}", "idle", "ready", ""))
        (status,) = rig.part.status()
        assert (status.waiting, status.running, status.dropped) == (5, 1, 95)
        assert rig.events == [HookOverflowed("hooks[0]", 1)]
        await peer.changes.until(lambda: peer.opened == 1)
    assert peer.most == 1


async def test_after_a_full_queue_the_newest_arrive_and_the_next_overflow_is_told() -> None:
    async with receiver() as peer, hooked(peer.url, queue=4) as rig:
        for round_number in (1, 2):
            for number in range(10):
                rig.bus.emit(StreamStateChanged(f"s{number}", "idle", "ready", ""))
            await peer.got(4 * round_number)
            streams = [post.json["stream"] for post in peer.posts[-4:]]
            assert streams == ["s6", "s7", "s8", "s9"]
    assert rig.events == [HookOverflowed("hooks[0]", 1), HookOverflowed("hooks[0]", 7)]


async def test_a_receiver_that_hangs_disturbs_no_other() -> None:
    async with receiver() as good, bad_receiver(hang) as bad:
        bus = Bus()
        sections = [
            HookSection.model_validate({"on": "ready", "webhook": {"url": url}})
            for url in (bad.url, good.url)
        ]
        part = Hooks(bus, sections, AuthorizeSection())
        await part.start()
        for _ in range(50):
            bus.emit(READY)
        await good.got(50)
        assert [status.waiting for status in part.status()] == [49, 0]
        await part.stop()
        assert [status.dropped for status in part.status()] == [49, 0]


async def test_what_waits_at_the_end_is_delivered() -> None:
    async with receiver() as peer, hooked(peer.url, ("not-ready",)) as rig:
        for _ in range(10):
            rig.bus.emit(LOST)
        await rig.part.stop()
        assert len(peer.posts) == 10
        rig.bus.emit(LOST)  # nobody listens any more
        assert rig.part.status()[0].waiting == 0


async def test_the_end_waits_for_no_second_attempt() -> None:
    async with receiver(500, 500, 500) as peer, hooked(peer.url) as rig:
        rig.bus.emit(READY)
        rig.bus.emit(READY)
        await rig.time.until(rig.time.asleep)
        await rig.part.stop()
    assert [event.reason for event in rig.failures()] == ["receiver-5xx"] * 2
    assert len(peer.posts) == 2


async def test_the_end_is_not_held_by_a_receiver_that_hangs() -> None:
    async with bad_receiver(hang) as peer, hooked(peer.url, timeout="1m") as rig:
        rig.bus.emit(READY)
        await peer.changes.until(lambda: peer.opened == 1)
        async with asyncio.timeout(5):
            await rig.part.stop()


async def test_a_part_that_is_cut_leaves_nothing() -> None:
    async with bad_receiver(hang) as peer, hooked(peer.url, timeout="1m") as rig:
        rig.bus.emit(READY)
        await peer.changes.until(lambda: peer.opened == 1)
        stopping = asyncio.create_task(rig.part.stop())
        await asyncio.sleep(0)
        stopping.cancel()
        await asyncio.wait((stopping,))
        assert stopping.cancelled()


async def test_without_a_webhook_no_client_is_made() -> None:
    part = Hooks(Bus(), [], AuthorizeSection())
    await part.start()
    assert part.gate is None
    assert part.status() == ()
    await part.stop()


@pytest.mark.parametrize(("behave", "reason"), LIARS)
def test_the_same_on_uvloop(behave: Behaviour, reason: str) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_a_receiver_that_misbehaves(behave, reason))
        runner.run(test_order_is_kept_behind_an_attempt_that_waits())
