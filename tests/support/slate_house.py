"""A router with one stream in virtual time: sources that come and go, a slate, what readers get."""

from dataclasses import dataclass, field

from media.codecs.aac import AacParameters
from media.codecs.h264 import H264Parameters
from media.frame import Frame
from media.lease import Lease
from media.onair import OnAir, OnAirOptions
from media.output import LEISURE
from media.publisher import Publisher
from media.router import Router
from media.slate import SlateLoop, SlateTrack, shape_of
from media.source import Source
from media.stream import State, Stream, StreamOptions
from media.track import AAC, H264, Kind, Track, TrackDescription
from tests.support.h264_sets import PPS, SPS, SPS_OTHER

IDR = b"\x65\x88\x84\x00"
SLICE = b"\x41\x9a\x00\x00"
SLATE_IDR = b"\x65\x88\x84\x0f"
SLATE_SLICE = b"\x41\x9a\x00\x0f"
SLATE_SOUND = b"silence"
ASC = bytes.fromhex("1190")  # AAC-LC 48 kHz stereo
FPS = 25
PICTURE = 0.04
PACKET = 1024 / 48_000
TICK = 0.25  # of the server
PACE = 0.02  # of slates

VIDEO = TrackDescription(Kind.VIDEO, H264, 90_000, H264Parameters.build((SPS,), (PPS,)))
LARGER = TrackDescription(Kind.VIDEO, H264, 90_000, H264Parameters.build((SPS_OTHER,), (PPS,)))
AUDIO = TrackDescription(Kind.AUDIO, AAC, 48_000, AacParameters.build(ASC))
BOTH = (VIDEO, AUDIO)


def loop(*descriptions: TrackDescription) -> SlateLoop:
    """Two seconds with a key frame each."""
    tracks = []
    for place, each in enumerate(descriptions):
        if each.kind is Kind.VIDEO:
            units = tuple(
                (SLATE_IDR if number % FPS == 0 else SLATE_SLICE,) for number in range(2 * FPS)
            )
            # Its own parameter sets: a decoder has to be told.
            own = TrackDescription(each.kind, each.codec, each.clock_rate, LARGER.parameters)
            tracks.append(SlateTrack(place, own, units, (0, FPS), 1, FPS))
        else:
            own = TrackDescription(each.kind, each.codec, each.clock_rate)
            silence = tuple((SLATE_SOUND,) for _ in range(8))
            tracks.append(SlateTrack(place, own, silence, tuple(range(8)), 1024, 48_000))
    return SlateLoop(shape_of(descriptions), tuple(tracks), 2.0)


class Log:
    """An output that keeps every frame and when it came."""

    name = "log"
    size_bytes = 0
    leisure = LEISURE

    def __init__(self, house: "House") -> None:
        self._house = house
        self.frames: list[Frame] = []
        self.times: list[float] = []
        self.changes: list[tuple[Track, ...]] = []
        self.closed = ""

    def frame(self, frame: Frame) -> None:
        self.frames.append(frame)
        self.times.append(self._house.now)

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        self.changes.append(tracks)

    def close(self, reason: str) -> None:
        self.closed = reason

    def of(self, kind: Kind) -> list[Frame]:
        """The frames of a kind."""
        return [frame for frame in self.frames if frame.track.kind is kind]

    def check(self) -> None:
        """DTS grow, sound and picture stay together, nothing is there twice."""
        for kind in Kind:
            times = [frame.dts / frame.track.clock_rate for frame in self.of(kind)]
            assert times == sorted(set(times)), kind


class Viewer:
    """A reader as the stream counts it."""

    id = "viewer-1"
    protocol = "log"
    address = "127.0.0.1"
    user_agent = ""
    since = 0.0
    sent_bytes = 0
    dropped = 0

    def lag(self) -> float:
        return 0.0

    def end(self, reason: str) -> None:
        del reason


