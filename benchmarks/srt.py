"""SRT: what a delivered gigabit costs `flux run` and srt-live-transmit, in the same run.

    .venv/bin/python -m benchmarks.srt [--cases send-10,receive-10] [--rounds 3] [--seconds 10]

Server on one core, everything else on the other. A small C program sends a transport stream over
UDP at an even pace; both servers get the same bytes.

    send      UDP -> server -> SRT -> readers in C; FLUX takes the stream in as a `udp://` source,
              and makes it anew from frames
    receive   UDP -> srt-live-transmit -> SRT -> server; FLUX publishes it, srt-live-transmit has no
              such thing and sends it on over UDP
    relay     the same, and FLUX sends it on over UDP, too

The readers in C do what libsrt's do; `tests/benchmarks/test_srt_readers.py` checks them against it.
CPU is user and system time of the server's processes over the window. Where a case has many
streams, libsrt gets a process for each, as srt-live-transmit carries no more; it has nothing that
could serve many readers. "lost" counts what never arrived, "right" says that the bytes were what
they had to be: counters without breaks, and of encrypted packets what the key opens.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine, native, srt_media
from benchmarks.srt_programs import (
    HOST,
    counters,
    flux,
    generator,
    running,
    sink,
    srt,
    transmit,
    udp,
)
from benchmarks.tables import median, table
from tests.support.flux_process import FluxProcess
from tests.support.ports import free_port
from tests.support.program import Program

FLUX, LIBSRT = "flux", "libsrt"
SEND, RECEIVE, RELAY = "send", "receive", "relay"
WARM = 16.0  # seconds from the last joiner to the window: after ten turns are long, streams skimmed
RAMP_READERS = 150  # in a second
ENOUGH = 0.98  # of the packets that were due must have come
REMADE = 0.94  # of the bytes: FLUX makes the stream anew, without what only fills
LIMIT = 30.0  # seconds until everybody is connected


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured, and what it may cost."""

    name: str
    kind: str
    mbit: int
    streams: int = 1  # readers of one stream, or publishers
    most: float = 0.0  # CPU s/Gbit; 0: nothing is said
    ratio: float = 0.0  # of libsrt
    has_libsrt: bool = True


CASES = (
    Case("send-10", SEND, 10, ratio=0.6),
    Case("receive-10", RECEIVE, 10, ratio=0.6),
    Case("relay-10", RELAY, 10),
    Case("send-100", SEND, 100, most=0.8),
    Case("receive-100", RECEIVE, 100, most=1.0),
    Case("relay-100", RELAY, 100),
    Case("publish-20", RECEIVE, 5, 20, most=1.2),
    Case("read-200", SEND, 4, 200, most=0.6, has_libsrt=False),
)
SEALED = "-aes"  # behind a case's name: AES-128


@dataclass(frozen=True, slots=True)
class Run:
    """One measured round of one server."""

    cpu: float  # seconds
    span: float
    bytes: int  # payload delivered
    packets: int
    lost: int
    is_right: bool
    other_share: float  # of the server's core
    detail: dict[str, Any]

    @property
    def cpu_per_gbit(self) -> float:
        """CPU seconds for a gigabit."""
        return self.cpu / (self.bytes * 8 / 1e9) if self.bytes else 0.0

    @property
    def us_per_packet(self) -> float:
        """CPU microseconds."""
        return self.cpu / self.packets * 1e6 if self.packets else 0.0


@dataclass(frozen=True, slots=True)
class Look:
    """The servers and their core at one instant."""

    at: float
    cpu: float
    core_busy: float

    @classmethod
    def at_pids(cls, pids: Sequence[int]) -> "Look":
        """Read everything at once."""
        cpu = sum(machine.cpu_seconds(pid) for pid in pids)
        return cls(time.monotonic(), cpu, machine.core_seconds(machine.SERVER_CORE)[0])


