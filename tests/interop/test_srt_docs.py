"""The commands of docs/srt.md are run as they stand there, but for the port."""

import asyncio
import contextlib
import shlex
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.docs.test_docs import page
from tests.support import clip, frames
from tests.support.datagrams import end
from tests.support.flux_process import FluxProcess
from tests.support.ports import free_port

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]

PLAYERS = ("ffplay", "vlc")  # they want a screen
TRANSMIT_INPUT = "udp://:6000"


def commands(word: str) -> list[list[str]]:
    """Those of the fences that publish or read."""
    fences = [fence for fence in page("docs/srt.md").fences if fence.info == "sh"]
    lines = [shlex.split(line) for fence in fences for line in fence.text.splitlines()]
    return [
        line
        for line in lines
        if any(f"streamid={word}:" in part for part in line) and line[0] not in PLAYERS
    ]


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FluxProcess]:
    folder = tmp_path_factory.mktemp("srt-docs")
    with FluxProcess(folder, settings={"sources": {"grace_period": "1s"}}) as process:
        yield process


@contextlib.asynccontextmanager
async def run(
    command: list[str], folder: Path, flux: FluxProcess, file: Path | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command of the page in a folder that has its `clip.mp4`; `file`: its standard output."""
    words = [word.replace("localhost:8890", f"127.0.0.1:{flux.srt_port}") for word in command]
    with file.open("wb") if file is not None else contextlib.nullcontext() as out:
        process = await asyncio.create_subprocess_exec(
            *words,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out or asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            await end(process)


async def ready(flux: FluxProcess) -> None:
    def is_there() -> bool:
        path = "/api/v1/streams/live/cam1"
        return flux.get(path)[0] == 200 and flux.stream("live/cam1")["state"] == "ready"

    await asyncio.to_thread(flux.wait_until, is_there, "published")


async def gone(flux: FluxProcess) -> None:
    def is_gone() -> bool:
        path = "/api/v1/streams/live/cam1"
        return flux.get(path)[0] == 404 or flux.stream("live/cam1")["state"] != "ready"

    await asyncio.to_thread(flux.wait_until, is_gone, "it has left")


def test_the_page_has_them() -> None:
    assert {line[0] for line in commands("publish")} == {
        "ffmpeg",
        "gst-launch-1.0",
        "srt-live-transmit",
    }
    assert {line[0] for line in commands("read")} == {
        "ffmpeg",
        "gst-launch-1.0",
        "srt-live-transmit",
    }


@pytest.mark.parametrize(
    "tool",
    [
        "srt-live-transmit",  # the others are tried by test_srt_server as well
        pytest.param("ffmpeg", marks=pytest.mark.long),
        pytest.param("gst-launch-1.0", marks=pytest.mark.long),
    ],
)
async def test_what_the_page_says_of_publishing(
    tool: str, flux: FluxProcess, tmp_path: Path
) -> None:
    (command,) = [line for line in commands("publish") if line[0] == tool]
    (tmp_path / "clip.mp4").symlink_to(clip.path_of("bunny"))
    port = free_port()
    command = [word.replace(TRANSMIT_INPUT, f"udp://:{port}") for word in command]
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(run(command, tmp_path, flux))
        if tool == "srt-live-transmit":
            feed = f"ffmpeg -v error -re -i clip.mp4 -c copy -f mpegts udp://127.0.0.1:{port}"
            words = [*feed.split()[:-1], feed.split()[-1] + "?pkt_size=1316"]
            await stack.enter_async_context(run(words, tmp_path, flux))
        await ready(flux)
        tracks = {track["codec"] for track in flux.stream("live/cam1")["tracks"]}
        assert tracks == {"h264", "aac"}
    await gone(flux)


async def test_what_the_page_says_of_reading(flux: FluxProcess, tmp_path: Path) -> None:
    publish = next(line for line in commands("publish") if line[0] == "ffmpeg")
    (tmp_path / "clip.mp4").symlink_to(clip.path_of("bunny"))
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(run(publish, tmp_path, flux))
        await ready(flux)
        files = {}
        for number, line in enumerate(commands("read")):
            folder = tmp_path / str(number)
            folder.mkdir()
            files[line[0]] = folder / "recording.ts"
            out = files[line[0]] if line[-1] == "file://con" else None
            await stack.enter_async_context(run(line, folder, flux, out))
        await asyncio.sleep(6.0)  # ffmpeg looks at five seconds before it writes
    for tool, file in files.items():
        got = frames.read(file, "mpegts")
        assert len(got["video"].units) > 48, tool
        assert len(got["audio"].units) > 20, tool
