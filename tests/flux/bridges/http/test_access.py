"""The media listener with access: FLV, HLS, pictures, pages and the list, each for who may."""

import asyncio
import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from config.access import AccessSection
from flux.bridges.hls.bridge import HlsBridge
from flux.bridges.hls.options import HlsBridgeOptions
from flux.bridges.http.feeds import FeedBridgeOptions
from flux.bridges.http.server import HttpLimits, HttpServer, MediaHandler
from flux.bridges.httpflv import http_flv
from flux.bridges.httpts import http_ts
from flux.bridges.player.bridge import PlayerBridge, PlayerOptions
from flux.bridges.snapshot.bridge import SnapshotBridge
from flux.core.admission import AccessRequest, Admission, Answer, Verdict
from flux.core.children import Children
from flux.security.access import Access
from media.events import StreamStateChanged
from media.hls.options import HlsOptions
from media.router import Router
from media.stream import StreamOptions
from media.track import TrackDescription
from tests.support import clips

BUNNY = clips.read(clips.BUNNY)
HTML = {"Accept": "text/html"}
CHALLENGE = 'Basic realm="FLUX", charset="UTF-8"'
ANN = {"name": "ann", "password": "right", "permissions": [{"action": "read", "streams": "live/*"}]}
ANYONE = {"name": "any", "permissions": [{"action": "read", "streams": "open"}]}
BEHIND_A_DOOR = (
    *("/live/cam.flv", "/live/cam/index.m3u8", "/live/cam/media.m3u8", "/live/cam/x-1.ts"),
    *("/live/cam.jpg", "/live/cam/", "/live/cam", "/_/stream.json?name=live/cam"),
)


def basic(user: str, password: str) -> dict[str, str]:
    pair = b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


RIGHT, WRONG = basic("ann", "right"), basic("ann", "wrong")


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def reason(self) -> str:
        return self.body.decode().rpartition(": ")[2].strip()


class Rig:
    def __init__(self, *users: object) -> None:
        self.now = 1000.0
        self.events: list[object] = []
        self.asked: list[AccessRequest] = []
        emit = self._emit
        self.router = Router(emit)
        for name in ("live/cam", "open", "hidden"):
            self.router.declare(name, StreamOptions())
        section = AccessSection.model_validate({"users": users, "penalties": {"delay": "1ms"}})
        self.access = Access(section, emit)
        self.admission = Admission(emit)
        self.admission.add(self._listen)
        self.admission.add(self.access)
        hls = HlsOptions(segment_duration=1.0, ready_wait=0.0)
        self.hls = HlsBridge(
            self.router,
            self.admission,
            emit,
            HlsBridgeOptions(segmenter=hls, always=True),
            iter(map("token{}".format, range(1000))).__next__,
            lambda: self.now,
        )
        handlers: list[MediaHandler] = [
            http_flv(self.router, self.admission, emit, FeedBridgeOptions()),
            self.hls,
            http_ts(self.router, self.admission, emit, FeedBridgeOptions()),
            SnapshotBridge(self.router, Children(emit), admit=self.admission.admit),
            PlayerBridge(
                self.router,
                PlayerOptions(),
                lambda: self.now,
                permit=self.admission.permit,
                survey=self.access.survey,
            ),
        ]
        self.server = HttpServer(handlers, HttpLimits(), lambda: self.now)
        self.port = 0

    def _emit(self, event: object) -> None:
        self.events.append(event)
        if isinstance(event, StreamStateChanged):
            self.hls.state_changed(event)

    def _listen(self, request: AccessRequest, answer: Answer) -> None:
        self.asked.append(request)
        answer(Verdict(True))

    def publish(self, name: str) -> None:
        """Two rounds of the clip, with arrival times of the media."""
        tracks = clips.tracks_of(BUNNY)
        publisher = self.router.publish(
            name,
            [TrackDescription(t.kind, t.codec, t.clock_rate, t.parameters) for t in tracks],
            now=self.now,
            origin="config",
        )
        start = self.now
        for frame in clips.looped(BUNNY, 2, 10_000):
            self.now = max(self.now, start + frame.arrived)
            track = publisher.tracks[frame.track.id]
            publisher.write(track, frame.pts, frame.payload, start + frame.arrived)

    async def get(
        self, target: str, *headers: dict[str, str], method: str = "GET", limit: int = -1
    ) -> Reply:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = [f"{method} {target} HTTP/1.1", "Connection: close"]
        lines += [f"{key}: {value}" for each in headers for key, value in each.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        async with asyncio.timeout(10):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            body = await reader.read(limit)
        writer.close()
        fields = dict(line.split(": ", 1) for line in head[1:] if line)
        return Reply(int(head[0].split()[1]), fields, body)

    async def names(self, *headers: dict[str, str]) -> list[str]:
        """What the list shows."""
        reply = await self.get("/_/streams.json", *headers)
        assert reply.status == 200
        return [row["name"] for row in json.loads(reply.body)["streams"]]


@asynccontextmanager
async def running(*users: object) -> AsyncIterator[Rig]:
    rig = Rig(*users)
    _, rig.port = await rig.server.start("127.0.0.1", 0)
    try:
        yield rig
    finally:
        rig.hls.close()
        await rig.server.stop(timeout=0.2)
        await rig.access.stop()


@pytest.mark.parametrize("target", BEHIND_A_DOOR)
async def test_who_says_nothing_is_asked_who_it_is(target: str) -> None:
    async with running(ANN) as rig:
        for method in ("GET", "HEAD"):
            reply = await rig.get(target, HTML, method=method)
            assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, CHALLENGE)
        assert reply.headers["Cache-Control"] == "no-store"
        assert (await rig.get(target)).reason == "credentials-needed"
        assert rig.events == []


