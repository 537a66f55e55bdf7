"""Targets of streams in virtual time: when they begin, wait, begin anew and end."""

import pytest

from flux.base.errors import PeerError
from flux.core.forward import (
    FAILED,
    RUNNING,
    ForwardFigures,
    ForwardStateChanged,
    OnState,
    Target,
)
from flux.core.forwarding import Forwards
from media.events import ReaderFailed, StreamStateChanged
from media.frame import Frame
from media.output import LEISURE
from media.publisher import Publisher
from media.router import Router
from media.stream import State, Stream, StreamOptions
from media.track import Kind, Track, TrackDescription

RTP = Target("rtp", "rtp://u:secret@10.0.0.9:5004", "rtp://***@10.0.0.9:5004")
UDP = Target("udp", "udp://10.0.0.9:1234", "udp://10.0.0.9:1234")


class FakeForward:
    """Sends nowhere; it is an output of its stream, as a real one is."""

    name = "fake"
    size_bytes = 0
    leisure = LEISURE

    def __init__(self, rig: "Rig", url: str, on_state: OnState) -> None:
        self._rig = rig
        self.url = url
        self.on_state = on_state
        self.stream: Stream | None = None
        self.stopped = ""
        self.sent = 0
        self.waited = False

    def start(self, stream: Stream) -> None:
        if self._rig.refusal is not None:
            raise self._rig.refusal
        self.stream = stream
        stream.outputs[self.name] = self
        self._rig.started.append(self)

    def stop(self, reason: str) -> None:
        self.stopped = reason
        if self.stream is not None:
            self.stream.outputs.pop(self.name, None)

    async def wait_stopped(self) -> None:
        self.waited = True

    def figures(self) -> ForwardFigures:
        return ForwardFigures(self.sent, dropped=1)

    def description(self) -> bytes:
        return self.url.encode()

    # As an output.

    def frame(self, frame: Frame) -> None:
        self.sent += sum(map(len, frame.payload))

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        """It carries everything."""

    def close(self, reason: str) -> None:
        self.fail(reason)

    def run(self) -> None:
        self.on_state(RUNNING, "")

    def fail(self, reason: str) -> None:
        if self.stream is not None:
            self.stream.outputs.pop(self.name, None)
        self.on_state(FAILED, reason)