def measured(
    looks: Sequence[Look], size: int, packets: int, lost: int, right: bool, detail: dict[str, Any]
) -> Run:
    """A round from its two looks."""
    first, last = looks
    cpu, span = last.cpu - first.cpu, last.at - first.at
    other = max(0.0, (last.core_busy - first.core_busy - cpu) / span)
    return Run(cpu, span, size, packets, lost, right, other, detail)


# -- sending -------------------------------------------------------------------------------------


def send(args: argparse.Namespace, case: Case, server: str, is_sealed: bool) -> Run:
    """UDP in, SRT out to readers."""
    port = free_port()
    programs: list[Program] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(running(programs))
        if server == FLUX:
            process = stack.enter_context(
                flux({"cam": {"source": f"udp://{HOST}:{port}"}}, is_sealed, args.loop)
            )
            programs.append(generator(case.mbit, [port]))
            process.wait_until(
                lambda: process.stream("cam")["state"] == "ready", "the stream is ready"
            )
            time.sleep(args.settle)
            return read(args, case, is_sealed, process.srt_port, "read:cam", [process.pid])
        listener = free_port()
        target = srt(listener, is_sealed, mode="listener")
        program = transmit(machine.PIN_SERVER, udp(port), target)
        programs.append(program)
        programs.append(generator(case.mbit, [port]))
        time.sleep(1.0)
        return read(args, case, is_sealed, listener, "", [program.pid])


def read(
    args: argparse.Namespace,
    case: Case,
    is_sealed: bool,
    port: int,
    stream_id: str,
    pids: Sequence[int],
) -> Run:
    """Run the readers, and look at the server as their window opens and closes."""
    ramp = max(0.2, case.streams / RAMP_READERS)
    with tempfile.TemporaryDirectory(prefix="flux-srt-") as folder:
        dump = Path(folder) / "packets"
        command = [
            *machine.PIN_LOAD,
            *(native.program("srt_readers"), "-d", str(args.seconds), "-w", str(WARM)),
            *("-r", str(ramp), "-o", dump, "-s", stream_id),
            *(("-k", srt_media.key_material()) if is_sealed else ()),
            *(HOST, str(port), str(case.streams)),
        ]
        looks: list[Look] = []
        result: dict[str, Any] = {}
        with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as load:
            assert load.stdout is not None
            for line in load.stdout:
                message = json.loads(line)
                if "mark" in message:
                    looks.append(Look.at_pids(pids))
                else:
                    result = message
        if len(looks) != 2 or not result:
            raise SystemExit("the readers gave no result")
        breaks = srt_media.breaks(dump.read_bytes(), is_sealed)
    due = args.seconds * case.streams * srt_media.clip(case.mbit).mbit * 1e6 / 8
    right = (
        result["reading"] == case.streams
        and not breaks
        and not result["odd"]
        and result["bytes"] >= REMADE * due
    )
    detail = {**result, "breaks": breaks}
    return measured(looks, result["bytes"], result["packets"], result["lost"], right, detail)


# -- receiving -----------------------------------------------------------------------------------


def receive(args: argparse.Namespace, case: Case, server: str, is_sealed: bool) -> Run:
    """SRT in; out over UDP where the case or the server is for that."""
    count = case.streams
    ports = [free_port() for _ in range(count)]
    ends = [free_port() for _ in range(count)]
    names = [f"cam{number}" for number in range(count)]
    programs: list[Program] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(running(programs))
        end = sink(ends)
        programs.append(end)
        process: FluxProcess | None = None
        if server == FLUX:
            is_relay = case.kind == RELAY
            streams: dict[str, dict[str, object]] = {
                name: {"forward": [f"udp://{HOST}:{port}"] if is_relay else []}
                for name, port in zip(names, ends, strict=True)
            }
            process = stack.enter_context(flux(streams, is_sealed, args.loop))
            pids = [process.pid]
            targets = [
                srt(process.srt_port, is_sealed, streamid=f"publish:{name}") for name in names
            ]
        else:
            listeners = [free_port() for _ in range(count)]
            pids = []
            for listener, port in zip(listeners, ends, strict=True):
                source = srt(listener, is_sealed, mode="listener")
                programs.append(transmit(machine.PIN_SERVER, source, udp(port)))
                pids.append(programs[-1].pid)
            time.sleep(1.0)
            targets = [srt(listener, is_sealed) for listener in listeners]
        source_program = generator(case.mbit, ports)
        programs.append(source_program)
        for port, target in zip(ports, targets, strict=True):
            programs.append(transmit(machine.PIN_LOAD, udp(port), target))
        if process is not None:
            wait_for_streams(process, names)
        time.sleep(WARM)
        return watch(args, source_program, end, process, pids, case)


