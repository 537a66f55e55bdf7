"""`/NAME.jpg` as a browser sees it: one router, the media listener, real clips, a real worker."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import pytest

from flux.bridges.http.server import HttpLimits, HttpServer
from flux.bridges.snapshot.bridge import WIDTHS, SnapshotBridge, SnapshotOptions
from flux.bridges.snapshot.darkroom import DarkroomOptions
from flux.core.admission import ALLOWED, AccessRequest, Answer, Verdict
from flux.core.children import ChildEnded, ChildOptions, Children, ChildStarted
from media.codecs.g711 import G711Parameters
from media.events import StreamDeleted
from media.frame import Frame
from media.gop import GopLimits
from media.publisher import Publisher
from media.router import Router
from media.stream import StreamOptions
from media.track import PCMA, Kind, TrackDescription
from tests.support import clips, pictures
from tests.support.scripted_source import ScriptedSource

QUICK = ChildOptions(stop_timeout=0.5, first_delay=0.01, longest_delay=0.02)
WALL = 1_800_000_000.0
PATIENT = DarkroomOptions(run_timeout=20, wait_timeout=20, child=QUICK)


def videos(clip: list[Frame]) -> list[Frame]:
    return clips.only(clip, Kind.VIDEO)


BUNNY = videos(clips.read(clips.BUNNY))
HDR = videos(clips.read(clips.HDR))
KEYS = [index for index, frame in enumerate(BUNNY) if frame.key]


@dataclass
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def parse(cls, raw: bytes) -> "Response":
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        return cls(int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body)


class Rig:
    """A server with one stream, `live/cam`, and a gate that tests can shut."""

    def __init__(self, options: SnapshotOptions, *, on_demand: bool = False) -> None:
        self.events: list[object] = []
        self.now = 1000.0
        self.router = Router(self.events.append)
        self.children = Children(self.events.append)
        self.source = ScriptedSource()
        self.declare(on_demand=on_demand)
        self.verdict: Verdict | None = ALLOWED  # None: not yet answered
        self.asked: list[tuple[AccessRequest, Answer]] = []
        self.bridge = SnapshotBridge(
            self.router, self.children, options, self.gate, lambda: self.now, lambda: WALL
        )
        self.server = HttpServer([self.bridge], HttpLimits(), lambda: self.now)
        self.port = 0
        self.publisher: Publisher | None = None

    def declare(self, *, on_demand: bool) -> None:
        options = StreamOptions(gop=GopLimits(seconds=20))
        self.router.declare("live/cam", options, on_demand=on_demand, close_after=5.0)
        self.router.set_source("live/cam", self.source)

    def gate(self, request: AccessRequest, answer: Answer) -> None:
        self.asked.append((request, answer))
        if self.verdict is not None:
            answer(self.verdict)

    def begin(self, clip: list[Frame], *more: TrackDescription) -> None:
        track = clip[0].track
        mine = TrackDescription(track.kind, track.codec, track.clock_rate, track.parameters)
        self.publisher = self.router.publish("live/cam", [mine, *more], now=self.now, origin="test")

    def send(self, *frames: Frame) -> None:
        assert self.publisher is not None
        for frame in frames:
            track = self.publisher.tracks[0]
            self.publisher.write(track, frame.pts, frame.payload, self.now, frame.dts)

    async def get(self, target: str, *headers: str, method: str = "GET") -> Response:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = [f"{method} {target} HTTP/1.1", "Connection: close", *headers, "", ""]
        writer.write("\r\n".join(lines).encode())
        raw = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        return Response.parse(raw)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.001)

    def count(self, kind: type) -> int:
        return sum(isinstance(event, kind) for event in self.events)


@asynccontextmanager
async def running(
    darkroom: DarkroomOptions = PATIENT, *, on_demand: bool = False, key_timeout: float = 10.0
) -> AsyncIterator[Rig]:
    rig = Rig(SnapshotOptions(darkroom=darkroom, key_timeout=key_timeout), on_demand=on_demand)
    _, rig.port = await rig.server.start("127.0.0.1", 0)
    rig.router.start(rig.now)
    try:
        yield rig
    finally:
        rig.bridge.close()
        await rig.children.stop()
        rig.router.close(rig.now)
        await rig.server.stop(timeout=0.2)


@pytest.mark.parametrize("clip", [BUNNY, HDR], ids=["h264", "h265"])
async def test_the_last_key_frame_is_served(clip: list[Frame]) -> None:
    source = clips.BUNNY if clip is BUNNY else clips.HDR
    keys = [index for index, frame in enumerate(clip) if frame.key]
    async with running() as rig:
        rig.begin(clip)
        rig.send(*clip[: keys[-1] + 5])
        answer = await rig.get("/live/cam.jpg")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["Cache-Control"] == "max-age=1"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert parsedate_to_datetime(answer.headers["Last-Modified"]).timestamp() == WALL
    wanted = pictures.key_pictures(source)[-1]
    assert pictures.psnr(pictures.read_jpeg(answer.body), wanted) > 32


async def test_one_key_frame_is_decoded_once_for_each_width() -> None:
    async with running() as rig:
        rig.begin(BUNNY)
        rig.send(*BUNNY[:3])
        answers = await asyncio.gather(
            *(rig.get("/live/cam.jpg?w=160") for _ in range(20)),
            *(rig.get("/live/cam.jpg") for _ in range(20)),
        )
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 2
        again = await rig.get("/live/cam.jpg")
        assert again.body == answers[-1].body
        assert rig.bridge.darkroom.developed == 2
        small = pictures.read_jpeg(answers[0].body)
        assert small.shape == (120, 160, 3)


async def test_the_tag_spares_the_transfer_and_the_work() -> None:
    async with running() as rig:
        rig.begin(BUNNY)
        rig.send(*BUNNY[:3])
        tag = (await rig.get("/live/cam.jpg")).headers["ETag"]
        for header in (tag, f'"other", W/{tag}', "*"):
            answer = await rig.get("/live/cam.jpg", f"If-None-Match: {header}")
            assert (answer.status, answer.body) == (304, b"")
            assert answer.headers["ETag"] == tag
        other = await rig.get("/live/cam.jpg?w=160", f"If-None-Match: {tag}")
        assert other.status == 200
        rig.send(*BUNNY[3 : KEYS[1] + 1])
        answer = await rig.get("/live/cam.jpg", f"If-None-Match: {tag}")
        assert answer.status == 200
        assert answer.headers["ETag"] != tag
        assert rig.bridge.darkroom.developed == 3


async def test_what_nobody_watched_is_written_before_the_picture_is_looked_for() -> None:
    """Off, there is none: its frames were only counted."""
    async with running() as rig:
        rig.begin(BUNNY)
        rig.send(*BUNNY[1:4])  # ready, and nothing in the cache
        publisher = rig.publisher
        assert publisher is not None
        publisher.is_unseen = True
        publisher.on_wanted = lambda: rig.send(*BUNNY[KEYS[1] : KEYS[1] + 3])
        answer = await rig.get("/live/cam.jpg")
        assert answer.status == 200
        assert not publisher.is_unseen
    wanted = pictures.key_pictures(clips.BUNNY)[1]
    assert pictures.psnr(pictures.read_jpeg(answer.body), wanted) > 32


async def test_head_has_the_length_and_no_body() -> None:
    async with running() as rig:
        rig.begin(BUNNY)
        rig.send(*BUNNY[:1])
        body = (await rig.get("/live/cam.jpg")).body
        answer = await rig.get("/live/cam.jpg", method="HEAD")
        assert (answer.status, answer.body) == (200, b"")
        assert int(answer.headers["Content-Length"]) == len(body)


@pytest.mark.parametrize("width", ["", "0", "-1", "161", "320.0", "1e3", "99999999", "%D9%A3"])
async def test_other_widths_are_refused(width: str) -> None:
    async with running() as rig:
        answer = await rig.get(f"/live/cam.jpg?w={width}")
        refused = width != ""  # an empty value is no value
        assert answer.status == (400 if refused else 503)
        assert (b"snapshot-width" in answer.body) == refused
        assert rig.count(ChildStarted) == 0


async def test_paths_that_are_no_stream() -> None:
    async with running() as rig:
        for path, reason in (
            ("/live/other.jpg", b"stream-not-found"),
            ("/.jpg", b"not-found"),
            ("/live/cam.jpeg", b"not-found"),
            ("/live/cam/../cam.jpg", b"stream-not-found"),
        ):
            answer = await rig.get(path)
            assert (answer.status, reason in answer.body) == (404, True)


async def test_a_gate_is_asked_and_may_answer_later() -> None:
    async with running() as rig:
        rig.begin(BUNNY)
        rig.send(*BUNNY[:1])
        rig.verdict = Verdict(False, "too-many-sessions", 429)
        answer = await rig.get("/live/cam.jpg?w=160", "User-Agent: me")
        assert (answer.status, b"too-many-sessions" in answer.body) == (429, True)
        request = rig.asked[0][0]
        assert (request.action, request.stream, request.protocol) == (
            "read",
            "live/cam",
            "snapshot",
        )
        assert (request.query, request.user_agent) == ("w=160", "me")
        rig.verdict = None
        pending = asyncio.create_task(rig.get("/live/cam.jpg"))
        await rig.until(lambda: len(rig.asked) == 2)
        rig.asked[1][1](ALLOWED)
        assert (await pending).status == 200


async def test_a_peer_that_leaves_while_the_gate_thinks() -> None:
    async with running() as rig:
        rig.verdict = None
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(b"GET /live/cam.jpg?start=1 HTTP/1.1\r\n\r\n")
        await rig.until(lambda: len(rig.asked) == 1)
        writer.close()
        await rig.until(lambda: rig.server.connections == 0)
        rig.asked[0][1](ALLOWED)
        assert rig.router.leases("live/cam") == 0


async def test_without_start_an_idle_source_is_left_alone() -> None:
    async with running(on_demand=True) as rig:
        answer = await rig.get("/live/cam.jpg")
        assert (answer.status, b"stream-not-running" in answer.body) == (503, True)
        assert answer.headers["Retry-After"] == "2"
        assert rig.source.calls == []


async def test_start_waits_for_the_picture_and_lets_go() -> None:
    async with running(on_demand=True) as rig:
        pending = asyncio.create_task(rig.get("/live/cam.jpg?start=1"))
        await rig.until(lambda: rig.source.calls == ["start"])
        rig.begin(BUNNY)
        rig.send(*BUNNY[1:4])  # ready, but no key frame yet
        await asyncio.sleep(0)
        assert not pending.done()
        rig.send(*BUNNY[4 : KEYS[1] + 1])
        answer = await pending
        assert answer.status == 200
        await rig.until(lambda: rig.router.leases("live/cam") == 0)
        wanted = pictures.key_pictures(clips.BUNNY)[1]
        assert pictures.psnr(pictures.read_jpeg(answer.body), wanted) > 32
        rig.now += 60
        rig.router.tick(rig.now, 0.0)
        assert rig.source.calls == ["start", "no-readers"]
        kept = await rig.get("/live/cam.jpg")
        assert (kept.status, kept.body) == (200, answer.body)


async def test_start_of_a_source_that_does_not_come() -> None:
    async with running(on_demand=True) as rig:
        pending = asyncio.create_task(rig.get("/live/cam.jpg?start=1"))
        await rig.until(lambda: rig.source.calls == ["start"])
        rig.router.source_state("live/cam", "waiting", "connection-refused", rig.now)
        rig.now += 60
        rig.router.tick(rig.now, 0.0)
        answer = await pending
        assert (answer.status, b"connection-refused" in answer.body) == (503, True)
        assert rig.router.leases("live/cam") == 0


async def test_a_stream_without_key_frames() -> None:
    async with running(key_timeout=0.0) as rig:
        rig.begin(BUNNY)
        rig.send(*BUNNY[1:4])
        for target in ("/live/cam.jpg", "/live/cam.jpg?start=1"):
            answer = await rig.get(target)
            assert (answer.status, b"no-key-frame" in answer.body) == (503, True)


async def test_a_stream_without_pictures() -> None:
    async with running() as rig:
        sound = TrackDescription(Kind.AUDIO, PCMA, 8000, G711Parameters(sample_rate=8000))
        rig.publisher = rig.router.publish("live/cam", [sound], now=rig.now, origin="test")
        rig.publisher.write(rig.publisher.tracks[0], 0, (b"\xd5" * 160,), rig.now)
        answer = await rig.get("/live/cam.jpg")
        assert (answer.status, b"no-video-track" in answer.body) == (415, True)


async def test_a_key_frame_without_a_picture_is_tried_once() -> None:
    async with running() as rig:
        rig.begin(BUNNY)
        (broken,) = clips.with_frames(
            BUNNY[:1], lambda frame: setattr(frame, "payload", (b"\x65\x88\x80broken",))
        )
        rig.send(broken)
        for _ in range(3):
            answer = await rig.get("/live/cam.jpg")
            assert (answer.status, b"snapshot-damaged" in answer.body) == (503, True)
        assert rig.count(ChildStarted) == 1
        rig.send(*BUNNY[1 : KEYS[1] + 1])
        assert (await rig.get("/live/cam.jpg")).status == 200


async def test_a_worker_that_dies_is_started_again() -> None:
    async with running() as rig:
        rig.begin(BUNNY)
        rig.send(BUNNY[0])
        first = await rig.get("/live/cam.jpg")
        os.kill(rig.bridge.darkroom.pid, signal.SIGKILL)
        await rig.until(lambda: rig.count(ChildEnded) == 1)
        rig.send(*BUNNY[1 : KEYS[1] + 1])
        second = await rig.get("/live/cam.jpg")
        assert (first.status, second.status) == (200, 200)
        assert first.body != second.body
        assert rig.count(ChildStarted) == 2


async def test_a_worker_that_hangs_costs_its_own_picture_alone() -> None:
    async with running(DarkroomOptions(run_timeout=1.5, wait_timeout=20, child=QUICK)) as rig:
        rig.begin(BUNNY)
        rig.send(BUNNY[0])
        kept = await rig.get("/live/cam.jpg?w=160")
        worker = rig.bridge.darkroom.pid
        os.kill(worker, signal.SIGSTOP)
        rig.send(*BUNNY[1 : KEYS[1] + 1])
        hanging, stale = await asyncio.gather(
            rig.get("/live/cam.jpg"), rig.get("/live/cam.jpg?w=160")
        )
        assert (hanging.status, b"snapshot-timeout" in hanging.body) == (503, True)
        assert rig.bridge.darkroom.pid != worker
        assert stale.status == 200  # made by the next worker, or the last one that is kept
        assert kept.status == 200
        rig.send(*BUNNY[KEYS[1] + 1 : KEYS[2] + 1])
        assert (await rig.get("/live/cam.jpg")).status == 200


async def test_more_requests_than_may_wait_are_refused() -> None:
    options = DarkroomOptions(queue=1, run_timeout=20, wait_timeout=20, child=QUICK)
    async with running(options) as rig:
        rig.begin(BUNNY)
        rig.send(BUNNY[0])
        answers = await asyncio.gather(*(rig.get(f"/live/cam.jpg?w={w}") for w in WIDTHS))
        refused = [answer for answer in answers if answer.status == 503]
        assert refused
        assert all(b"snapshot-busy" in answer.body for answer in refused)
        assert len(answers) > len(refused)


async def test_an_idle_worker_is_ended_and_comes_back() -> None:
    options = DarkroomOptions(run_timeout=20, wait_timeout=20, idle_after=0.0, child=QUICK)
    async with running(options) as rig:
        rig.begin(BUNNY)
        rig.send(BUNNY[0])
        assert (await rig.get("/live/cam.jpg")).status == 200
        await rig.until(lambda: rig.count(ChildEnded) == 1)
        assert rig.bridge.darkroom.pid == 0
        assert (await rig.get("/live/cam.jpg?w=160")).status == 200
        assert rig.count(ChildStarted) == 2


async def test_a_deleted_stream_leaves_no_picture_behind() -> None:
    async with running() as rig:
        rig.begin(BUNNY)
        rig.send(BUNNY[0])
        assert (await rig.get("/live/cam.jpg")).status == 200
        assert rig.publisher is not None
        rig.publisher.close("gone", rig.now)
        assert (await rig.get("/live/cam.jpg")).status == 200
        rig.bridge.stream_deleted(StreamDeleted("live/cam", "config"))
        assert (await rig.get("/live/cam.jpg")).status == 503


async def test_the_end_of_the_server_answers_who_waits() -> None:
    async with running(on_demand=True) as rig:
        pending = asyncio.create_task(rig.get("/live/cam.jpg?start=1"))
        await rig.until(lambda: rig.source.calls == ["start"])
        rig.bridge.close()
        answer = await pending
        assert (answer.status, b"server-stopping" in answer.body) == (503, True)
        assert rig.router.leases("live/cam") == 0
        assert (await rig.get("/live/cam.jpg")).status == 503


def test_the_server_itself_has_no_decoder() -> None:
    """Whatever a camera sends is decoded in another process."""
    code = (
        "import sys, flux.bridges.snapshot.bridge\n"
        "sys.exit(','.join({'av', 'numpy', 'flux.workers.snapshot'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
