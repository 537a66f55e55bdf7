"""Ports that a test gives to a program, and that nobody else takes before the program does.

The system deals out ports of a range of its own to whoever asks for any. Those that are given here
lie outside of it; each worker of a run has a share of them, and each run begins somewhere in it.
"""

import os
import random
import socket
import threading
from pathlib import Path

FIRST, END = 10_000, 32_000
FEWEST = 2_000  # less is left where the system's range is very wide: then it is shared with it
KERNEL = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Dealer:
    """Deals out free ports in turn, so that the same one does not come again soon."""

    def __init__(self, ports: range, start: int) -> None:
        """`start` is the first of `ports` that is looked at."""
        self._ports = ports
        self._at = start
        self._lock = threading.Lock()

    def take(self, row: int = 2) -> int:
        """The first of `row` free ports, an even one; OSError if there are none."""
        for _ in self._ports:
            with self._lock:
                first = self._at + self._at % 2
                if first + row > self._ports.stop:
                    self._at = self._ports.start
                    continue
                self._at = first + row
            if all(map(is_free, range(first, first + row))):
                return first
        raise OSError(f"no {row} free ports in {self._ports}")


def outside(low: int, high: int) -> range:
    """The ports to deal out where the system has those from `low` to `high` for itself."""
    most = max(range(FIRST, min(END, low)), range(max(FIRST, high + 1), 65_536), key=len)
    return most if len(most) >= FEWEST else range(FIRST, END)


def share(ports: range, worker: int, workers: int) -> range:
    """What one of several workers has of them."""
    size = len(ports) // workers
    first = ports.start + worker % workers * size
    return range(first, first + size)


def is_free(port: int) -> bool:
    """Whether nobody has this port at any address, neither for TCP nor for UDP."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(_FAMILY, kind) as probe:
            if _FAMILY == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True


def free_port(row: int = 2) -> int:
    """An even port that nobody uses at this moment, nor the `row - 1` after it, nor will by chance.

    A program that receives RTP takes the next one, too, without being told. Raises OSError.
    """
    return _dealer.take(row)


def is_bound(host: str, port: int) -> bool:
    """Whether somebody has this UDP port, of this address or of all of its family."""
    is_6 = ":" in host
    family, everywhere = (socket.AF_INET6, "::") if is_6 else (socket.AF_INET, "0.0.0.0")
    words = set()
    for each in (host, everywhere):
        packed = socket.inet_pton(family, each)
        parts = (packed[at : at + 4][::-1].hex().upper() for at in range(0, len(packed), 4))
        words.add(f"{''.join(parts)}:{port:04X}")
    lines = Path("/proc/net/udp6" if is_6 else "/proc/net/udp").read_text().splitlines()[1:]
    return any(line.split()[1] in words for line in lines)


def _own() -> Dealer:
    """That of this worker, as xdist numbers them: gw0, gw1 and so on."""
    low, high = map(int, KERNEL.read_text().split())
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ports = share(outside(low, high), worker, workers)
    return Dealer(ports, random.SystemRandom().choice(ports))


_FAMILY = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
_dealer = _own()
