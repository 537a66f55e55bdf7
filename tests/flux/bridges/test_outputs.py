"""HTTP-FLV and HLS as a player sees them: one router, the media listener, a clip published."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

from flux.bridges.hls.bridge import HlsBridge
from flux.bridges.hls.options import HlsBridgeOptions
from flux.bridges.http.feeds import FeedBridgeOptions
from flux.bridges.http.server import HttpLimits, HttpServer
from flux.bridges.httpflv import http_flv
from flux.bridges.httpts import http_ts
from flux.core.admission import AccessRequest, Admission, Answer, Verdict
from media.codecs.g711 import G711Parameters
from media.events import ReaderClosed, ReaderJoined, StreamStateChanged, TrackDropped
from media.frame import Frame
from media.hls.options import HlsOptions
from media.publisher import Publisher
from media.router import Router
from media.stream import Stream, StreamOptions
from media.track import PCMA, Kind, Track, TrackDescription
from tests.support import clips, flv_check, frames, hls_check, ts_check
from tests.support.scripted_source import ScriptedSource

BUNNY = clips.read(clips.BUNNY)
TWICE = clips.looped(BUNNY, 2, 10_000)
VIDEO_TAG = 9


class Response:
    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = dict(line.split(": ", 1) for line in lines)
        self.text = self.body.decode("utf-8", "replace")


class Rig:
    def __init__(self, *, on_demand: bool, always: bool, part_duration: float = 0.0) -> None:
        self.events: list[object] = []
        self.now = 1000.0
        self.router = Router(self.events.append)
        self.router.declare("live/cam", StreamOptions(), on_demand=on_demand, close_after=5.0)
        self.source = ScriptedSource()
        self.router.set_source("live/cam", self.source)
        tokens = count(1)
        segmenter = HlsOptions(segment_duration=1.0, ready_wait=0.0, part_duration=part_duration)
        self.admission = Admission(self.events.append)
        self.hls_options = HlsBridgeOptions(segmenter=segmenter, always=always)
        self.hls = HlsBridge(
            self.router,
            self.admission,
            self.events.append,
            self.hls_options,
            lambda: f"token{next(tokens)}",
            lambda: self.now,
        )
        flv = http_flv(self.router, self.admission, self.events.append, FeedBridgeOptions())
        ts = http_ts(self.router, self.admission, self.events.append, FeedBridgeOptions())
        self.server = HttpServer([flv, self.hls, ts], HttpLimits(), lambda: self.now)
        self.port = 0
        self.publisher: Publisher | None = None

    @property
    def stream(self) -> Stream:
        stream = self.router.find("live/cam")
        assert stream is not None
        return stream

    def begin(self, *more: TrackDescription) -> Publisher:
        descriptions = [
            TrackDescription(t.kind, t.codec, t.clock_rate, t.parameters)
            for t in clips.tracks_of(BUNNY)
        ]
        self.publisher = self.router.publish(
            "live/cam", [*descriptions, *more], now=self.now, origin="config"
        )
        return self.publisher

    async def send(self, frames: list[Frame], *, step: bool = True) -> None:
        """Publish frames as fast as the loop goes; arrival times are those of the media."""
        assert self.publisher is not None
        start = self.now - frames[0].arrived
        for frame in frames:
            track = self.publisher.tracks[frame.track.id]
            self.now = max(self.now, start + frame.arrived) if step else self.now
            self.publisher.write(track, frame.pts, frame.payload, start + frame.arrived)
            if frame.key and frame.track.kind is Kind.VIDEO:
                await asyncio.sleep(0)

    def tick(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.router.tick(self.now, 1_700_000_000.0)
        self.hls.tick(self.now)

    async def open(
        self, target: str, method: str = "GET"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"{method} {target} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        return reader, writer

    async def get(self, target: str, method: str = "GET") -> Response:
        reader, writer = await self.open(target, method)
        raw = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return Response(raw)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.001)

    async def until_leased(self, leases: int) -> None:
        await self.until(lambda: self.router.leases("live/cam") == leases)


@asynccontextmanager
async def running(
    *, on_demand: bool = False, always: bool = False, part_duration: float = 0.0
) -> AsyncIterator[Rig]:
    rig = Rig(on_demand=on_demand, always=always, part_duration=part_duration)
    _, rig.port = await rig.server.start("127.0.0.1", 0)
    rig.router.start(rig.now)
    try:
        yield rig
    finally:
        rig.hls.close()
        rig.router.close(rig.now)
        await rig.server.stop(timeout=0.2)


def video(frames: list[Frame]) -> list[tuple[bytes, ...]]:
    return [frame.payload for frame in frames if frame.track.kind is Kind.VIDEO]


async def test_flv_readers_get_every_frame_and_a_proper_end() -> None:
    async with running() as rig:
        rig.begin()
        reader, writer = await rig.open("/live/cam.flv")
        await rig.until_leased(1)
        await rig.send(BUNNY)
        rig.stream.end_outputs("test-over")
        response = Response(await asyncio.wait_for(reader.read(), 10))
        writer.close()
    assert response.status == 200
    assert response.headers["Content-Type"] == "video/x-flv"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    report = flv_check.check(response.body)
    assert report.problems == []
    assert [tag.payload for tag in report.frames(VIDEO_TAG)] == video(BUNNY)
    joined = [event for event in rig.events if isinstance(event, ReaderJoined)]
    closed = [event for event in rig.events if isinstance(event, ReaderClosed)]
    assert [event.protocol for event in joined] == ["http-flv"]
    assert [event.reason for event in closed] == ["test-over"]
    assert rig.stream.readers == {}


async def test_ts_readers_get_every_frame_tables_first() -> None:
    async with running() as rig:
        rig.begin()
        reader, writer = await rig.open("/live/cam.ts")
        await rig.until_leased(1)
        await rig.send(BUNNY)
        rig.stream.end_outputs("test-over")
        response = Response(await asyncio.wait_for(reader.read(), 10))
        writer.close()
    assert response.status == 200
    assert response.headers["Content-Type"] == "video/mp2t"
    report = ts_check.check(response.body, tables_within=0)
    assert report.problems == []
    got = frames.read(response.body, "mpegts")
    assert frames.compare(frames.read(clips.BUNNY), got, frames.HLS) == []
    closed = [event for event in rig.events if isinstance(event, ReaderClosed)]
    assert [(event.protocol, event.reason) for event in closed] == [("http-ts", "test-over")]


async def test_a_late_ts_reader_starts_at_a_key_frame() -> None:
    async with running() as rig:
        rig.begin()
        await rig.send(BUNNY)
        reader, writer = await rig.open("/live/cam.ts")
        await rig.until_leased(1)
        rig.stream.end_outputs("test-over")
        body = Response(await reader.read()).body
        writer.close()
    assert ts_check.check(body, tables_within=0).problems == []
    keys = [n for n, f in enumerate(BUNNY) if f.key and f.track.kind is Kind.VIDEO]
    units = frames.read(body, "mpegts")["video"].units
    assert len(units) == len(video(BUNNY[keys[-1] :]))


async def test_names_that_look_like_segments_are_names() -> None:
    """A stream of that name plays; below a stream it is a segment that is not there."""
    async with running() as rig:
        rig.begin()
        rig.router.declare("cam-7", StreamOptions())
        response = await rig.get("/nobody/cam-7.ts")
        assert (response.status, response.text.strip()) == (404, "404 Not Found: stream-not-found")
        response = await rig.get("/live/cam/run-7.ts")
        assert (response.status, response.text.strip()) == (404, "404 Not Found: segment-not-found")
        assert (await rig.get("/cam-7.ts", "HEAD")).status == 200


async def test_a_late_flv_reader_starts_at_the_last_key_frame() -> None:
    async with running() as rig:
        rig.begin()
        await rig.send(BUNNY)
        reader, writer = await rig.open("/live/cam.flv")
        await rig.until_leased(1)
        rig.stream.end_outputs("test-over")
        report = flv_check.check(Response(await reader.read()).body)
        writer.close()
    assert report.problems == []
    keys = [n for n, f in enumerate(BUNNY) if f.key and f.track.kind is Kind.VIDEO]
    expected = video(BUNNY[keys[-1] :])
    assert [tag.payload for tag in report.frames(VIDEO_TAG)] == expected


async def test_flv_head_options_unknown_names_and_starts() -> None:
    async with running() as rig:
        head = await rig.get("/live/cam.flv", "HEAD")
        assert (head.status, head.headers["Content-Type"]) == (200, "video/x-flv")
        assert (await rig.get("/live/cam.flv", "OPTIONS")).status == 204
        for target, status, reason in (
            ("/nobody.flv", 404, "stream-not-found"),
            ("/live/cam.flv?start=middle", 400, "unknown-start"),
            ("/.flv", 404, "not-found"),
        ):
            response = await rig.get(target)
            assert response.status == status
            assert reason in response.text


async def test_an_on_demand_source_is_started_held_for_and_stopped() -> None:
    async with running(on_demand=True) as rig:
        reader, writer = await rig.open("/live/cam.flv")
        await rig.until_leased(1)
        assert rig.source.calls == ["start"]
        rig.begin()
        await rig.send(BUNNY[:100])
        assert (await reader.readuntil(b"FLV")).startswith(b"HTTP/1.1 200")
        writer.close()
        await rig.until_leased(0)
        rig.tick(6.0)
        assert rig.source.calls == ["start", "no-readers"]
        assert rig.stream.outputs == {}


async def test_a_source_that_does_not_come_is_named_to_the_reader() -> None:
    async with running(on_demand=True) as rig:
        flv = asyncio.create_task(rig.get("/live/cam.flv"))
        hls = asyncio.create_task(rig.get("/live/cam/index.m3u8"))
        await rig.until_leased(2)
        rig.router.source_state("live/cam", "waiting", "rtsp-unauthorized", rig.now)
        rig.tick(11.0)
        for response in (await flv, await hls):
            assert response.status == 503
            assert "rtsp-unauthorized" in response.text
            assert "Retry-After" in response.headers
        assert rig.router.leases("live/cam") == 0


async def test_a_peer_that_leaves_while_it_waits_leaves_nothing() -> None:
    async with running(on_demand=True) as rig:
        for target in ("/live/cam.flv", "/live/cam/index.m3u8"):
            _, writer = await rig.open(target)
            await rig.until_leased(1)
            writer.close()
            await writer.wait_closed()
            if target.endswith("m3u8"):  # a session outlives its connections
                await asyncio.sleep(0)
                rig.tick(31.0)
            await rig.until_leased(0)


async def test_hls_from_the_first_playlist_to_the_end_of_the_session() -> None:
    async with running() as rig:
        rig.begin()
        held = asyncio.create_task(rig.get("/live/cam/index.m3u8"))
        await rig.until_leased(1)
        await rig.send(BUNNY)
        master = await held
        assert master.status == 200
        assert hls_check.check_multivariant(master.text) == []
        assert master.headers["Content-Type"] == "application/vnd.apple.mpegurl"
        assert "media.m3u8?s=token1" in master.text
        playlist = await rig.get("/live/cam/media.m3u8?s=token1")
        assert hls_check.check_media([playlist.text]) == []
        entries = hls_check.parse(playlist.text).entries
        segment = await rig.get(f"/live/cam/{entries[0].uri}")
        assert segment.headers["Content-Type"] == "video/mp2t"
        assert "immutable" in segment.headers["Cache-Control"]
        assert segment.body[0] == 0x47
        assert len(rig.stream.readers) == 1
        session = next(iter(rig.stream.readers.values()))
        assert session.sent_bytes > len(segment.body)
        assert (await rig.get("/live/cam/unknown-1.ts")).status == 404
        rig.tick(31.0)
        assert rig.stream.readers == {}
        assert "hls" not in rig.stream.outputs
        reasons = [event.reason for event in rig.events if isinstance(event, ReaderClosed)]
        assert reasons == ["session-idle"]


async def test_hls_says_that_the_stream_is_over_and_goes_on_under_the_same_url() -> None:
    async with running() as rig:
        publisher = rig.begin()
        held = asyncio.create_task(rig.get("/live/cam/media.m3u8"))
        await rig.until_leased(1)
        await rig.send(BUNNY)
        first = hls_check.parse((await held).text)
        publisher.close("peer-closed", rig.now)
        rig.tick(11.0)
        ended = await rig.get("/live/cam/media.m3u8?s=token1")
        assert "#EXT-X-ENDLIST" in ended.text
        rig.begin()
        await rig.send(BUNNY)
        again = asyncio.create_task(rig.get("/live/cam/media.m3u8?s=token1"))
        await rig.until(lambda: "hls" in rig.stream.outputs)
        await rig.send(TWICE[len(BUNNY) :])
        second = await again
    assert "#EXT-X-ENDLIST" not in second.text
    assert hls_check.parse(second.text).sequence > first.sequence


async def test_a_new_viewer_of_a_stream_that_has_gone_is_held_not_shown_the_end() -> None:
    async with running() as rig:
        publisher = rig.begin()
        held = asyncio.create_task(rig.get("/live/cam/media.m3u8"))
        await rig.until_leased(1)
        await rig.send(BUNNY)
        await held
        publisher.close("peer-closed", rig.now)
        rig.tick(11.0)
        late = asyncio.create_task(rig.get("/live/cam/index.m3u8"))
        await rig.until_leased(2)
        rig.router.source_state("live/cam", "waiting", "connection-refused", rig.now)
        rig.tick(16.0)
        response = await late
        assert response.status == 503
        assert "connection-refused" in response.text


async def test_gates_decide_before_anything_is_started_and_may_take_their_time() -> None:
    async with running(on_demand=True) as rig:
        waiting: list[tuple[AccessRequest, Answer]] = []
        rig.admission.add(lambda wish, answer: waiting.append((wish, answer)))
        for target in ("/live/cam.flv?token=x", "/live/cam/index.m3u8"):
            answer = asyncio.create_task(rig.get(target))
            await rig.until(lambda: len(waiting) == 1)
            wish, decide = waiting.pop()
            assert (wish.action, wish.stream, wish.address) == ("read", "live/cam", "127.0.0.1")
            assert rig.source.calls == []
            decide(Verdict(False, "not-for-you", 403))
            response = await answer
            assert (response.status, "not-for-you" in response.text) == (403, True)
        _, writer = await rig.open("/live/cam.flv")
        await rig.until(lambda: len(waiting) == 1)
        writer.close()
        await writer.wait_closed()
        await rig.until(lambda: rig.server.connections == 0)
        waiting.pop()[1](Verdict(True))
        assert (rig.source.calls, rig.router.leases("live/cam")) == ([], 0)


async def test_hls_head_asks_for_nothing_and_tokens_stay_secret() -> None:
    async with running(on_demand=True) as rig:
        head = await rig.get("/live/cam/index.m3u8", "HEAD")
        assert (head.status, head.body) == (200, b"")
        assert rig.source.calls == []
        held = asyncio.create_task(rig.get("/live/cam/index.m3u8"))
        await rig.until_leased(1)
        assert all("token" not in name for name in rig.stream.readers)
        rig.tick(30.0)
        await held


async def test_hls_always_makes_segments_unasked() -> None:
    async with running(always=True) as rig:
        rig.begin()
        await rig.send(BUNNY[:50])
        for event in list(rig.events):
            if isinstance(event, StreamStateChanged):
                rig.hls.state_changed(event)
        assert "hls" in rig.stream.outputs


async def test_a_codec_that_an_output_cannot_carry_is_named_and_the_rest_plays() -> None:
    async with running() as rig:
        telephone = Track(2, Kind.AUDIO, PCMA, 8000, G711Parameters(sample_rate=8000, channels=1))
        picture = clips.only(BUNNY, Kind.VIDEO)
        track = clips.tracks_of(BUNNY)[0]
        rig.publisher = rig.router.publish(
            "live/cam",
            [
                TrackDescription(track.kind, track.codec, track.clock_rate, track.parameters),
                TrackDescription(Kind.AUDIO, PCMA, 8000, telephone.parameters),
            ],
            now=rig.now,
            origin="config",
        )
        rig.publisher.write(rig.publisher.tracks[1], 0, (bytes(160),), rig.now)
        held = asyncio.create_task(rig.get("/live/cam/index.m3u8"))
        await rig.until_leased(1)
        await rig.send(picture)
        master = await held
    assert 'CODECS="avc1.42c01e"' in master.text
    dropped = [event for event in rig.events if isinstance(event, TrackDropped)]
    assert [str(event) for event in dropped] == ["audio dropped: pcma not in hls-ts"]


async def test_a_reader_behind_a_held_playlist_on_one_connection_is_forgotten_when_it_leaves() -> (
    None
):
    """Against HTTP's intent, but it must not leave a reader whose transport is gone."""
    for first in ("/live/cam/index.m3u8", "/other.flv"):
        async with running() as rig:
            rig.router.declare("other", StreamOptions(), start_timeout=5.0)
            rig.begin()
            await rig.send(BUNNY[:20])
            _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            requests = [f"GET {target} HTTP/1.1\r\n\r\n" for target in (first, "/live/cam.flv")]
            writer.write("".join(requests).encode())
            waiting = "other" if first.startswith("/other") else "live/cam"
            await rig.until(lambda name=waiting: rig.router.leases(name) == 1)  # type: ignore[misc]
            if first.startswith("/other"):
                rig.tick(6.0)  # it is refused, and the next one begins
            else:
                await rig.send(BUNNY[20:])
            await rig.until(lambda rig=rig: "flv" in rig.stream.outputs)  # type: ignore[misc]
            writer.transport.abort()
            await rig.until(lambda rig=rig: "flv" not in rig.stream.outputs)  # type: ignore[misc]
            assert not [each for each in rig.stream.readers.values() if each.protocol != "hls"]


