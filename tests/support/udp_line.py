"""A line between two UDP sockets as a process of its own: seeded loss one way, delay both ways.

`python -m tests.support.udp_line TARGET_PORT DELAY LOSS SEED` prints its port, passes datagrams on
until it is told to stop, and then prints what went over it as JSON. Several such lines beside each
other delay to a fraction of a millisecond where one event loop for all of them would not.
"""

import json
import random
import select
import signal
import socket
import subprocess
import sys
from collections import deque
from dataclasses import asdict, dataclass, field
from types import FrameType
from typing import Any, Self

LOCAL = "127.0.0.1"
BUFFER_BYTES = 4 << 20
RETRANSMITTED = 0x04  # in byte 4 of a data packet
BATCH = 64
MAX_PACKET = 2048
STALL = 0.008  # seconds: then the machine was busy with something else
STALL_STEP = 0.05


@dataclass(slots=True)
class LineCount:
    """SRT packets from the caller to the listener, before any is lost; `bytes` of payload."""

    data: int = 0
    repeated: int = 0
    lost: int = 0
    controls: int = 0
    back: int = 0  # datagrams the other way
    late_ms: float = 0.0  # the most that one was passed on too late
    stalls: list[float] = field(default_factory=list)  # when that was more than `STALL`


class UdpLine:
    """The line from outside: a child process."""

    def __init__(self, target_port: int, delay: float, loss: float, seed: int) -> None:
        words = (target_port, delay, loss, seed)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, *map(str, words)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def stop(self) -> LineCount:
        """End it; what went over it."""
        self._process.send_signal(signal.SIGTERM)
        said, _ = self._process.communicate(timeout=10)
        return LineCount(**json.loads(said))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


class Passing:
    """The line from inside."""

    def __init__(self, target_port: int, delay: float, loss: float, seed: int) -> None:
        self.count = LineCount()
        self.is_over = False
        self._target = (LOCAL, target_port)
        self._delay = delay
        self._loss = loss
        self._dice = random.Random(seed)
        self._front, self._rear = bound(), bound()
        self._caller: Any = None
        # The delay is the same for all, so what came first goes first.
        self._there: deque[tuple[float, bytes]] = deque()
        self._back: deque[tuple[float, bytes]] = deque()
        self.port: int = self._front.getsockname()[1]

    def run(self, clock: Any) -> None:
        """Pass on until `is_over`."""
        sockets = [self._front, self._rear]
        while not self.is_over:
            due = min((line[0][0] for line in (self._there, self._back) if line), default=1e9)
            wait = min(max(due - clock(), 0.0), 0.2)
            ready, _, _ = select.select(sockets, [], [], wait)
            now = clock()
            for sock in ready:
                self._read(sock, now)
            self._pass(self._there, self._rear, self._target, now)
            self._pass(self._back, self._front, self._caller, now)

    def _read(self, sock: socket.socket, now: float) -> None:
        count = self.count
        for _ in range(BATCH):
            try:
                data, address = sock.recvfrom(MAX_PACKET)
            except OSError:
                return
            if sock is self._rear:
                count.back += 1
                self._back.append((now + self._delay, data))
                continue
            self._caller = address
            if data[0] & 0x80:
                count.controls += 1
            else:
                count.data += 1
                count.repeated += bool(data[4] & RETRANSMITTED)
            if self._dice.random() < self._loss:
                count.lost += 1
            else:
                self._there.append((now + self._delay, data))

    def _pass(
        self, line: deque[tuple[float, bytes]], sock: socket.socket, target: Any, now: float
    ) -> None:
        while line and line[0][0] <= now:
            at, data = line.popleft()
            count = self.count
            count.late_ms = max(count.late_ms, (now - at) * 1000)
            if now - at > STALL and not (count.stalls and now < count.stalls[-1] + STALL_STEP):
                count.stalls.append(now)
            try:
                sock.sendto(data, target)
            except OSError:
                continue  # nobody listens there (any more)


def bound() -> socket.socket:
    """A UDP socket that is not waited for."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
    sock.bind((LOCAL, 0))
    return sock


def main() -> None:
    """The process."""
    import time

    port, delay, loss, seed = sys.argv[1:]
    line = Passing(int(port), float(delay), float(loss), int(seed))

    def over(number: int, frame: FrameType | None) -> None:
        line.is_over = True

    signal.signal(signal.SIGTERM, over)
    print(line.port, flush=True)
    line.run(time.monotonic)
    print(json.dumps(asdict(line.count)), flush=True)


if __name__ == "__main__":
    main()
