"""Groups as players see them: router, media listener, members that come and go."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

import pytest

from flux.base.errors import PeerError
from flux.bridges.hls.bridge import HlsBridge
from flux.bridges.hls.group import Group, GroupSettings
from flux.bridges.hls.options import HlsBridgeOptions
from flux.bridges.http.feeds import FeedBridgeOptions
from flux.bridges.http.server import HttpLimits, HttpServer
from flux.bridges.httpflv import http_flv
from flux.core.admission import AccessRequest, Admission, Answer, Verdict
from media.events import StreamStateChanged
from media.hls.options import HlsOptions
from media.publisher import Publisher
from media.recoding import AudioPolicy
from media.router import Router
from media.stream import State, Stream, StreamOptions
from media.track import TrackDescription
from tests.support.group_stage import Feed
from tests.support.scripted_source import ScriptedSource

MAIN = Feed(size=(1280, 720), frame_bytes=2000, has_audio=True)
SUB = Feed(size=(320, 180), gop=1.0, phase=0.6, has_audio=True)
FEEDS = {"cam/main": MAIN, "cam/sub": SUB}
GRACE = 4.0


class Rig:
    """One router with two cameras' streams and a group of them."""

    def __init__(self, *, on_demand: bool, part_duration: float) -> None:
        self.now = 1000.0
        self.router = Router(self.emit)
        self.sources: dict[str, ScriptedSource] = {}
        for name in FEEDS:
            options = StreamOptions(grace=GRACE)
            self.router.declare(name, options, on_demand=on_demand, close_after=5.0)
            source = self.sources[name] = ScriptedSource()
            self.router.set_source(name, source)
        tokens = count(1)
        self.admission = Admission(self.emit)
        ready = 1 if part_duration else 3
        segmenter = HlsOptions(part_duration=part_duration, ready_segments=ready, ready_wait=60.0)
        self.hls = HlsBridge(
            self.router,
            self.admission,
            self.emit,
            HlsBridgeOptions(segmenter=segmenter, close_after=40.0, hold=60.0),
            lambda: f"token{next(tokens)}",
            lambda: self.now,
        )
        members = tuple(FEEDS)
        self.router.declare(
            "cam",
            StreamOptions(grace=GRACE),
            on_demand=True,
            close_after=5.0,
            start_timeout=60.0,
            members=members,
        )
        group = Group(
            "cam", GroupSettings(members), self.router, lambda: f"p{next(tokens)}", lambda: self.now
        )
        self.router.set_source("cam", group)
        self.hls.add_group(group)
        flv = http_flv(self.router, self.admission, self.emit, FeedBridgeOptions())
        self.server = HttpServer([flv, self.hls], HttpLimits(), lambda: self.now)
        self.port = 0
        self.publishers: dict[str, Publisher] = {}
        self.tick()

    def emit(self, event: object) -> None:
        if isinstance(event, StreamStateChanged):
            self.hls.state_changed(event)

    def stream(self, name: str) -> Stream:
        stream = self.router.find(name)
        assert stream is not None
        return stream

    def publish(self, *names: str) -> None:
        for name in names:
            descriptions = [
                TrackDescription(t.kind, t.codec, t.clock_rate, t.parameters)
                for t in FEEDS[name].tracks
            ]
            self.publishers[name] = self.router.publish(
                name, descriptions, now=self.now, origin="config"
            )

    async def run(self, seconds: float) -> None:
        """All that publish send for so long; arrival times are those of the media."""
        begin = self.now - 1000.0
        events = []
        for name, publisher in self.publishers.items():
            feed = FEEDS[name]
            for frame in feed.frames(begin, begin + seconds):
                track = publisher.tracks[frame.track.id]
                events.append((frame.arrived, name, track, frame.pts, frame.payload))
        for n, (at, name, track, pts, payload) in enumerate(sorted(events, key=lambda e: e[:2])):
            if name in self.publishers:
                self.now = 1000.0 + at
                self.publishers[name].write(track, pts, payload, self.now)
            if n % 20 == 0:
                self.tick()
                await asyncio.sleep(0)
        self.now = 1000.0 + begin + seconds
        self.tick()

    def tick(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.router.tick(self.now, 1_700_000_000.0)
        self.hls.tick(self.now)

    async def get(self, target: str) -> tuple[int, str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        raw = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        head, _, body = raw.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode("latin-1")

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.001)


@asynccontextmanager
async def running(*, on_demand: bool = False, part_duration: float = 0.0) -> AsyncIterator[Rig]:
    rig = Rig(on_demand=on_demand, part_duration=part_duration)
    _, rig.port = await rig.server.start("127.0.0.1", 0)
    rig.router.start(rig.now)
    try:
        yield rig
    finally:
        rig.hls.close()
        rig.router.close(rig.now)
        await rig.server.stop(timeout=0.5)


async def opened(rig: Rig) -> str:
    """A viewer's multivariant playlist, once both members send."""
    rig.publish(*FEEDS)
    await rig.run(2.5)
    asked = asyncio.create_task(rig.get("/cam/index.m3u8"))
    await rig.until(lambda: bool(rig.stream("cam").readers))
    await rig.run(12.0)
    status, text = await asked
    assert status == 200
    return text


def uris(text: str) -> list[str]:
    return re.findall(r"^[^#\s].*$", text, re.M)


async def test_a_viewer_gets_all_members() -> None:
    async with running() as rig:
        text = await opened(rig)
        assert [uri.partition("?")[0] for uri in uris(text)] == ["v1.m3u8", "v2.m3u8"]
        assert "RESOLUTION=1280x720" in text.split("v1.m3u8")[0]
        for uri in uris(text):
            status, media = await rig.get(f"/cam/{uri}")
            assert status == 200
            status, segment = await rig.get(f"/cam/{uris(media)[-1]}")
            assert (status, segment[0]) == (200, "G")
        (reader,) = rig.stream("cam").readers.values()
        assert (reader.protocol, reader.dropped) == ("hls", 0)
        assert reader.sent_bytes > 10_000
        assert rig.stream("cam").state is State.READY


@pytest.mark.parametrize(
    ("word", "made"), [("keep", set()), ("drop", set()), ("opus", {"cam/main", "cam/sub"})]
)
async def test_members_sound_is_what_was_asked_for(word: AudioPolicy, made: set[str]) -> None:
    """What is announced is made: players would wait for a track that never comes."""
    async with running(part_duration=0.25) as rig:
        wanted: set[str] = set()
        rig.router.on_recoding = lambda stream, _: wanted.add(stream.name)
        for name in FEEDS:
            rig.stream(name).use_audio("keep", rig.now, {"hls": word})
        text = await opened(rig)
        assert wanted == made
        assert ("mp4a.40.2" in text) == (word == "keep")


async def test_members_on_demand_start_with_the_group_and_end_with_it() -> None:
    async with running(on_demand=True) as rig:
        asked = asyncio.create_task(rig.get("/cam/index.m3u8"))
        await rig.until(lambda: bool(rig.stream("cam").readers))
        assert [source.calls for source in rig.sources.values()] == [["start"], ["start"]]
        rig.publish(*FEEDS)
        await rig.run(14.0)
        status, _ = await asked
        assert status == 200
        assert "hls-group:cam" in rig.stream("cam/main").outputs
        await rig.run(41.0)
        assert not rig.stream("cam").readers
        assert not rig.stream("cam/main").outputs
        await rig.run(14.0)
        assert rig.sources["cam/main"].calls == ["start", "no-readers"]
        assert rig.stream("cam").state is State.IDLE


async def test_the_group_goes_on_without_a_member_and_with_it_again() -> None:
    async with running() as rig:
        first, second = uris(await opened(rig))
        rig.publishers.pop("cam/sub").close("source-closed", rig.now)
        await rig.run(GRACE + 3.0)
        assert (await rig.get(f"/cam/{first}"))[0] == 200
        assert (await rig.get(f"/cam/{second}"))[0] == 404
        status, text = await rig.get("/cam/index.m3u8")
        assert (status, len(uris(text))) == (200, 1)
        rig.publish("cam/sub")
        await rig.run(8.0)
        status, text = await rig.get("/cam/index.m3u8")
        assert (status, len(uris(text))) == (200, 2)
        assert (await rig.get(f"/cam/{second}"))[0] == 200


async def test_one_member_is_enough_to_begin() -> None:
    async with running() as rig:
        rig.publish("cam/sub")
        asked = asyncio.create_task(rig.get("/cam/index.m3u8"))
        await rig.until(lambda: bool(rig.stream("cam").readers))
        await rig.run(14.0)
        status, text = await asked
        assert (status, [uri.partition("?")[0] for uri in uris(text)]) == (200, ["v2.m3u8"])
        rig.publish("cam/main")
        await rig.run(10.0)
        status, text = await rig.get("/cam/index.m3u8")
        assert (status, len(uris(text))) == (200, 2)


async def test_all_members_return_behind_one_discontinuity() -> None:
    async with running() as rig:
        lists = uris(await opened(rig))
        before = [(await rig.get(f"/cam/{uri}"))[1] for uri in lists]
        for name in tuple(rig.publishers):
            rig.publishers.pop(name).close("source-closed", rig.now)
        rig.tick(1.0)
        assert rig.stream("cam").state is State.READY
        rig.publish(*FEEDS)
        await rig.run(8.0)
        for uri, old in zip(lists, before, strict=True):
            status, text = await rig.get(f"/cam/{uri}")
            assert status == 200
            assert text.count("#EXT-X-DISCONTINUITY\n") == 1
            assert uris(old)[-1] in uris(text)


async def test_without_any_member_the_playlists_end() -> None:
    async with running() as rig:
        first, second = uris(await opened(rig))
        for name in tuple(rig.publishers):
            rig.publishers.pop(name).close("source-closed", rig.now)
        for _ in range(8):
            rig.tick(1.0)
        assert rig.stream("cam").state is not State.READY
        found = [await rig.get(f"/cam/{uri}") for uri in (first, second)]
        assert any(text.endswith("#EXT-X-ENDLIST\n") for _, text in found)


async def test_low_latency_holds_playlists_and_tells_of_the_others() -> None:
    async with running(part_duration=0.2) as rig:
        first, second = uris(await opened(rig))
        _, text = await rig.get(f"/cam/{first}")
        _, other = await rig.get(f"/cam/{second}")
        assert "#EXT-X-PRELOAD-HINT" in text
        assert '#EXT-X-RENDITION-REPORT:URI="v2.m3u8?s=' in text
        assert '#EXT-X-RENDITION-REPORT:URI="v1.m3u8?s=' in other
        number = int(re.search(r"MEDIA-SEQUENCE:(\d+)", text)[1])  # type: ignore[index]  # always
        number += text.count("#EXTINF")
        asked = asyncio.create_task(rig.get(f"/cam/{first}&_HLS_msn={number}&_HLS_part=9"))
        await asyncio.sleep(0.01)
        assert not asked.done()
        await rig.run(3.0)
        assert (await asked)[0] == 200


async def test_nobody_publishes_under_a_groups_name() -> None:
    async with running() as rig:
        assert rig.router.is_taken("cam")
        descriptions = [TrackDescription(t.kind, t.codec, t.clock_rate) for t in MAIN.tracks]
        with pytest.raises(PeerError, match="name-taken"):
            rig.router.publish("cam", descriptions, now=rig.now, origin="rtsp")


async def test_access_is_asked_for_the_groups_name() -> None:
    async with running() as rig:
        asked: list[str] = []

        def gate(request: AccessRequest, answer: Answer) -> None:
            asked.append(request.stream)
            answer(Verdict(request.stream != "cam", "denied"))

        rig.admission.add(gate)
        rig.publish(*FEEDS)
        await rig.run(2.5)
        assert (await rig.get("/cam/index.m3u8"))[0] == 403
        assert (await rig.get("/cam/p1-0.ts"))[0] == 403
        assert set(asked) == {"cam"}


async def test_other_formats_of_a_group_are_refused() -> None:
    async with running() as rig:
        await opened(rig)
        status, _ = await rig.get("/cam.flv")
        assert status == 415
