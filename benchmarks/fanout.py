"""Fan-out of one stream to many readers, beside the least that this kernel can do it for.

    .venv/bin/python -m benchmarks.fanout [--output flv,ws-flv,rtsp-tcp,rtsp-udp]
        [--readers 50,200,500] [--window 100,40] [--stalled 5] [--rounds 3]

One command, no FLUX code at either end: GStreamer's RTSP server loops a clip of 4.15 Mbit/s,
`flux run --pull` takes it in on a core of its own, and the load generator on the other core opens
the readers, some of which stop reading for good. Of FLV every frame of every reader is
compared with the clip, of RTSP the sequence numbers show what is lost or twice. In each round the
bare C floor sends the same bytes in writes of the same window, or in runs of datagrams
(UDP_SEGMENT).

Columns: CPU s/Gbit is user and system time of the server's process tree over the media that the
good readers got in the steady window. Gap is the longest time between two reads of one reader.
Join is from connecting to the first key frame. "complete" readers were connected to the end and
saw every frame of the clip in order, unchanged. "other %" is what else kept the server's core busy.
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import load as load_generator
from benchmarks import machine, media, rounds
from benchmarks.tables import median
from tests.support.camera import Camera
from tests.support.flux_process import FluxProcess

STREAM = "cam"
FLV, WS, TCP, UDP = OUTPUTS = ("flv", "ws-flv", "rtsp-tcp", "rtsp-udp")
FLVS = (FLV, WS)
RAMP_READERS = 150  # readers that join in one second
WARM = 3.0  # seconds between the last joiner and the steady window
MAX_GAP_MS = 200  # a larger step between two video frames is an error of the stream


@dataclass(frozen=True, slots=True)
class Run:
    """One measured round."""

    output: str
    window_ms: int
    readers: int
    stalled: int
    cpu_s: float
    cpu_share: float
    cpu_per_gbit: float
    floor_per_gbit: float
    other_share: float
    rss_kb_reader: float
    closed: int  # of the stalled readers, by FLUX
    load: dict[str, Any]

    @property
    def is_right(self) -> bool:
        """Whether every frame of every good reader was the clip's, and every packet there."""
        if self.output not in FLVS:
            return not self.wrong
        check = self.load["check"]
        return bool(check["frames"]) and not check["wrong"] and not check["missing"]

    @property
    def wrong(self) -> int:
        """Frames that are not the clip's, packets that are lost, twice, or none."""
        if self.output in FLVS:
            return int(self.load["check"]["wrong"] + self.load["check"]["missing"])
        return int(sum(self.load[name] for name in ("rtp_lost", "rtp_dups", "bad_frames")))


def measure(
    args: argparse.Namespace,
    clip: media.Clip,
    output: str,
    readers: int,
    window_ms: int,
    stalled: int,
) -> Run:
    """One round: camera, FLUX, readers, floor."""
    with (
        tempfile.TemporaryDirectory(prefix="flux-fanout-") as folder,
        Camera({f"/{STREAM}": clip.mp4}, wrapper=machine.PIN_LOAD) as camera,
        FluxProcess(
            Path(folder),
            settings={
                "fanout": {"write_window": f"{window_ms}ms"},
                "log": {"level": "warning"},
                "loop": args.loop,
            },
            pulls={STREAM: camera.url(f"/{STREAM}")},
            wrapper=machine.PIN_SERVER,
        ) as flux,
    ):
        flux.wait_until(lambda: flux.stream(STREAM)["state"] == "ready", "the stream is ready")
        time.sleep(args.settle)
        before = machine.look(flux.pid, time.monotonic())
        load, first, last, left = run_load(args, clip, flux, output, readers, stalled)
        if not flux.program.is_running:
            raise SystemExit(f"FLUX ended:\n{flux.program.output}")
    span, cpu = last.at - first.at, last.cpu - first.cpu
    gbit = load["media_bytes"] * 8 / 1e9
    busy = last.core_busy - first.core_busy
    return Run(
        output=output,
        window_ms=window_ms,
        readers=readers,
        stalled=stalled,
        cpu_s=cpu,
        cpu_share=cpu / span,
        cpu_per_gbit=cpu / gbit if gbit else 0.0,
        floor_per_gbit=0.0 if args.no_floor else floor(args, output, readers, window_ms),
        other_share=max(0.0, (busy - cpu) / span),
        rss_kb_reader=(last.rss - before.rss) / 1024 / readers,
        closed=readers - left,
        load=load,
    )


def run_load(
    args: argparse.Namespace,
    clip: media.Clip,
    flux: FluxProcess,
    output: str,
    readers: int,
    stalled: int,
) -> tuple[dict[str, Any], machine.Reading, machine.Reading, int]:
    """Run the load generator.

    Its result, looks at FLUX as its window opens and closes, and the readers FLUX has at the end.
    """
    ramp = args.ramp if args.ramp is not None else max(1.0, readers / RAMP_READERS)
    left = 0

    def at_last() -> None:
        nonlocal left
        left = sum(flux.stream(STREAM)["readers"].values())

    result, first, last = load_generator.run(
        flux.pid,
        *("-d", args.seconds, "-r", ramp, "-w", WARM, "-g", MAX_GAP_MS, "-S", stalled),
        *(("-F", clip.flv) if output in FLVS else ()),
        *(output, flux.flv(STREAM) if output in FLVS else flux.rtsp(STREAM), readers),
        at_last=at_last,
    )
    return result, first, last, left


