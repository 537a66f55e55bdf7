"""The ring of events: places, gaps, filters, the end."""

import asyncio

import pytest

from flux.api.models import Event, EventsMissed
from flux.api.ring import BATCH, RING, EventRing, Follower
from flux.core.bus import Bus
from media.events import ReaderClosed, StreamCreated, StreamDeleted, TrackDropped

NOW = 1_795_176_000.0


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def ring(bus: Bus) -> EventRing:
    return EventRing(bus, "run", lambda: NOW)


def follow(ring: EventRing, *kinds: str, stream: str | None = None, after: str = "") -> Follower:
    return ring.follow(kinds, stream, after)


async def names(follower: Follower) -> list[str]:
    """The streams of what is there now."""
    found = await follower.next(0)
    assert found is not None
    return [str(event.data["stream"]) for event in found if isinstance(event, Event)]


async def test_a_follower_gets_what_happens_from_now_on(bus: Bus, ring: EventRing) -> None:
    bus.emit(StreamCreated("before", "api"))
    follower = follow(ring)
    assert await names(follower) == []
    bus.emit(StreamCreated("a", "api"))
    bus.emit(StreamCreated("b", "api"))
    assert await names(follower) == ["a", "b"]
    assert await names(follower) == []


async def test_an_event_has_id_kind_time_words_and_data(bus: Bus, ring: EventRing) -> None:
    follower = follow(ring)
    bus.emit(TrackDropped("a", "hls-ts", "audio", "pcma"))
    (event,) = await follower.next(0) or []
    assert event.model_dump(mode="json") == {
        "id": "run-1",
        "kind": "track-dropped",
        "time": "2026-11-20T12:00:00Z",
        "text": "audio dropped: pcma not in hls-ts",
        "data": {"stream": "a", "output": "hls-ts", "kind": "audio", "codec": "pcma"},
    }


async def test_a_follower_that_waits_is_woken(bus: Bus, ring: EventRing) -> None:
    follower = follow(ring)
    waiting = asyncio.create_task(follower.next(60))
    await asyncio.sleep(0)
    assert not waiting.done()
    bus.emit(StreamCreated("a", "api"))
    assert len(await waiting or []) == 1


async def test_kinds_and_stream_are_chosen(bus: Bus, ring: EventRing) -> None:
    chosen = follow(ring, "stream-created", "stream-deleted", stream="a")
    for name in ("a", "b"):
        bus.emit(StreamCreated(name, "api"))
        bus.emit(ReaderClosed(name, "hls", "r1", "kicked", 5))
        bus.emit(StreamDeleted(name, "api"))
    found = await chosen.next(0)
    assert [event.kind for event in found or []] == ["stream-created", "stream-deleted"]


async def test_an_event_that_is_not_wanted_does_not_end_the_wait(bus: Bus, ring: EventRing) -> None:
    follower = follow(ring, "stream-deleted")
    waiting = asyncio.create_task(follower.next(60))
    for event in (StreamCreated("a", "api"), StreamDeleted("a", "api")):
        await asyncio.sleep(0)
        assert not waiting.done()
        bus.emit(event)
    assert len(await waiting or []) == 1


async def test_one_that_comes_back_goes_on_where_it_was(bus: Bus, ring: EventRing) -> None:
    for number in range(1, 6):
        bus.emit(StreamCreated(f"s{number}", "api"))
    assert await names(follow(ring, after="run-3")) == ["s4", "s5"]
    assert await names(follow(ring, after="run-0")) == ["s1", "s2", "s3", "s4", "s5"]


@pytest.mark.parametrize(
    "after",
    ["", "run-9", "run-99999999999999999999999", "other-3", "run-x", "run-\u0663", "3", "-"],
)
async def test_ids_that_are_not_of_this_run_begin_now(
    bus: Bus, ring: EventRing, after: str
) -> None:
    for number in range(5):
        bus.emit(StreamCreated(f"s{number}", "api"))
    assert await names(follow(ring, after=after)) == []


async def test_one_that_is_too_slow_is_told_what_it_missed(bus: Bus, ring: EventRing) -> None:
    slow = follow(ring, "stream-created")
    for number in range(RING + 50):
        bus.emit(StreamCreated(f"s{number}", "api"))
    first, *rest = await slow.next(0) or []
    assert first == EventsMissed(count=50)
    assert len(rest) == BATCH
    assert isinstance(rest[0], Event)
    assert rest[0].id == "run-51"
    seen = len(rest)
    while found := await slow.next(0):
        assert len(found) <= BATCH
        seen += len(found)
    assert seen == RING


async def test_the_end_comes_after_what_waits(bus: Bus, ring: EventRing) -> None:
    follower = follow(ring)
    bus.emit(StreamCreated("a", "api"))
    ring.close()
    bus.emit(StreamCreated("late", "api"))
    assert await names(follower) == ["a"]
    assert await follower.next(60) is None


async def test_the_end_wakes_those_who_wait(ring: EventRing) -> None:
    waiting = asyncio.create_task(follow(ring).next(60))
    await asyncio.sleep(0)
    ring.close()
    assert await waiting is None


def test_who_leaves_is_forgotten(ring: EventRing) -> None:
    with follow(ring), follow(ring):
        assert ring.followers == 2
    assert ring.followers == 0


async def test_secrets_in_events_are_hidden(bus: Bus, ring: EventRing) -> None:
    follower = follow(ring)
    bus.emit(ReaderClosed("a", "hls", "r1", "cannot reach rtsp://user:secret@cam/1", 5))
    (event,) = await follower.next(0) or []
    assert "secret" not in event.model_dump_json()
    assert "rtsp://***@cam/1" in event.model_dump_json()