def wait_for_streams(process: FluxProcess, names: Sequence[str]) -> None:
    """Until all of them are published."""
    process.wait_until(
        lambda: all(process.stream(name)["state"] == "ready" for name in names),
        "all streams are ready",
        LIMIT,
    )


def watch(
    args: argparse.Namespace,
    source: Program,
    end: Program,
    process: FluxProcess | None,
    pids: Sequence[int],
    case: Case,
) -> Run:
    """The window."""
    seen, ended = statistics(process), counters(end)
    sent = counters(source)
    first = Look.at_pids(pids)
    time.sleep(args.seconds)
    last = Look.at_pids(pids)
    sent = grown(sent, counters(source))
    ended, seen = grown(ended, counters(end)), grown(seen, statistics(process))
    lost = ended["breaks"] + sent["refused"]
    is_whole = not lost
    if process is not None:
        lost = seen["pktRcvDropTotal"]
        is_whole = is_whole and not seen["drops"]
        is_whole = is_whole and seen["pktRecvUniqueTotal"] >= ENOUGH * sent["datagrams"]
    if process is None or case.kind == RELAY:
        is_whole = is_whole and ended["bytes"] >= REMADE * sent["bytes"]
    detail = {"sent": sent, "end": ended, "seen": seen}
    return measured((first, last), sent["bytes"], sent["datagrams"], lost, is_whole, detail)


