"""Programs that speak SRT through libsrt, as the other end of a test: bytes in, bytes out."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import imageio_ffmpeg

from protocols.srt.events import DataReceived
from protocols.srt.link import Channel, LinkHandler

PASSPHRASE = "flux-reference-key"
PACKET = 1316
TOOLS = ("slt", "ffmpeg", "ffmpeg-new", "gst")
FFMPEGS = {"ffmpeg": "ffmpeg", "ffmpeg-new": imageio_ffmpeg.get_ffmpeg_exe()}


@dataclass(eq=False)
class Collector(LinkHandler):
    """The handler of a link: keeps what comes and what happened."""

    payloads: list[bytes] = field(default_factory=list)
    lost: int = 0
    link: Channel | None = None
    connected_at: float = 0.0
    end: tuple[str, int] | None = None

    def connected(self, link: Channel, now: float) -> None:
        self.link, self.connected_at = link, now

    def received(self, link: Channel, event: DataReceived, now: float) -> None:
        del link, now
        self.payloads += event.payloads
        self.lost += event.lost

    def refused(self, reason: str, code: int) -> None:
        self.end = reason, code

    def closed(self, link: Channel, reason: str, code: int) -> None:
        del link
        self.end = reason, code


def packet(number: int) -> bytes:
    """One payload: TS-like, with its number."""
    return (b"G" + number.to_bytes(4, "big")).ljust(PACKET, b"\xff")


def numbers(payloads: Sequence[bytes]) -> list[int]:
    """What `packet` made, back; -1 for anything else."""
    return [
        int.from_bytes(each[1:5], "big")
        if len(each) == PACKET and each[5:] == b"\xff" * (PACKET - 5)
        else -1
        for each in payloads
    ]


def cut(data: bytes) -> list[bytes]:
    """A byte stream as payloads."""
    return [data[at : at + PACKET] for at in range(0, len(data), PACKET)]


def url_of(tool: str, place: str, **options: object) -> str:
    """The URL for a tool; `latency` in milliseconds, whatever it counts in."""
    if tool in FFMPEGS:
        options = {"pkt_size": PACKET, **options}
        if "latency" in options:
            options["latency"] = int(str(options["latency"])) * 1000
    return f"srt://{place}?" + "&".join(f"{key}={value}" for key, value in options.items())


def sending(tool: str, url: str) -> list[str]:
    """A command that sends what comes on its standard input."""
    if tool == "slt":
        return ["srt-live-transmit", "-q", "-a:no", f"-c:{PACKET}", "file://con", url]
    if tool == "gst":
        sink = ["srtsink", f"uri={url}", "wait-for-connection=true", "sync=false"]
        return ["gst-launch-1.0", "-q", "fdsrc", "fd=0", f"blocksize={PACKET}", "!", *sink]
    return [
        *(FFMPEGS[tool], "-hide_banner", "-loglevel", "error", "-analyzeduration", "0"),
        *("-f", "data", "-raw_packet_size", str(PACKET), "-i", "pipe:0"),
        *("-map", "0", "-c", "copy", "-flush_packets", "1", "-f", "data", url),
    ]


def receiving(tool: str, url: str) -> list[str]:
    """A command that writes what it receives to its standard output."""
    if tool == "slt":
        return ["srt-live-transmit", "-q", "-a:no", f"-c:{PACKET}", url, "file://con"]
    if tool == "gst":
        source = ["srtsrc", f"uri={url}"]
        return ["gst-launch-1.0", "-q", *source, "!", "fdsink", "fd=1", "sync=false"]
    return [
        *(FFMPEGS[tool], "-hide_banner", "-loglevel", "error", "-fflags", "nobuffer"),
        *("-f", "data", "-raw_packet_size", str(PACKET), "-i", url),
        *("-map", "0", "-c", "copy", "-flush_packets", "1", "-f", "data", "pipe:1"),
    ]


@contextlib.asynccontextmanager
async def running(command: Sequence[str | Path]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program with pipes, killed by its id when the block is left."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def feed(process: asyncio.subprocess.Process, count: int, interval: float) -> None:
    """Write `count` packets to a program's standard input, paced."""
    assert process.stdin is not None
    began = time.monotonic()
    for number in range(count):
        delay = began + number * interval - time.monotonic()
        if delay > 0:
            await asyncio.sleep(delay)
        process.stdin.write(packet(number))
        await process.stdin.drain()


async def send(link: Channel, count: int, interval: float) -> None:
    """Send `count` packets over a link of ours, paced."""
    began = time.monotonic()
    for number in range(count):
        delay = began + number * interval - time.monotonic()
        if delay > 0:
            await asyncio.sleep(delay)
        assert link.send([packet(number)], time.monotonic()) == 1


class Output:
    """What a program writes to its standard output."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.data = b""
        self._process = process
        self._task = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while data := await self._process.stdout.read(1 << 16):
            self.data += data

    def stop(self) -> None:
        """Read no more."""
        self._task.cancel()
