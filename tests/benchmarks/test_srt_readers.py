"""The readers in C do with libsrt what libsrt's own do: get everything, and have losses mended."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks import native, srt_media
from tests.support import clips
from tests.support.ports import free_port
from tests.support.program import Program
from tests.support.srt_stage import transport_stream
from tests.support.udp_proxy import Line, UdpProxy

pytestmark = pytest.mark.interop  # they need a C compiler, and srt-live-transmit
LOCAL = "127.0.0.1"
SECONDS = 5.0  # of the clip


@asynccontextmanager
async def libsrt(folder: Path, passphrase: str = "") -> AsyncIterator[int]:
    """The port of a listener that sends a clip."""
    file = folder / "clip.ts"
    file.write_bytes(b"".join(transport_stream(clips.BUNNY)))
    source, port = free_port(), free_port()
    secret = f"&passphrase={passphrase}" if passphrase else ""
    target = f"srt://{LOCAL}:{port}?mode=listener&latency=400{secret}"
    command = ["srt-live-transmit", "-q", "-a:no", "-c:1316", f"udp://{LOCAL}:{source}", target]
    with (
        Program([native.program("tsudp"), "send", file, str(SECONDS), str(source)]),
        Program(command),
    ):
        yield port


async def read(port: int, *options: str | Path) -> dict[str, Any]:
    """One run of one reader; its last line."""
    program = native.program("srt_readers")
    command = [program, "-d", "1.5", "-w", "1.5", "-r", "0.1", "-l", "400", *options]
    command += [LOCAL, str(port), "1"]
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line.get("mark") for line in lines] == ["begin", "end", None]
    result: dict[str, Any] = lines[-1]
    return result


@pytest.mark.parametrize("is_sealed", [False, True])
async def test_everything_comes(is_sealed: bool, tmp_path: Path) -> None:
    dump = tmp_path / "packets"
    key = ["-k", srt_media.key_material()] if is_sealed else []
    async with libsrt(tmp_path, srt_media.PASSPHRASE if is_sealed else "") as port:
        result = await read(port, "-o", dump, *key)
    assert result["reading"] == 1
    assert result["packets"] > 50
    assert not result["lost_ever"] + result["odd"] + result["twice"]
    assert srt_media.breaks(dump.read_bytes(), is_sealed) == 0
    assert srt_media.breaks(dump.read_bytes(), not is_sealed) == -1
    assert result["acks"] > 50
    assert result["ackacks"] > 10
    assert result["rtt_us"] < 90_000  # it was measured


async def test_losses_are_mended(tmp_path: Path) -> None:
    dump = tmp_path / "packets"
    async with libsrt(tmp_path) as port:
        proxy = UdpProxy((LOCAL, port), Line(), Line(loss=0.1), seed=5)
        try:
            result = await read(proxy.port, "-o", dump)
        finally:
            proxy.close()
    assert proxy.lost > 5
    assert result["reading"] == 1
    assert result["naks"] > 0
    assert result["repeated"] > 0
    assert not result["lost"]
    assert srt_media.breaks(dump.read_bytes(), is_sealed=False) <= 3  # the last may be on their way


async def test_a_wrong_key_is_refused(tmp_path: Path) -> None:
    async with libsrt(tmp_path, "not-the-passphrase-of-that") as port:
        result = await read(port, "-k", srt_media.key_material())
    assert (result["reading"], result["rejected"], result["code"]) == (0, 1, 10)


def test_a_gap_and_a_repeated_packet_are_told_apart() -> None:
    """What the judge of the benchmark says of bytes that are wrong."""

    def entry(number: int, counters: list[int], word: int = 0) -> bytes:
        payload = b"".join(bytes((0x47, 1, 0, 0x10 | each)) + bytes(184) for each in counters)
        return srt_media.ENTRY.pack(number, word, len(payload)) + payload

    first, second, third = entry(5, [0, 1]), entry(6, [2, 3]), entry(7, [4, 5])
    assert srt_media.breaks(first + third + second, is_sealed=False) == 0
    assert srt_media.breaks(first + third, is_sealed=False) == 1
    assert srt_media.breaks(first + second.replace(b"G", b"H"), is_sealed=False) == 2
    assert srt_media.breaks(b"", is_sealed=False) == -1