@dataclass
class Camera:
    """A publisher with a clock of its own: a key frame each second, sound along."""

    house: "House"
    publisher: Publisher
    first_key: int = 0  # number of the picture
    key_every: int = FPS
    started: float = 0.0
    pictures: int = 0
    packets: int = 0
    base: int = 0  # of its timestamps
    tag: bytes = b""
    is_stalled: bool = False
    late: float = 0.0  # seconds by which pictures come after the sound of the same instant

    def run(self, now: float) -> None:
        """Write what is due."""
        while not self.publisher.closed:
            tracks = self.publisher.tracks
            video = next((t for t in tracks if t.kind is Kind.VIDEO), None)
            audio = next((t for t in tracks if t.kind is Kind.AUDIO), None)
            if self.late and not self.packets + self.pictures:
                self.publisher.anchor(dict.fromkeys(tracks, self.base))
            picture_at = self.pictures * PICTURE + self.late if video is not None else 1e9
            packet_at = self.packets * PACKET if audio is not None else 1e9
            at = min(picture_at, packet_at)
            if at > now - self.started:
                return
            if video is not None and picture_at <= packet_at:
                is_key = (self.pictures - self.first_key) % self.key_every == 0
                payload = ((IDR if is_key else SLICE) + self.tag,)
                stamp = (self.base + self.pictures * 3600, video)
                self.pictures += 1
            else:
                assert audio is not None
                payload = (b"sound" + self.tag,)
                stamp = (self.base + self.packets * 1024, audio)
                self.packets += 1
            if not self.is_stalled:
                self.publisher.write(stamp[1], stamp[0], payload, self.started + at)


@dataclass
class House:
    """The server's part: its ticks, the slate's timer, one stream named `cam`."""

    options: OnAirOptions = field(default_factory=OnAirOptions)
    on_demand: bool = False
    grace: float = 10.0

    def __post_init__(self) -> None:
        self.now = 100.0
        self.events: list[object] = []
        self.router = Router(self.events.append, self.options)
        self.router.declare(
            "cam", StreamOptions(grace=self.grace), on_demand=self.on_demand, close_after=5.0
        )
        self.cameras: list[Camera] = []
        self.log = Log(self)
        self.lease: Lease | None = None
        self.is_played = False
        self.router.on_slate = self._play
        self._tick_at = self._play_at = self.now

    def _play(self) -> None:
        self.is_played = True

    @property
    def stream(self) -> Stream:
        """The stream."""
        stream = self.router.find("cam")
        assert stream is not None
        return stream

    @property
    def onair(self) -> OnAir:
        """What decides about the stream."""
        found = self.router.onair("cam")
        assert found is not None
        return found

    def state(self) -> State:
        """Its state."""
        return self.stream.state

    def events_of(self, kind: type) -> list[object]:
        """What happened of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def source(self, source: Source) -> None:
        """Give the stream its source and start it."""
        self.router.set_source("cam", source)
        self.router.start(self.now)

    def publish(
        self,
        *descriptions: TrackDescription,
        seat: int | None = None,
        **settings: float | bytes,
    ) -> Camera:
        """Somebody publishes from now on."""
        publisher = self.router.publish(
            "cam", descriptions or BOTH, now=self.now, origin="test", seat=seat
        )
        camera = Camera(self, publisher, started=self.now, **settings)  # type: ignore[arg-type] # tests give what fits
        self.cameras.append(camera)
        return camera

    def watch(self) -> Log:
        """One reader, from now on; it begins with what is cached."""

        def ready(stream: Stream) -> None:
            for frame in stream.gop.frames():
                self.log.frame(frame)
            stream.outputs["log"] = self.log
            stream.readers[Viewer.id] = Viewer()

        def failed(reason: str, status: int) -> None:
            self.log.closed = f"{reason} {status}"

        self.lease = self.router.open("cam", ready, failed, self.now)
        return self.log

    def leave(self) -> None:
        """The reader goes."""
        assert self.lease is not None
        self.lease.close()
        self.stream.outputs.pop("log", None)
        self.stream.readers.clear()

    def run(self, seconds: float) -> None:
        """Time passes."""
        end = round(self.now + seconds, 6)
        while self.now < end - 1e-9:
            self.now = round(self.now + PACE, 6)
            for camera in self.cameras:
                camera.run(self.now)
            if self.is_played:
                self.is_played = self.router.advance_slates(self.now)
            if self.now >= self._tick_at:
                self._tick_at = self.now + TICK
                self.router.tick(self.now, 1_700_000_000.0)