@pytest.mark.parametrize("target", BEHIND_A_DOOR)
async def test_wrong_credentials_open_nothing(target: str) -> None:
    async with running(ANN) as rig:
        reply = await rig.get(target, HTML, WRONG)
        assert (reply.status, reply.reason) == (401, "credentials-wrong")
        reply = await rig.get(target.replace("live/cam", "hidden"), HTML, RIGHT)
        assert (reply.status, reply.reason) == (403, "permission-denied")
        assert "WWW-Authenticate" not in reply.headers


@pytest.mark.parametrize("target", BEHIND_A_DOOR)
async def test_names_are_not_told_to_strangers(target: str) -> None:
    """What is there and what is not looks the same; no pattern makes a stream for a stranger."""
    async with running(ANN) as rig:
        made: list[str] = []

        def resolve(name: str) -> bool:
            made.append(name)
            return False

        rig.router.resolve = resolve
        there = await rig.get(target)
        missing = await rig.get(target.replace("cam", "none"))
        assert (there.status, there.body) == (missing.status, missing.body) or (
            target == "/live/cam"  # no URL of players, and a browser sees no difference
        )
        there, missing = (
            await rig.get(target, HTML),
            await rig.get(target.replace("cam", "x"), HTML),
        )
        assert (there.status, there.body) == (missing.status, missing.body)
        assert made == []
        assert (await rig.get(target.replace("cam", "none"), HTML, RIGHT)).status == 404


async def test_right_credentials_open_everything() -> None:
    async with running(ANN) as rig:
        rig.publish("live/cam")
        flv = await rig.get("/live/cam.flv", RIGHT, limit=9)
        assert (flv.status, flv.body[:3]) == (200, b"FLV")
        page = await rig.get("/live/cam/", HTML, RIGHT)
        assert (page.status, b'data-stream="live/cam"' in page.body) == (200, True)
        state = await rig.get("/_/stream.json?name=live/cam", RIGHT)
        assert json.loads(state.body)["state"] == "live"
        assert (await rig.get("/live/cam", RIGHT)).status == 307
        for target in ("/live/cam.flv", "/live/cam/index.m3u8"):
            assert (await rig.get(target, RIGHT, method="HEAD")).status == 200


