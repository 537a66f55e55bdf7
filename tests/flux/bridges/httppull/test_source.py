"""FLV over HTTP as a source: what comes, how it ends, and what happens then."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest
from aiohttp import web

from flux.base.errors import WireError
from flux.bridges.httppull.source import Address, FlvSource, PullOptions
from media.flv.forms import Form
from media.flv.muxer import FlvMuxer
from media.router import Router
from media.stream import State, StreamOptions
from tests.support import clips
from tests.support.feed_rig import running

BUNNY = clips.read(clips.BUNNY)
QUICK = PullOptions(retry_first=0.01, retry_longest=0.02, refused_first=0.01, refused_longest=0.02)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def flv(form: Form = Form.AUTO, count: int = len(BUNNY)) -> bytes:
    muxer = FlvMuxer(clips.tracks_of(BUNNY), form)
    return muxer.header() + b"".join(map(muxer.encode, BUNNY[:count]))


class Pull:
    """A source of the stream `in`, and all that it said."""

    def __init__(self, url: str, options: PullOptions = QUICK) -> None:
        self.router = Router(lambda event: None)
        self.router.declare("in", StreamOptions(grace=0.0))
        self.states: list[tuple[str, str]] = []
        self.changed = asyncio.Event()
        self.source = FlvSource("in", url, self.router, self._say, options, Random(1))
        self.router.set_source("in", self.source)
        self.source.start()

    def _say(self, state: str, reason: str) -> None:
        self.states.append((state, reason))
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(8):
            while not condition():  # noqa: ASYNC110 - what comes tells nobody here
                await asyncio.sleep(0.002)

    async def until_said(self, state: str, reason: str = "") -> None:
        await self.until(lambda: (state, reason) in self.states)

    @property
    def frames(self) -> list[tuple[str, int]]:
        stream = self.router.find("in")
        assert stream is not None
        return [(track.codec, state.frames) for track, state in stream.inputs.items()]

    @property
    def drops(self) -> dict[str, int]:
        stream = self.router.find("in")
        assert stream is not None
        return dict(stream.drops)

    async def stop(self) -> None:
        self.source.stop("test-over")
        await self.source.wait_stopped()
        assert self.states[-1] == ("stopped", "test-over")


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[int]:
    """A server that answers every path so."""
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def pulling(
    answer: Answer, path: str = "/cam.flv", options: PullOptions = QUICK, user: str = ""
) -> AsyncIterator[Pull]:
    async with serving(answer) as port:
        pull = Pull(f"http://{user}127.0.0.1:{port}{path}", options)
        try:
            yield pull
        finally:
            await pull.stop()


def whole(body: bytes, *, goes_on: bool = True) -> Answer:
    """Answers with a body in pieces, and then with nothing more or an end."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for at in range(0, len(body), 5000):
            await response.write(body[at : at + 5000])
        if goes_on:
            await asyncio.sleep(30)
        return response

    return answer


@pytest.mark.parametrize("form", list(Form))
async def test_every_frame_comes(form: Form) -> None:
    async with pulling(whole(flv(form))) as pull:
        wanted = [
            (track.codec, sum(frame.track is track for frame in BUNNY))
            for track in clips.tracks_of(BUNNY)
        ]
        await pull.until(lambda: pull.frames == wanted)
        stream = pull.router.find("in")
        assert stream is not None and stream.state is State.READY
        assert pull.states == [("connecting", ""), ("running", "")]
        assert pull.source.figures().packets > len(BUNNY)
        assert not pull.drops


async def test_a_body_that_ends_is_fetched_again() -> None:
    async with pulling(whole(flv(count=60), goes_on=False)) as pull:
        await pull.until(lambda: pull.states.count(("running", "")) >= 3)
        assert ("waiting", "source-ended") in pull.states


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503, 204])
async def test_refusals_have_their_status(status: int) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    async with pulling(answer) as pull:
        await pull.until_said("waiting", f"http-{status}")


async def test_no_flv_is_told_so() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>login</html>")

    async with pulling(answer) as pull:
        await pull.until_said("waiting", "flv-signature")


