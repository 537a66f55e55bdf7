"""The SRT probe: as a caller of a server, and called by ffmpeg."""

import asyncio

import pytest

from flux.bridges.srt.server import Passphrases
from flux.cli.probe.engine import ProbeFailed, ProbeOptions, probe_for
from flux.cli.probe.figures import Board
from tests.support import clip
from tests.support.datagrams import program
from tests.support.ports import free_port
from tests.support.srt_stage import SrtStage

SECRET = "a-secret-of-one"


async def measure(url: str, frames: int, timeout: float = 5.0) -> Board:
    """Probe until so many frames came, then leave."""
    probe = probe_for(url, ProbeOptions(timeout=timeout))
    board = Board(url)
    task = asyncio.create_task(probe.run(board))
    async with asyncio.timeout(20):
        while board.frames < frames and not task.done():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
    if task.done():
        board.ended = await task
        return board
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return board


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("?streamid=read:nobody", "srt-not-found"),
        ("?streamid=read:cam", "srt-unsecure"),
        ("?streamid=read:cam&passphrase=another-secret", "srt-bad-secret"),
    ],
)
async def test_a_server_says_no(query: str, reason: str) -> None:
    async with SrtStage() as stage:
        stage.declare("cam")
        stage.passphrases["cam"] = Passphrases(read=SECRET)
        with pytest.raises(ProbeFailed) as failure:
            await measure(f"srt://127.0.0.1:{stage.place[1]}{query}", 1)
        assert failure.value.reason.startswith(reason)


async def test_nobody_answers() -> None:
    port = free_port()
    with pytest.raises(ProbeFailed, match="srt-"):
        await measure(f"srt://127.0.0.1:{port}?conntimeo=300", 1)


async def test_nobody_calls() -> None:
    port = free_port()
    with pytest.raises(ProbeFailed, match="media-timeout"):
        await measure(f"srt://127.0.0.1:{port}?mode=listener", 1, timeout=0.2)


@pytest.mark.interop
async def test_ffmpeg_calls() -> None:
    port = free_port()
    url = f"srt://127.0.0.1:{port}"
    source = ["-re", "-t", "3", "-i", str(clip.path_of("bunny")), "-c", "copy", "-f", "mpegts"]
    told = f"{url}?pkt_size=1316&passphrase={SECRET}"
    async with program("ffmpeg", "-loglevel", "error", *source, told):
        board = await measure(f"{url}?mode=listener&passphrase={SECRET}", 60)
    video, sound = sorted(board.tracks, key=lambda track: str(track.kind), reverse=True)
    assert (board.protocol, board.transport) == ("srt", "udp")
    assert video.codec == "h264" and video.width and video.frames > 10
    assert sound.codec == "aac" and sound.sample_rate and sound.frames > 10
