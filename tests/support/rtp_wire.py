"""RTP over loopback to and from real programs, and what they make of the units in it."""

import re
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from hashlib import md5
from pathlib import Path
from struct import Struct

from imageio_ffmpeg import get_ffmpeg_exe

from media.payloads.base import Depacketizer, DropCallback, Packetizer
from tests.support.payloads import Drops
from tests.support.ports import free_port
from tests.support.program import Program

FFMPEG = get_ffmpeg_exe()
HEADER = Struct("!BBHII")
STEP = 3000  # ticks of 90 kHz from unit to unit
GAP = 0.004  # seconds between units
PACED, PAUSE = 16, 0.002  # packets in a row, seconds after them: receive buffers are small
LIMIT = 20.0  # seconds for the whole of an exchange
FIRST_SEQUENCE = 65_500  # wraps soon

Payload = tuple[bytes, ...]


def send(port: int, packetizer: Packetizer, units: Iterable[Payload], payload_type: int) -> None:
    """Send units as RTP to a port of this machine."""
    sequence = FIRST_SEQUENCE
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for index, unit in enumerate(units):
            for number, (data, marker) in enumerate(packetizer.packetize(unit)):
                second = payload_type | 0x80 * marker
                timestamp = 900_000 + index * STEP
                head = HEADER.pack(0x80, second, sequence & 0xFFFF, timestamp, 0x464C5558)
                sender.sendto(head + data, ("127.0.0.1", port))
                sequence += 1
                if number % PACED == PACED - 1:
                    time.sleep(PAUSE)
            time.sleep(GAP)


def receive(
    make: Callable[[DropCallback], Depacketizer],
    command: Callable[[int], Sequence[str]],
    count: int,
) -> tuple[list[Payload], list[str]]:
    """Run a program that sends RTP to a port; the first `count` units of it, and drop reasons."""
    drops = Drops()
    machine = make(drops)
    units: list[Payload] = []
    last: tuple[int, int] | None = None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(LIMIT)
        with Program(command(receiver.getsockname()[1])) as program:
            while len(units) < count:
                try:
                    packet = receiver.recv(65536)
                except TimeoutError:
                    raise AssertionError(f"{len(units)} units, then {program.output}") from None
                first, second, low, stamp, _ = HEADER.unpack_from(packet)
                start = HEADER.size + 4 * (first & 15)
                if first & 0x10:  # an extension
                    start += 4 + 4 * int.from_bytes(packet[start + 2 : start + 4], "big")
                end = len(packet) - (packet[-1] if first & 0x20 else 0)
                sequence, timestamp = low, stamp
                if last is not None:
                    sequence = last[0] + ((low - last[0] + 0x8000 & 0xFFFF) - 0x8000)
                    timestamp = last[1] + ((stamp - last[1] + (1 << 31) & 0xFFFFFFFF) - (1 << 31))
                last = sequence, timestamp
                done = machine.push(packet[start:end], bool(second & 0x80), sequence, timestamp)
                units += [unit.payload for unit in done]
    return units[:count], drops.reasons


def wait_until_bound(port: int, program: Program) -> None:
    """Wait until somebody listens on a UDP port."""
    deadline = time.monotonic() + LIMIT
    wanted = re.compile(rf":{port:04X} [0-9A-F]+:0000 07")
    while not wanted.search(Path("/proc/net/udp").read_text()):
        assert program.is_running and time.monotonic() < deadline, program.output
        time.sleep(0.02)


def ffmpeg_receives(
    folder: Path,
    packetizer: Packetizer,
    units: Sequence[Payload],
    sdp_lines: Sequence[str],
    output: Sequence[str],
    payload_type: int = 96,
) -> None:
    """Let FFmpeg receive the units and write the packets that its demuxer makes of them.

    It ends two packets before the last: those only make sure that the others come.
    """
    port = free_port()
    kind = "application" if "SMPTE336M" in sdp_lines[0] else "video"
    description = folder / "session.sdp"
    head = ["v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=test", "c=IN IP4 127.0.0.1", "t=0 0"]
    media = f"m={kind} {port} RTP/AVP {payload_type}"
    description.write_text("\r\n".join([*head, media, *sdp_lines, ""]))
    command = [
        FFMPEG, "-hide_banner", "-loglevel", "warning", "-y",
        "-analyzeduration", "1", "-probesize", "32",
        "-protocol_whitelist", "file,udp,rtp", "-reorder_queue_size", "0",
        "-buffer_size", "4000000",
        "-i", str(description), "-map", "0", "-c", "copy", "-copyts", "-copyinkf",
        "-frames", str(len(units) - 2), *output,
    ]  # fmt: skip
    with Program(command) as ffmpeg:
        wait_until_bound(port, ffmpeg)
        send(port, packetizer, units, payload_type)
        assert ffmpeg.wait(LIMIT) == 0, ffmpeg.output


def ffmpeg_hashes(
    folder: Path, packetizer: Packetizer, units: Sequence[Payload], sdp_lines: Sequence[str]
) -> list[str]:
    """The MD5 of each packet that FFmpeg receives."""
    target = folder / "hashes"
    output = ("-f", "framehash", "-hash", "md5", str(target))
    ffmpeg_receives(folder, packetizer, units, sdp_lines, output)
    lines = target.read_text().splitlines()
    return [line.rpartition(",")[2].strip() for line in lines if not line.startswith("#")]


def hashes(units: Iterable[bytes]) -> list[str]:
    """What `ffmpeg_hashes` answers of these packets."""
    return [md5(unit, usedforsecurity=False).hexdigest() for unit in units]


def gst_buffers(
    folder: Path, packetizer: Packetizer, units: Sequence[Payload], caps: str, pipeline: str
) -> list[bytes]:
    """Let GStreamer receive the units: the buffers that come out of a pipeline, without the last.

    `caps` are those of the RTP, `pipeline` begins with the depayloader.
    """
    port = free_port()
    count = len(units) - 1
    command = [
        "gst-launch-1.0", "-q", "udpsrc", f"port={port}", "address=127.0.0.1",
        "buffer-size=4000000", f"caps=application/x-rtp,{caps}", "!", *pipeline.split(), "!",
        "identity", f"eos-after={count + 1}", "!",
        "multifilesink", f"location={folder}/%05d", "sync=false",
    ]  # fmt: skip
    with Program(command) as gst:
        wait_until_bound(port, gst)
        send(port, packetizer, units, _payload_type(caps))
        assert gst.wait(LIMIT) == 0, gst.output
    return [path.read_bytes() for path in sorted(folder.glob("[0-9]*"))][:count]


def _payload_type(caps: str) -> int:
    found = re.search(r"payload=(\d+)", caps)
    return int(found[1]) if found else 96
