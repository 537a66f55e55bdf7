"""Whoever comes and goes leaves no ring of references: all of it is freed when it ends.

The whole server runs here as it is, with its metrics and its API. `tests/support/rtsp_stage.py`
looks at the same for every test of the RTSP server.
"""

import asyncio
import gc
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest
import uvloop

from config.sources.file import load_bytes
from flux.app.server import Server
from flux.net.timer import DeadlineTimer
from protocols.rtsp.server import RtspPeer
from tests.support.garbage import (
    TCP_OFFER,
    TunnelVisitor,
    Visitor,
    fetch,
    look,
    play,
    publish,
    uncollected,
)
from tests.support.ports import free_port
from tests.support.soak import Tape

VISITS = 6
LIMIT = 10.0  # seconds until everybody has left
NAME = "studio/one"
GAUGES = ("flux_rtsp_connections", "flux_sessions", "flux_streams", "flux_readers")


class House:
    """A server that runs, a stream that somebody publishes, and those who visit it."""

    def __init__(self) -> None:
        self.rtsp, self.http, self.api = (free_port() for _ in range(3))
        self.tape = Tape.record("bunny", 1.0)
        self._over = threading.Event()
        self._names = 0

    def server(self) -> Server:
        """As the file says; two of its streams come from itself, one from nowhere."""
        own = f"rtsp://127.0.0.1:{self.rtsp}"
        config = {
            "listeners": {
                "http": {"address": f"127.0.0.1:{self.http}"},
                "api": {"address": f"127.0.0.1:{self.api}"},
                "rtsp": {
                    "address": f"127.0.0.1:{self.rtsp}",
                    "rtp_address": "127.0.0.1:0",
                    "rtcp_address": "127.0.0.1:0",
                },
                "srt": {"enabled": False},
            },
            "sources": {"close_after": "100ms", "grace_period": "100ms", "start_timeout": "200ms"},
            "streams": {
                "pull/tcp": {"source": f"{own}/{NAME}", "transport": "tcp", "on_demand": True},
                "pull/udp": {"source": f"{own}/{NAME}", "transport": "udp", "on_demand": True},
                "pull/http": {"source": f"{own}/{NAME}", "transport": "http", "on_demand": True},
                "pull/flv": {
                    "source": f"http://127.0.0.1:{self.http}/{NAME}.flv",
                    "on_demand": True,
                },
                "pull/none": {"source": "rtsp://127.0.0.1:9/none", "on_demand": True},
                "forward": {"forward": [f"{own}/forwarded"]},
            },
            "hls": {"close_after": "1s"},
            "limits": {"loop_lag": "0s"},  # whatever else the machine does, nobody is refused
            "log": {"level": "error"},
        }
        return Server(load_bytes(json.dumps(config).encode(), "flux.yaml"))

    # -- who visits -----------------------------------------------------------------------

    def visit(self, manner: str, turn: int) -> None:
        """One visit; every other one is polite."""
        polite = turn % 2 == 0
        kind, _, what = manner.partition(" ")
        match kind:
            case "play":
                play(self.rtsp, NAME, way=what, polite=polite)
            case "tunnel":
                play(self.rtsp, NAME, make=TunnelVisitor, polite=polite)
            case "look":
                look(self.rtsp, NAME, turn % 3)
            case "junk":
                with Visitor(self.rtsp, NAME) as visitor:
                    visitor.send(b"FOO BAR BAZ\r\n\r\n" if polite else b"\x16\x03\x01hello")
                    visitor.until_end()
            case "publish":
                publish(self.rtsp, self._name(), self.tape, way=what, polite=polite)
            case "abandon":
                self._abandon()
            case "kick":
                self._kick()
            case "pull":
                play(self.rtsp, manner.replace(" ", "/"), polite=polite)
                self.wait_until(lambda: not self._is_running(manner.replace(" ", "/")))
            case "dead":
                with pytest.raises(AssertionError):
                    play(self.rtsp, "pull/none")
            case "forward":
                self._forward()
            case "flv":
                fetch(self.http, f"/{NAME}.flv", 4000)
            case "ws":
                self._watch(polite=polite)
            case "hls":
                fetch(self.http, f"/{NAME}/index.m3u8")
            case "page":
                fetch(self.http, f"/{NAME}/")
            case "api":
                fetch(self.api, "/metrics")
                fetch(self.api, "/api/v1/streams")

    def _name(self) -> str:
        self._names += 1
        return f"new/{self._names}"

    def _abandon(self) -> None:
        """The publisher leaves, its players stay to the end."""
        name, gone = self._name(), threading.Event()
        thread = threading.Thread(
            target=publish, args=(self.rtsp, name, self.tape), kwargs={"until": gone.wait}
        )
        thread.start()
        self.wait_until(lambda: self.gauges()["flux_streams"] > 6)
        with Visitor(self.rtsp, name) as visitor:
            visitor.ask("DESCRIBE")
            visitor.ask("SETUP", f"{visitor.url}/trackID=0", Transport=TCP_OFFER)
            visitor.ask("PLAY")
            gone.set()
            thread.join()
            visitor.until_end()

    def _kick(self) -> None:
        with Visitor(self.rtsp, NAME) as visitor:
            visitor.ask("DESCRIBE")
            visitor.ask("SETUP", f"{visitor.url}/trackID=0", Transport=TCP_OFFER)
            visitor.ask("PLAY")
            listed = fetch(self.api, "/api/v1/sessions").partition(b"\r\n\r\n")[2]
            for session in json.loads(listed)["items"]:
                if "publisher" not in session["id"]:
                    fetch(self.api, f"/api/v1/sessions/{session['id']}", method="DELETE")
            visitor.until_end()

    def _forward(self) -> None:
        """What is published as `forward` goes on to another name of the same server."""
        began = time.monotonic()

        def is_enough(seconds: float) -> bool:
            time.sleep(seconds)
            listed = fetch(self.api, "/metrics").decode()
            return '"forwarded"' in listed or time.monotonic() - began > LIMIT

        publish(self.rtsp, "forward", self.tape, until=is_enough)

    def _watch(self, *, polite: bool) -> None:
        """FLV over WebSocket for a moment."""
        lines = [
            f"GET /{NAME}.flv HTTP/1.1",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        ]
        with socket.create_connection(("127.0.0.1", self.http), LIMIT) as sock:
            sock.sendall("\r\n".join([*lines, "", ""]).encode())
            with sock.makefile("rb") as file:
                assert b"101" in file.readline()
                file.read(4000)
                if polite:
                    sock.sendall(b"\x89\x80" + bytes(4) + b"\x88\x80" + bytes(4))
                    while file.read(4000):
                        pass

    def _is_running(self, name: str) -> bool:
        answer = fetch(self.api, f"/api/v1/streams/{name}").partition(b"\r\n\r\n")[2]
        return bool(json.loads(answer)["state"] != "idle")

    # -- what is there --------------------------------------------------------------------

    def gauges(self) -> Counter[str]:
        """What the metrics say of who is there."""
        found: Counter[str] = Counter()
        for line in fetch(self.api, "/metrics").decode().splitlines():
            name = line.partition("{")[0].partition(" ")[0]
            if name in GAUGES:
                found[name] += float(line.rpartition(" ")[2])  # type: ignore[assignment]
        return found

    def wait_until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < end, self.gauges()
            time.sleep(0.02)

    def measure(self, manners: Sequence[str]) -> Counter[str]:
        """What visits leave that are over; the first ones do what is done only once."""
        before = self.gauges()
        self._visit(manners, 1)
        self.wait_until(lambda: self.gauges() == before)
        with uncollected() as found:
            self._visit(manners, VISITS)
            self.wait_until(lambda: self.gauges() == before)
        return found

    def _visit(self, manners: Sequence[str], turns: int) -> None:
        for manner in manners:
            for turn in range(1 if manner in SLOW else turns):
                self.visit(manner, turn)

    # -- the run --------------------------------------------------------------------------

    async def run(self, manners: Sequence[str]) -> Counter[str]:
        """Start, have them visit, stop; what they left."""
        server, started = self.server(), asyncio.Event()
        running = asyncio.create_task(server.run(started.set))
        await started.wait()
        studio = asyncio.create_task(
            asyncio.to_thread(publish, self.rtsp, NAME, self.tape, until=self._over.wait)
        )
        try:
            await asyncio.to_thread(
                self.wait_until, lambda: self.gauges()["flux_rtsp_connections"] == 1
            )
            return await asyncio.to_thread(self.measure, manners)
        finally:
            self._over.set()
            await studio
            server.request_stop("test")
            await running


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """The server sets it for itself."""
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def run(manners: Sequence[str]) -> Counter[str]:
    # On uvloop: a transport of asyncio's own loop is a ring by itself.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(House().run(manners))


GROUPS = {
    "players": ("play tcp", "play udp", "play multicast", "tunnel", "look", "junk", "kick"),
    "publishers": ("publish tcp", "publish udp", "abandon"),
    "sources": ("pull tcp", "pull udp", "pull http", "pull flv", "dead"),
    "others": ("forward", "flv", "ws", "hls", "page", "api"),
}
SLOW = ("abandon", "pull tcp", "pull udp", "pull http", "pull flv", "dead", "forward")


@pytest.mark.parametrize("group", GROUPS)
def test_nothing_is_left_for_the_collector(group: str) -> None:
    assert run(GROUPS[group]) == {}


def test_a_ring_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken sample: a timer that does not let go of its owner."""
    monkeypatch.setattr(DeadlineTimer, "close", DeadlineTimer.cancel)
    found = run(["play tcp"])
    kind = f"{RtspPeer.__module__}.{RtspPeer.__qualname__}"
    assert found[kind] == VISITS
