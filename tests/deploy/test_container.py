"""The container image, as far as it can be judged without an engine: parsed, linted, followed."""

import fnmatch
import subprocess
import sys
from pathlib import Path

import dockerfile
import pytest
from typer.testing import CliRunner

from config.sources.file import load_file
from flux.cli import app

ROOT = Path(__file__).parent.parent.parent
COMMANDS = dockerfile.parse_file(str(ROOT / "Dockerfile"))
HADOLINT = Path(sys.executable).with_name("hadolint")


def stages() -> list[list[dockerfile.Command]]:
    """The instructions by stage, FROM first."""
    found: list[list[dockerfile.Command]] = []
    for command in COMMANDS:
        if command.cmd.upper() == "FROM":
            found.append([])
        found[-1].append(command)
    return found


def values(stage: list[dockerfile.Command], name: str) -> list[tuple[str, ...]]:
    return [command.value for command in stage if command.cmd.upper() == name]


BUILD, FINAL = stages()


def ignored(path: str) -> bool:
    """Whether `.dockerignore` keeps a file from the builder: the last rule that fits holds."""
    result = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        keeps = line.startswith("!")
        pattern = line.lstrip("!").rstrip("/")
        parents = [path, *(str(parent) for parent in Path(path).parents)]
        tail = pattern.removeprefix("**/")
        if any(fnmatch.fnmatch(each, pattern) or fnmatch.fnmatch(each, tail) for each in parents):
            result = not keeps
    return result


def test_the_linter_has_nothing_to_say() -> None:
    done = subprocess.run(
        [HADOLINT, "--no-color", "--failure-threshold", "style", ROOT / "Dockerfile"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.stdout, done.returncode) == ("", 0)


def test_the_linter_would_say_it(tmp_path: Path) -> None:
    broken = tmp_path / "Dockerfile"
    broken.write_text("FROM python:latest\nRUN cd /x\nADD a b\n")
    assert subprocess.run([HADOLINT, broken], capture_output=True, timeout=30).returncode != 0


def test_two_stages_of_one_pinned_python() -> None:
    assert BUILD[0].value == ("python:3.12-bookworm", "AS", "build")  # with a compiler
    assert FINAL[0].value == ("python:3.12-slim-bookworm",)
    assert [value for value in values(FINAL, "COPY") if value[0].startswith("/opt")] == [
        ("/opt/flux", "/opt/flux")
    ]
    flags = [command.flags for command in FINAL if command.value[0] == "/opt/flux"]
    assert flags == [("--from=build",)]


def test_it_does_not_run_as_root() -> None:
    ((user,),) = values(FINAL, "USER")
    uid, gid = user.split(":")
    assert int(uid) >= 10_000
    assert int(gid) >= 10_000
    names = [command.cmd.upper() for command in FINAL]
    assert "RUN" not in names[names.index("USER") :]
    assert "COPY" not in names[names.index("USER") :]


def test_what_it_copies_is_there_and_reaches_the_builder() -> None:
    for stage in (BUILD, FINAL):
        for command in stage:
            if command.cmd.upper() != "COPY" or command.flags:
                continue
            for source in command.value[:-1]:
                assert (ROOT / source).exists(), source
                assert not ignored(source), source


def test_nothing_else_reaches_the_builder() -> None:
    for path in (
        ".git/config",
        "tests/conftest.py",
        ".venv/bin/python",
        "flux/__pycache__/a.pyc",
        "media/a.so",
    ):
        assert ignored(path), path
    for path in ("flux/cli/__init__.py", "config/flux.yaml", "flux/bridges/rtp/track.py"):
        assert not ignored(path), path


def test_every_package_of_the_project_is_copied() -> None:
    copied = {source for value in values(BUILD, "COPY") for source in value[:-1]}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages - {"tests", "benchmarks"} <= copied


def test_signals_ports_and_health() -> None:
    assert values(FINAL, "STOPSIGNAL") == [("SIGTERM",)]
    ((*ports,),) = values(FINAL, "EXPOSE")
    config = load_file(ROOT / "deploy" / "container.yaml")
    assert ports == [
        f"{config.listeners.http.address.port}/tcp",
        f"{config.listeners.api.address.port}/tcp",
        f"{config.listeners.rtsp.address.port}/tcp",
        f"{config.listeners.rtsp.rtp_address.port}/udp",
        f"{config.listeners.rtsp.rtcp_address.port}/udp",
        f"{config.listeners.srt.address.port}/udp",
    ]
    (health,) = [command for command in FINAL if command.cmd.upper() == "HEALTHCHECK"]
    assert health.value == ("CMD", "flux", "healthcheck")
    assert set(health.flags) == {
        "--interval=15s", "--timeout=5s", "--start-period=20s", "--retries=3",
    }  # fmt: skip
    assert values(FINAL, "VOLUME") == [("/config",)]


def test_the_image_starts_with_its_own_configuration() -> None:
    assert values(FINAL, "ENTRYPOINT") == [("flux",)]
    assert values(FINAL, "CMD") == [("run",)]
    ((*words,),) = values(FINAL, "ENV")
    pairs = [word for word in words if word != "="]
    variables = dict(zip(pairs[::2], pairs[1::2], strict=True))
    assert ("deploy/container.yaml", variables["FLUX_CONFIG"]) in values(FINAL, "COPY")
    config = load_file(ROOT / "deploy" / "container.yaml")
    assert config.listeners.http.address.is_wildcard
    assert config.listeners.api.address.is_wildcard
    assert config.log.format == "json"


@pytest.mark.parametrize("arguments", [["run", "--help"], ["healthcheck", "--help"]])
def test_the_commands_that_it_names_exist(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 0
