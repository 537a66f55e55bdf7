"""FLUX and libsrt at the ends of lossy lines, all combinations at the same time.

A lane is a sender, a `UdpLine` and a receiver, each a process of its own. All lanes get the same
packets at the same moments, so what the machine does to one it does to the others. Packets that
were on their way while a line itself was late are not counted: they tell of the machine.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from tests.support.ports import free_port
from tests.support.srt_peers import PACKET, packet
from tests.support.udp_line import LOCAL, LineCount, UdpLine

FLUX, LIBSRT = "flux", "libsrt"
PAIRS = tuple(
    product((LIBSRT, FLUX), (LIBSRT, FLUX))
)  # sender and receiver; libsrt with itself first
EDGE = 1.0  # seconds at both ends that are not counted
AFTER_STALL = 0.15  # seconds in which packets that are sent are not counted
CONNECT_LIMIT = 20.0
LATENCY_MS = 120


@dataclass(slots=True)
class Lane:
    """What became of one lane."""

    sender: str
    receiver: str
    delivered: float  # share of the packets that were counted
    overhead: float  # data packets on the wire for each new one, less one
    packets: int  # that were counted
    line: LineCount

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.sender} -> {self.receiver}"


class Numbers(threading.Thread):
    """Reads a receiver's output: which packets came."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__(daemon=True)
        self.seen: list[int] = []
        self._process = process
        self.start()

    def run(self) -> None:
        """See `Thread`."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        rest = b""
        while data := os.read(descriptor, 1 << 16):
            data = rest + data
            whole = len(data) - len(data) % PACKET
            self.seen += [
                int.from_bytes(data[at + 1 : at + 5], "big") for at in range(0, whole, PACKET)
            ]
            rest = data[whole:]


def command_of(kind: str, role: str, port: int, latency_ms: int) -> list[str]:
    """The program of one end."""
    if kind == FLUX:
        words = [role, str(port), str(latency_ms)]
        return [sys.executable, "-m", "tests.support.srt_transmit", *words]
    url = f"srt://{LOCAL}:{port}?latency={latency_ms}&conntimeo=15000"
    if role == "receive":
        url = f"srt://:{port}?mode=listener&latency={latency_ms}"
    ends = ["file://con", url] if role == "send" else [url, "file://con"]
    return ["srt-live-transmit", "-q", "-a:no", f"-c:{PACKET}", *ends]


@contextlib.contextmanager
def program(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process with pipes, killed at the end."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def run(
    rtt: float,
    loss: float,
    packets: int,
    *,
    rate: float = 950.0,
    seed: int = 1,
    latency_ms: int = LATENCY_MS,
    skips_stalls: bool = True,
    pairs: Sequence[tuple[str, str]] = PAIRS,
) -> list[Lane]:
    """Send `packets` over each lane, `rate` per second; loss from the sender to the receiver.

    `skips_stalls`: do not count what was on its way when a line was late.
    """
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        lines: list[UdpLine] = []
        inputs: list[int] = []
        outputs: list[Numbers] = []
        for at, (sender, receiver) in enumerate(pairs):
            port = free_port()
            listener = command_of(receiver, "receive", port, latency_ms)
            outputs.append(Numbers(enter(program(listener))))
            lines.append(enter(UdpLine(port, rtt / 2, loss, seed * len(pairs) + at)))
            caller = command_of(sender, "send", lines[-1].port, latency_ms)
            pipe = enter(program(caller)).stdin
            assert pipe is not None
            inputs.append(pipe.fileno())
        sent_at = feed(inputs, outputs, packets, rate)
        counts = [line.stop() for line in lines]
        edge = int(EDGE * rate)
        first = max(output.seen[0] for output in outputs) + edge
        stalls = sorted(at for count in counts for at in count.stalls if skips_stalls)
        last = len(sent_at) - edge
        before = 2 * latency_ms / 1000
        wanted = {n for n in range(first, last) if is_calm(sent_at[n], before, stalls)}
        lanes: list[Lane] = []
        for (sender, receiver), count, output in zip(pairs, counts, outputs, strict=True):
            seen = output.seen
            assert seen == sorted(set(seen)), f"{sender} -> {receiver}: order"
            delivered = sum(number in wanted for number in seen) / len(wanted)
            overhead = count.data / (count.data - count.repeated) - 1
            lanes.append(Lane(sender, receiver, delivered, overhead, len(wanted), count))
        return lanes


def is_calm(at: float, before: float, stalls: Sequence[float]) -> bool:
    """Whether no line stalled while a packet of then was on its way."""
    place = bisect_left(stalls, at - AFTER_STALL)
    return place == len(stalls) or stalls[place] > at + before


def feed(
    inputs: Sequence[int], outputs: Sequence[Numbers], packets: int, rate: float
) -> list[float]:
    """Numbered packets to all senders at once, until `packets` are counted; when each was sent."""
    sent_at: list[float] = []
    began = time.monotonic()
    number = end = 0
    while not end or number < end:
        wait = began + number / rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        data = packet(number)
        sent_at.append(time.monotonic())
        for descriptor in inputs:
            os.write(descriptor, data)
        number += 1
        if not end and all(output.seen for output in outputs):
            end = number + packets + int(2 * EDGE * rate)
        assert end or time.monotonic() < began + CONNECT_LIMIT, "not all are connected"
    time.sleep(EDGE)
    return sent_at


def table(title: str, lanes: Sequence[Lane]) -> str:
    """One line for each lane."""
    rows = [
        f"{title} | {lane.name} | {lane.delivered:.5f} | {lane.overhead:.1%} | {lane.packets} | "
        f"{len(lane.line.stalls)}"
        for lane in lanes
    ]
    return "\n".join(rows) + "\n"
