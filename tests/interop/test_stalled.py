"""A reader that takes nothing for long harms nobody: real sockets, a real server.

The readers are plain sockets in one loop: nothing of FLUX. Each one's longest pause between two
reads is measured, before somebody stalls and meanwhile.
"""

import selectors
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from tests.support.flux_process import FluxProcess

pytestmark = [pytest.mark.interop, pytest.mark.alone, pytest.mark.timeout(240)]

MORE = 0.1  # seconds that the usual longest pause may grow by
MOST_RSS = 24 << 20  # bytes that all stalled readers together may cost
WATCHED = 5.0  # seconds in which it may grow no more
SETTINGS = {
    "limits": {"loop_lag": "0s"},
    "fanout": {"stall_timeout": "2m", "send_buffer": "64K"},
}


@dataclass(slots=True, eq=False)
class Viewer:
    """One connection."""

    sock: socket.socket
    last: float = 0.0
    longest: float = 0.0
    taken: int = 0
    is_over: bool = False


class Audience:
    """Many viewers of one stream, read by one loop."""

    def __init__(self, port: int, path: str, count: int) -> None:
        self._selector = selectors.DefaultSelector()
        self.viewers = [self._join(port, path) for _ in range(count)]

    def _join(self, port: int, path: str) -> Viewer:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        sock.connect(("127.0.0.1", port))
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        sock.setblocking(False)
        viewer = Viewer(sock)
        self._selector.register(sock, selectors.EVENT_READ, viewer)
        return viewer

    def stall(self, viewers: list[Viewer]) -> None:
        for viewer in viewers:
            self._selector.unregister(viewer.sock)

    def go_on(self, viewers: list[Viewer]) -> None:
        for viewer in viewers:
            self._selector.register(viewer.sock, selectors.EVENT_READ, viewer)

    def watch(self, seconds: float) -> None:
        """Read for so long; pauses count from the beginning."""
        now = time.monotonic()
        for viewer in self.viewers:
            viewer.last, viewer.longest = now, 0.0
        end = now + seconds
        while now < end:
            for key, _ in self._selector.select(0.1):
                viewer = key.data
                data = viewer.sock.recv(1 << 18)
                now = time.monotonic()
                viewer.taken += len(data)
                viewer.longest = max(viewer.longest, now - viewer.last)
                viewer.last = now
                if not data:
                    viewer.is_over = True
                    self._selector.unregister(viewer.sock)
            now = time.monotonic()

    def close(self) -> None:
        self._selector.close()
        for viewer in self.viewers:
            viewer.sock.close()


def skipped(flux: FluxProcess) -> int:
    """Chunks that readers missed who lagged too much."""
    drops: dict[str, int] = flux.stream("demo")["drops"]
    return drops.get("reader-skipped", 0)


@pytest.mark.parametrize(
    ("count", "seconds"),
    [
        pytest.param(40, 12.0, id="some"),
        pytest.param(200, 30.0, id="many", marks=pytest.mark.long),
    ],
)
def test_one_that_stalls_does_not_delay_the_others(
    count: int, seconds: float, tmp_path: Path
) -> None:
    with FluxProcess(tmp_path, {"demo": {"source": "testcard:"}}, SETTINGS) as flux:
        flux.wait_until(lambda: flux.stream("demo")["state"] == "ready", "the stream is ready")
        audience = Audience(flux.http_port, "/demo.flv", count)
        try:
            audience.watch(3.0)  # what they began with
            audience.watch(5.0)
            before = [viewer.longest for viewer in audience.viewers]
            stalled, *others = audience.viewers
            audience.stall([stalled])
            audience.watch(seconds)
            assert not any(viewer.is_over for viewer in others)
            assert median(viewer.longest for viewer in others) <= median(before) + MORE
            had = stalled.taken
            audience.go_on([stalled])
            audience.watch(4.0)
            assert not stalled.is_over
            assert stalled.taken > had
        finally:
            audience.close()
        assert skipped(flux) > 0


def test_the_memory_of_many_that_stall_is_bounded(tmp_path: Path) -> None:
    with FluxProcess(tmp_path, {"demo": {"source": "testcard:"}}, SETTINGS) as flux:
        flux.wait_until(lambda: flux.stream("demo")["state"] == "ready", "the stream is ready")
        audience = Audience(flux.http_port, "/demo.flv", 200)
        try:
            audience.watch(4.0)
            before = flux.rss_bytes
            audience.stall(audience.viewers)
            flux.wait_until(lambda: skipped(flux) >= 200, "all buffers are full", 60.0)
            between = flux.rss_bytes
            time.sleep(WATCHED)
            after = flux.rss_bytes
        finally:
            audience.close()
    assert between - before < MOST_RSS
    assert after - between < MOST_RSS / 4, "it does not go on growing"