class FakeSource:
    """An on-demand source that only notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def start(self) -> None:
        self.calls.append("start")

    def stop(self, reason: str) -> None:
        self.calls.append(reason)


class Rig:
    """One stream `cam` and a clock."""

    def __init__(self, *, on_demand: bool = False, grace: float = 0.0) -> None:
        self.time = 100.0
        self.events: list[object] = []
        self.started: list[FakeForward] = []
        self.refusal: Exception | None = None
        self.source = FakeSource()
        self.router = Router(self._emit)
        declared = self.router.declare(
            "cam", StreamOptions(grace=grace), on_demand=on_demand, close_after=5.0
        )
        self.stream = declared.stream
        self.router.set_source("cam", self.source)
        self.router.start(self.time)
        self.forwards = Forwards(
            self.router,
            self._emit,
            {
                "rtp": lambda _, url, on_state: FakeForward(self, url, on_state),
                "udp": lambda _, url, on_state: FakeForward(self, url, on_state),
            },
            chance=lambda: 0.5,
            now=lambda: self.time,
            wall=lambda: 1_700_000_000 + self.time,
        )

    def _emit(self, event: object) -> None:
        self.events.append(event)
        if isinstance(event, StreamStateChanged) and hasattr(self, "forwards"):
            self.forwards.stream_changed(event)

    def advance(self, seconds: float) -> None:
        end = self.time + seconds
        while self.time < end:
            self.time = min(self.time + 0.25, end)
            self.router.tick(self.time, 0.0)
            self.forwards.tick(self.time)

    def publish(self) -> Publisher:
        description = TrackDescription(Kind.AUDIO, "rtp/test", 8000, None)
        return self.router.publish("cam", [description], now=self.time, origin="test")

    def ready(self) -> Publisher:
        """Publish until the stream can be read."""
        publisher = self.publish()
        for number in range(40):
            publisher.write(publisher.tracks[0], number * 2000, (bytes(160),), self.time)
            self.advance(0.25)
            if self.stream.state is State.READY:
                return publisher
        raise AssertionError(self.stream.state)

    def state(self, place: int = 0) -> tuple[str, str]:
        found = self.forwards.snapshot("cam")[place]
        return found.state, found.reason

    def said(self) -> list[tuple[str, str]]:
        return [
            (event.state, event.reason)
            for event in self.events
            if isinstance(event, ForwardStateChanged)
        ]


def test_a_target_begins_when_its_stream_is_ready() -> None:
    rig = Rig()
    rig.forwards.declare("cam", [RTP], passive=False)
    rig.advance(0.5)
    assert rig.state() == ("waiting", "starting")
    rig.ready()
    assert len(rig.started) == 1
    assert rig.started[0].url == RTP.url
    assert rig.state() == ("connecting", "")
    rig.started[0].run()
    assert rig.state() == ("running", "")
    assert rig.said() == [("waiting", "starting"), ("connecting", ""), ("running", "")]
    snapshot = rig.forwards.snapshot("cam")[0]
    assert snapshot.target == RTP.shown
    assert "secret" not in repr(snapshot) + repr(rig.events)
    assert snapshot.attempts == 1
    assert rig.forwards.description("cam", snapshot.id) == RTP.url.encode()
    assert rig.forwards.description("cam", "other") == b""
    assert rig.forwards.snapshot("other") == ()


def test_a_forward_is_a_reader_of_its_stream() -> None:
    rig = Rig()
    rig.forwards.declare("cam", [RTP], passive=False)
    rig.advance(0.5)
    publisher = rig.ready()
    reader = rig.stream.readers["forward-rtp-1"]
    assert (reader.protocol, reader.address) == ("forward-rtp", RTP.shown)
    publisher.write(publisher.tracks[0], 160 * 50, (bytes(160),), rig.time)
    assert reader.sent_bytes == rig.started[0].sent > 0
    assert (reader.dropped, reader.lag()) == (1, 0.0)
    sent = rig.started[0].sent
    rig.forwards.remove("cam")
    assert rig.stream.readers == {}
    assert rig.stream.sent_bytes == sent
    assert rig.started[0].stopped == "stream-deleted"
    assert rig.said()[-1] == ("stopped", "stream-deleted")


def test_a_failing_target_is_tried_again_later_and_later() -> None:
    rig = Rig()
    rig.forwards.declare("cam", [UDP], passive=False)
    rig.advance(0.25)
    rig.ready()
    starts = []
    for _ in range(4):
        starts.append(rig.time)
        before = len(rig.started)
        rig.started[-1].fail("host-unreachable")
        assert rig.state() == ("waiting", "host-unreachable")
        while len(rig.started) == before:
            rig.advance(0.25)
    waits = [round(b - a) for a, b in zip(starts, [*starts[1:], rig.time], strict=True)]
    assert waits == [1, 2, 4, 8]
    assert rig.forwards.snapshot("cam")[0].attempts == 5


def test_half_a_minute_of_running_makes_the_next_failure_the_first() -> None:
    rig = Rig()
    rig.forwards.declare("cam", [UDP], passive=False)
    rig.advance(0.25)
    rig.ready()
    rig.started[-1].fail("a")
    rig.advance(1.0)
    rig.started[-1].run()
    rig.advance(31.0)
    rig.started[-1].fail("b")
    rig.advance(1.0)
    assert len(rig.started) == 3


def test_each_target_is_independent() -> None:
    rig = Rig()
    rig.forwards.declare("cam", [RTP, UDP], passive=False)
    rig.advance(0.25)
    rig.ready()
    rig.started[0].run()
    rig.started[1].run()
    rig.started[0].fail("send-failed")
    assert rig.state(0) == ("waiting", "send-failed")
    assert rig.state(1) == ("running", "")


def test_a_fault_of_one_reaches_neither_stream_nor_others() -> None:
    rig = Rig()
    rig.refusal = RuntimeError("broken")
    rig.forwards.declare("cam", [RTP, UDP], passive=False)
    rig.advance(0.25)
    rig.ready()
    assert rig.state(0) == rig.state(1) == ("waiting", "internal-error")
    assert rig.stream.state is State.READY
    assert rig.stream.readers == {}
    assert any(isinstance(event, ReaderFailed) for event in rig.events)
    rig.refusal = PeerError("no-playable-track", 415)
    rig.advance(1.5)
    assert rig.state(0) == ("waiting", "no-playable-track")
    rig.refusal = None
    rig.advance(5.0)
    assert rig.state(0) == ("connecting", "")


def test_a_stream_that_goes_is_waited_for_without_back_off() -> None:
    rig = Rig()
    rig.forwards.declare("cam", [RTP], passive=False)
    rig.advance(0.25)
    publisher = rig.ready()
    rig.started[0].run()
    publisher.close("media-timeout", rig.time)
    rig.router.tick(rig.time, 0.0)
    assert rig.state() == ("waiting", "media-timeout")
    rig.advance(40.0)  # its readers' patience ends again and again
    assert rig.state()[0] == "waiting"
    rig.ready()
    assert len(rig.started) == 2
    assert rig.state() == ("connecting", "")


def test_readers_of_a_stream_that_is_lost_for_a_moment_stay() -> None:
    rig = Rig(grace=10.0)
    rig.forwards.declare("cam", [RTP], passive=False)
    rig.advance(0.25)
    publisher = rig.ready()
    rig.started[0].run()
    publisher.close("media-timeout", rig.time)
    assert rig.stream.state is State.LOST
    assert rig.state() == ("running", "")
    rig.ready()
    assert len(rig.started) == 1


def test_an_on_demand_stream_is_kept_by_its_target() -> None:
    rig = Rig(on_demand=True)
    rig.forwards.declare("cam", [RTP], passive=False)
    assert rig.source.calls == []
    rig.advance(0.25)
    assert rig.source.calls == ["start"]
    rig.ready()
    rig.started[0].run()
    rig.advance(60.0)
    assert rig.source.calls == ["start"]
    rig.started[0].fail("send-failed")  # also while it waits for its next attempt
    rig.advance(60.0)
    assert rig.source.calls == ["start"]
    rig.forwards.remove("cam")
    rig.advance(6.0)
    assert rig.source.calls == ["start", "no-readers"]


def test_a_passive_target_causes_nothing() -> None:
    rig = Rig(on_demand=True)
    rig.forwards.declare("cam", [RTP], passive=True)
    rig.advance(5.0)
    assert rig.source.calls == []
    assert rig.state() == ("waiting", "idle")
    ready: list[Stream] = []
    lease = rig.router.open("cam", ready.append, lambda *_: None, rig.time)
    rig.ready()
    rig.advance(0.25)
    assert len(rig.started) == 1
    rig.started[0].run()
    lease.close()
    rig.advance(6.0)
    assert rig.source.calls == ["start", "no-readers"]
    assert rig.state()[0] == "waiting"
    assert rig.stream.readers == {}


def test_a_target_that_is_kicked_comes_again() -> None:
    rig = Rig()
    rig.forwards.declare("cam", [RTP], passive=False)
    rig.advance(0.25)
    rig.ready()
    rig.started[0].run()
    assert rig.router.kick("forward-rtp-1", rig.time)
    assert rig.started[0].stopped == "kicked"
    assert rig.state() == ("waiting", "kicked")
    rig.advance(1.0)
    assert rig.state() == ("connecting", "")


def test_a_changed_list_leaves_what_stays_alone() -> None:
    rig = Rig()
    rig.forwards.declare("cam", [RTP], passive=False)
    rig.advance(0.25)
    rig.ready()
    rig.started[0].run()
    rig.forwards.declare("cam", [UDP, RTP], passive=False)
    rig.advance(0.25)
    assert [each.target for each in rig.forwards.snapshot("cam")] == [UDP.shown, RTP.shown]
    assert rig.state(1) == ("running", "")
    rig.forwards.declare("cam", [UDP], passive=False)
    assert rig.started[0].stopped == "target-removed"
    rig.forwards.declare("cam", [], passive=False)
    assert rig.forwards.snapshot("cam") == ()
    assert rig.stream.readers == {}


def test_a_late_word_of_an_attempt_that_is_over_is_not_heard() -> None:
    rig = Rig()
    rig.forwards.declare("cam", [RTP], passive=False)
    rig.advance(0.25)
    rig.ready()
    first = rig.started[0]
    first.fail("a")
    rig.advance(1.0)
    first.run()
    first.fail("b")
    assert rig.state() == ("connecting", "")


def test_figures_add_up_over_attempts() -> None:
    rig = Rig()
    rig.forwards.declare("cam", [RTP], passive=False)
    rig.advance(0.25)
    rig.ready()
    rig.started[0].sent = 1000
    rig.started[0].fail("a")
    rig.advance(1.0)
    rig.started[1].sent = 500
    snapshot = rig.forwards.snapshot("cam")[0]
    assert (snapshot.sent_bytes, snapshot.dropped, snapshot.attempts) == (1500, 2, 2)


def test_an_unknown_scheme_is_refused_whole() -> None:
    rig = Rig()
    rig.forwards.declare("cam", [RTP], passive=False)
    with pytest.raises(PeerError, match="forward-scheme-unsupported"):
        rig.forwards.declare("cam", [Target("rtsp", "rtsp://h/x", "rtsp://h/x")], passive=False)
    assert [each.target for each in rig.forwards.snapshot("cam")] == [RTP.shown]


def test_a_server_that_stops_starts_nothing() -> None:
    rig = Rig()
    rig.forwards.declare("cam", [RTP], passive=False)
    rig.router.close(rig.time)
    rig.forwards.tick(rig.time)
    assert rig.state() == ("waiting", "server-stopping")


def test_a_name_that_is_not_there_is_waited_for() -> None:
    rig = Rig()
    rig.forwards.declare("other", [RTP], passive=False)
    rig.advance(1.0)
    found = rig.forwards.snapshot("other")[0]
    assert (found.state, found.reason) == ("waiting", "stream-not-found")


async def test_the_end_waits_for_goodbyes() -> None:
    rig = Rig()
    rig.forwards.declare("cam", [RTP, UDP], passive=False)
    rig.advance(0.25)
    rig.ready()
    rig.forwards.close()
    await rig.forwards.wait_closed()
    assert all(forward.waited for forward in rig.started)
    assert all(forward.stopped == "server-stopping" for forward in rig.started)
    assert rig.forwards.snapshot("cam") == ()
