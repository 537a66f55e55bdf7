"""Low-Latency HLS over a real connection: what is held, answered at once, refused."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.flux.bridges.test_outputs import BUNNY, Response, Rig, running

HALF = len(BUNNY) // 2


@asynccontextmanager
async def watching() -> AsyncIterator[tuple[Rig, str, str]]:
    """A stream of which half has come, the media playlist's path, and its text."""
    async with running(part_duration=0.2) as rig:
        rig.begin()
        first = asyncio.create_task(rig.get("/live/cam/index.m3u8"))
        await rig.until_leased(1)
        await rig.send(BUNNY[:HALF])
        index = await asyncio.wait_for(first, 5)
        path = "/live/cam/" + index.text.splitlines()[-1]
        media = await rig.get(path)
        assert media.status == 200, media.text
        yield rig, path, media.text


def places(text: str) -> tuple[int, int, str]:
    """The number of the open segment, of its next part, and that part's URL."""
    sequence = int(re.findall(r"MEDIA-SEQUENCE:(\d+)", text)[0]) + text.count("#EXTINF")
    tail = text[text.rfind("#EXTINF") :]
    hint = re.findall(r'PRELOAD-HINT:TYPE=PART,URI="(.*)"', text)[0]
    return sequence, tail.count("#EXT-X-PART:"), hint


async def held(rig: Rig, target: str) -> asyncio.Task[Response]:
    """A request that is not answered yet."""
    task = asyncio.create_task(rig.get(target))
    await asyncio.sleep(0)
    done, _ = await asyncio.wait((task,), timeout=0.05)
    assert not done, task.result().text
    return task


async def test_a_playlist_waits_for_its_part() -> None:
    async with watching() as (rig, path, text):
        sequence, part, _ = places(text)
        task = await held(rig, f"{path}&_HLS_msn={sequence}&_HLS_part={part}")
        await rig.send(BUNNY[HALF : HALF + 40])
        answer = await asyncio.wait_for(task, 5)
        assert answer.status == 200
        assert places(answer.text)[:2] > (sequence, part)


async def test_a_playlist_waits_for_its_segment() -> None:
    async with watching() as (rig, path, text):
        sequence, _, _ = places(text)
        task = await held(rig, f"{path}&_HLS_msn={sequence}")
        await rig.send(BUNNY[HALF:])
        answer = await asyncio.wait_for(task, 5)
        assert answer.status == 200
        assert places(answer.text)[0] > sequence


async def test_the_announced_part_is_held_until_it_is_there() -> None:
    async with watching() as (rig, _, text):
        hint = places(text)[2]
        task = await held(rig, f"/live/cam/{hint}")
        await rig.send(BUNNY[HALF : HALF + 40])
        answer = await asyncio.wait_for(task, 5)
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "video/mp4"
        assert "immutable" in answer.headers["Cache-Control"]
        assert answer.body[4:8] == b"moof"
        again = await rig.get(f"/live/cam/{hint}")
        assert again.body == answer.body


async def test_the_map_of_the_first_parts_can_be_fetched() -> None:
    async with watching() as (rig, _, text):
        name = re.findall(r'EXT-X-MAP:URI="(.*)"', text)[0]
        answer = await rig.get(f"/live/cam/{name}")
        assert (answer.status, answer.body[4:8]) == (200, b"ftyp")


async def test_what_is_there_is_answered_at_once() -> None:
    async with watching() as (rig, path, text):
        sequence, part, _ = places(text)
        for query in (f"_HLS_msn={sequence - 1}", f"_HLS_msn={sequence - 1}&_HLS_part={part}"):
            assert (await rig.get(f"{path}&{query}")).status == 200
        assert (await rig.get(f"{path}&_HLS_skip=YES")).status == 200


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("_HLS_part=1", "hls-directive-invalid"),
        ("_HLS_msn=x", "hls-directive-invalid"),
        ("_HLS_msn=-1", "hls-directive-invalid"),
        ("_HLS_msn=" + "9" * 40, "hls-directive-invalid"),
        ("_HLS_msn=999999", "hls-directive-too-far"),
    ],
)
async def test_directives_that_make_no_sense(query: str, reason: str) -> None:
    async with watching() as (rig, path, _):
        answer = await rig.get(f"{path}&{query}")
        assert (answer.status, answer.text.strip()) == (400, f"400 Bad Request: {reason}")


async def test_who_waits_is_told_of_the_end() -> None:
    async with watching() as (rig, path, text):
        sequence, part, hint = places(text)
        playlist = await held(rig, f"{path}&_HLS_msn={sequence}&_HLS_part={part + 30}")
        missing = await held(rig, f"/live/cam/{hint}")
        assert rig.publisher is not None
        rig.publisher.close("peer-closed", rig.now)
        rig.tick(11.0)
        answer = await asyncio.wait_for(playlist, 5)
        assert answer.status == 200 and "#EXT-X-ENDLIST" in answer.text
        assert (await asyncio.wait_for(missing, 5)).status in (200, 404)


async def test_without_low_latency_nobody_waits() -> None:
    async with running() as rig:
        rig.begin()
        first = asyncio.create_task(rig.get("/live/cam/index.m3u8"))
        await rig.until_leased(1)
        await rig.send(BUNNY)
        index = await asyncio.wait_for(first, 5)
        path = "/live/cam/" + index.text.splitlines()[-1]
        answer = await rig.get(f"{path}&_HLS_msn=999999&_HLS_part=3")
        assert answer.status == 200
        assert "EXT-X-PART" not in answer.text
