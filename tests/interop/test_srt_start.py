"""Where a reader over SRT begins, as ffmpeg and ffprobe see it: a stream with ten seconds between
its key frames shows its first picture at once."""

import asyncio
import json
import time

import pytest

from media.stream import State
from tests.support.datagrams import until
from tests.support.srt_child import child
from tests.support.srt_programs import FFMPEG_NEW, FFMPEG_OLD, FFMPEGS
from tests.support.srt_stage import SrtStage

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

HERE = "127.0.0.1"
FPS, GOP = 25, 250
OLD = 3.0  # seconds that the newest key frame is past when readers come
SOON = 2.0  # seconds: a program's start and its look at the stream among them


def publishing(port: int) -> list[str]:
    source = f"testsrc2=size=640x360:rate={FPS}"
    coding = ["-c:v", "libx264", "-preset", "ultrafast", "-g", str(GOP), "-keyint_min", str(GOP)]
    url = f"srt://{HERE}:{port}?streamid=publish:cam&pkt_size=1316"
    words = ["-hide_banner", "-loglevel", "error", "-re", "-f", "lavfi", "-i", source]
    return ["ffmpeg", *words, *coding, "-sc_threshold", "0", "-f", "mpegts", url]


async def first_picture(command: list[str]) -> tuple[float, str]:
    """Seconds until a program that ends after one picture has ended, and what it wrote."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(20.0):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0
    return time.monotonic() - began, out.decode()


def is_ready(stage: SrtStage) -> bool:
    stream = stage.router.find("cam")
    return stream is not None and stream.state is State.READY


def readers(stage: SrtStage) -> int:
    stream = stage.router.find("cam")
    return 0 if stream is None else len(stream.readers)


async def test_the_first_picture_comes_at_once() -> None:
    """Off (the next key frame is waited for) it takes seven seconds more."""
    async with SrtStage() as stage:
        port = stage.place[1]
        async with child(publishing(port)):
            await until(lambda: is_ready(stage), "it is published")
            await asyncio.sleep(OLD)
            url = f"srt://{HERE}:{port}?streamid=read:cam"
            look = ["-v", "error", "-analyzeduration", "500000"]
            for name in (FFMPEG_OLD, FFMPEG_NEW):
                play = [FFMPEGS[name], *look, "-i", url, "-frames:v", "1", "-f", "null", "-"]
                took, _ = await first_picture(play)
                assert took < SOON, name
            show = [
                "-select_streams",
                "v",
                "-show_frames",
                "-read_intervals",
                "%+#1",
                "-of",
                "json",
            ]
            took, said = await first_picture(["ffprobe", *look, *show, url])
            assert took < SOON
            (picture,) = json.loads(said)["frames"]
            assert picture["key_frame"] == 1
            # Who wants nothing old waits for the next key frame.
            words = ["-i", f"{url}?start=key", "-frames:v", "1", "-f", "null", "-"]
            async with child(["ffmpeg", *look, *words]) as them:
                await until(lambda: readers(stage) == 1, "it reads")
                await asyncio.sleep(SOON / 2)
                assert them.is_running
