"""The router: demand, waiting, timeouts, publishers, the end."""

from collections.abc import Callable

import pytest

from flux.base.errors import PeerError
from media.codecs.g711 import G711Parameters
from media.events import PublisherStopped, ReaderFailed
from media.publisher import Publisher
from media.router import Lease, Router
from media.stream import State, Stream, StreamOptions
from media.track import PCMA, Kind, TrackDescription
from tests.support.scripted_source import ScriptedSource

SOUND = (TrackDescription(Kind.AUDIO, PCMA, 8000, G711Parameters(sample_rate=8000, channels=1)),)


class Rig:
    def __init__(self, *, on_demand: bool) -> None:
        self.events: list[object] = []
        self.router = Router(self.events.append)
        self.router.declare("cam", StreamOptions(), on_demand=on_demand, close_after=5.0)
        self.source = ScriptedSource()
        self.router.set_source("cam", self.source)
        self.ready: list[Stream] = []
        self.failed: list[tuple[str, int]] = []
        self.router.start(0.0)

    def open(self, now: float) -> Lease:
        return self.router.open(
            "cam",
            self.ready.append,
            lambda reason, status: self.failed.append((reason, status)),
            now,
        )

    def publish(self, now: float) -> Publisher:
        publisher = self.router.publish("cam", SOUND, now=now, origin="config")
        publisher.write(publisher.tracks[0], 0, (bytes(160),), now)
        return publisher


def test_an_on_demand_source_runs_from_the_first_reader_to_after_the_last() -> None:
    rig = Rig(on_demand=True)
    assert rig.source.calls == []
    first = rig.open(1.0)
    second = rig.open(1.1)
    assert rig.source.calls == ["start"]
    rig.publish(2.0)
    assert len(rig.ready) == 2
    rig.router.tick(3.0, 0.0)
    first.close()
    first.close()
    rig.router.tick(20.0, 0.0)
    assert rig.source.calls == ["start"]
    second.close()
    rig.router.tick(24.0, 0.0)
    assert rig.source.calls == ["start"]
    rig.router.tick(25.1, 0.0)
    assert rig.source.calls == ["start", "no-readers"]
    assert rig.ready[0].state is State.IDLE
    rig.open(30.0)
    assert rig.source.calls == ["start", "no-readers", "start"]


def test_a_new_reader_in_time_keeps_the_source() -> None:
    rig = Rig(on_demand=True)
    lease = rig.open(0.0)
    rig.publish(0.5)
    lease.close()
    rig.router.tick(4.0, 0.0)
    rig.open(4.5)
    rig.router.tick(60.0, 0.0)
    assert rig.source.calls == ["start"]


def test_a_reader_that_waits_too_long_is_told_the_sources_reason() -> None:
    rig = Rig(on_demand=True)
    rig.open(0.0)
    rig.router.source_state("cam", "waiting", "connection-refused", 1.0)
    rig.router.tick(9.9, 0.0)
    assert rig.failed == []
    rig.router.tick(10.1, 0.0)
    assert rig.failed == [("connection-refused", 503)]
    rig.publish(11.0)
    assert rig.ready == []


def test_a_reader_that_leaves_while_it_waits_is_not_called() -> None:
    rig = Rig(on_demand=True)
    rig.open(0.0).close()
    rig.publish(1.0)
    assert rig.ready == []


def test_an_always_on_source_is_started_once_and_readers_are_served_at_once() -> None:
    rig = Rig(on_demand=False)
    assert rig.source.calls == ["start"]
    rig.publish(1.0)
    rig.open(2.0)
    assert len(rig.ready) == 1
    rig.router.tick(100.0, 0.0)
    assert rig.source.calls == ["start"]


def test_one_publisher_a_name() -> None:
    rig = Rig(on_demand=False)
    publisher = rig.publish(1.0)
    with pytest.raises(PeerError, match="name-taken"):
        rig.publish(2.0)
    publisher.close("peer-closed", 3.0)
    rig.publish(4.0)


def test_unknown_names_and_empty_announcements_are_refused() -> None:
    rig = Rig(on_demand=False)
    with pytest.raises(PeerError, match="stream-not-found"):
        rig.router.open("other", rig.ready.append, lambda reason, status: None, 0.0)
    with pytest.raises(PeerError, match="stream-not-found"):
        rig.router.publish("other", SOUND, now=0.0, origin="config")
    with pytest.raises(PeerError, match="no-usable-track"):
        rig.router.publish("cam", (), now=0.0, origin="config")


def test_readers_that_come_while_the_source_is_lost_wait_for_its_return() -> None:
    rig = Rig(on_demand=False)
    publisher = rig.publish(1.0)
    rig.open(1.5)
    rig.ready[0].readers["r"] = object()  # type: ignore[assignment]  # only counted here
    publisher.close("peer-closed", 2.0)
    rig.open(2.5)
    assert len(rig.ready) == 1
    rig.publish(3.0)
    assert len(rig.ready) == 2


