"""A router's place for tests of the pull: one source, and everything that it said and wrote."""

import asyncio
import copy
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from flux.base.errors import PeerError
from flux.bridges.rtsp.pull import Retries, RtspSource
from media.frame import NO_TIME
from media.link import LinkFigures
from media.publisher import Publisher
from media.track import Track, TrackDescription
from protocols.rtsp.options import PullOptions
from tests.support.rtsp_peer import Camera, CameraServer, frame, rtp

INFO = "url=trackID=1;seq=0;rtptime=90000,url=trackID=2;seq=0;rtptime=8000"
ZEROS = "url=trackID=1;seq=0;rtptime=0,url=trackID=2;seq=0;rtptime=0"
SOUND = b"".join(frame(2, rtp(n, 8000 + 160 * n, bytes([n]) * 160)) for n in range(50))


class FakePublisher:
    """Keeps what is written."""

    def __init__(
        self, descriptions: Sequence[TrackDescription], on_change: Callable[[], None]
    ) -> None:
        self._on_change = on_change
        self.tracks = tuple(
            Track(index, d.kind, d.codec, d.clock_rate, d.parameters)
            for index, d in enumerate(descriptions)
        )
        self.units: list[tuple[str, int, tuple[bytes, ...]]] = []
        self.anchors: list[dict[str, int]] = []
        self.reasons: Counter[str] = Counter()
        self.end = ""
        self.on_ended: Callable[[str], None] | None = None
        self.link: Callable[[], LinkFigures] | None = None
        self.since = 0.0
        self.is_unseen = False

    def write(
        self,
        track: Track,
        timestamp: int,
        payload: tuple[bytes, ...],
        arrived: float,
        dts: int = NO_TIME,
    ) -> None:
        assert self.end == ""
        self.units.append((track.codec, timestamp, payload))
        self._on_change()

    def anchor(self, timestamps: Mapping[Track, int]) -> None:
        self.anchors.append({track.codec: value for track, value in timestamps.items()})

    def sender_report(self, track: Track, ntp: int, timestamp: int, now: float) -> None:
        pass

    def dropped(self, reason: str, track: Track | None = None, count: int = 1) -> None:
        self.reasons[reason] += count

    def close(self, reason: str, now: float) -> None:
        assert self.end == ""
        self.end = reason

    finish = close


class House:
    """A router with one source, and what it said."""

    retries = Retries()

    def __init__(self, url: str, options: PullOptions | None = None) -> None:
        self.publishers: list[FakePublisher] = []
        self.states: list[tuple[str, str]] = []
        self.changed = asyncio.Event()
        self.is_taken = False
        chance = random.Random(1)
        self.source = RtspSource("cam", url, self, self.on_state, options, self.retries, chance)

    def publish(
        self, name: str, descriptions: Sequence[TrackDescription], *, now: float, origin: str
    ) -> Publisher:
        assert name == "cam"
        if self.is_taken:
            raise PeerError("name-taken", 409)
        self.publishers.append(FakePublisher(descriptions, self.changed.set))
        return cast(Publisher, self.publishers[-1])

    def on_state(self, state: str, reason: str) -> None:
        self.states.append((state, reason))
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def until_said(self, state: str, reason: str = "", count: int = 1) -> None:
        await self.until(lambda: self.states.count((state, reason)) >= count)

    async def until_units(self, count: int) -> None:
        await self.until(lambda: bool(self.publishers) and len(self.publishers[-1].units) >= count)

    async def stop(self) -> None:
        async with asyncio.timeout(3):
            self.source.stop("not-wanted")
            await self.source.wait_stopped()
        assert self.states[-1] == ("stopped", "not-wanted")
        left = [task.get_name() for task in asyncio.all_tasks() if "rtsp" in task.get_name()]
        assert left == []


def url_of(server: CameraServer, credentials: str = "") -> str:
    return f"rtsp://{credentials}127.0.0.1:{server.port}/live"


def singer(**changes: object) -> Callable[[], Camera]:
    """Cameras that send a second of sound after PLAY."""

    def make() -> Camera:
        camera = Camera(extra={"PLAY": [("RTP-Info", INFO)]}, after_play=lambda _: SOUND)
        for name, value in changes.items():
            setattr(camera, name, copy.deepcopy(value))
        return camera

    return make