async def test_a_kicked_hls_viewer_gets_no_more_playlists() -> None:
    async with running() as rig:
        rig.begin()
        held = asyncio.create_task(rig.get("/live/cam/index.m3u8"))
        await rig.until_leased(1)
        await rig.send(BUNNY)
        await held
        assert rig.router.kick(next(iter(rig.stream.readers)), rig.now)
        assert (await rig.get("/live/cam/media.m3u8?s=token1")).status == 403
        assert rig.router.leases("live/cam") == 0
        assert "hls" not in rig.stream.outputs


async def test_a_data_track_that_speaks_late_disturbs_no_viewer() -> None:
    async with running() as rig:
        publisher = rig.begin(TrackDescription(Kind.DATA, "rtp/vnd.onvif.metadata", 90_000))
        await rig.send(BUNNY[:20])
        reader, writer = await rig.open("/live/cam.flv")
        held = asyncio.create_task(rig.get("/live/cam/media.m3u8"))
        await rig.until_leased(2)
        await rig.send(BUNNY[20:300])
        publisher.write(publisher.tracks[2], 0, (b"<motion/>",), rig.now)
        await rig.send(BUNNY[300:])
        rig.stream.end_outputs("test-over")
        report = flv_check.check(Response(await reader.read()).body)
        writer.close()
        assert "EXT-X-DISCONTINUITY" not in (await held).text
    assert [tag.payload for tag in report.frames(VIDEO_TAG)] == video(BUNNY)


async def test_many_held_playlists_are_all_answered_and_nothing_of_a_deleted_stream_is_kept() -> (
    None
):
    async with running() as rig:
        rig.begin()
        held = [asyncio.create_task(rig.get("/live/cam/index.m3u8")) for _ in range(300)]
        await rig.until_leased(300)
        await rig.send(BUNNY)
        answers = await asyncio.gather(*held)
        assert {answer.status for answer in answers} == {200}
        assert len({answer.text for answer in answers}) == 300  # a token each
        rig.router.remove("live/cam", "stream-deleted", rig.now)
        rig.tick(31.0)
        assert rig.router.find("live/cam") is None


async def test_players_that_come_back_when_the_server_stops_start_nothing() -> None:
    async with running(on_demand=True) as rig:
        waiting = asyncio.create_task(rig.get("/live/cam.flv"))
        await rig.until_leased(1)
        rig.router.close(rig.now)
        assert (await waiting).status == 503
        calls = list(rig.source.calls)
        for target in ("/live/cam.flv", "/live/cam/index.m3u8"):
            assert (await rig.get(target)).status == 503
        assert rig.source.calls == calls
