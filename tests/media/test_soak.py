"""An hour of one stream in virtual time: everything that goes wrong in one, by a seeded dice."""

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, pairwise

import pytest

from flux.base.units import NTP_SECOND
from media.codecs.aac import AacParameters
from media.codecs.h264 import H264Parameters
from media.events import OutputFailed, ReaderFailed, TimelineBroken
from media.feed import Feed
from media.feed_reader import FeedOptions, FeedReader
from media.frame import Frame
from media.gop import GopLimits
from media.output import LEISURE
from media.publisher import Publisher
from media.router import Lease, Router
from media.stream import State, Stream, StreamOptions
from media.track import AAC, H264, Kind, Track, TrackDescription
from tests.support.h264_sets import PPS, SPS, SPS_OTHER
from tests.support.virtual import LineSink, MemorySink, VirtualScheduler

HOUR = 3600.0
FPS = 8
AUDIO_HZ = 8_000
AUDIO_STEP = 1024  # ticks
GRACE = 6.0
ASC = bytes.fromhex("1588")  # AAC-LC, 8 kHz, mono
MARK = struct.Struct(">IB")  # number of the chunk, whether it is sound
PICTURE_BYTES = 1200
LOG_SECONDS = 12.0
MAX_BYTES = 2 * LOG_SECONDS * (FPS * PICTURE_BYTES + AUDIO_HZ / AUDIO_STEP * MARK.size) * 1.5
SEEDS = (3, 25, 32)  # these failed once
MORE = [pytest.param(seed, marks=pytest.mark.long) for seed in (1, *range(100, 108))]


class Numbers:
    """A format whose chunks say their number."""

    name = "numbers"
    is_exhausted = False

    def __init__(self) -> None:
        self._next = count()

    def header(self) -> bytes:
        return b""

    def resume(self) -> bytes:
        return b""

    def encode(self, frame: Frame) -> bytes:
        is_sound = frame.track.kind is Kind.AUDIO
        mark = MARK.pack(next(self._next), is_sound)
        return mark if is_sound else mark.ljust(PICTURE_BYTES, b"\0")


