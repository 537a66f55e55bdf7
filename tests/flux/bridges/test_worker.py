"""Workers as sources: a run on bytes alone, then real processes of a few lines."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from flux.base.errors import PeerError, WireError
from flux.bridges.worker import WorkerRun, WorkerSource, command_for
from flux.core.children import ChildEnded, ChildOptions, Children
from media.codecs.aac import AacParameters
from media.codecs.h264 import H264Parameters
from media.frame import NO_TIME, Frame
from media.output import LEISURE
from media.publisher import Publisher
from media.router import Router
from media.stream import State, Stream, StreamOptions
from media.track import AAC, H264, Kind, Track, TrackDescription
from media.wire import (
    FLAG_KEY,
    Announcement,
    serialize_bye,
    serialize_drop,
    serialize_frame,
    serialize_hello,
    serialize_track,
    serialize_tracks,
)

SPS = bytes.fromhex("6764001eacd940a02ff970110000030001000003003c0f162d96")
PPS = bytes.fromhex("68ebe3cb22c0")
OTHER_PPS = bytes.fromhex("68ebe3cb22d0")
ASC = bytes.fromhex("1190")
VIDEO = Announcement(0, Kind.VIDEO, H264, 90_000, configuration=(SPS, PPS))
AUDIO = Announcement(7, Kind.AUDIO, AAC, 48_000, channels=2, configuration=(ASC,))
OPENING = serialize_hello("demo") + serialize_tracks((VIDEO, AUDIO))
IDR = (b"\x65idr",)
QUICK = ChildOptions(stop_timeout=0.5, first_delay=0.01, longest_delay=0.02)


class RecordingPublisher(Publisher):
    """Keeps what a source calls, and passes nothing on."""

    def __init__(self, descriptions: Sequence[TrackDescription]) -> None:
        tracks = tuple(
            Track(place, d.kind, d.codec, d.clock_rate, d.parameters)
            for place, d in enumerate(descriptions)
        )
        stream = Stream("demo", StreamOptions(), lambda event: None)
        super().__init__(stream, tracks, "worker", "worker-1", self._on_closed)
        self.written: list[tuple[int, int, tuple[bytes, ...], int]] = []
        self.anchors: list[tuple[int, int]] = []
        self.drops: list[tuple[str, int]] = []
        self.reason = ""

    def write(
        self,
        track: Track,
        timestamp: int,
        payload: tuple[bytes, ...],
        arrived: float,
        dts: int = NO_TIME,
    ) -> None:
        assert not self.closed
        self.written.append((track.id, timestamp, payload, dts))

    def anchor(self, timestamps: Mapping[Track, int]) -> None:
        self.anchors += [(track.id, timestamp) for track, timestamp in timestamps.items()]

    def dropped(self, reason: str, track: Track | None = None, count: int = 1) -> None:
        self.drops.append((reason, count))

    def _on_closed(self, publisher: Publisher, reason: str, now: float) -> None:
        self.reason = reason


@dataclass
class Rig:
    """A run without a process: bytes are handed to it."""

    refuse: str = ""
    publishers: list[RecordingPublisher] = field(default_factory=list)
    running: int = 0
    over: list[str] = field(default_factory=list)

    def publish(
        self, name: str, descriptions: Sequence[TrackDescription], *, now: float, origin: str
    ) -> Publisher:
        assert (name, origin) == ("demo", "worker")
        if self.refuse:
            raise PeerError(self.refuse, 409)
        self.publishers.append(RecordingPublisher(descriptions))
        return self.publishers[-1]

    def count(self) -> None:
        self.running += 1

    def run(self, silence_timeout: float = 10.0) -> WorkerRun:
        return WorkerRun("demo", self, self.count, self.over.append, silence_timeout)


def test_a_run_whose_publisher_somebody_else_ended_is_over() -> None:
    rig = Rig()
    run = rig.run()
    run.data_received(OPENING)
    rig.publishers[0].close("kicked", 1.0)
    assert rig.over == ["kicked"]
    run.close("kicked")
    assert rig.over == ["kicked"]


def test_frames_are_written_to_the_tracks_that_were_announced() -> None:
    rig = Rig()
    run = rig.run()
    data = OPENING + b"".join(
        (
            serialize_frame(0, FLAG_KEY, 3600, 3600, 0, IDR),
            serialize_frame(7, FLAG_KEY, 1024, NO_TIME, 0, (b"aac",)),
            serialize_drop(None, 25, "worker-late"),
            serialize_drop(7, 1, "worker-late"),
            serialize_frame(0, 0, 7200, 7201, 0, (b"\x41", b"\x41")),
            serialize_frame(0, 0, 0, 0, 0, ()),
            serialize_frame(0, 0, 0, 0, 0, (b"",)),
        )
    )
    for at in range(0, len(data), 7):
        run.data_received(data[at : at + 7])
    (publisher,) = rig.publishers
    assert publisher.written == [
        (0, 3600, IDR, 3600),
        (1, 1024, (b"aac",), NO_TIME),
        (0, 7200, (b"\x41", b"\x41"), NO_TIME),
    ]
    assert publisher.anchors == [(0, 0), (1, 0)]
    assert publisher.drops == [
        ("worker-late", 25),
        ("worker-late", 1),
        ("worker-dts-after-pts", 1),
        ("worker-empty-frame", 1),
        ("worker-empty-frame", 1),
    ]
    assert isinstance(publisher.tracks[0].parameters, H264Parameters)
    assert isinstance(publisher.tracks[1].parameters, AacParameters)
    assert (rig.running, rig.over) == (1, [])
    run.close("no-readers")
    assert publisher.reason == "no-readers"
    run.data_received(serialize_frame(0, FLAG_KEY, 9, 9, 0, IDR))
    assert len(publisher.written) == 3


def test_new_parameters_go_in_band_before_the_next_frame_of_the_track() -> None:
    rig = Rig()
    run = rig.run()
    changed = Announcement(0, Kind.VIDEO, H264, 90_000, version=1, configuration=(SPS, OTHER_PPS))
    run.data_received(OPENING + serialize_track(changed))
    run.data_received(serialize_frame(7, 0, 0, 0, 0, (b"aac",)))
    run.data_received(serialize_frame(0, FLAG_KEY, 0, 0, 0, IDR) * 2)
    assert [payload for _, _, payload, _ in rig.publishers[0].written] == [
        (b"aac",),
        (SPS, OTHER_PPS, *IDR),
        IDR,
    ]


def test_another_set_of_tracks_is_published_anew() -> None:
    rig = Rig()
    run = rig.run()
    run.data_received(OPENING + serialize_tracks((AUDIO,)))
    run.data_received(serialize_frame(7, 0, 5, 5, 0, (b"aac",)))
    first, second = rig.publishers
    assert first.reason == "tracks-changed"
    assert second.written == [(0, 5, (b"aac",), 5)]
    assert rig.running == 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "wire-message-too-long"),
        (OPENING + serialize_bye("testcard-options"), "testcard-options"),
        (
            serialize_hello("demo")
            + serialize_tracks((Announcement(0, Kind.AUDIO, AAC, 8000, configuration=(b"",)),)),
            "bits-truncated",
        ),
        (
            OPENING + serialize_track(Announcement(7, Kind.AUDIO, AAC, 48_000)),
            "tracks-changed",
        ),
        (
            OPENING
            + serialize_track(Announcement(0, Kind.VIDEO, H264, 90_000, configuration=(b"\x67",))),
            "h264-sps-malformed",
        ),
    ],
)
def test_what_ends_a_run(data: bytes, reason: str) -> None:
    rig = Rig()
    run = rig.run()
    run.data_received(data)
    run.data_received(OPENING)
    run.connection_lost(None)
    assert rig.over == [reason]
    run.close(reason)
    assert [publisher.reason for publisher in rig.publishers] == [reason] * len(rig.publishers)


def test_a_name_that_is_taken_ends_the_run() -> None:
    rig = Rig(refuse="name-taken")
    rig.run().data_received(OPENING)
    assert rig.over == ["name-taken"]
    assert rig.running == 0


def test_the_end_of_the_socket_ends_the_run() -> None:
    rig = Rig()
    rig.run().connection_lost(None)
    assert rig.over == ["worker-closed"]


async def test_silence_ends_the_run() -> None:
    over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    run = WorkerRun("demo", Rig(), lambda: None, over.set_result, silence_timeout=0.02)
    run.connection_made(asyncio.Transport())
    async with asyncio.timeout(5):
        assert await over == "worker-silent"
    run.close("worker-silent")


def test_only_known_schemes_have_a_worker() -> None:
    assert command_for("testcard:?rate=5")[-2:] == ("flux.workers.testcard", "testcard:?rate=5")
    with pytest.raises(WireError, match="url-scheme"):
        command_for("rtsp://camera")


class House:
    """The real router with the one name `demo`, and a source for it."""

    def __init__(self, command: Sequence[str], silence_timeout: float = 10.0) -> None:
        self.events: list[object] = []
        self.states: list[tuple[str, str]] = []
        self.changed = asyncio.Event()
        self.router = Router(self.emit)
        self.children = Children(self.emit, rand=lambda: 0.0)
        self.router.declare("demo", StreamOptions(), on_demand=True, close_after=0.0)
        self.source = WorkerSource(
            "demo", command, self.router, self.children, self.on_state, QUICK, silence_timeout
        )
        self.router.set_source("demo", self.source)
        self.router.start(time.monotonic())

    def emit(self, event: object) -> None:
        self.events.append(event)
        self.changed.set()

    def on_state(self, state: str, reason: str) -> None:
        self.router.source_state("demo", state, reason, time.monotonic())
        self.states.append((state, reason))
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(15):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    @property
    def stream(self) -> Stream:
        stream = self.router.find("demo")
        assert stream is not None
        return stream

    def alive(self) -> int:
        return len(self.children.alive)

    def ended(self) -> list[ChildEnded]:
        return [event for event in self.events if isinstance(event, ChildEnded)]


@asynccontextmanager
async def house(command: Sequence[str], silence_timeout: float = 10.0) -> AsyncIterator[House]:
    made = House(command, silence_timeout)
    try:
        yield made
    finally:
        made.router.close(time.monotonic())
        await made.children.stop()
        assert made.children.alive == ()


class Collector:
    """An output that keeps frames."""

    name = "test"
    size_bytes = 0
    leisure = LEISURE

    def __init__(self, on_frame: Callable[[], None]) -> None:
        self.frames: list[Frame] = []
        self.reason = ""
        self._on_frame = on_frame

    def frame(self, frame: Frame) -> None:
        self.frames.append(frame)
        self._on_frame()

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        self.reason = "tracks-changed"

    def close(self, reason: str) -> None:
        self.reason = reason


async def test_a_test_card_on_demand() -> None:
    async with house(command_for("testcard:?size=320x180")) as made:
        collector = Collector(made.changed.set)
        failed: list[str] = []

        def on_ready(stream: Stream) -> None:
            stream.outputs["test"] = collector
            made.changed.set()

        def on_failed(reason: str, status: int) -> None:
            failed.append(reason)

        lease = made.router.open("demo", on_ready, on_failed, time.monotonic())
        await made.until(lambda: len(collector.frames) >= 40)
        assert failed == []
        assert made.stream.state is State.READY
        assert [track.codec for track in made.stream.tracks] == [H264, AAC]
        assert made.states == [("connecting", ""), ("running", "")]
        for kind in (Kind.VIDEO, Kind.AUDIO):
            frames = [frame for frame in collector.frames if frame.track.kind is kind]
            step = 3600 if kind is Kind.VIDEO else 1024
            times = [frame.pts for frame in frames]
            assert times == list(range(times[0], times[0] + step * len(times), step))
        first = {frame.track.kind: frame for frame in reversed(collector.frames)}
        sound, picture = first[Kind.AUDIO], first[Kind.VIDEO]
        assert abs(sound.pts / 48_000 - picture.pts / 90_000) < 0.1
        lease.close()
        made.router.tick(time.monotonic() + 1, 0.0)
        assert made.states[2:] == [("stopped", "no-readers")]
        assert collector.reason == "no-readers"
        await made.until(lambda: len(made.ended()) == 1)
        assert made.stream.drops == {}


def script(body: str, *pieces: bytes) -> tuple[str, ...]:
    """A worker that sends pieces and then does something."""
    send = "".join(f"s.sendall(bytes.fromhex('{piece.hex()}'));" for piece in pieces)
    head = "import os,socket,sys,time;s=socket.socket(fileno=int(os.environ['FLUX_WORKER_FD']));"
    return (sys.executable, "-I", "-S", "-c", head + send + body)


FRAMES = OPENING + serialize_frame(0, FLAG_KEY, 0, 0, 0, IDR)


@pytest.mark.parametrize(
    ("command", "reason", "is_published"),
    [
        (script("os._exit(3)", FRAMES), "worker-exited", True),
        (script("os.kill(os.getpid(),11)", FRAMES), "worker-killed", True),
        (script("time.sleep(60)", FRAMES, b"nonsense"), "wire-message-too-long", True),
        (script("time.sleep(60)", b"\0" * 64), "wire-no-hello", False),
        (script("os._exit(0)", FRAMES, serialize_bye("card-is-tired")), "card-is-tired", True),
        (script("os._exit(2)"), "worker-exited", False),
        (script("s.close();time.sleep(60)", FRAMES), "worker-closed", True),
        (("/nowhere/at/all",), "worker-spawn-failed", False),
    ],
)
async def test_a_worker_that_fails_is_replaced_and_hurts_nobody(
    command: Sequence[str], reason: str, is_published: bool
) -> None:
    async with house(command) as made:
        made.router.open("demo", lambda stream: None, lambda *_: None, time.monotonic())
        await made.until(lambda: made.states.count(("waiting", reason)) == 2)
        round_of_states = [("connecting", ""), ("running", ""), ("waiting", reason)]
        if not is_published:
            round_of_states.pop(1)
        assert made.states[: 2 * len(round_of_states)] == round_of_states * 2
    assert made.states[-1] == ("stopped", "server-stopping")


async def test_a_worker_that_hangs_is_replaced() -> None:
    async with house(script("time.sleep(60)", FRAMES), silence_timeout=0.05) as made:
        made.router.open("demo", lambda stream: None, lambda *_: None, time.monotonic())
        await made.until(lambda: ("waiting", "worker-silent") in made.states)


async def test_a_second_life_begins_while_the_first_is_ending() -> None:
    stubborn = "import signal;signal.signal(15,signal.SIG_IGN);time.sleep(60)"
    async with house(script(stubborn, FRAMES)) as made:
        made.source.start()
        await made.until(lambda: made.states == [("connecting", ""), ("running", "")])
        made.source.stop("no-readers")
        made.source.stop("no-readers")
        made.source.start()
        made.source.start()
        assert made.alive() == 2
        await made.until(lambda: len(made.states) == 5)
        assert made.states[2:] == [("stopped", "no-readers"), ("connecting", ""), ("running", "")]
        await made.until(lambda: len(made.ended()) == 1)
        assert made.stream.state is State.WAITING
        made.source.stop("no-readers")
    assert made.states[5:] == [("stopped", "no-readers")]


async def test_a_stop_in_the_first_moment() -> None:
    async with house(command_for("testcard:")) as made:
        made.source.start()
        made.source.stop("no-readers")
        made.source.start()
        await made.until(lambda: ("connecting", "") in made.states)
        made.source.stop("no-readers")
    assert made.states == [("stopped", "no-readers"), ("connecting", ""), ("stopped", "no-readers")]


async def test_the_end_of_the_server_stops_the_source() -> None:
    async with house(script("time.sleep(60)", FRAMES)) as made:
        made.source.start()
        await made.until(lambda: ("running", "") in made.states)
        await made.children.stop()
        assert made.states[-1] == ("stopped", "server-stopping")
        assert made.stream.state is not State.READY
