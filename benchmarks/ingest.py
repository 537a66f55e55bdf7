"""What taking streams in costs: CPU per pulled stream and per RTP packet, with nobody watching.

    .venv/bin/python -m benchmarks.ingest [--streams 1,20,100] [--seconds 10] [--rounds 3]

Each stream is H.264 and AAC of 4.15 Mbit/s over RTSP, interleaved on TCP. The camera is a small C
program on the load core that replays the packets of GStreamer's RTSP server, so the server's core
is FLUX's alone; "late" is how late the camera ever was and "blocked" how often FLUX had not taken
what was sent before, both of which say whether the figures can be trusted. Every stream's packets
and losses are read from FLUX's own counters, and the rate must be the camera's.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine, media, native
from benchmarks.recording import Recording, recording
from benchmarks.tables import median, table
from tests.support.flux_process import FluxProcess
from tests.support.program import Program

SETTLE = 3.0  # seconds between the last stream's first frame and the measurement
READY_LIMIT = 60.0
ENOUGH = 0.98  # of the packets that were due must have come


@dataclass(frozen=True, slots=True)
class Run:
    """One measured round."""

    streams: int
    cpu_share: float  # of one core
    packets_per_second: float
    due_per_second: float
    lost: int
    rss_mb: float
    other_share: float
    camera: dict[str, Any]

    @property
    def is_right(self) -> bool:
        """Whether FLUX took in what the camera sent."""
        return not self.lost and self.packets_per_second >= ENOUGH * self.due_per_second


def measure(args: argparse.Namespace, source: Recording, streams: int) -> Run:
    """One round: camera, FLUX, and a look at the start and at the end of the window."""
    replay = Program([*machine.PIN_LOAD, native.program("rtspreplay"), source.path])
    try:
        port = replay.wait_for_json()["port"]
        names = [f"cam{number}" for number in range(streams)]
        with (
            tempfile.TemporaryDirectory(prefix="flux-ingest-") as folder,
            FluxProcess(
                Path(folder),
                settings={"log": {"level": "warning"}, "loop": args.loop},
                pulls={name: f"rtsp://127.0.0.1:{port}/{name}" for name in names},
                wrapper=machine.PIN_SERVER,
            ) as flux,
        ):
            flux.wait_until(
                lambda: all(flux.stream(name)["state"] == "ready" for name in names),
                "all streams are ready",
                READY_LIMIT,
            )
            time.sleep(SETTLE)
            counted = packets_of(flux)
            first = machine.look(flux.pid, time.monotonic())
            time.sleep(args.seconds)
            last = machine.look(flux.pid, time.monotonic())
            arrived, lost = (
                now - before for now, before in zip(packets_of(flux), counted, strict=True)
            )
    finally:
        replay.interrupt(signal.SIGTERM)
        replay.wait(5)
        replay.stop()
    span, cpu = last.at - first.at, last.cpu - first.cpu
    return Run(
        streams=streams,
        cpu_share=cpu / span,
        packets_per_second=arrived / span,
        due_per_second=source.packets_per_second * streams,
        lost=lost,
        rss_mb=last.rss / 2**20,
        other_share=max(0.0, (last.core_busy - first.core_busy - cpu) / span),
        camera=json.loads(replay.lines[-1]),
    )


def packets_of(flux: FluxProcess) -> tuple[int, int]:
    """RTP packets that came, and that are missing, of all streams so far."""
    samples = flux.metrics()

    def total(family: str) -> int:
        return int(sum(value for name, value in samples.items() if name.startswith(family)))

    return total("flux_rtp_packets_total"), total("flux_rtp_lost_packets")


HEADS = (
    *("streams", "core %", "core % a stream", "packets/s", "us a packet", "(min-max)", "lost"),
    *("RSS MB", "other %", "camera late ms", "blocked", "taken in"),
)


def row(runs: list[Run]) -> list[str]:
    """One line of the table: medians over rounds."""
    costs = [1e6 * run.cpu_share / run.packets_per_second for run in runs]
    share = 100 * median([run.cpu_share for run in runs])
    return [
        str(runs[0].streams),
        f"{share:.1f}",
        f"{share / runs[0].streams:.3f}",
        f"{median([run.packets_per_second for run in runs]):.0f}",
        f"{median(costs):.2f}",
        f"{min(costs):.2f}-{max(costs):.2f}",
        str(max(run.lost for run in runs)),
        f"{median([run.rss_mb for run in runs]):.0f}",
        f"{100 * median([run.other_share for run in runs]):.0f}",
        f"{max(run.camera['late_ms_max'] for run in runs):.0f}",
        str(max(run.camera["blocked"] for run in runs)),
        "all" if all(run.is_right for run in runs) else "NOT ALL",
    ]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="CPU per pulled stream.")
    parser.add_argument("--streams", default="1,20,100", help="numbers of streams")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="measured in each round")
    parser.add_argument("--loop", default="auto", help="event loop: auto, uvloop, asyncio")
    return parser.parse_args()


def main() -> int:
    """Measure and print; the status says whether FLUX took everything in."""
    args = arguments()
    machine.require_cores()
    os.sched_setaffinity(0, {machine.LOAD_CORE})
    source = recording(media.clip().mp4, "input")
    counts = [int(count) for count in args.streams.split(",")]
    runs: dict[int, list[Run]] = {count: [] for count in counts}
    for number in range(args.rounds):
        for count in counts:
            run = measure(args, source, count)
            runs[count].append(run)
            print(
                f"round {number + 1}: {count} streams: {100 * run.cpu_share:.1f} % of a core, "
                f"{run.packets_per_second:.0f} of {run.due_per_second:.0f} packets/s",
                flush=True,
            )
    print()
    print(table(HEADS, [row(runs[count]) for count in counts]))
    return 0 if all(run.is_right for count in counts for run in runs[count]) else 1


if __name__ == "__main__":
    sys.exit(main())
