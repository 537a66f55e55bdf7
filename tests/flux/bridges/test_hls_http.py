"""HLS for caches: versions, conditions, ranges, compression, playlists that all viewers share."""

import asyncio
import gzip
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from flux.bridges.hls.bridge import HlsBridge
from flux.bridges.hls.options import HlsBridgeOptions
from flux.bridges.http.resource import takes_gzip
from flux.bridges.http.server import HttpLimits, HttpServer
from flux.core.admission import AccessRequest, Answer, Verdict
from tests.flux.bridges.test_outputs import BUNNY, Response, Rig, running

HALF = len(BUNNY) // 2


async def ask(rig: Rig, target: str, *headers: str, method: str = "GET") -> Response:
    """One request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    lines = [f"{method} {target} HTTP/1.1", "Host: flux", "Connection: close", *headers, "", ""]
    writer.write("\r\n".join(lines).encode())
    raw = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return Response(raw)


@asynccontextmanager
async def playing(
    *, shared: bool = False, part_duration: float = 0.0
) -> AsyncIterator[tuple[Rig, str]]:
    """A stream of which half has come, and the path of its media playlist."""
    async with running(part_duration=part_duration) as rig:
        if shared:
            options = replace(rig.hls_options, shared=True)
            rig.hls = HlsBridge(
                rig.router, rig.admission, rig.events.append, options,
                lambda: "secret", lambda: rig.now,
            )  # fmt: skip
            await rig.server.stop(timeout=0.1)
            rig.server = HttpServer([rig.hls], HttpLimits(), lambda: rig.now)
            _, rig.port = await rig.server.start("127.0.0.1", 0)
        rig.begin()
        first = asyncio.create_task(rig.get("/live/cam/index.m3u8"))
        await rig.until_leased(1)
        await rig.send(BUNNY[:HALF])
        index = await asyncio.wait_for(first, 5)
        yield rig, "/live/cam/" + index.text.splitlines()[-1]


async def segment_of(rig: Rig, path: str) -> str:
    """The path of the first segment."""
    text = (await rig.get(path)).text
    return "/live/cam/" + next(line for line in text.splitlines() if line.startswith("token"))


async def test_a_playlist_is_not_sent_twice() -> None:
    async with playing() as (rig, path):
        first = await ask(rig, path)
        etag = first.headers["ETag"]
        assert first.headers["Cache-Control"] == "private, no-cache"
        again = await ask(rig, path, f"If-None-Match: {etag}")
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", etag)
        assert "Content-Length" not in again.headers
        await rig.send(BUNNY[HALF:])
        fresh = await ask(rig, path, f'If-None-Match: "else", W/{etag}')
        assert fresh.status == 200
        assert fresh.headers["ETag"] != etag


async def test_a_version_that_no_session_asks_for_is_sent() -> None:
    """Its body would have another token."""
    async with playing() as (rig, path):
        etag = (await ask(rig, path)).headers["ETag"]
        answer = await ask(rig, "/live/cam/media.m3u8", f"If-None-Match: {etag}")
        assert answer.status == 200
        assert "s=token3" in answer.text


async def test_compressed_for_those_who_take_it() -> None:
    async with playing(part_duration=0.2) as (rig, path):
        plain = await ask(rig, path)
        packed = await ask(rig, path, "Accept-Encoding: gzip, deflate, br")
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.body) == plain.body
        assert len(packed.body) < len(plain.body) / 2
        assert "Content-Encoding" not in plain.headers
        assert {plain.headers["Vary"], packed.headers["Vary"]} == {"Accept-Encoding"}
        assert plain.headers["ETag"] != packed.headers["ETag"]
        etag = packed.headers["ETag"]
        again = await ask(rig, path, "Accept-Encoding: gzip", f"If-None-Match: {etag}")
        assert again.status == 304
        refused = await ask(rig, path, "Accept-Encoding: gzip;q=0")
        assert refused.body == plain.body
        segment = await segment_of(rig, path)
        assert "Content-Encoding" not in (await ask(rig, segment, "Accept-Encoding: gzip")).headers


@pytest.mark.parametrize(
    ("accepted", "is_taken"),
    [
        ("gzip", True),
        ("GZIP;q=0.5, br", True),
        ("*", True),
        ("x-gzip", True),
        ("", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000, *", False),
        ("identity;q=1, *;q=0", False),
    ],
)
def test_who_takes_gzip(accepted: str, is_taken: bool) -> None:
    assert takes_gzip(accepted) == is_taken


@pytest.mark.parametrize(
    ("asked", "status", "told", "first", "end"),
    [
        ("bytes=0-99", 206, "bytes 0-99/*", 0, 100),
        ("bytes=188-", 206, "bytes 188-+/*", 188, None),
        ("bytes=-100", 206, "bytes -100-+/*", -100, None),
        ("bytes=0-999999999", 206, "bytes 0-+/*", 0, None),
        ("bytes=0-1,5-6", 200, "", 0, None),
        ("bytes=9-1", 200, "", 0, None),
        ("bytes=-", 200, "", 0, None),
        ("frames=0-1", 200, "", 0, None),
        ("bytes=" + "9" * 60 + "-", 200, "", 0, None),
        ("bytes=999999999-", 416, "bytes */*", 0, 0),
        ("bytes=-0", 416, "bytes */*", 0, 0),
    ],
)
async def test_byte_ranges(asked: str, status: int, told: str, first: int, end: int | None) -> None:
    async with playing() as (rig, path):
        segment = await segment_of(rig, path)
        whole = (await ask(rig, segment)).body
        answer = await ask(rig, segment, f"Range: {asked}")
        assert answer.status == status
        if told:
            size = len(whole)
            start = size - 100 if "-100-" in told else first
            told = told.replace("bytes -100-", f"bytes {start}-")
            told = told.replace("-+", f"-{size - 1}").replace("/*", f"/{size}")
            assert answer.headers["Content-Range"] == told
        if status < 400:
            assert answer.body == whole[first:end]
            assert answer.headers["Accept-Ranges"] == "bytes"


async def test_a_range_of_another_version_is_the_whole() -> None:
    async with playing() as (rig, path):
        segment = await segment_of(rig, path)
        whole = await ask(rig, segment)
        etag = whole.headers["ETag"]
        part = await ask(rig, segment, "Range: bytes=0-9", f"If-Range: {etag}")
        assert (part.status, part.body) == (206, whole.body[:10])
        for other in ('"other"', "Sat, 29 Oct 1994 19:43:31 GMT", f"W/{etag}"):
            answer = await ask(rig, segment, "Range: bytes=0-9", f"If-Range: {other}")
            assert (answer.status, answer.body) == (200, whole.body)


async def test_segments_have_versions_and_heads() -> None:
    async with playing() as (rig, path):
        segment = await segment_of(rig, path)
        whole = await ask(rig, segment)
        assert "immutable" in whole.headers["Cache-Control"]
        known = await ask(rig, segment, f"If-None-Match: {whole.headers['ETag']}")
        assert (known.status, known.body) == (304, b"")
        head = await ask(rig, segment, "Range: bytes=0-9", method="HEAD")
        assert (head.status, head.body) == (200, b"")
        assert int(head.headers["Content-Length"]) == len(whole.body)
        head = await ask(rig, path, method="HEAD")
        assert (head.status, head.body) == (200, b"")
        assert int(head.headers["Content-Length"]) == len((await ask(rig, path)).body)


async def test_only_what_went_out_is_counted() -> None:
    async with playing() as (rig, path):
        segment = await segment_of(rig, path)
        (session,) = rig.stream.readers.values()
        before = session.sent_bytes
        await ask(rig, segment, method="HEAD")
        await ask(rig, segment, "Range: bytes=10-19")
        assert session.sent_bytes - before == 10


async def test_pages_of_other_origins_may_ask_all_of_it() -> None:
    async with playing() as (rig, path):
        answer = await ask(rig, path, "Origin: https://elsewhere.example", method="OPTIONS")
        assert answer.status == 204
        allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
        assert {"range", "if-range", "if-none-match"} <= set(allowed)
        answer = await ask(rig, await segment_of(rig, path), "Range: bytes=0-1")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        shown = answer.headers["Access-Control-Expose-Headers"]
        assert {"Content-Length", "Content-Range", "ETag"} <= set(shown.split(", "))


async def test_shared_playlists_have_no_token_and_may_be_kept() -> None:
    async with playing(shared=True, part_duration=0.2) as (rig, path):
        assert path == "/live/cam/media.m3u8"
        first, second = await ask(rig, path), await ask(rig, path)
        assert first.body == second.body
        assert "?s=" not in first.text
        assert len(rig.stream.readers) == 1
        assert re.fullmatch(r"public, max-age=\d+", first.headers["Cache-Control"])
        index = await ask(rig, "/live/cam/index.m3u8")
        assert index.headers["Cache-Control"] == f"public, max-age={target(first.text)}"
        known = await ask(rig, path, f"If-None-Match: {first.headers['ETag']}")
        assert known.status == 304


async def test_what_was_waited_for_is_kept_for_long_in_shared_playlists() -> None:
    async with playing(shared=True, part_duration=0.2) as (rig, path):
        text = (await ask(rig, path)).text
        sequence = int(re.findall(r"MEDIA-SEQUENCE:(\d+)", text)[0]) + text.count("#EXTINF")
        asked = f"{path}?_HLS_msn={sequence}"
        waiting = [asyncio.create_task(ask(rig, asked)) for _ in range(3)]
        await asyncio.sleep(0)
        await rig.send(BUNNY[HALF:])
        answers = await asyncio.wait_for(asyncio.gather(*waiting), 5)
        assert {answer.headers["Cache-Control"] for answer in answers} == {
            f"public, max-age={6 * target(text)}"
        }
        assert len({answer.body for answer in answers}) == 1


async def test_shared_playlists_are_still_for_those_who_may_read() -> None:
    async with playing(shared=True) as (rig, path):

        def gate(wish: AccessRequest, answer: Answer) -> None:
            answer(Verdict("let-me-in" in wish.query, "not-for-you", 403))

        rig.admission.add(gate)
        segment = await ask(rig, path + "?token=let-me-in")
        name = next(line for line in segment.text.splitlines() if line.startswith("secret-"))
        assert (await ask(rig, path)).status == 403
        assert (await ask(rig, f"/live/cam/{name}")).status == 403
        assert (await ask(rig, f"/live/cam/{name}?token=let-me-in")).status == 200


async def test_a_shared_session_ends_when_nobody_asks() -> None:
    async with playing(shared=True) as (rig, path):
        rig.tick(31.0)
        assert rig.stream.readers == {}
        assert "hls" not in rig.stream.outputs
        again = asyncio.create_task(ask(rig, path))
        await rig.until_leased(1)
        await rig.send(BUNNY)
        assert (await asyncio.wait_for(again, 5)).status == 200


async def test_a_playlist_that_is_not_there() -> None:
    async with playing() as (rig, path):
        answer = await ask(rig, path.replace("media", "audio7"))
        assert (answer.status, answer.text.strip()) == (404, "404 Not Found: playlist-not-found")


async def test_options_of_one_stream() -> None:
    async with running() as rig:
        low = replace(
            rig.hls_options, segmenter=replace(rig.hls_options.segmenter, part_duration=0.2)
        )
        names: list[str] = []

        def options_of(name: str) -> HlsBridgeOptions:
            names.append(name)
            return low

        rig.hls = HlsBridge(
            rig.router, rig.admission, rig.events.append, rig.hls_options,
            lambda: "secret", lambda: rig.now, options_of,
        )  # fmt: skip
        await rig.server.stop(timeout=0.1)
        rig.server = HttpServer([rig.hls], HttpLimits(), lambda: rig.now)
        _, rig.port = await rig.server.start("127.0.0.1", 0)
        rig.begin()
        first = asyncio.create_task(rig.get("/live/cam/media.m3u8"))
        await rig.until_leased(1)
        await rig.send(BUNNY)
        assert "EXT-X-PART-INF" in (await asyncio.wait_for(first, 5)).text
        assert set(names) == {"live/cam"}


def target(text: str) -> int:
    """EXT-X-TARGETDURATION."""
    return int(re.findall(r"TARGETDURATION:(\d+)", text)[0])
