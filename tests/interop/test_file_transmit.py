"""File mode against srt-file-transmit: both directions, both roles, clean and with losses."""

import asyncio
import contextlib
import hashlib
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from protocols.srt.endpoint import Endpoint
from protocols.srt.options import ListenerOptions
from protocols.srt.packet import ControlType
from tests.support.datagrams import until
from tests.support.ports import free_port
from tests.support.srt_files import FILE, Download, Upload, downloading, uploading
from tests.support.srt_peers import running
from tests.support.udp_proxy import Line, proxied

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]

LOCAL = "127.0.0.1"
CLEAN = Line()
SHUTDOWN = bytes((0x80, ControlType.SHUTDOWN))  # said once: who misses it ends by silence
LOSSY = Line(delay=0.020, loss=0.02, spares=lambda data: data.startswith(SHUTDOWN))
LINES = [CLEAN, LOSSY]
# srt-file-transmit sends half a megabit a second at 2 % loss and 40 ms, whoever receives.
SIZES = {CLEAN: 4_000_000, LOSSY: 2_000_000}
THEIR_SIZES = {CLEAN: 4_000_000, LOSSY: 100_000}


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def hash_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def name(line: Line) -> str:
    return "2%-40ms" if line.loss else "clean"


@contextlib.asynccontextmanager
async def endpoint() -> AsyncIterator[Endpoint]:
    found = Endpoint.bind(LOCAL, 0)
    try:
        yield found
    finally:
        found.close()


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


async def written(path: Path, size: int) -> str:
    """The hash of a file once it is whole."""
    await until(lambda: size_of(path) >= size, "all is written", 20.0)
    return hash_of(await asyncio.to_thread(path.read_bytes))


@pytest.mark.parametrize("line", LINES, ids=name)
async def test_we_send_as_caller(tmp_path: Path, line: Line) -> None:
    data = content(SIZES[line])
    port = free_port()
    upload = Upload(data)
    url = f"srt://{LOCAL}:{port}?mode=listener"
    async with (
        running(downloading(url, tmp_path, "got")),
        endpoint() as ours,
        proxied((LOCAL, port), line) as proxy,
    ):
        ours.call((LOCAL, proxy.port), FILE, upload)
        assert await written(tmp_path / "got", len(data)) == hash_of(data)
        await until(lambda: bool(upload.end), "closed")
    assert upload.end == "sent"
    assert upload.statistics["pktSentUniqueTotal"] == -(-len(data) // 1456)


@pytest.mark.parametrize("line", LINES, ids=name)
async def test_we_send_as_listener(tmp_path: Path, line: Line) -> None:
    data = content(SIZES[line])
    upload = Upload(data)
    async with endpoint() as ours:
        ours.listen(ListenerOptions(), lambda call: call.accept(FILE, upload))
        async with proxied((LOCAL, ours.port), line) as proxy:
            url = f"srt://{LOCAL}:{proxy.port}"
            async with running(downloading(url, tmp_path, "got")):
                assert await written(tmp_path / "got", len(data)) == hash_of(data)
                await until(lambda: bool(upload.end), "closed")
    assert upload.end == "sent"


@pytest.mark.parametrize("line", LINES, ids=name)
async def test_we_receive_as_listener(tmp_path: Path, line: Line) -> None:
    data = content(THEIR_SIZES[line])
    (tmp_path / "given").write_bytes(data)
    download = Download()
    async with endpoint() as ours:
        ours.listen(ListenerOptions(), lambda call: call.accept(FILE, download))
        async with proxied((LOCAL, ours.port), line) as proxy:
            url = f"srt://{LOCAL}:{proxy.port}"
            async with running(uploading(tmp_path / "given", url)):
                await until(lambda: download.size >= len(data), "all came", 25.0)
                await until(lambda: bool(download.end), "closed", 10.0)
    assert download.hash.hexdigest() == hash_of(data)
    assert download.end == "srt-peer-closed"


@pytest.mark.parametrize("line", LINES, ids=name)
async def test_we_receive_as_caller(tmp_path: Path, line: Line) -> None:
    data = content(THEIR_SIZES[line])
    (tmp_path / "given").write_bytes(data)
    port = free_port()
    download = Download()
    url = f"srt://{LOCAL}:{port}?mode=listener"
    async with (
        running(uploading(tmp_path / "given", url)),
        endpoint() as ours,
        proxied((LOCAL, port), line) as proxy,
    ):
        ours.call((LOCAL, proxy.port), FILE, download)
        await until(lambda: download.size >= len(data), "all came", 25.0)
        await until(lambda: bool(download.end), "closed", 10.0)
    assert download.hash.hexdigest() == hash_of(data)


async def test_their_slow_start_is_not_broken_off(tmp_path: Path) -> None:
    """A libsrt sender whose window is used up goes on at a full ACK with news: told by a light ACK
    of all, it stood still for 30 ms, took that for a loss, and crept from then on (4 s a file)."""
    data = content(12_000_000)
    (tmp_path / "given").write_bytes(data)
    times: list[float] = []
    for _ in range(3):
        download = Download()
        async with endpoint() as ours:
            ours.listen(ListenerOptions(), lambda call: call.accept(FILE, download))  # noqa: B023
            url = f"srt://{LOCAL}:{ours.port}"
            async with running(uploading(tmp_path / "given", url)):
                await until(lambda: download.size >= len(data), "all came", 20.0)  # noqa: B023
        assert download.hash.hexdigest() == hash_of(data)
        times.append(download.took)
    assert min(times) < 1.5


@pytest.mark.long
async def test_with_losses_we_are_faster_than_libsrt_with_itself(tmp_path: Path) -> None:
    """2 % loss both ways at 40 ms: half a megabit a second against what the path gives."""
    small, large = content(200_000), content(5_000_000)
    (tmp_path / "given").write_bytes(small)
    folder = tmp_path / "theirs"
    folder.mkdir()
    port = free_port()
    url = f"srt://{LOCAL}:{port}?mode=listener"
    async with (
        running(downloading(url, folder, "given")),
        proxied((LOCAL, port), LOSSY) as proxy,
    ):
        began = time.monotonic()
        async with running(uploading(tmp_path / "given", f"srt://{LOCAL}:{proxy.port}")):
            await until(lambda: size_of(folder / "given") >= 150_000, "most came", 60.0)
            theirs = size_of(folder / "given") / (time.monotonic() - began)
    upload, download = Upload(large), Download()
    async with endpoint() as ours, endpoint() as other:
        other.listen(ListenerOptions(), lambda call: call.accept(FILE, download))
        async with proxied((LOCAL, other.port), LOSSY) as proxy:
            ours.call((LOCAL, proxy.port), FILE, upload)
            await until(lambda: download.size >= len(large), "all came", 30.0)
    assert download.hash.hexdigest() == hash_of(large)
    assert len(large) / download.took > 10 * theirs
