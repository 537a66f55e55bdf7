"""The pages as a browser gets them: paths, escaping, policy, caching, and nothing else."""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.bridges.http.server import HttpLimits, HttpServer
from flux.bridges.player.assets import Assets
from flux.bridges.player.bridge import PlayerBridge, PlayerOptions
from flux.bridges.player.pages import Pages
from flux.bridges.player.standing import Standing, standing_of
from media.router import Router
from media.source import Declared, SourceStatus
from media.stream import State, Stream, StreamOptions
from media.track import TrackDescription
from tests.support import clips

HTML = "Accept: text/html,application/xhtml+xml"
HOSTILE = '"><script>alert(1)</script>'
ASSETS = Assets()
VENDOR = Path(__file__).parents[4] / "flux/bridges/player/static/vendor"


class Answer:
    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        self.headers = dict(line.split(": ", 1) for line in lines)
        self.text = self.body.decode("utf-8", "replace")


class Rig:
    def __init__(self, options: PlayerOptions) -> None:
        self.now = 100.0
        self.router = Router(lambda event: None)
        self.bridge = PlayerBridge(
            self.router, options, lambda: self.now, lambda: 1_700_000_000 + self.now
        )
        self.server = HttpServer([self.bridge], HttpLimits(), lambda: self.now)
        self.port = 0

    async def get(self, target: str, *headers: str, method: str = "GET") -> Answer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = [f"{method} {target} HTTP/1.1", "Connection: close", *headers, "", ""]
        writer.write("\r\n".join(lines).encode())
        raw = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return Answer(raw)


@asynccontextmanager
async def running(*names: str, options: PlayerOptions | None = None) -> AsyncIterator[Rig]:
    rig = Rig(options or PlayerOptions())
    for name in names:
        rig.router.declare(name, StreamOptions())
    _, rig.port = await rig.server.start("127.0.0.1", 0)
    try:
        yield rig
    finally:
        await rig.server.stop(timeout=0.2)


