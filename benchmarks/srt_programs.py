"""The programs around an SRT server under test, each on its core."""

import contextlib
import json
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, native, srt_media
from tests.support.flux_process import FluxProcess
from tests.support.program import Program

HOST = "127.0.0.1"
PACKET_BYTES = 1316
UDP_BUFFER = 8 << 20
COUNTERS_LIMIT = 5.0  # seconds


def transmit(wrapper: Sequence[str], source: str, target: str) -> Program:
    """srt-live-transmit."""
    command = ["srt-live-transmit", "-q", "-a:no", f"-c:{PACKET_BYTES}", source, target]
    return Program([*wrapper, *command])


def udp(port: int) -> str:
    """Where srt-live-transmit takes or leaves a stream."""
    return f"udp://{HOST}:{port}?rcvbuf={UDP_BUFFER}&sndbuf={UDP_BUFFER}"


def srt(port: int, is_sealed: bool, **options: str) -> str:
    """An SRT address for srt-live-transmit."""
    if is_sealed:
        options |= {"passphrase": srt_media.PASSPHRASE, "pbkeylen": "16"}
    host = "" if options.get("mode") == "listener" else HOST
    query = "&".join(f"{key}={value}" for key, value in {"latency": "120", **options}.items())
    return f"srt://{host}:{port}?{query}"


def counters(program: Program) -> dict[str, Any]:
    """What a `tsudp` counts now."""
    before = len(program.lines)
    program.interrupt(signal.SIGUSR1)
    end = time.monotonic() + COUNTERS_LIMIT
    while time.monotonic() < end:
        for line in program.lines[before:]:
            if line.startswith("{"):
                result: dict[str, Any] = json.loads(line)
                return result
        time.sleep(0.002)
    raise SystemExit(f"{program.command} counts nothing:\n{program.output}")


@contextlib.contextmanager
def running(programs: list[Program]) -> Iterator[None]:
    """Whatever is in the list, or comes to be, is stopped at the end, the last one first."""
    try:
        yield
    finally:
        for program in reversed(programs):
            program.stop()


def generator(mbit: int, ports: Sequence[int]) -> Program:
    """The stream of that rate, to each port."""
    clip = srt_media.clip(mbit)
    rest = ["send", str(clip.path), f"{clip.seconds}", *map(str, ports)]
    program = Program([*machine.PIN_LOAD, native.program("tsudp"), *rest])
    program.wait_for("ready")
    return program


def sink(ports: Sequence[int]) -> Program:
    """Where streams end."""
    program = Program([*machine.PIN_LOAD, native.program("tsudp"), "sink", *map(str, ports)])
    program.wait_for("ready")
    return program


@contextlib.contextmanager
def flux(
    streams: dict[str, dict[str, object]], is_sealed: bool, loop: str
) -> Iterator[FluxProcess]:
    """`flux run` with these streams."""
    secret = srt_media.PASSPHRASE if is_sealed else ""
    settings: dict[str, Any] = {
        "log": {"level": "warning"},
        "loop": loop,
        "srt": {"publish_passphrase": secret, "read_passphrase": secret},
    }
    with (
        tempfile.TemporaryDirectory(prefix="flux-srt-") as folder,
        FluxProcess(Path(folder), streams, settings, wrapper=machine.PIN_SERVER) as process,
    ):
        yield process
