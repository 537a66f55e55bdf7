"""The floor under `benchmarks.srt`: what datagrams cost that are only read and sent on, in turns.

    .venv/bin/python -m benchmarks.srt_floor [--rests 30,60] [--seconds 8]

A server on core 0 reads a stream of 10 Mbit/s with `flux.net.udp`, puts 16 bytes before each
datagram and sends runs with UDP_SEGMENT: no stream, no protocol, nothing comes back. The table has
CPU milliseconds a second, and what a timer costs that does nothing, in microseconds a turn.
"""

import argparse
import asyncio
import socket
import subprocess
import sys
import time
from struct import Struct

import uvloop

from benchmarks import machine
from benchmarks.srt_programs import HOST, PACKET_BYTES, UDP_BUFFER, counters, generator, sink
from benchmarks.tables import table
from flux.net.udp import SharedUdpSocket
from flux.net.udp_send import RunSender
from tests.support.ports import free_port

MBIT = 10
HEADER = Struct(">IIII")
RUN_PACKETS = 48
WARM = 2.0  # seconds


async def serve(rest: float, port: int, target: int) -> None:
    """Read and send on, for ever; port 0: only wake."""
    loop = asyncio.get_running_loop()
    with (
        socket.socket(type=socket.SOCK_DGRAM) as source,
        socket.socket(type=socket.SOCK_DGRAM) as exit_,
    ):
        source.bind((HOST, port))
        heard, sender = SharedUdpSocket(source, UDP_BUFFER), RunSender(exit_)

        def turn() -> None:
            loop.call_later(rest, turn)
            if not port:
                return
            now = time.monotonic()
            for each in heard.hear(now):
                parts = [HEADER.pack(0, 0, int(now), 0) + data for data in each.datagrams]
                for at in range(0, len(parts), RUN_PACKETS):
                    run = b"".join(parts[at : at + RUN_PACKETS])
                    sender.send_joined(run, PACKET_BYTES + HEADER.size, (HOST, target))

        turn()
        await asyncio.Event().wait()


def measured(rest_ms: int, seconds: float, *, is_idle: bool) -> float:
    """CPU milliseconds a second of a server that rests so long."""
    port, target = (0, 0) if is_idle else (free_port(), free_port())
    end = None if is_idle else sink([target])
    command = [*machine.PIN_SERVER, sys.executable, "-m", "benchmarks.srt_floor"]
    command += ["--serve", f"{rest_ms},{port},{target}"]
    with subprocess.Popen(command) as server:
        source = None
        try:
            time.sleep(WARM)
            source = None if is_idle else generator(MBIT, [port])
            time.sleep(WARM)
            before = machine.cpu_seconds(server.pid)
            came = counters(end)["datagrams"] if end is not None else 0
            time.sleep(seconds)
            cpu = machine.cpu_seconds(server.pid) - before
            if end is not None and counters(end)["datagrams"] == came:
                raise SystemExit("nothing was sent on")
        finally:
            server.kill()
            for program in (source, end):
                if program is not None:
                    program.stop()
    return cpu / seconds * 1000


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The floor under benchmarks.srt.")
    parser.add_argument("--rests", default="15,30,60,90", help="milliseconds")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--serve", help="the server itself: rest in ms, port, target")
    args = parser.parse_args()
    if args.serve:
        rest, port, target = map(int, args.serve.split(","))
        uvloop.run(serve(rest / 1000, port, target))
        return 0
    machine.require_cores()
    rows = []
    for rest in map(int, args.rests.split(",")):
        idle = measured(rest, args.seconds, is_idle=True)
        cost = measured(rest, args.seconds, is_idle=False)
        rows.append([f"{rest}", f"{cost:.1f}", f"{idle * rest:.0f}"])
    print(table(("rest ms", "10 Mbit/s, ms a second", "an empty turn, us"), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
