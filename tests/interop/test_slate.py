"""The path outlives its source: real publishers are killed, and their viewers see a slate.

The viewers are one connection each from before the loss to after the return; what they got is
judged by checkers that know no FLUX, and decoded by FFmpeg.
"""

import itertools
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support import clips
from tests.support.camera import Camera
from tests.support.conform.flv import read_flv
from tests.support.conform.ts import check_ts
from tests.support.flux_process import DIRECT, FluxProcess
from tests.support.program import Program
from tests.support.publishers import moving_picture

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]


class Viewer:
    """One HTTP connection, read to its end by a thread; each piece with its time."""

    def __init__(self, url: str) -> None:
        self._response = DIRECT.open(url, timeout=30)
        self.pieces: list[tuple[float, bytes]] = []
        self.is_open = True
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while data := self._response.read1(65536):
                self.pieces.append((time.monotonic(), data))
        except (OSError, ValueError):
            pass
        self.is_open = False

    @property
    def data(self) -> bytes:
        """What came so far."""
        return b"".join(data for _, data in self.pieces)

    def longest_gap(self, since: float) -> float:
        """Seconds between two pieces."""
        times = [since, *(at for at, _ in self.pieces if at > since)]
        return max(b - a for a, b in itertools.pairwise(times))

    def close(self) -> None:
        """Hang up."""
        with socket.socket(fileno=os.dup(self._response.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads it
        self._thread.join(5)


def complaints(text: str) -> list[str]:
    """What FFmpeg's decoders say.

    Its FLV reader lets a parser (`NULL`) look at the pictures that is not told of new sequence
    headers, as its decoder is.
    """
    lines = [line for line in text.splitlines() if not line.startswith("[NULL @")]
    return [line for line in lines if "Last message repeated" not in line]


def decoded_sizes(path: Path) -> list[tuple[int, int]]:
    """Sizes of the pictures that FFmpeg decodes, each once in a row; complaints fail."""
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", path, "-map", "0", "-vsync", "passthrough",
         "-enc_time_base", "1:90000", "-f", "null", "-"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert complaints(done.stderr) == [] and done.returncode == 0
    probed = subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "frame=width,height",
         "-of", "csv=p=0", path],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert complaints(probed.stderr) == []
    shown = probed.stdout.split()
    sizes: list[tuple[int, int]] = []
    for line in shown:
        width, height = line.strip(",").split(",")[:2]
        if not sizes or sizes[-1] != (int(width), int(height)):
            sizes.append((int(width), int(height)))
    return sizes


def state_of(flux: FluxProcess) -> str:
    return str(flux.stream("cam")["state"])


@pytest.fixture
def flux(tmp_path: Path) -> Iterator[FluxProcess]:
    with FluxProcess(tmp_path, {"cam": {"slate": "builtin"}}) as process:
        yield process


def wait_for_slate(flux: FluxProcess) -> None:
    flux.wait_until(lambda: flux.stream("cam")["slate"]["state"] == "ready", "the slate is ready")


def test_a_killed_publisher_is_replaced_within_half_a_second_and_comes_back_larger(
    flux: FluxProcess, tmp_path: Path
) -> None:
    first = moving_picture(flux.rtsp("cam"))
    flux.wait_until(lambda: state_of(flux) == "ready", "it is published")
    wait_for_slate(flux)
    viewers = {"flv": Viewer(flux.flv("cam")), "ts": Viewer(flux.ts("cam"))}
    time.sleep(1.6)
    first.interrupt(signal.SIGKILL)
    lost_at = time.monotonic()
    flux.wait_until(lambda: state_of(flux) == "slate", "the slate is shown", 2.0)
    assert time.monotonic() - lost_at < 0.5
    time.sleep(1.6)
    second = moving_picture(flux.rtsp("cam"), "1280x720")
    flux.wait_until(lambda: state_of(flux) == "ready", "it is back")
    time.sleep(1.6)
    try:
        for name, viewer in viewers.items():
            assert viewer.is_open
            assert viewer.longest_gap(lost_at) < 0.5
            viewer.close()
            path = tmp_path / f"got.{name}"
            path.write_bytes(viewer.data)
            assert decoded_sizes(path) == [(640, 360), (1280, 720)]
        content = read_flv(viewers["flv"].data)
        assert content.problems == []
        assert check_ts(viewers["ts"].data) == []
    finally:
        first.stop()
        second.stop()


def recorder(url: str, path: Path, *options: str) -> Program:
    """An ffmpeg that reads a URL and keeps what it gets as it is."""
    words = ["ffmpeg", "-hide_banner", "-v", "error", "-y", *options, "-i", url]
    return Program([*words, "-map", "0", "-c", "copy", "-f", "mpegts", str(path)])


def pictures_in(path: Path) -> list[float]:
    """Times of the video packets of a file."""
    shown = subprocess.run(
        ["ffprobe", "-v", "quiet", "-select_streams", "v", "-show_entries", "packet=pts_time",
         "-of", "csv=p=0", path],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout.split()  # fmt: skip
    return sorted(float(line.strip(",")) for line in shown if line[0].isdigit())


def active(flux: FluxProcess) -> list[int]:
    return [each["place"] for each in flux.stream("cam")["sources"] if each["active"]]


def test_a_killed_camera_a_fallback_and_the_way_back(tmp_path: Path) -> None:
    settings: dict[str, dict[str, object] | str] = {
        "sources": {
            "slate": "builtin", "return_after": "1s", "retry_first": "200ms",
            "retry_longest": "500ms",
        }
    }  # fmt: skip
    serve: dict[str, Path | str] = {"/cam": clips.BUNNY}
    with Camera(serve) as spare:
        best = Camera(serve)
        streams = {"cam": {"source": best.url("/cam"), "fallback": [spare.url("/cam")]}}
        with FluxProcess(tmp_path, streams, settings) as flux:
            readers: dict[str, Program] = {}
            try:
                flux.wait_until(lambda: state_of(flux) == "ready", "the best one is on air")
                wait_for_slate(flux)
                assert active(flux) == [0]
                got = {name: tmp_path / f"{name}.ts" for name in ("rtsp", "srt", "hls")}
                readers = {
                    "rtsp": recorder(flux.rtsp("cam"), got["rtsp"], "-rtsp_transport", "tcp"),
                    "srt": recorder(flux.srt("read:cam"), got["srt"]),
                    "hls": recorder(flux.hls("cam"), got["hls"]),
                }
                flux.wait_until(lambda: len(flux.stream("cam")["reader_list"]) == 3, "all read")
                time.sleep(1.5)
                best.program.interrupt(signal.SIGKILL)
                flux.wait_until(lambda: active(flux) == [1], "the spare one is on air", 8.0)
                time.sleep(1.5)
                best.stop()
                best = Camera(serve, port=best.port)
                flux.wait_until(lambda: active(flux) == [0], "the best one is back", 8.0)
                assert flux.get("/api/v1/streams/cam")[0] == 200
                time.sleep(4.0)  # HLS is some segments behind
                assert {name for name, each in readers.items() if not each.is_running} == set()
                metrics = flux.metrics()
                assert metrics['flux_source_switches_total{stream="cam"}'] == 2.0
                assert metrics['flux_slates_shown_total{stream="cam"}'] >= 1.0
            finally:
                for each in readers.values():
                    each.interrupt(signal.SIGINT)
                    each.stop()
                best.stop()
    for name, path in got.items():
        times = pictures_in(path)
        longest = max(b - a for a, b in pairwise(times))
        assert times[-1] - times[0] > 4.0, name
        assert longest < 0.5, (name, longest)
