"""Media and API through TLS: curl, ffmpeg of two versions and a stalled reader."""

import json
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import pytest

from tests.support import certificate
from tests.support.certificate import Certificate
from tests.support.flux_process import FluxProcess
from tests.support.ports import free_port

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]

CURL_NOT_TRUSTED = 60  # its exit status
SECONDS = 2


@dataclass(frozen=True, slots=True)
class Secure:
    """A server with TLS on both listeners."""

    flux: FluxProcess
    port: int
    api_port: int
    certificate: Certificate

    def url(self, path: str) -> str:
        """A path of the media listener."""
        return f"https://localhost:{self.port}/{path}"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A test card through TLS."""
    folder = tmp_path_factory.mktemp("https")
    own = certificate.make(folder, "flux")
    port, api_port = free_port(), free_port()
    tls = {"certificate": str(own.certificate), "key": str(own.key)}
    http = {"tls_address": f"127.0.0.1:{port}", "tls": tls}
    api = {"tls_address": f"127.0.0.1:{api_port}", "tls": tls}
    settings = {"fanout": {"stall_timeout": "3s", "send_buffer": "64K", "lag_limit": "1s"}}
    streams = {"demo": {"source": "testcard:"}}
    with FluxProcess(folder, streams, settings, http=http, api=api) as flux:
        flux.wait_until(lambda: flux.stream("demo")["state"] == "ready", "the card is there")
        yield Secure(flux, port, api_port, own)


def curl(*arguments: object) -> subprocess.CompletedProcess[str]:
    """What curl says of it."""
    return subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", "10", *map(str, arguments)],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip


def test_only_who_knows_the_certificate_gets_a_playlist(secure: Secure) -> None:
    url = secure.url("demo/index.m3u8")
    known = curl("--cacert", secure.certificate.certificate, url)
    assert known.returncode == 0 and known.stdout.startswith("#EXTM3U"), known.stderr
    assert curl(url).returncode == CURL_NOT_TRUSTED
    plain = f"http://127.0.0.1:{secure.flux.http_port}/demo/index.m3u8"
    assert curl(plain).stdout.startswith("#EXTM3U")


def test_what_speaks_no_tls_gets_nothing(secure: Secure) -> None:
    assert curl(f"http://127.0.0.1:{secure.port}/demo.flv").returncode != 0
    assert curl("--insecure", f"https://127.0.0.1:{secure.flux.http_port}/").returncode != 0
    assert curl(f"http://127.0.0.1:{secure.flux.http_port}/").returncode == 0


@pytest.mark.parametrize("program", ["ffmpeg", imageio_ffmpeg.get_ffmpeg_exe()], ids=["5.1", "new"])
@pytest.mark.parametrize("path", ["demo.flv", "demo.ts", "demo.mp4", "demo/index.m3u8"])
def test_ffmpeg_decodes_every_output(secure: Secure, program: str, path: str) -> None:
    trusted = {"SSL_CERT_FILE": str(secure.certificate.certificate)}  # for all that HLS fetches
    done = subprocess.run(
        [program, "-v", "error", "-nostdin", "-xerror", "-i", secure.url(path),
         "-t", str(SECONDS), "-map", "0:v:0", "-f", "framehash", "-"],
        env={**os.environ, **trusted}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    frames = [line for line in done.stdout.splitlines() if not line.startswith("#")]
    assert (done.returncode, done.stderr) == (0, "")
    assert len(frames) >= 20 * SECONDS


def test_the_api_answers_and_tells_all_its_listeners(secure: Secure) -> None:
    context = ssl.create_default_context(cafile=str(secure.certificate.certificate))
    url = f"https://localhost:{secure.api_port}/api/v1/info"
    with urllib.request.urlopen(url, timeout=5, context=context) as answer:
        listeners = {each["name"]: each for each in json.load(answer)["listeners"]}
    assert {"http", "https", "api", "api-tls", "rtsp", "srt"} == set(listeners)
    assert listeners["https"]["address"] == f"127.0.0.1:{secure.port}"
    assert all(each["up"] for each in listeners.values())


def test_the_command_line_takes_a_certificate_from_the_environment(secure: Secure) -> None:
    command = ["streams", "--json", "--api", f"https://localhost:{secure.api_port}"]
    for file, status in ((secure.certificate.certificate, 0), (Path(os.devnull), 1)):
        done = subprocess.run(
            [sys.executable, "-m", "flux", *command],
            env={**os.environ, "SSL_CERT_FILE": str(file)},
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        assert (status == 0) == ('"demo"' in done.stdout)


def readers(flux: FluxProcess) -> int:
    """How many read the card over HTTP-FLV."""
    counts: dict[str, int] = flux.stream("demo")["readers"]
    return counts.get("http-flv", 0)


def test_a_reader_that_stalls_behind_tls_is_skipped_and_then_let_go(secure: Secure) -> None:
    context = ssl.create_default_context(cafile=str(secure.certificate.certificate))
    flux = secure.flux
    with socket.create_connection(("127.0.0.1", secure.port), timeout=10) as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with context.wrap_socket(plain, server_hostname="localhost") as sock:
            sock.sendall(b"GET /demo.flv HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert sock.recv(15).startswith(b"HTTP/1.1 200")
            flux.wait_until(lambda: readers(flux) == 1, "it reads")
            begun = time.monotonic()
            flux.wait_until(lambda: not readers(flux), "it is let go", 60.0)
            assert time.monotonic() - begun > 2.0
    assert flux.stream("demo")["drops"]["reader-skipped"] > 0