async def test_nobody_there() -> None:
    async with serving(whole(b"")) as port:
        pass
    pull = Pull(f"http://127.0.0.1:{port}/x.flv")
    await pull.until_said("waiting", "connection-refused")
    await pull.stop()


@pytest.mark.parametrize("body", [b"", flv(count=60)])
async def test_silence_is_noticed(body: bytes) -> None:
    options = PullOptions(media_timeout=0.1, retry_first=0.01)
    async with pulling(whole(body), options=options) as pull:
        await pull.until_said("waiting", "media-timeout")


async def test_an_answer_that_never_comes() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    options = PullOptions(connect_timeout=0.05, request_timeout=0.05)
    async with pulling(answer, options=options) as pull:
        await pull.until_said("waiting", "connect-timeout")


async def test_redirects_are_followed_and_credentials_stay_at_home() -> None:
    seen: list[str] = []

    async def target(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization", ""))
        return await whole(flv(count=60))(request)

    async with serving(target) as other:

        async def answer(request: web.Request) -> web.StreamResponse:
            seen.append(request.headers.get("Authorization", ""))
            if request.path == "/cam.flv":
                raise web.HTTPFound("/here.flv")
            raise web.HTTPFound(f"http://127.0.0.1:{other}/there.flv")

        async with pulling(answer, user="ann:p%40ss@") as pull:
            await pull.until_said("running")
    mine = "Basic " + b64encode(b"ann:p@ss").decode()
    assert seen[:3] == [mine, mine, ""]


async def test_a_ring_of_redirects_ends() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("/cam.flv")

    async with pulling(answer) as pull:
        await pull.until_said("waiting", "http-redirects")


async def test_broken_tags_are_counted_and_the_rest_plays() -> None:
    data = flv()
    async with pulling(whole(data[:200_000] + b"\0" * 300 + data[200_000:])) as pull:
        await pull.until(lambda: bool(pull.frames) and pull.frames[0][1] > 200)
        assert pull.drops["flv-junk"] == 1


@pytest.mark.parametrize("scheme", ["http", "ws"])
async def test_our_own_server_is_pulled(scheme: str) -> None:
    async with running() as rig:
        rig.begin(BUNNY)
        await rig.send(BUNNY[:100])
        pull = Pull(f"{scheme}://127.0.0.1:{rig.port}/live/cam.flv")
        await pull.until_said("running")
        await rig.send(BUNNY[100:])
        wanted = sum(frame.track.id == 0 for frame in BUNNY)
        await pull.until(lambda: dict(pull.frames)["h264"] == wanted)
        rig.stream.end_outputs("test-over")
        await pull.until_said("waiting", "source-ended")
        await pull.stop()
        await rig.until(lambda: not rig.server.connections)


async def test_a_websocket_that_is_refused_has_its_status() -> None:
    async with running() as rig:
        pull = Pull(f"ws://127.0.0.1:{rig.port}/none.flv")
        await pull.until_said("waiting", "http-404")
        await pull.stop()


async def test_stopping_ends_the_run_at_once() -> None:
    async with serving(whole(flv())) as port:
        pull = Pull(f"http://127.0.0.1:{port}/cam.flv")
        await pull.until_said("running")
        pull.source.stop("test-over")
        stream = pull.router.find("in")
        assert stream is not None and stream.state is not State.READY
        await pull.source.wait_stopped()
        assert pull.source.is_at_rest
        pull.source.start()
        pull.source.start()
        await pull.until(lambda: pull.states.count(("running", "")) == 2)
        await pull.stop()


@pytest.mark.parametrize(
    "text", ["ftp://h/x", "http://", "http://h:99999/", "http:///x", "http://[::1/x"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        Address.parse(text)


def test_credentials_stand_apart_from_the_address() -> None:
    address = Address.parse("https://ann:p%40ss@[::1]:8443/live/cam.flv?token=x#f")
    assert address == Address("https://[::1]:8443/live/cam.flv?token=x", "ann", "p@ss")
