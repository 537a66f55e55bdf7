"""Whose doing a freeze is: each cause made for real, against a server of its own.

A viewer that reads nothing, a server that is stopped, a publisher that is stopped, a camera that
loses packets: each time the figures of one cause rise, and those of the others do not.
"""

import contextlib
import json
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any, Self

import pytest

from tests.support.bad_camera import BadCamera, Recorded
from tests.support.flux_process import FluxProcess
from tests.support.publishers import moving_picture

pytestmark = [pytest.mark.interop, pytest.mark.alone, pytest.mark.timeout(120)]

CAUSES = ("network", "server", "source")
SETTINGS = {"fanout": {"send_buffer": "64K", "stall_timeout": "1m"}}


class Viewer:
    """One who takes all of `/NAME.flv`, or nothing from some moment on."""

    def __init__(self, flux: FluxProcess, name: str) -> None:
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
        self._sock.connect(("127.0.0.1", flux.http_port))
        head = f"GET /{name}.flv HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: {id(self)}\r\n\r\n"
        self._sock.sendall(head.encode())
        self._takes = threading.Event()
        self._takes.set()
        self._reading = threading.Thread(target=self._read)
        self._reading.start()
        self._flux = flux
        self._name = name

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while self._takes.wait() and self._sock.recv(1 << 16):
                pass

    def stall(self) -> None:
        self._takes.clear()

    def session(self) -> dict[str, Any] | None:
        _, body = self._flux.get(f"/api/v1/sessions?stream={self._name}&role=reader")
        found = [s for s in json.loads(body)["items"] if s["user_agent"] == str(id(self))]
        return found[0] if found else None

    @property
    def has_media(self) -> bool:
        """Whether it has been sent something."""
        session = self.session()
        return session is not None and session["sent_bytes"] > 100_000

    def told(self, what: str) -> tuple[float, ...]:
        """What the API says of this viewer, by cause."""
        session = self.session()
        assert session is not None
        return tuple(session["interruptions"][cause][what] for cause in CAUSES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RD)
        self._takes.set()
        self._reading.join(10)
        # A reset: where it took nothing, a mere end would be heard of at some later window probe.
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()
        self._flux.wait_until(lambda: self.session() is None, "its session has ended")


@pytest.fixture(scope="module")
def flux(
    tmp_path_factory: pytest.TempPathFactory, recordings: dict[str, Recorded]
) -> Iterator[FluxProcess]:
    with BadCamera("lose", recordings["fragmented"]) as camera:
        streams: dict[str, dict[str, object]] = {
            "demo": {"source": "testcard:"},
            "live": {},
            "lossy": {"source": camera.url, "transport": "udp", "on_demand": True},
        }
        with FluxProcess(tmp_path_factory.mktemp("causes"), streams, SETTINGS) as made:
            yield made


def measured(flux: FluxProcess, stream: str) -> tuple[float, ...]:
    """Interruptions of all viewers of a stream by cause, as Prometheus gets them."""
    samples = flux.metrics()
    name = "flux_reader_interruptions_total"
    return tuple(samples[f'{name}{{cause="{cause}",stream="{stream}"}}'] for cause in CAUSES)


def told(flux: FluxProcess, stream: str, what: str) -> tuple[float, ...]:
    """The same of the API."""
    found = flux.stream(stream)["interruptions"]
    return tuple(found[cause][what] for cause in CAUSES)


def test_a_viewer_that_takes_nothing(flux: FluxProcess) -> None:
    with Viewer(flux, "demo") as slow, Viewer(flux, "demo") as good:
        flux.wait_until(lambda: slow.has_media and good.has_media, "both play")
        before = measured(flux, "demo")
        slow.stall()
        flux.wait_until(lambda: slow.told("count") != (0, 0, 0), "it is skipped", 30.0)
        assert slow.told("count") == (1, 0, 0)
        assert slow.told("seconds")[0] > 2.0
        assert slow.told("dropped")[0] > 0
        assert good.told("count") == good.told("dropped") == (0, 0, 0)
        network, server, source = measured(flux, "demo")
        assert (network, server, source) == (before[0] + 1, before[1], before[2])
        assert '"cause": "network"' in flux.program.wait_for("reader-skipped")


def test_a_server_that_is_held_up(flux: FluxProcess) -> None:
    with Viewer(flux, "demo") as one, Viewer(flux, "demo") as other:
        flux.wait_until(lambda: one.has_media and other.has_media, "both play")
        before = measured(flux, "demo")
        flux.program.interrupt(signal.SIGSTOP)
        try:
            time.sleep(2.5)
        finally:
            flux.program.interrupt(signal.SIGCONT)
        flux.wait_until(lambda: one.told("count")[1] > 0, "it is told")
        time.sleep(2.0)  # nothing of it shows up as something else later
        for viewer in (one, other):
            assert viewer.told("count") == (0, 1, 0)
            assert 1.5 < viewer.told("seconds")[1] < 3.5
            assert viewer.told("dropped")[2] == 0
        network, server, source = measured(flux, "demo")
        assert (network, server, source) == (before[0], before[1] + 2, before[2])


def test_a_source_that_falls_silent(flux: FluxProcess) -> None:
    with moving_picture(flux.rtsp("live")) as publisher:
        flux.wait_until(lambda: flux.stream("live")["state"] == "ready", "it publishes", 30.0)
        with Viewer(flux, "live") as viewer:
            flux.wait_until(lambda: viewer.has_media, "it plays")
            publisher.interrupt(signal.SIGSTOP)
            try:
                flux.wait_until(lambda: viewer.told("seconds")[2] > 2.0, "it is told")
            finally:
                publisher.interrupt(signal.SIGCONT)
            time.sleep(1.5)
            assert viewer.told("count") == told(flux, "live", "count") == (0, 0, 1)
            assert measured(flux, "live") == (0, 0, 1)


def test_a_camera_that_loses_packets(flux: FluxProcess) -> None:
    with Viewer(flux, "lossy") as viewer:
        flux.wait_until(lambda: viewer.has_media, "it plays", 30.0)
        flux.wait_until(lambda: viewer.told("dropped")[2] > 0, "pictures are lost", 30.0)
        assert viewer.told("dropped")[:2] == (0, 0)
        assert viewer.told("count")[:2] == (0, 0)
        assert told(flux, "lossy", "dropped")[:2] == (0, 0)
