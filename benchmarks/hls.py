"""HLS of one stream to many players, beside the least that this kernel can do it for.

    .venv/bin/python -m benchmarks.hls [--output ts,fmp4,ll,ll-playlists,nginx] [--players 100,500]
        [--rounds 3] [--seconds 20]

One command, no FLUX code at the other ends: GStreamer's RTSP server loops a clip of 4.15 Mbit/s,
`flux run --pull` takes it in on a core of its own, and the load generator on the other core plays:
the playlist as often as hls.js loads it, then each new segment of 2 s. With low latency it asks
for the playlist with the next part of 200 ms (the request is held), for delta updates, for parts.

- ts, fmp4: segments of MPEG-TS, of MP4.
- ll: low latency with parts; ll-playlists: the same without fetching any part, which shows what a
  playlist request costs: the CPU time beyond that of a run with one player, by request.
- nginx: FFmpeg writes the same segments into files and nginx serves them, if it is installed.

The floor is a bare C program that writes a segment to each of as many connections.

CPU s/Gbit is user and system time of the server's process tree over the media that the players got
in the steady window, taking the stream in included. "complete" players missed no segment or part
and saw no error. "other %" is what else kept the server's core busy.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import load as load_generator
from benchmarks import machine, media, nginx, rounds
from benchmarks.tables import median
from tests.support.camera import Camera
from tests.support.flux_process import FluxProcess

STREAM = "cam"
SEGMENT = 2.0  # seconds
PART = 0.2
RAMP_PLAYERS = 100  # that join in one second
WARM = 7.0  # seconds between the last joiner and the steady window
TS, FMP4, LL, LL_PLAYLISTS, NGINX = OUTPUTS = ("ts", "fmp4", "ll", "ll-playlists", "nginx")
MODES = {LL: "llhls", LL_PLAYLISTS: "llpoll"}  # of the load generator
SECTIONS: dict[str, dict[str, object]] = {
    TS: {"container": "mpegts"},
    FMP4: {"container": "fmp4"},
    LL: {"low_latency": True, "part_duration": f"{PART}s"},
    LL_PLAYLISTS: {"low_latency": True, "part_duration": f"{PART}s"},
}


@dataclass(frozen=True, slots=True)
class Run:
    """One measured round."""

    output: str
    players: int
    cpu_share: float
    cpu_per_gbit: float  # 0 where no media are fetched
    us_per_playlist: float  # with low latency alone, less what one player costs
    floor_per_gbit: float
    other_share: float
    load: dict[str, Any]

    @property
    def is_right(self) -> bool:
        """Whether no player missed anything."""
        return bool(self.load["complete"] == self.load["readers"] and not self.load["http_errors"])


def measure(args: argparse.Namespace, clip: media.Clip, output: str, players: int) -> Run:
    """One round: source, server, players, floor."""
    server = nginx.serve(clip, SEGMENT) if output == NGINX else flux_server(args, clip, output)
    with server as (pid, url):
        alone = 0.0
        if output == LL_PLAYLISTS:
            _, first, last = run_load(args, pid, url, output, 1, warm=1.0)
            alone = (last.cpu - first.cpu) / (last.at - first.at)
        load, first, last = run_load(args, pid, url, output, players, warm=WARM)
    span, cpu = last.at - first.at, last.cpu - first.cpu
    gbit = load["media_bytes"] * 8 / 1e9
    playlists = load["playlists_window"]
    return Run(
        output=output,
        players=players,
        cpu_share=cpu / span,
        cpu_per_gbit=cpu / gbit if gbit > 0.1 else 0.0,
        us_per_playlist=1e6 * (cpu - alone * span) / playlists if alone else 0.0,
        floor_per_gbit=floor(args, players) if output in (TS, FMP4) else 0.0,
        other_share=max(0.0, (last.core_busy - first.core_busy - cpu) / span),
        load=load,
    )


@contextmanager
def flux_server(
    args: argparse.Namespace, clip: media.Clip, output: str
) -> Iterator[tuple[int, str]]:
    """FLUX with the clip's stream: its process and the playlist's URL."""
    with (
        tempfile.TemporaryDirectory(prefix="flux-hls-") as folder,
        Camera({f"/{STREAM}": clip.mp4}, wrapper=machine.PIN_LOAD) as camera,
        FluxProcess(
            Path(folder),
            settings={
                "hls": {"mode": "always", "segment_duration": f"{SEGMENT}s", **SECTIONS[output]},
                "log": {"level": "warning"},
                "loop": args.loop,
            },
            pulls={STREAM: camera.url(f"/{STREAM}")},
            wrapper=machine.PIN_SERVER,
        ) as flux,
    ):
        flux.wait_until(lambda: flux.stream(STREAM)["state"] == "ready", "the stream is ready")
        time.sleep(args.settle)
        yield flux.pid, flux.hls(STREAM)
        if not flux.program.is_running:
            raise SystemExit(f"FLUX ended:\n{flux.program.output}")


def run_load(
    args: argparse.Namespace, pid: int, url: str, output: str, players: int, *, warm: float
) -> tuple[dict[str, Any], machine.Reading, machine.Reading]:
    """Run the load generator: its result, and the server as its window opens and closes."""
    return load_generator.run(
        pid,
        *("-d", args.seconds, "-r", max(1.0, players / RAMP_PLAYERS)),
        *("-w", warm, MODES.get(output, "hls"), url, players),
    )


def floor(args: argparse.Namespace, players: int) -> float:
    """CPU seconds a gigabit of a bare C sender of whole segments, all in one write."""
    chunk = int(media.STREAM_MBIT * 1e6 / 8 * SEGMENT)
    return load_generator.floor("tcp", players, args.floor_seconds, chunk, 1000 * SEGMENT)


HEADS = (
    *("output", "players", "complete", "Mbit/s", "CPU %", "CPU s/Gbit", "(min-max)", "floor"),
    *("us/playlist", "(min-max)", "playlists/s", "segment p50 ms", "p95", "other %", "load %"),
)


def row(runs: list[Run]) -> list[str]:
    """One line of the table: medians over rounds; counts are the worst round's."""
    worst = min(runs, key=lambda run: run.load["complete"])
    costs = [run.cpu_per_gbit for run in runs]
    requests = [run.us_per_playlist for run in runs]
    least = median([run.floor_per_gbit for run in runs])

    def middle(name: str, part: str) -> float:
        return median([float(run.load[name][part]) for run in runs])

    return [
        runs[0].output,
        str(runs[0].players),
        f"{worst.load['complete']}/{worst.load['readers']}",
        f"{median([run.load['media_mbit_s'] for run in runs]):.0f}",
        f"{100 * median([run.cpu_share for run in runs]):.1f}",
        f"{median(costs):.3f}" if any(costs) else "",
        f"{min(costs):.3f}-{max(costs):.3f}" if any(costs) else "",
        f"{least:.3f}" if least else "",
        f"{median(requests):.0f}" if any(requests) else "",
        f"{min(requests):.0f}-{max(requests):.0f}" if any(requests) else "",
        f"{median([r.load['playlists_window'] / r.load['window_s'] for r in runs]):.0f}",
        f"{middle('segment_ms', 'p50'):.1f}",
        f"{middle('segment_ms', 'p95'):.1f}",
        f"{100 * median([run.other_share for run in runs]):.0f}",
        f"{median([run.load['loadgen_cpu_pct'] for run in runs]):.0f}",
    ]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = rounds.options("HLS of one stream to many players.", seconds=20, settle=8)
    parser.add_argument("--output", default=",".join(OUTPUTS), help=f"of {', '.join(OUTPUTS)}")
    parser.add_argument("--players", default="100,500", help="numbers of players")
    parser.add_argument("--floor-seconds", type=float, default=8)
    return parser.parse_args()


def say(run: Run) -> str:
    """One round in a line."""
    return (
        f"{run.output}, {run.players} players: "
        f"{run.cpu_per_gbit:.4f} s/Gbit, {run.us_per_playlist:.0f} us a playlist, "
        f"complete {run.load['complete']}/{run.load['readers']}"
    )


def figures(run: Run) -> dict[str, Any]:
    """One round for programs."""
    return {
        "output": run.output,
        "cpu_per_gbit": run.cpu_per_gbit,
        "us_per_playlist": run.us_per_playlist,
        "floor": run.floor_per_gbit,
        **run.load,
    }


def main() -> int:
    """Measure and print; the status says whether every player got everything."""
    args = arguments()
    machine.require_cores()
    clip = media.clip()
    os.sched_setaffinity(0, {machine.LOAD_CORE})
    outputs = [each for each in args.output.split(",") if each != NGINX or nginx.is_there()]
    cases = [(output, int(count)) for output in outputs for count in args.players.split(",")]
    runs = rounds.measure_all(cases, args.rounds, lambda case: measure(args, clip, *case), say)
    return rounds.report(runs, HEADS, row, figures, args.json)


if __name__ == "__main__":
    sys.exit(main())
