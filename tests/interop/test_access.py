"""Access as players and tools meet it: ffmpeg and curl with credentials, without, and wrong."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flux.security.passwords import hash_password
from tests.support.flux_process import FluxProcess

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

DELAY = 1.0


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FluxProcess]:
    """A FLUX with a viewer, an administrator whose password is hashed, and an open stream."""
    camera = {"source": "testcard:?size=320x240", "on_demand": True}
    users = [
        {"name": "any", "permissions": [{"action": "read", "streams": "open"}]},
        {"name": "ann", "password": "right", "permissions": [{"action": "read"}]},
        {
            "name": "admin",
            "password": hash_password("geheim"),
            "permissions": [{"action": ["api", "metrics", "read"]}],
        },
    ]
    access = {"users": users, "free_on_localhost": False, "penalties": {"delay": f"{DELAY:g}s"}}
    streams = {"live/cam": camera, "open": camera}
    with FluxProcess(tmp_path_factory.mktemp("access"), streams, {"access": access}) as process:
        yield process


def with_user(url: str, user: str) -> str:
    """The URL with `user:password@` in it; empty for none."""
    return url.replace("://", f"://{user}@") if user else url


def ffmpeg(url: str) -> tuple[int, str]:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", url, "-t", "1", "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def curl(url: str, *options: str) -> tuple[int, str, float]:
    """Status, body and seconds."""
    began = time.monotonic()
    command = ["curl", "-s", "--noproxy", "*", "-w", "\n%{http_code}", *options, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body, time.monotonic() - began


@pytest.mark.parametrize("output", ["flv", "hls"])
@pytest.mark.parametrize("user", ["ann:right", "admin:geheim"])
def test_ffmpeg_plays_with_credentials(flux: FluxProcess, output: str, user: str) -> None:
    url = flux.flv("live/cam") if output == "flv" else flux.hls("live/cam")
    assert ffmpeg(with_user(url, user)) == (0, "")


@pytest.mark.parametrize("output", ["flv", "hls"])
@pytest.mark.parametrize("user", ["", "ann:wrong", "nobody:right"])
def test_ffmpeg_does_not_play_without(flux: FluxProcess, output: str, user: str) -> None:
    url = flux.flv("live/cam") if output == "flv" else flux.hls("live/cam")
    code, said = ffmpeg(with_user(url, user))
    assert code != 0
    assert "401 Unauthorized" in said


def test_what_is_open_needs_none(flux: FluxProcess) -> None:
    assert ffmpeg(flux.flv("open")) == (0, "")


def test_a_first_question_is_answered_at_once_and_a_guess_late(flux: FluxProcess) -> None:
    status, body, seconds = curl(flux.flv("live/cam"))
    assert (status, body) == (401, "401 Unauthorized: credentials-needed\n")
    assert seconds < DELAY
    status, body, seconds = curl(flux.flv("live/cam"), "-u", "ann:guess")
    assert (status, body) == (401, "401 Unauthorized: credentials-wrong\n")
    assert seconds >= DELAY


def test_the_api_and_its_commands(flux: FluxProcess, tmp_path: Path) -> None:
    base = f"http://127.0.0.1:{flux.api_port}"
    assert curl(f"{base}/healthz")[0] == 200
    assert curl(f"{base}/metrics")[0] == 401
    assert curl(f"{base}/api/v1/info", "-u", "ann:right")[0] == 403
    status, body, _ = curl(f"{base}/metrics", "-u", "admin:geheim")
    assert status == 200
    assert "flux_password_checks_total" in body
    command = [sys.executable, "-m", "flux", "streams", "--json", "--api", base]
    env = {"FLUX_API_USER": "admin", "FLUX_API_PASSWORD": "geheim", "HOME": str(tmp_path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=True)
    assert {stream["name"] for stream in json.loads(done.stdout)} == {"live/cam", "open"}
    done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "needs credentials" in done.stderr


def test_no_password_is_in_the_log(flux: FluxProcess) -> None:
    for user in ("ann:right", "ann:wr0ng-guess", "admin:geheim"):
        curl(flux.hls("live/cam").replace("live/cam", "none"), "-u", user)
        curl(flux.flv("none", "?token=t0ken-guess"), "-u", user)
    output = flux.program.output
    assert '"access-denied"' in output
    assert '"ann"' in output
    for secret in ("wr0ng-guess", "geheim", "t0ken-guess", "$argon2id"):
        assert secret not in output