def floor(args: argparse.Namespace, output: str, readers: int, window_ms: int) -> float:
    """CPU seconds a gigabit of a bare C sender that writes as much as often."""
    if output == UDP:
        window_ms = 0  # datagrams leave with their frame
    interval = max(window_ms, 40)  # a frame comes each 40 ms: nobody writes more often
    chunk = int(media.STREAM_MBIT * 1e6 / 8 * interval / 1000)
    kind = "gso" if output == UDP else "tcp"
    return load_generator.floor(kind, readers, args.floor_seconds, chunk, interval)


HEADS = (
    *(
        "output",
        "readers",
        "window ms",
        "frames",
        "complete",
        "Mbit/s",
        "CPU %",
        "CPU s/Gbit",
        "(min-max)",
    ),
    *("floor", "ratio", "gap p50", "gap p99", "join p50", "join p95", "KB/reader", "stalled"),
    *("other %", "load %"),
)


def row(runs: list[Run]) -> list[str]:
    """One line of the table: medians over rounds; counts are the worst round's."""

    def middle(*path: str) -> float:
        values = []
        for run in runs:
            value: Any = run.load
            for key in path:
                value = value[key]
            values.append(float(value))
        return median(values)

    worst = min(runs, key=lambda run: run.load["complete"])
    wrong = sum(run.wrong for run in runs)
    cost = median([run.cpu_per_gbit for run in runs])
    least = median([run.floor_per_gbit for run in runs])
    return [
        runs[0].output,
        str(runs[0].readers),
        str(runs[0].window_ms),
        "right" if all(run.is_right for run in runs) else f"{wrong} WRONG",
        f"{worst.load['complete']}/{worst.load['readers']}",
        f"{middle('media_mbit_s'):.0f}",
        f"{100 * median([run.cpu_share for run in runs]):.1f}",
        f"{cost:.4f}",
        f"{min(r.cpu_per_gbit for r in runs):.4f}-{max(r.cpu_per_gbit for r in runs):.4f}",
        f"{least:.4f}" if least else "",
        f"{cost / least:.2f}" if least else "",
        f"{middle('stall_ms', 'p50'):.0f}",
        f"{middle('stall_ms', 'p99'):.0f}",
        f"{middle('first_key_ms', 'p50'):.1f}",
        f"{middle('first_key_ms', 'p95'):.1f}",
        f"{median([run.rss_kb_reader for run in runs]):.1f}",
        f"{runs[0].stalled} ({min(run.closed for run in runs)} closed)" if runs[0].stalled else "0",
        f"{100 * median([run.other_share for run in runs]):.0f}",
        f"{middle('loadgen_cpu_pct'):.0f}",
    ]


def numbers_of(text: str) -> list[int]:
    """A list of numbers with commas."""
    return [int(number) for number in text.split(",")]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = rounds.options("Fan-out of one stream to many readers.", seconds=10, settle=4)
    parser.add_argument("--output", default=FLV, help=f"of {', '.join(OUTPUTS)}")
    parser.add_argument("--readers", default="50,200,500", help="numbers of readers")
    parser.add_argument("--window", default="100,40", help="bounds of the write window in ms")
    parser.add_argument("--stalled", default="5", help="readers of those that stop reading")
    parser.add_argument("--ramp", type=float, help=f"seconds of joining (readers / {RAMP_READERS})")
    parser.add_argument("--floor-seconds", type=float, default=4)
    parser.add_argument("--no-floor", action="store_true")
    return parser.parse_args()


def say(run: Run) -> str:
    """One round in a line."""
    return (
        f"{run.output}, {run.readers} readers, "
        f"{run.stalled} of them stalled, window {run.window_ms} ms: "
        f"{run.cpu_per_gbit:.4f} s/Gbit, gap p99 {run.load['stall_ms']['p99']:.0f} ms, "
        f"complete {run.load['complete']}/{run.load['readers']}"
    )


def figures(run: Run) -> dict[str, Any]:
    """One round for programs."""
    return {
        "output": run.output,
        "window_ms": run.window_ms,
        "cpu_s": run.cpu_s,
        "floor": run.floor_per_gbit,
        **run.load,
    }


def main() -> int:
    """Measure and print; the status says whether every frame was right."""
    args = arguments()
    machine.require_cores()
    clip = media.clip()
    os.sched_setaffinity(0, {machine.LOAD_CORE})
    cases = [
        (output, readers, window, stalled)
        for output in args.output.split(",")
        for readers in numbers_of(args.readers)
        for window in numbers_of(args.window)
        for stalled in numbers_of(args.stalled)
    ]
    runs = rounds.measure_all(cases, args.rounds, lambda case: measure(args, clip, *case), say)
    return rounds.report(runs, HEADS, row, figures, args.json)


if __name__ == "__main__":
    sys.exit(main())