def grown(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """What was counted since."""
    return {key: new[key] - old[key] for key in new}


def statistics(process: FluxProcess | None) -> dict[str, Any]:
    """What FLUX counts of all its publishers."""
    total = {"pktRecvUniqueTotal": 0, "pktRcvDropTotal": 0, "drops": 0}
    if process is None:
        return total
    _, body = process.get("/api/v1/sessions?protocol=srt&role=publisher&items_per_page=100")
    for session in json.loads(body)["items"]:
        _, body = process.get(f"/api/v1/sessions/{session['id']}/srt")
        figures = json.loads(body)
        for key in total:
            total[key] += int(figures.get(key, 0))
        total["drops"] += sum(process.stream(session["stream"])["drops"].values())
    return total


# -- the table -----------------------------------------------------------------------------------

HEADS = (
    *("case", "FLUX s/Gbit", "(min-max)", "us/packet", "libsrt s/Gbit", "us/packet", "ratio"),
    *("must", "met", "Mbit/s", "lost", "right", "other %"),
)


def row(case: Case, name: str, runs: dict[str, list[Run]]) -> list[str]:
    """One line: medians over rounds, the worst of counts."""
    ours, theirs = runs[FLUX], runs.get(LIBSRT, [])
    cost = median([run.cpu_per_gbit for run in ours])
    other = median([run.cpu_per_gbit for run in theirs])
    must, is_met = "", True
    if case.ratio and name == case.name and other:
        must, is_met = f"{case.ratio} x", cost <= case.ratio * other
    elif case.most and name == case.name:
        must, is_met = f"{case.most}", cost <= case.most
    is_whole = not any(run.lost for run in ours)
    return [
        name,
        f"{cost:.3f}",
        f"{min(r.cpu_per_gbit for r in ours):.3f}-{max(r.cpu_per_gbit for r in ours):.3f}",
        f"{median([run.us_per_packet for run in ours]):.2f}",
        f"{other:.3f}" if theirs else "",
        f"{median([run.us_per_packet for run in theirs]):.2f}" if theirs else "",
        f"{cost / other:.2f}" if theirs and other else "",
        must,
        "" if not must else "yes" if is_met and is_whole else "NO",
        f"{median([run.bytes * 8 / run.span / 1e6 for run in ours]):.1f}",
        "/".join(str(max(run.lost for run in each)) for each in (ours, theirs) if each),
        "yes" if all(run.is_right for each in (ours, theirs) for run in each) else "NO",
        f"{100 * median([run.other_share for run in ours]):.0f}",
    ]


def sealing(found: dict[str, dict[str, list[Run]]]) -> list[str]:
    """What encryption adds."""
    lines = []
    for name, runs in found.items():
        clear = found.get(name.removesuffix(SEALED))
        if not name.endswith(SEALED) or clear is None:
            continue
        plain = median([run.us_per_packet for run in clear[FLUX]])
        sealed = median([run.us_per_packet for run in runs[FLUX]])
        lines.append(
            f"AES-128 adds {sealed - plain:.2f} us a packet, {100 * (sealed / plain - 1):.0f} %, "
            f"to {name.removesuffix(SEALED)}"
        )
    return lines


def arguments() -> argparse.Namespace:
    """The command line."""
    names = [case.name for case in CASES]
    every = ",".join([*names, *(name + SEALED for name in names if not name.startswith(RELAY))])
    parser = argparse.ArgumentParser(description="What SRT costs, beside libsrt.")
    parser.add_argument("--cases", default=every, help=f"of {every}")
    parser.add_argument("--servers", default=f"{FLUX},{LIBSRT}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="measured in each round")
    parser.add_argument("--settle", type=float, default=3, help="seconds before the first reader")
    parser.add_argument("--loop", default="auto", help="event loop: auto, uvloop, asyncio")
    parser.add_argument("--json", type=Path, help="write every round there")
    return parser.parse_args()


def main() -> int:
    """Measure and print; the status says whether every byte was right and every must was met."""
    args = arguments()
    machine.require_cores()
    os.sched_setaffinity(0, {machine.LOAD_CORE})
    known = {case.name: case for case in CASES}
    names = args.cases.split(",")
    found: dict[str, dict[str, list[Run]]] = {name: {} for name in names}
    for number in range(args.rounds):
        for name in names:
            case, is_sealed = known[name.removesuffix(SEALED)], name.endswith(SEALED)
            for server in args.servers.split(","):
                if server == LIBSRT and not case.has_libsrt:
                    continue
                run = (send if case.kind == SEND else receive)(args, case, server, is_sealed)
                found[name].setdefault(server, []).append(run)
                print(
                    f"round {number + 1}: {name}, {server}: {run.cpu_per_gbit:.3f} s/Gbit, "
                    f"{run.us_per_packet:.2f} us a packet, {run.lost} lost"
                    + ("" if run.is_right else f", NOT RIGHT: {run.detail}"),
                    flush=True,
                )
    rows = [row(known[name.removesuffix(SEALED)], name, runs) for name, runs in found.items()]
    print(f"\nload average {' '.join(f'{each:.1f}' for each in os.getloadavg())}\n")
    print(table(HEADS, rows))
    print("", *sealing(found), sep="\n")
    if args.json:
        args.json.write_text(
            json.dumps(
                {
                    name: {
                        server: [{**run.detail, "cpu": run.cpu, "span": run.span} for run in each]
                        for server, each in runs.items()
                    }
                    for name, runs in found.items()
                },
                indent=1,
            )
        )
    return 0 if all(line[8] != "NO" and line[11] == "yes" for line in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