class Collecting:
    """What every sink here does: keeps the numbers, not the bytes."""

    def __init__(self, *, is_patient: bool) -> None:
        self.chunks: list[tuple[int, bool]] = []
        self.is_patient = is_patient

    def take(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            number, is_sound = MARK.unpack_from(data, at)
            self.chunks.append((number, bool(is_sound)))
            at += MARK.size if is_sound else PICTURE_BYTES


class Viewer:
    """A reader: how its line behaves, and what it got."""

    protocol = "numbers"
    address = "127.0.0.1"
    user_agent = ""
    since = 0.0

    def __init__(self, house: "House", number: int, start: str, rate: float) -> None:
        self.id = f"viewer-{number}"
        self._house = house
        self._start = start
        self.got = Collecting(is_patient=True)
        sink: MemorySink = LineSink(house.scheduler, rate) if rate else MemorySink()
        sink.writes = self  # type: ignore[assignment]  # a list, as far as a sink sees it
        sink.end = self.ended  # type: ignore[method-assign]
        self.sink = sink
        self.lease: Lease | None = None
        self.output: Output | None = None
        self.reader: FeedReader | None = None
        self.first: int | None = None  # number that it has to get first, if that is known
        self.reason = ""

    def append(self, data: bytes) -> None:
        self.got.take(data)

    def open(self) -> None:
        self.lease = self._house.router.open(
            "cam", self.ready, lambda reason, status: self.leave(reason), self._house.now
        )

    def ready(self, stream: Stream) -> None:
        self.output = self._house.output(stream)
        self.reader = self.output.feed.attach(self.sink, self._start)
        self.first = self.reader.cursor if self._start == "live" else None
        stream.readers[self.id] = self

    @property
    def sent_bytes(self) -> int:
        return 0

    @property
    def dropped(self) -> int:
        return 0

    def lag(self) -> float:
        return 0.0

    def end(self, reason: str) -> None:
        self.ended(reason)

    def ended(self, reason: str) -> None:
        self.leave(reason)

    def leave(self, reason: str) -> None:
        """The peer left, or was told to."""
        if self.reason:
            return
        self.reason = reason
        house = self._house
        house.stream.readers.pop(self.id, None)
        if self.reader is not None and self.output is not None:
            self.output.feed.detach(self.reader)
            if not self.output.feed.readers:
                self.output.close("no-readers")
        if self.lease is not None:
            self.lease.close()
        self.check()

    def check(self) -> None:
        """Gapless from its start, but for what was counted as dropped."""
        reader = self.reader
        chunks = self.got.chunks
        while self._start == "gop" and chunks and chunks[0][1]:
            chunks = chunks[1:]  # sound that stood before its key frame
        if reader is None or not chunks:
            return
        numbers = [number for number, _ in chunks]
        assert all(a < b for a, b in pairwise(numbers)), self.id
        first = numbers[0] if self.first is None else self.first
        span = max(reader.cursor, numbers[-1] + 1) - first
        assert span == len(numbers) + reader.dropped_chunks, (self.id, self.reason)
        if not reader.skips:
            assert reader.dropped_chunks == 0


class Output:
    """A feed as an output of the stream."""

    name = "numbers"

    def __init__(self, house: "House", stream: Stream) -> None:
        self.feed = Feed(
            Numbers(), stream.tracks, stream.options.feed, house.scheduler, house.skipped
        )
        self.feed.keyless = stream.keyless
        self.feed.seed(stream.gop.frames())
        self._stream = stream

    @property
    def leisure(self) -> float:
        return LEISURE

    @property
    def size_bytes(self) -> int:
        return self.feed.size_bytes

    def frame(self, frame: Frame) -> None:
        self.feed.keyless = self._stream.keyless
        self.feed.frame(frame)

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        if tracks != self.feed.tracks:
            self.close("tracks-changed")

    def close(self, reason: str) -> None:
        if self._stream.outputs.get(self.name) is self:
            del self._stream.outputs[self.name]
        self.feed.close(reason)


class Recorder:
    """An output that checks every frame of the stream."""

    name = "recorder"
    size_bytes = 0
    leisure = LEISURE

    def __init__(self, house: "House") -> None:
        self._house = house
        self._last: dict[Track, int] = {}
        self.frames = 0
        self.worst_offset = 0.0

    def frame(self, frame: Frame) -> None:
        track = frame.track
        assert frame.dts > self._last.get(track, -(1 << 62))
        self._last[track] = frame.dts
        self.frames += 1
        self._house.source.note(track, frame.pts / track.clock_rate)
        offset = self._house.source.apart
        if offset is not None:
            self.worst_offset = max(self.worst_offset, abs(offset))
            assert abs(offset) < 0.4, self._house.now

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        del tracks

    def close(self, reason: str) -> None:
        del reason


@dataclass
class Source:
    """A camera: its clock, what it sends, and how the network delivers it."""

    chance: random.Random
    publisher: Publisher | None = None
    began: float = 0.0
    clock: float = 0.0  # its media time at `began`
    drift: float = 1.0
    has_reports: bool = False
    parameters: H264Parameters = field(default_factory=lambda: H264Parameters.build((SPS,), (PPS,)))
    is_other: bool = False
    is_change_due: bool = False
    pictures: int = 0
    sounds: int = 0
    gop: int = 16
    in_gop: int = 0
    stalled_until: float = 0.0
    shown: dict[Kind, tuple[float, float]] = field(default_factory=dict)
    quiet_until: float = 0.0
    truth: float = 0.0  # capture time of what is being written

    def begin(self, publisher: Publisher, now: float) -> None:
        chance = self.chance
        self.publisher, self.began = publisher, now
        self.clock = chance.uniform(0, 1e6)
        self.drift = 1 + chance.uniform(-300e-6, 300e-6)
        self.has_reports = chance.random() < 0.5
        self.pictures = self.sounds = self.in_gop = 0
        self.shown = {}
        self.quiet_until = 0.0
        if chance.random() < 0.6:
            video, audio = publisher.tracks
            at = round(self.clock * 90_000), round(self.clock * AUDIO_HZ)
            publisher.anchor({video: at[0], audio: at[1]})

    def note(self, track: Track, seconds: float) -> None:
        self.shown[track.kind] = (self.truth, seconds)

    @property
    def apart(self) -> float | None:
        """By how much picture and sound stand apart, against when they were captured."""
        if len(self.shown) < 2 or self.truth < self.quiet_until:
            return None
        (a, b), (c, d) = self.shown[Kind.VIDEO], self.shown[Kind.AUDIO]
        return (b - a) - (d - c)

    def run(self, now: float) -> None:
        """Write what has been captured by now; B pictures come after the one that they need."""
        publisher = self.publisher
        if publisher is None or now < self.stalled_until:
            return
        video, audio = publisher.tracks
        while (at := self.pictures / FPS) <= (now - self.began) * self.drift:
            shift = (3, 0, 0)[(self.in_gop - 1) % 3] if self.in_gop else 1  # I P B B P B B ...
            if self.in_gop == 0:
                payload: tuple[bytes, ...] = (b"\x65\x88\x84\x00",)
                if self.is_change_due:
                    self.is_change_due, self.is_other = False, not self.is_other
                    payload = (SPS_OTHER if self.is_other else SPS, PPS, *payload)
            else:
                payload = (b"\x41\x9a\x00\x00",)
            self.truth = at + shift / FPS
            stamp = round((self.clock + self.truth) * 90_000)
            publisher.write(video, stamp, payload, now + self.chance.random() * 0.02)
            if self.publisher is None:
                return
            self.pictures += 1
            self.in_gop += 1
            if self.in_gop >= self.gop and (self.in_gop - 1) % 3 == 0:
                self.in_gop = 0
                self.gop = self.chance.choice((10, 16, 25, 40))
            while (sound := self.sounds * AUDIO_STEP / AUDIO_HZ) <= at:
                self.truth = sound
                stamp = round((self.clock + sound) * AUDIO_HZ)
                publisher.write(audio, stamp, (b"sound",), now + self.chance.random() * 0.02)
                self.sounds += 1
                if self.has_reports and self.sounds % 40 == 0:
                    ntp = round((1e9 + self.began + sound) * NTP_SECOND)
                    publisher.sender_report(audio, ntp, stamp, now)
                    video_stamp = round((self.clock + sound) * 90_000)
                    publisher.sender_report(video, ntp, video_stamp, now)

    def jump(self) -> None:
        """Its clock steps, by anything but what may still be reordering."""
        forward, back = self.chance.uniform(0.1, 3.5), self.chance.uniform(-3.5, -1.4)
        self.clock += self.chance.choice((forward, back, self.chance.uniform(-1e5, 1e5)))
        self.quiet_until = self.pictures / FPS + 1.0  # the tracks follow one after the other


class House:
    """The stream, its camera, its viewers, and the dice."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.scheduler = VirtualScheduler()
        self.events: list[object] = []
        self.router = Router(self.events.append)
        self.router.defer = self.scheduler.call_soon
        options = StreamOptions(
            gop=GopLimits(seconds=LOG_SECONDS),
            feed=FeedOptions(lag_bound=2.0, stall_timeout=6.0, log_seconds=LOG_SECONDS),
            grace=GRACE,
        )
        self.router.declare("cam", options, start_timeout=8.0)
        self.source = Source(self.chance)
        self.viewers: dict[str, Viewer] = {}
        self.stalled: dict[str, float] = {}
        self.away_until = 0.0
        self.skips = 0
        self.left = 0
        self.recorder = Recorder(self)
        self._numbers = count()

    @property
    def now(self) -> float:
        return self.scheduler.now()

    @property
    def stream(self) -> Stream:
        stream = self.router.find("cam")
        assert stream is not None
        return stream

    def output(self, stream: Stream) -> Output:
        output = stream.outputs.get("numbers")
        if not isinstance(output, Output):
            output = stream.outputs["numbers"] = Output(self, stream)
        return output

    def skipped(self, reader: FeedReader, lag: float, chunks: int) -> None:
        self.skips += 1

    # -- what happens ------------------------------------------------------------------------

    def join(self) -> None:
        start = self.chance.choice(("gop", "gop", "key", "live"))
        rate = self.chance.choice((0.0, 0.0, 0.0, 60_000.0, 12_000.0, 5_000.0))
        viewer = Viewer(self, next(self._numbers), start, rate)
        self.viewers[viewer.id] = viewer
        viewer.open()

    def leave(self) -> None:
        if self.viewers:
            self.viewers[self.chance.choice(list(self.viewers))].leave("peer-closed")

    def stall(self) -> None:
        if self.viewers:
            viewer = self.viewers[self.chance.choice(list(self.viewers))]
            if not isinstance(viewer.sink, LineSink):
                viewer.sink.stalled = True
                viewer.sink.held += 80_000
                self.stalled[viewer.id] = self.now + self.chance.choice((0.5, 2.0, 5.0, 60.0))

    def lose(self) -> None:
        if self.source.publisher is not None:
            publisher, self.source.publisher = self.source.publisher, None
            self.away_until = self.now + self.chance.choice((0.1, 1.0, 4.0, 15.0))
            publisher.finish("peer-closed", self.now)

    def return_(self) -> None:
        source = self.source
        if self.chance.random() < 0.3:
            source.is_other = not source.is_other
        sets = SPS_OTHER if source.is_other else SPS
        tracks = (
            TrackDescription(Kind.VIDEO, H264, 90_000, H264Parameters.build((sets,), (PPS,))),
            TrackDescription(Kind.AUDIO, AAC, AUDIO_HZ, AacParameters.build(ASC)),
        )
        publisher = self.router.publish("cam", tracks, now=self.now, origin="test")
        source.begin(publisher, self.now)

    def network_stall(self) -> None:
        self.source.stalled_until = self.now + self.chance.choice((0.5, 2.0, 4.0, 8.0))

    def change(self) -> None:
        self.source.is_change_due = True

    def dice(self) -> Iterator[None]:
        """Each thing about so often an hour."""
        happenings = (
            (240, self.join), (220, self.leave), (120, self.stall), (25, self.lose),
            (40, self.source.jump), (40, self.network_stall), (40, self.change),
        )  # fmt: skip
        for often, happen in happenings:
            if self.chance.random() < often * TURN / HOUR:
                happen()
                yield

    # -- time --------------------------------------------------------------------------------

    def turn(self) -> None:
        if self.source.publisher is None and self.now >= self.away_until:
            self.return_()
        for _ in self.dice():
            pass
        self.source.run(self.now)
        for name, until in list(self.stalled.items()):
            if self.now >= until:
                del self.stalled[name]
                if name in self.viewers:
                    sink = self.viewers[name].sink
                    sink.stalled, sink.held = False, 0
        self.scheduler.run(TURN)
        self.stream.outputs.setdefault("recorder", self.recorder)

    def second(self) -> None:
        self.router.tick(self.now, 1_700_000_000.0)
        gone = [name for name, viewer in self.viewers.items() if viewer.reason]
        for name in gone:
            del self.viewers[name]
            self.stalled.pop(name, None)
        self.left += len(gone)
        assert self.stream.size_bytes < MAX_BYTES
        assert self.router.leases("cam") == len(self.viewers)
        assert len(self.stream.readers) <= len(self.viewers)


TURN = 0.125


@pytest.mark.parametrize("seed", [*SEEDS, *MORE])
def test_an_hour_of_everything(seed: int) -> None:
    house = House(seed)
    while house.now < 100.0 + HOUR:
        house.turn()
        if house.now % 1.0 < TURN:
            house.second()
    # Calm: whoever is still there and takes what it is given has everything that there is.
    house.chance = random.Random(seed)
    house.source.stalled_until = house.away_until = 0.0
    if house.source.publisher is None:
        house.return_()
    for viewer in house.viewers.values():
        viewer.sink.stalled, viewer.sink.held = False, 0
    while house.now < 100.0 + HOUR + 20.0:
        house.source.run(house.now)
        house.scheduler.run(TURN)
    house.second()
    assert house.stream.state is State.READY
    output = house.stream.outputs.get("numbers")
    if isinstance(output, Output):
        newest = max(viewer.got.chunks[-1][0] for viewer in house.viewers.values())
        for viewer in house.viewers.values():
            if not isinstance(viewer.sink, LineSink):
                assert viewer.got.chunks[-1][0] >= newest - 4, viewer.id
            viewer.check()
    assert house.recorder.frames > 0.7 * HOUR * (FPS + AUDIO_HZ / AUDIO_STEP)
    assert house.left > 100
    assert house.skips > 10
    assert any(isinstance(event, TimelineBroken) for event in house.events)
    faults = [event for event in house.events if isinstance(event, OutputFailed | ReaderFailed)]
    assert faults == []