async def test_a_session_of_hls_is_asked_once() -> None:
    async with running(ANN) as rig:
        rig.publish("live/cam")
        master = await rig.get("/live/cam/index.m3u8", RIGHT)
        (media,) = re.findall(r"^media\S+", master.body.decode(), re.MULTILINE)
        asked = len(rig.asked)
        playlist = await rig.get(f"/live/cam/{media}")  # the token has been given to who may
        segments = re.findall(r"^\S+\.ts\S*", playlist.body.decode(), re.MULTILINE)
        assert segments
        for segment in segments:
            assert (await rig.get(f"/live/cam/{segment}")).status == 200
        assert len(rig.asked) == asked
        bare = segments[0].partition("?")[0]
        assert (await rig.get(f"/live/cam/{bare}")).status == 401
        assert (await rig.get(f"/live/cam/{bare}?s=made-up")).status == 401
        assert (await rig.get(f"/live/cam/{bare}", RIGHT)).status == 200


async def test_a_kicked_viewer_gets_no_segment() -> None:
    async with running() as rig:
        rig.publish("live/cam")
        master = await rig.get("/live/cam/index.m3u8")
        (media,) = re.findall(r"^media\S+", master.body.decode(), re.MULTILINE)
        playlist = await rig.get(f"/live/cam/{media}")
        segment = re.findall(r"^\S+\.ts\S*", playlist.body.decode(), re.MULTILINE)[0]
        stream = rig.router.find("live/cam")
        assert stream is not None
        (session,) = stream.readers.values()
        session.end("kicked")
        reply = await rig.get(f"/live/cam/{segment}")
        assert (reply.status, reply.reason) == (403, "session-ended")


async def test_the_list_names_what_a_viewer_may_read() -> None:
    async with running(ANN, ANYONE) as rig:
        assert await rig.names() == ["open"]
        assert await rig.names(RIGHT) == ["live/cam", "open"]
        reply = await rig.get("/_/streams.json", WRONG)
        assert (reply.status, reply.reason) == (401, "credentials-wrong")
        assert (await rig.get("/", HTML)).status == 200
        assert (await rig.get("/?login=1", HTML)).status == 401
        assert (await rig.get("/?login=1", HTML, RIGHT)).status == 200
    async with running() as rig:
        assert await rig.names() == ["live/cam", "open", "hidden"]
        assert (await rig.get("/?login=1", HTML)).status == 200


async def test_who_sees_nothing_in_the_list_is_asked_who_it_is() -> None:
    async with running(ANN) as rig:
        reply = await rig.get("/", HTML)
        assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, CHALLENGE)
        assert (await rig.get("/", HTML, RIGHT)).status == 200
        assert await rig.names() == []
        assert (await rig.get("/", HTML, basic("nobody", "x"))).reason == "credentials-wrong"


async def test_scripts_are_for_everybody() -> None:
    async with running(ANN) as rig:
        page = (await rig.get("/live/cam/", HTML, RIGHT)).body.decode()
        links = re.findall(r'(?:src|href)="(?:\.\./)+(_/\S+?)"', page)
        assert links
        for link in links:
            assert (await rig.get(f"/{link}")).status == 200


@pytest.mark.parametrize(
    ("query", "headers", "token"),
    [
        ("?token=a%20b", {}, "a b"),
        ("?jwt=x.y", {}, "x.y"),
        ("?token=t&jwt=j", {}, "t"),
        ("?token=t", {"Authorization": "Bearer h"}, "h"),
        ("?x=1", {"Authorization": "bearer  h "}, "h"),
        ("", {"Authorization": "Basic eDp5"}, ""),
        ("", {"Authorization": "Bearer"}, ""),
    ],
)
async def test_tokens_go_along(query: str, headers: dict[str, str], token: str) -> None:
    async with running() as rig:
        for path in ("/none.flv", "/none/index.m3u8", "/none.jpg", "/none/", "/"):
            rig.asked.clear()
            await rig.get(path + query, headers, HTML)
            for request in rig.asked:
                assert (request.token, request.query) == (token, query[1:])
            assert bool(rig.asked) is (path != "/")
