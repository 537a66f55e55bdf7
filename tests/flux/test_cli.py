"""The command line and its banner."""

import asyncio
import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import flux
from config.schema import Config
from config.sources.file import load_default
from flux.cli import EXIT_CONFIG, EXIT_FAILURE, app, banner

runner = CliRunner()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Config, str]]:
    """What the server was started with, and on which loop; it ends at once."""
    started: list[tuple[Config, str]] = []

    async def serve(config: Config, on_running: Callable[[], None]) -> None:
        on_running()
        started.append((config, type(asyncio.get_running_loop()).__module__))

    module = types.ModuleType("flux.app")
    monkeypatch.setattr(module, "serve", serve, raising=False)
    monkeypatch.setitem(sys.modules, "flux.app", module)
    return started


def test_version() -> None:
    result = runner.invoke(app, ["version"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"flux {flux.__version__} (Python ")


def test_a_good_file(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("streams: {cam: {source: 'rtsp://host/x'}}\n")
    result = runner.invoke(app, ["check-config", str(file)])
    assert (result.exit_code, result.stdout) == (0, f"{file}: good, 1 stream(s)\n")


def test_a_wrong_file_is_named_with_its_lines(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("strems: {}\nlog: {level: loud}\n")
    for command in (["check-config", str(file)], ["run", "--config", str(file)]):
        result = runner.invoke(app, command)
        assert result.exit_code == EXIT_CONFIG
        assert result.stderr.splitlines() == [
            f"strems ({file}:1): unknown key, did you mean 'streams'?",
            f"log.level ({file}:2): expected 'debug', 'info', 'warning' or 'error', found 'loud'",
        ]


def test_run_serves_the_default(served: list[tuple[Config, str]]) -> None:
    result = runner.invoke(app, ["run"], env={"FLUX_CONFIG": ""})
    assert result.exit_code == 0, result.output
    assert served[0][0] == load_default()
    assert "http://localhost:8888/demo.flv" in result.stderr


def test_run_takes_options(served: list[tuple[Config, str]]) -> None:
    options = ["--pull", "live/a=rtsp://u:p@h/x?a=b", "--pull", "b=testcard:"]
    result = runner.invoke(app, ["run", *options, "--loop", "asyncio", "--log-level", "debug"])
    assert result.exit_code == 0, result.output
    config, loop = served[0]
    assert list(config.streams) == ["demo", "live/a", "b"]
    source = config.streams["live/a"].source
    assert source is not None
    assert source.reveal() == "rtsp://u:p@h/x?a=b"
    assert (config.log.level, config.loop) == ("debug", "asyncio")
    assert loop.startswith("asyncio")
    assert "u:p" not in result.output


def test_uvloop_is_used_where_it_is_installed(served: list[tuple[Config, str]]) -> None:
    pytest.importorskip("uvloop")
    assert runner.invoke(app, ["run"]).exit_code == 0
    assert served[0][1].startswith("uvloop")


def test_auto_does_without_uvloop(
    served: list[tuple[Config, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert runner.invoke(app, ["run"]).exit_code == 0
    assert served[0][1].startswith("asyncio")
    result = runner.invoke(app, ["run", "--loop", "uvloop"])
    assert result.exit_code == EXIT_FAILURE
    assert "uvloop is not installed" in result.stderr


@pytest.mark.parametrize(
    "pull",
    [
        "nothing",
        "rtsp://u:hunter2@h/x",
        "a=srt://u:hunter2@h",
        "a b=rtsp://h",
        "rtsp://u:hunter2@h?a=b",
    ],
)
def test_a_wrong_pull_is_refused_without_its_password(
    served: list[tuple[Config, str]], pull: str
) -> None:
    result = runner.invoke(app, ["run", "--pull", pull])
    assert result.exit_code == 2
    assert "hunter2" not in result.output
    assert served == []


def test_an_address_that_is_taken_is_one_line(
    served: list[tuple[Config, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(config: Config, on_running: Callable[[], None]) -> None:
        on_running()
        raise OSError(98, "address already in use")

    monkeypatch.setattr(sys.modules["flux.app"], "serve", serve)
    result = runner.invoke(app, ["run"])
    assert result.exit_code == EXIT_FAILURE
    assert "cannot start: [Errno 98] address already in use" in result.stderr


def test_python_m_flux_is_the_same_and_help_imports_little() -> None:
    code = (
        "import sys; sys.argv = ['flux', '--help']\n"
        "import runpy\n"
        "try: runpy.run_module('flux', run_name='__main__')\n"
        "except SystemExit as end: code = end.code\n"
        "heavy = {'aiohttp', 'pydantic', 'av', 'numpy', 'uvloop', 'structlog'} & set(sys.modules)\n"
        "sys.exit(f'{heavy} {code}' if heavy or code else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "check-config" in done.stdout


def test_the_banner_tells_where_to_look_and_who_may() -> None:
    text = banner(load_default())
    for part in (
        "VLC",
        "ffplay",
        "browser",
        "/demo.flv",
        "/demo/index.m3u8",
        "Anyone",
        "127.0.0.1",
    ):
        assert part in text
    many = Config.model_validate(
        {"streams": {f"cam{n}": {"source": "rtsp://u:hunter2@h/x"} for n in range(9)}}
    )
    assert "and 6 more" in banner(many)
    assert "hunter2" not in banner(many)
    assert "--pull" in banner(Config())


def test_the_banner_knows_pages_patterns_and_streams_that_wait() -> None:
    streams = {"cam": {}, "live/*": {"source": "rtsp://h/$1"}, "all": {}}
    text = banner(Config.model_validate({"streams": streams}))
    assert "cam (waits for a publisher)" in text
    assert "browser  http://localhost:8888/cam/\n" in text
    assert "names that match live/*, all" in text
    assert "/live/*" not in text
    closed = Config.model_validate({"streams": streams, "player": {"enabled": False}})
    assert "http://localhost:8888/cam/index.m3u8 (where it plays HLS itself" in banner(closed)


def test_help_loads_nothing_heavy() -> None:
    """What makes `flux --help` slow is imports, and those can be seen on a busy machine, too."""
    code = (
        "import sys\n"
        "from flux.cli import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    loaded = set(done.stderr.decode().split())
    assert "typer" in loaded
    assert not loaded & {"aiohttp", "av", "numpy", "pydantic", "structlog", "uvloop", "yaml"}


@pytest.mark.parametrize("command", ["run", "check-config", "probe", "streams", "sessions", "kick"])
def test_every_command_explains_itself_and_has_json(command: str) -> None:
    result = runner.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "--json" in result.stdout


def test_the_version_as_json() -> None:
    result = runner.invoke(app, ["version", "--json"])
    assert json.loads(result.stdout)["version"] == flux.__version__


def test_a_good_file_as_json(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("streams: {cam: {source: 'rtsp://host/x'}}\n")
    result = runner.invoke(app, ["check-config", str(file), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "file": str(file), "good": True, "streams": 1, "problems": [],
    }  # fmt: skip


def test_a_wrong_file_as_json(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("strems: {}\nlog: {level: loud}\n")
    result = runner.invoke(app, ["check-config", str(file), "--json"])
    assert result.exit_code == EXIT_CONFIG
    answer = json.loads(result.stdout)
    assert answer["good"] is False
    assert [problem["line"] for problem in answer["problems"]] == [1, 2]
    assert [problem["path"] for problem in answer["problems"]] == ["strems", "log.level"]


def test_run_with_json_logs_json_and_shows_no_banner(served: list[tuple[Config, str]]) -> None:
    result = runner.invoke(app, ["run", "--json"], env={"FLUX_CONFIG": ""})
    assert result.exit_code == 0
    assert served[0][0].log.format == "json"
    assert "VLC" not in result.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    script = subprocess.run(
        [sys.executable, "-m", "flux", "--show-completion", shell],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert script.returncode == 0
    assert "complet" in script.stdout.lower()


def test_the_shell_is_offered_the_commands() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from flux.cli import app; app(prog_name='flux')"],
        capture_output=True,
        text=True,
        timeout=30,
        env={
            **os.environ,
            "_FLUX_COMPLETE": "complete_bash",
            "COMP_WORDS": "flux s",
            "COMP_CWORD": "1",
        },
    )
    assert done.stdout.split() == ["streams", "sessions"]