def test_the_grace_period_ends() -> None:
    rig = Rig(on_demand=False)
    publisher = rig.publish(1.0)
    rig.open(1.5)
    stream = rig.ready[0]
    stream.readers["r"] = object()  # type: ignore[assignment]  # only counted here
    publisher.close("peer-closed", 2.0)
    rig.router.tick(11.9, 0.0)
    assert str(stream.state) == "lost"
    rig.router.tick(12.1, 0.0)
    assert str(stream.state) == "starting"
    assert stream.reason == "peer-closed"


def test_closing_ends_sources_and_waiting_readers() -> None:
    rig = Rig(on_demand=True)
    rig.open(0.0)
    rig.router.close(1.0)
    assert rig.failed == [("server-stopping", 503)]
    assert rig.source.calls == ["start", "server-stopping"]
    assert rig.router.find("cam") is not None
    assert [s.state for s in rig.router.streams()] == [State.CLOSED]


def test_after_the_end_nobody_is_let_in_and_no_source_starts_again() -> None:
    rig = Rig(on_demand=True)
    rig.open(0.0)
    rig.publish(0.5)
    rig.router.close(1.0)
    calls = list(rig.source.calls)
    with pytest.raises(PeerError, match="server-stopping"):  # players come back at once
        rig.open(1.1)
    with pytest.raises(PeerError, match="server-stopping"):
        rig.router.publish("cam", SOUND, now=1.2, origin="config")
    assert rig.source.calls == calls


def test_a_reader_with_a_fault_leaves_no_lease_and_hurts_no_other() -> None:
    def faulty(stream: Stream) -> None:
        raise ValueError(stream.name)

    def fail(reason: str, status: int) -> None:
        rig.failed.append((reason, status))

    rig = Rig(on_demand=True)
    for on_ready in (faulty, rig.ready.append, faulty, rig.ready.append):
        rig.router.open("cam", on_ready, fail, 0.0)
    rig.publish(1.0)
    assert len(rig.ready) == 2
    assert rig.failed == [("internal-error", 500)] * 2
    assert rig.router.leases("cam") == 2
    lease = rig.router.open("cam", faulty, fail, 2.0)
    assert lease.closed
    assert rig.router.leases("cam") == 2
    assert sum(isinstance(event, ReaderFailed) for event in rig.events) == 3


def test_many_who_wait_are_served_in_several_turns() -> None:
    rig = Rig(on_demand=True)
    turns: list[Callable[[], None]] = []
    rig.router.defer = turns.append
    leases = [rig.open(0.0) for _ in range(100)]
    rig.publish(1.0)
    assert 0 < len(rig.ready) < 30
    leases[-1].close()
    while turns:
        served = len(rig.ready)
        turns.pop(0)()
        assert len(rig.ready) - served < 30
    assert len(rig.ready) == 99


def test_who_still_waits_when_the_source_goes_waits_on() -> None:
    rig = Rig(on_demand=True)
    turns: list[Callable[[], None]] = []
    rig.router.defer = turns.append
    for _ in range(100):
        rig.open(0.0)
    publisher = rig.publish(1.0)
    served = len(rig.ready)
    publisher.close("peer-closed", 1.1)
    while turns:
        turns.pop(0)()
    assert len(rig.ready) == served
    rig.publish(2.0)
    while turns:
        turns.pop(0)()
    assert len(rig.ready) == 100


def test_a_name_without_a_source_is_idle_when_its_publisher_has_gone() -> None:
    events: list[object] = []
    router = Router(events.append)
    router.declare("pushed", StreamOptions())
    stream = router.find("pushed")
    assert stream is not None
    publisher = router.publish("pushed", SOUND, now=1.0, origin="rtsp")
    publisher.write(publisher.tracks[0], 0, (bytes(160),), 1.0)
    publisher.close("peer-closed", 2.0)
    assert stream.state is State.IDLE
    publisher = router.publish("pushed", SOUND, now=3.0, origin="rtsp")
    publisher.write(publisher.tracks[0], 0, (bytes(160),), 3.0)
    stream.readers["r"] = object()  # type: ignore[assignment]  # only counted here
    publisher.close("peer-closed", 4.0)
    assert str(stream.state) == "lost"
    router.tick(14.1, 0.0)
    assert str(stream.state) == "idle"


def test_whoever_publishes_is_told_that_somebody_else_ended_it() -> None:
    rig = Rig(on_demand=False)
    publisher = rig.publish(1.0)
    told: list[str] = []
    publisher.on_ended = told.append
    assert rig.router.kick(publisher.session, 2.0)
    assert told == ["kicked"]
    own = rig.publish(3.0)
    own.on_ended = told.append
    own.finish("peer-closed", 4.0)
    assert told == ["kicked"]


def test_a_deleted_stream_says_that_its_publisher_has_stopped() -> None:
    rig = Rig(on_demand=False)
    rig.publish(1.0)
    rig.router.remove("cam", "stream-deleted", 2.0)
    stopped = [event for event in rig.events if isinstance(event, PublisherStopped)]
    assert [event.reason for event in stopped] == ["stream-deleted"]


def test_a_stream_made_at_run_time_knows_the_wall_clock_from_its_first_frame() -> None:
    rig = Rig(on_demand=False)
    rig.router.tick(10.0, 1_700_000_000.0)
    rig.router.declare("late", StreamOptions())
    stream = rig.router.find("late")
    assert stream is not None
    assert stream.timeline.wall_offset == 1_700_000_000.0
