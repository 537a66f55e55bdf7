"""The systemd unit: its settings, and what systemd's own checkers say of it."""

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flux.cli import EXIT_CONFIG, app

UNIT = Path(__file__).parent.parent.parent / "deploy" / "flux.service"
PROGRAM = "/opt/flux/bin/flux"
MAX_EXPOSURE = 2.5  # of systemd-analyze security: 0 is nothing, 10 everything


def service() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[method-assign,assignment]  # keys are case sensitive
    parser.read_string(UNIT.read_text())
    assert parser.sections() == ["Unit", "Service", "Install"]
    return parser["Service"]


def test_the_settings() -> None:
    section = service()
    expected = {
        "Type": "exec",
        "DynamicUser": "yes",
        "ProtectSystem": "strict",
        "NoNewPrivileges": "yes",
        "AmbientCapabilities": "CAP_NET_BIND_SERVICE",
        "CapabilityBoundingSet": "CAP_NET_BIND_SERVICE",
        "Restart": "on-failure",
        "RestartPreventExitStatus": str(EXIT_CONFIG),
        "KillSignal": "SIGTERM",
    }
    assert {key: section[key] for key in expected} == expected
    assert int(section["LimitNOFILE"]) >= 65_536
    assert int(section["TimeoutStopSec"]) > 4


def test_the_command_is_one_that_flux_has() -> None:
    program, command, *options = service()["ExecStart"].split()
    assert program == PROGRAM
    shown = CliRunner().invoke(app, [command, "--help"])
    assert shown.exit_code == 0
    for option in (each for each in options if each.startswith("--")):
        assert option in re.findall(r"--[a-z-]+", shown.output)
    credential = service()["LoadCredential"].partition(":")[0]
    assert options[-1] == f"${{CREDENTIALS_DIRECTORY}}/{credential}"


def unit_in(folder: Path, *changes: tuple[str, str]) -> Path:
    """The unit with a program that is on this machine."""
    text = UNIT.read_text().replace(PROGRAM, sys.executable)
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    file = folder / "flux.service"
    file.write_text(text)
    return file


def analyze(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60
    )


@pytest.mark.interop
def test_systemd_takes_it(tmp_path: Path) -> None:
    done = analyze("verify", "--man=no", unit_in(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.interop
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("ProtectSystem=strict", "ProtectSystem=strickt"),
        ("DynamicUser=", "DynamicUsers="),
        ("Type=exec", "Type=exe"),
        ("@system-service", "@system-servise"),
    ],
)
def test_systemd_would_say_what_is_wrong(tmp_path: Path, before: str, after: str) -> None:
    done = analyze("verify", "--man=no", unit_in(tmp_path, (before, after)))
    assert done.returncode != 0 or done.stderr


@pytest.mark.interop
def test_it_is_well_locked_in(tmp_path: Path) -> None:
    done = analyze("security", "--offline=true", "--no-pager", unit_in(tmp_path))
    match = re.search(r"exposure level for flux.service: ([0-9.]+)", done.stdout)
    assert match is not None, done.stdout + done.stderr
    assert float(match[1]) <= MAX_EXPOSURE
