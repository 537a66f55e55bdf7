"""The command line. Imports that take long are made by the command that needs them.

Exit codes: 0 done, 1 failed, 2 wrong use of the command line, 78 wrong configuration (EX_CONFIG
of sysexits.h, so that a service manager can tell that a restart will not help).
"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from flux import __version__

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from config.addresses import ListenAddress
    from config.schema import Config

EXIT_FAILURE = 1
EXIT_CONFIG = 78
MAX_SHOWN = 3  # streams in the banner; hundreds of cameras need no list there


class Loop(StrEnum):
    """Event loops."""

    AUTO = "auto"
    UVLOOP = "uvloop"
    ASYNCIO = "asyncio"


class Level(StrEnum):
    """Log levels."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


app = typer.Typer(
    name="flux",
    help="FLUX, a live-media server: takes live audio and video in, gives it out to many viewers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command()
def run(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            envvar="FLUX_CONFIG",
            help="Configuration file (YAML). Without it the built-in default is used.",
        ),
    ] = None,
    pull: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=URL",
            help="Fetch a stream, such as cam1=rtsp://user:password@host/path. May be repeated.",
        ),
    ] = None,
    loop: Annotated[
        Loop | None, typer.Option(help="Event loop; auto is uvloop where it is installed.")
    ] = None,
    log_level: Annotated[Level | None, typer.Option(help="Least level that is logged.")] = None,
) -> None:
    """Start the server."""
    chosen = _with_options(_load(config), pull or [], loop, log_level)
    factory = _loop_factory(chosen)
    import asyncio

    from flux.base.errors import FluxError
    from flux.telemetry.log import configure_logging

    close_logging = configure_logging(chosen.log.level, chosen.log.format)
    try:
        from flux.app import serve

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(serve(chosen, lambda: typer.echo(banner(chosen) + "\n", err=True)))
    except KeyboardInterrupt:
        sys.exit(130)  # a signal before or after the server's own handling of it
    except (OSError, FluxError) as error:
        _fail(f"cannot start: {error}", EXIT_FAILURE)
    finally:
        close_logging()


@app.command("check-config")
def check_config(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Configuration file (YAML).")],
) -> None:
    """Check a configuration file and name everything that is wrong with it."""
    config = _load(file)
    typer.echo(f"{file}: good, {len(config.streams)} stream(s)")


@app.command()
def version() -> None:
    """Print the version."""
    import platform

    typer.echo(f"flux {__version__} (Python {platform.python_version()})")


def main() -> None:
    """The entry point of the `flux` command."""
    app()


def _load(file: Path | None) -> "Config":
    from config.problems import ConfigProblems
    from config.sources.file import load_default, load_file

    try:
        return load_default() if file is None else load_file(file)
    except ConfigProblems as problems:
        _fail(str(problems), EXIT_CONFIG)


def _with_options(
    config: "Config", pulls: list[str], loop: Loop | None, level: Level | None
) -> "Config":
    """The configuration with what the command line says; it has the last word."""
    from config.schema import with_source
    from config.urls import show_value

    for pull in pulls:
        name, separator, url = pull.partition("=")
        if not separator:
            # Not repeated in the message: it may hold a password.
            raise typer.BadParameter("expected NAME=URL", param_hint="--pull")
        try:
            config = with_source(config, name, url)
        except ValueError as error:
            raise typer.BadParameter(f"{show_value(name)}: {error}", param_hint="--pull") from None
    if loop is not None:
        config = config.model_copy(update={"loop": loop.value})
    if level is not None:
        log = config.log.model_copy(update={"level": level.value})
        config = config.model_copy(update={"log": log})
    return config


def _loop_factory(config: "Config") -> "Callable[[], asyncio.AbstractEventLoop] | None":
    """What makes the event loop; None is asyncio's own."""
    if config.loop == Loop.ASYNCIO.value:
        return None
    try:
        import uvloop
    except ImportError:
        if config.loop == Loop.UVLOOP.value:
            _fail("uvloop is not installed: pip install uvloop, or --loop asyncio", EXIT_FAILURE)
        return None
    return uvloop.new_event_loop


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)


def banner(config: "Config") -> str:
    """A few lines for people: what to open in VLC, ffplay or a browser."""
    http = base_url(config.listeners.http.address)
    lines = [f"FLUX {__version__}"]
    names = list(config.streams)
    for name in names[:MAX_SHOWN]:
        when = ", starts with its first viewer" if config.streams[name].on_demand else ""
        lines += [
            "",
            f"  {name} ({config.streams[name].source}{when})",
            f"    VLC      Media > Open Network Stream > {http}/{name}/index.m3u8",
            f"    ffplay   ffplay -fflags nobuffer {http}/{name}.flv",
            f"    browser  {http}/{name}/index.m3u8 (where it plays HLS itself, such as Safari)",
        ]
    if len(names) > MAX_SHOWN:
        lines += ["", f"  and {len(names) - MAX_SHOWN} more"]
    if not names:
        lines += ["", "  No streams yet: flux run --pull NAME=rtsp://HOST/PATH, or --config FILE."]
    lines += [
        "",
        f"  state    {base_url(config.listeners.api.address)}/api/v1/streams",
        "",
        f"  Anyone who can reach {config.listeners.http.address} may publish and read any stream",
        "  until access is configured. To serve this machine only, set in the configuration",
        '  listeners.http.address: "127.0.0.1:8888". Ctrl-C ends FLUX.',
    ]
    return "\n".join(lines)


def base_url(address: "ListenAddress") -> str:
    """The URL of a listener as this machine can open it."""
    return f"http://localhost:{address.port}" if address.is_wildcard else f"http://{address}"