class Found(HTMLParser):
    """The tags of a page, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def links(self) -> list[str]:
        """What the page loads or leads to."""
        found = [attrs.get("src") or attrs.get("href") for _, attrs in self.tags]
        return [link for link in found if link and link != "#"]


# -- pages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["demo", "live/cam", "a/b/c/d", "küche", "cam.1"])
async def test_a_streams_page_loads_what_exists(name: str) -> None:
    async with running(name) as rig:
        path = f"/{quote(name)}/"
        answer = await rig.get(path, HTML)
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        page = Found(answer.text)
        assert dict(page.tags)["html"]["data-stream"] == name
        assert name in page.words
        links = page.links()
        assert any(link.endswith("player.js") for link in links)
        for link in links:
            assert (await rig.get(urljoin(path, link), HTML)).status == 200


async def test_a_name_without_slash_leads_to_the_page() -> None:
    async with running("live/cam", "küche") as rig:
        answer = await rig.get("/live/cam?embed=1&token=a%20b&x=%22%3C")
        assert answer.status == 307
        location = answer.headers["Location"]
        assert urljoin("/live/cam", location) == "/live/cam/?embed=1&token=a%20b&x=%22%3C"
        assert urljoin("/behind/a/proxy/live/cam", location).startswith("/behind/a/proxy/live/cam/")
        unicode = await rig.get("/k%C3%BCche")
        assert unicode.headers["Location"] == "k%C3%BCche/"


@pytest.mark.parametrize(
    "path", ["/other", "/live", "/live/", "//", "/demo//", "//demo/", "/demo/x"]
)
async def test_unknown_names_get_a_page_if_a_browser_asks(path: str) -> None:
    async with running("demo", "live/cam") as rig:
        for_people = await rig.get(path, HTML)
        assert for_people.status == 404
        assert "There is no stream here" in for_people.text
        assert for_people.headers["Content-Security-Policy"]
        for_players = await rig.get(path)
        assert for_players.status == 404
        assert for_players.text == "404 Not Found: not-found\n"


async def test_a_pattern_makes_a_stream_for_a_page_but_not_for_a_player() -> None:
    async with running() as rig:
        asked: list[str] = []

        def resolve(name: str) -> bool:
            asked.append(name)
            if name == "cam/7":
                rig.router.declare(name, StreamOptions(), origin="pattern")
            return name == "cam/7"

        rig.router.resolve = resolve
        assert (await rig.get("/cam/7")).status == 404
        assert asked == []
        assert (await rig.get("/cam/7", HTML)).status == 307
        assert (await rig.get("/cam/7/")).status == 200
        assert (await rig.get("/cam/8/")).status == 404


async def test_hostile_names_and_paths_stay_text() -> None:
    async with running(HOSTILE) as rig:
        answer = await rig.get(f"/{quote(HOSTILE)}/", HTML)
        page = Found(answer.text)
        assert dict(page.tags)["html"]["data-stream"] == HOSTILE
        assert [tag for tag, _ in page.tags].count("script") == 1
        missing = await rig.get(f"/{quote(HOSTILE)}/more", HTML)
        assert "script" not in [tag for tag, _ in Found(missing.text).tags]
        listed = await rig.get("/_/streams.json")
        assert listed.headers["Content-Type"] == "application/json"
        assert json.loads(listed.body)["streams"][0]["name"] == HOSTILE


@given(st.text(max_size=80))
def test_any_name_stays_text(name: str) -> None:
    pages = Pages(ASSETS, lists_streams=True)
    usual = [tag for tag, _ in Found(pages.player("demo", is_embedded=False).decode()).tags]
    page = Found(pages.player(name, is_embedded=False).decode("utf-8", "surrogatepass"))
    assert [tag for tag, _ in page.tags] == usual


async def test_a_redirect_cannot_be_led_elsewhere() -> None:
    async with running("demo") as rig:
        for target in ("//evil.example/demo", "/demo%0d%0aX-Evil:1", "/%2f%2fevil.example"):
            answer = await rig.get(target, HTML)
            assert answer.status == 404
            assert "X-Evil" not in answer.headers


async def test_the_policy_allows_nothing_inline_and_nothing_foreign() -> None:
    async with running("demo") as rig:
        for path in ("/", "/demo/", "/nothing"):
            answer = await rig.get(path, HTML)
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'self'" in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["Cache-Control"] == "no-cache"
            page = Found(answer.text)
            for tag, attributes in page.tags:
                assert "style" not in attributes
                assert tag != "style"
                assert not any(key.startswith("on") for key in attributes)
                assert tag != "script" or attributes["src"]
            assert not any("//" in link for link in page.links())


async def test_only_an_embedded_player_may_be_framed_elsewhere() -> None:
    async with running("demo") as rig:
        bare = await rig.get("/demo/?embed=1")
        assert "frame-ancestors *" in bare.headers["Content-Security-Policy"]
        assert dict(Found(bare.text).tags)["html"]["data-view"] == "embed"
        for query in ("", "?embed=0", "?embed=", "?embed"):
            page = await rig.get(f"/demo/{query}")
            assert dict(Found(page.text).tags)["html"]["data-view"] == "page"


async def test_head_has_the_same_fields_and_no_body() -> None:
    async with running("demo") as rig:
        script = f"/_/{rig.bridge.assets.digest}/player.js"
        for path in ("/", "/demo/", "/demo", script, "/_/streams.json", "/_/stream.json?name=demo"):
            full, head = await rig.get(path), await rig.get(path, method="HEAD")
            assert (head.status, head.headers) == (full.status, full.headers)
            assert head.body == b""


# -- assets --------------------------------------------------------------------------------------


async def test_assets_are_kept_for_ever_under_their_digest() -> None:
    async with running() as rig:
        for path in rig.bridge.assets.paths:
            answer = await rig.get(f"/_/{path}")
            assert answer.status == 200
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert answer.headers["Vary"] == "Accept-Encoding"
            assert "Content-Encoding" not in answer.headers
            packed = await rig.get(f"/_/{path}", "Accept-Encoding: br, gzip;q=0.5")
            if "Content-Encoding" in packed.headers:
                assert len(packed.body) < len(answer.body)
                assert gzip.decompress(packed.body) == answer.body
            refused = await rig.get(f"/_/{path}", "Accept-Encoding: gzip;q=0, identity")
            assert refused.body == answer.body
        assert any(path.endswith("vendor/hls.min.js") for path in rig.bridge.assets.paths)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "player.js",
        "0000000000000000/player.js",
        "DIGEST/",
        "DIGEST",
        "DIGEST/player.html",
        "DIGEST/../bridge.py",
        "DIGEST/%2e%2e/bridge.py",
        "DIGEST/vendor/..%2fplayer.js",
        "DIGEST//player.js",
        "DIGEST/./player.js",
        "..%2f..%2f..%2fetc/passwd",
        "DIGEST/player.js%00",
    ],
)
async def test_no_path_leads_out_of_the_assets(path: str) -> None:
    async with running() as rig:
        answer = await rig.get(f"/_/{path.replace('DIGEST', rig.bridge.assets.digest)}", HTML)
        assert answer.status == 404


def test_scripts_load_only_what_is_there() -> None:
    paths = set(ASSETS.paths)
    for path in paths:
        asset = ASSETS.find(path)
        assert asset is not None
        if path.endswith(".js") and "/vendor/" not in path:
            for name in re.findall(r'from "\./([^"]+)"', asset.plain.decode()):
                assert f"{ASSETS.digest}/{name}" in paths


def test_vendored_files_are_what_their_list_says() -> None:
    listed = re.findall(
        r"^(\S+\.js) .*\b([0-9a-f]{64})$", (VENDOR / "README.txt").read_text(), re.M
    )
    assert {name for name, _ in listed} == {path.name for path in VENDOR.glob("*.js")}
    for name, digest in listed:
        assert sha256((VENDOR / name).read_bytes()).hexdigest() == digest


# -- data ----------------------------------------------------------------------------------------


async def test_the_list_names_every_stream_with_its_state() -> None:
    async with running("live/cam", "demo", options=PlayerOptions(thumbnails=True)) as rig:
        clip = clips.read(clips.BUNNY)
        descriptions = [
            TrackDescription(t.kind, t.codec, t.clock_rate, t.parameters)
            for t in clips.tracks_of(clip)
        ]
        publisher = rig.router.publish("demo", descriptions, now=rig.now, origin="test")
        for frame in clip[:20]:
            publisher.write(publisher.tracks[frame.track.id], frame.pts, frame.payload, rig.now)
        answer = await rig.get("/_/streams.json")
        assert answer.headers["Cache-Control"] == "no-store"
        assert json.loads(answer.body) == {
            "streams": [
                {"name": "live/cam", "state": "offline", "thumbnail": False},
                {
                    "name": "demo",
                    "state": "live",
                    "video": "h264",
                    "width": 480,
                    "height": 360,
                    "audio": "aac",
                    "thumbnail": True,
                },
            ]
        }


async def test_the_list_is_made_once_a_second() -> None:
    async with running("a") as rig:
        first = await rig.get("/_/streams.json")
        rig.router.declare("b", StreamOptions())
        assert (await rig.get("/_/streams.json")).body == first.body
        rig.now += 1.0
        names = [
            row["name"] for row in json.loads((await rig.get("/_/streams.json")).body)["streams"]
        ]
        assert names == ["a", "b"]


async def test_without_a_list_nothing_names_the_streams() -> None:
    async with running("secret", options=PlayerOptions(list_streams=False)) as rig:
        for path in ("/", "/_/streams.json", "/nothing"):
            answer = await rig.get(path, HTML)
            assert answer.status == 404
            assert "secret" not in answer.text
        page = await rig.get("/secret/", HTML)
        assert page.status == 200
        brand = next(attrs for _, attrs in Found(page.text).tags if attrs.get("class") == "brand")
        assert "hidden" in brand


async def test_a_streams_state_comes_with_the_time() -> None:
    async with running("live/cam") as rig:
        answer = await rig.get("/_/stream.json?name=live%2Fcam")
        assert json.loads(answer.body) == {
            "name": "live/cam",
            "state": "offline",
            "now": 1_700_000_100_000,
        }
        assert "Access-Control-Allow-Origin" not in answer.headers
        page = Found((await rig.get("/live/cam/", HTML)).text)
        assert dict(page.tags)["html"]["data-video"] == ""
        for query in ("", "?name=", "?name=other", "?name=live/cam/"):
            assert (await rig.get(f"/_/stream.json{query}")).status == 404


def declared(stream: Stream, *, on_demand: bool, source_state: str) -> Declared:
    status = SourceStatus(state=source_state)
    return Declared(stream, None, on_demand, "config", 10.0, 10.0, status)


@pytest.mark.parametrize(
    ("states", "on_demand", "source_state", "standing"),
    [
        ([], False, "stopped", Standing.OFFLINE),
        ([], True, "stopped", Standing.ON_DEMAND),
        ([State.STARTING], True, "connecting", Standing.STARTING),
        ([State.STARTING], False, "waiting", Standing.OFFLINE),
        ([State.STARTING, State.WAITING], False, "running", Standing.STARTING),
        ([State.WAITING, State.READY], False, "running", Standing.LIVE),
        ([State.WAITING, State.READY, State.LOST], False, "waiting", Standing.INTERRUPTED),
        ([State.CLOSED], True, "stopped", Standing.OFFLINE),
    ],
)
def test_a_stream_stands_as_a_viewer_would_say(
    states: list[State], on_demand: bool, source_state: str, standing: Standing
) -> None:
    stream = Stream("demo", StreamOptions(), lambda event: None)
    for state in states:
        stream.enter(state, 1.0)
    assert (
        standing_of(stream, declared(stream, on_demand=on_demand, source_state=source_state))
        == standing
    )


def test_a_stream_that_nobody_declared_is_offline() -> None:
    assert standing_of(Stream("x", StreamOptions(), lambda event: None), None) == Standing.OFFLINE
