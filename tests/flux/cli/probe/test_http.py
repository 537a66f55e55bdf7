"""The HTTP probes against a small server: HTTP-FLV, HLS live and finished, and everything else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from flux.cli.probe.engine import ProbeFailed, ProbeOptions, probe_for
from flux.cli.probe.figures import Board
from media.flv.muxer import FlvMuxer
from media.mpegts.muxer import TsMuxer
from media.track import Kind
from tests.support import clips
from tests.support.ports import free_port

BUNNY = clips.read(clips.BUNNY)
VIDEO = clips.only(BUNNY, Kind.VIDEO)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def flv() -> bytes:
    muxer = FlvMuxer(clips.tracks_of(BUNNY))
    return muxer.header() + b"".join(muxer.encode(frame) for frame in BUNNY)


def segments() -> list[bytes]:
    """The clip cut at its key frames."""
    starts = [i for i, frame in enumerate(BUNNY) if frame.key and frame.track.kind is Kind.VIDEO]
    muxer = TsMuxer(clips.tracks_of(BUNNY))
    pieces = []
    for start, end in zip([0, *starts[1:]], [*starts[1:], len(BUNNY)], strict=True):
        pieces.append(muxer.tables() + b"".join(muxer.encode(f) for f in BUNNY[start:end]))
    return pieces


SEGMENTS = segments()


def playlist(first: int, count: int, *, ended: bool = False, target: int = 0) -> str:
    lines = ["#EXTM3U", f"#EXT-X-TARGETDURATION:{target}", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
    for number in range(first, first + count):
        lines += ["#EXTINF:2.0,", f"{number}.ts"]
    return "\n".join([*lines, "#EXT-X-ENDLIST" * ended, ""])


@asynccontextmanager
async def serving(**handlers: Handler) -> AsyncIterator[str]:
    """Handlers by the first word of their path; answers the base URL."""
    app = web.Application()
    for name, handler in handlers.items():
        app.router.add_get(f"/{name}/{{rest:.*}}", handler)
    server = TestServer(app)
    await server.start_server()
    try:
        yield str(server.make_url("/"))
    finally:
        await server.close()


async def run(url: str, timeout: float = 5.0) -> Board:
    board = Board(url)
    async with asyncio.timeout(20):
        board.ended = await probe_for(url, ProbeOptions(timeout=timeout)).run(board)
    return board


async def test_flv() -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        data = flv()
        for at in range(0, len(data), 50_000):
            await response.write(data[at : at + 50_000])
        return response

    async with serving(live=stream) as base:
        board = await run(f"{base}live/cam.flv")
    assert (board.protocol, board.transport, board.ended) == ("http-flv", "tcp", "source-ended")
    assert {str(t.kind): t.frames for t in board.tracks} == {
        "video": len(VIDEO),
        "audio": len(BUNNY) - len(VIDEO),
    }
    assert board.first_at is not None


async def test_flv_that_stands_still_after_some_frames() -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(flv()[:50_000])
        await asyncio.Event().wait()
        return response

    async with serving(live=stream) as base:
        board = await run(f"{base}live/cam.flv", timeout=0.2)
    assert board.ended == "no-more-data"
    assert board.frames > 0


async def test_a_finished_hls_recording() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        name = request.match_info["rest"]
        if name == "index.m3u8":
            multi = (
                '#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9,CODECS="avc1.42c01e,mp4a.40.2"\nm.m3u8\n'
            )
            return web.Response(text=multi + "#EXT-X-STREAM-INF:BANDWIDTH=1\nlow.m3u8\n")
        if name == "m.m3u8":
            return web.Response(text=playlist(0, len(SEGMENTS), ended=True, target=2))
        return web.Response(body=SEGMENTS[int(name.partition(".")[0])])

    async with serving(vod=answer) as base:
        board = await run(f"{base}vod/index.m3u8")
    assert (board.protocol, board.ended) == ("hls", "source-ended")
    video = next(track for track in board.tracks if track.kind is Kind.VIDEO)
    assert (video.frames, video.codec_string) == (len(VIDEO), "avc1.42c01e")
    assert video.key_frames == sum(frame.key for frame in VIDEO)
    assert (video.packets, video.lost) == (len(SEGMENTS), 0)
    assert board.notes["hls-variants-not-read"] == 1


async def test_a_live_playlist_that_moves_on_and_loses_some() -> None:
    windows = iter([(0, 4), (0, 4), (2, 4), (30, 2), (1, 2)])

    async def answer(request: web.Request) -> web.StreamResponse:
        name = request.match_info["rest"]
        if name.endswith("m3u8"):
            first, count = next(windows, (1, 2))
            return web.Response(text=playlist(first, count, ended=first == 1))
        number = int(name.partition(".")[0])
        if number == 31:
            return web.Response(status=404)
        return web.Response(body=SEGMENTS[number % len(SEGMENTS)])

    async with serving(live=answer) as base:
        board = await run(f"{base}live/index.m3u8")
    video = next(track for track in board.tracks if track.kind is Kind.VIDEO)
    # 1, 2, 3 of the first window, 4 and 5 of the third, 30 and not 31, 1 and 2 of a new beginning
    assert video.packets == 8
    assert video.lost == 24 + 1
    assert board.notes["hls-segments-missed"] == 25
    assert board.notes["http-404"] == 1
    assert board.notes["hls-sequence-restarted"] == 1


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (404, b"404 Not Found: stream-not-found\n", "http-404"),
        (200, b"<html>hello</html>", "unknown-format"),
        (200, b"", "unknown-format"),
        (200, b"FLV\x01\x05\xff\xff\xff\xff" + bytes(20), "flv-signature"),
        (200, b"FLV\x01\x05\0\0\0\x09\0\0\0\0", "no-media"),
        (200, b"#EXTM3U\n#EXT-X-TARGETDURATION:x\n", "hls-number"),
        (200, b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nfile:///etc/passwd\n", "http-error"),
    ],
)
async def test_what_cannot_be_read(status: int, body: bytes, reason: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, content_type="text/plain")

    async with serving(live=answer) as base:
        with pytest.raises(ProbeFailed) as caught:
            await run(f"{base}live/x")
    assert caught.value.reason in (reason, "url")
    if status == 404:
        assert "stream-not-found" in str(caught.value)


async def test_a_server_that_says_nothing() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(live=answer) as base:
        with pytest.raises(ProbeFailed, match="timeout"):
            await run(f"{base}live/x.flv", timeout=0.1)


async def test_nobody_listens() -> None:
    with pytest.raises(ProbeFailed, match="cannot-connect"):
        await run(f"http://127.0.0.1:{free_port()}/x.flv")
