"""`flux run`, `check-config` and `version`: what needs no running server."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flux import __version__
from flux.cli.output import (
    EXIT_CONFIG,
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    JsonOption,
    fail,
    print_json,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from config.addresses import ListenAddress
    from config.schema import Config, StreamSection

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
    as_json: Annotated[
        bool, typer.Option("--json", help="Log JSON, one object a line, and print no banner.")
    ] = False,
) -> None:
    """Start the server."""
    chosen = _with_options(_load(config), pull or [], loop, log_level, as_json)
    factory = _loop_factory(chosen)
    import asyncio

    from flux.base.errors import FluxError
    from flux.telemetry.log import configure_logging

    def running() -> None:
        if not as_json:
            typer.echo(banner(chosen) + "\n", err=True)

    close_logging = configure_logging(chosen.log.level, chosen.log.format)
    try:
        from flux.app import serve

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(serve(chosen, running))
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)  # a signal before or after the server's own handling of it
    except (OSError, FluxError) as error:
        fail(f"cannot start: {error}", EXIT_FAILURE)
    finally:
        close_logging()


def check_config(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Configuration file (YAML).")],
    as_json: JsonOption = False,
) -> None:
    """Check a configuration file and name everything that is wrong with it."""
    if not as_json:
        config = _load(file)
        typer.echo(f"{file}: good, {len(config.streams)} stream(s)")
        return
    from config.problems import ConfigProblems
    from config.sources.file import load_file

    try:
        config = load_file(file)
    except ConfigProblems as problems:
        found = [
            {"path": each.path, "reason": each.reason, "line": each.line or None}
            for each in problems.problems
        ]
        print_json({"file": str(file), "good": False, "problems": found})
        raise typer.Exit(EXIT_CONFIG) from None
    print_json({"file": str(file), "good": True, "streams": len(config.streams), "problems": []})


def version(as_json: JsonOption = False) -> None:
    """Print the version."""
    import platform

    python = platform.python_version()
    if as_json:
        print_json({"version": __version__, "python": python, "platform": platform.platform()})
    else:
        typer.echo(f"flux {__version__} (Python {python})")


def _load(file: Path | None) -> "Config":
    from config.problems import ConfigProblems
    from config.sources.file import load_default, load_file

    try:
        return load_default() if file is None else load_file(file)
    except ConfigProblems as problems:
        fail(str(problems), EXIT_CONFIG)


def _with_options(
    config: "Config", pulls: list[str], loop: Loop | None, level: Level | None, as_json: bool
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
    wanted = {"level": level.value if level else None, "format": "json" if as_json else None}
    changes = {key: value for key, value in wanted.items() if value is not None}
    if changes:
        config = config.model_copy(update={"log": config.log.model_copy(update=changes)})
    return config


def _loop_factory(config: "Config") -> "Callable[[], asyncio.AbstractEventLoop] | None":
    """What makes the event loop; None is asyncio's own."""
    if config.loop == Loop.ASYNCIO.value:
        return None
    try:
        import uvloop
    except ImportError:
        if config.loop == Loop.UVLOOP.value:
            fail("uvloop is not installed: pip install uvloop, or --loop asyncio", EXIT_FAILURE)
        return None
    return uvloop.new_event_loop


def banner(config: "Config") -> str:
    """A few lines for people: what to open in VLC, ffplay or a browser."""
    from config.patterns import StreamPattern

    http = base_url(config.listeners.http.address)
    lines = [f"FLUX {__version__}"]
    names = [name for name in config.streams if StreamPattern.parse(name).is_exact]
    for name in names[:MAX_SHOWN]:
        page = f"{http}/{name}/"
        if not config.player.enabled:
            page += "index.m3u8 (where it plays HLS itself, such as Safari)"
        lines += [
            "",
            f"  {name} ({_origin(config.streams[name])})",
            f"    browser  {page}",
            f"    VLC      Media > Open Network Stream > {http}/{name}/index.m3u8",
            f"    ffplay   ffplay -fflags nobuffer {http}/{name}.flv",
        ]
    if len(names) > MAX_SHOWN:
        lines += ["", f"  and {len(names) - MAX_SHOWN} more"]
    for name, group in list(config.groups.items())[:MAX_SHOWN]:
        lines += [
            "",
            f"  {name} (group of {', '.join(group.streams)})",
            f"    browser  {http}/{name}/",
            f"    VLC      Media > Open Network Stream > {http}/{name}/index.m3u8",
        ]
    patterns = [name for name in config.streams if name not in names]
    if patterns:
        more = f" and {len(patterns) - MAX_SHOWN} more" * (len(patterns) > MAX_SHOWN)
        lines += ["", f"  names that match {', '.join(patterns[:MAX_SHOWN])}{more}"]
    if not config.streams:
        lines += ["", "  No streams yet: flux run --pull NAME=rtsp://HOST/PATH, or --config FILE."]
    lines += [
        "",
        f"  state    {base_url(config.listeners.api.address)}/api/v1/streams",
        "",
        *_who_may(config),
    ]
    return "\n".join(lines)


def _who_may(config: "Config") -> list[str]:
    """Who is let in, and how to change that."""
    if not config.access.is_open:
        return [
            "  Access is for those whom the configuration names under `access`. Ctrl-C ends FLUX."
        ]
    return [
        f"  Anyone who can reach {config.listeners.http.address} may publish and read any stream",
        "  until the configuration names users under access.users. To serve this machine only, set",
        '  listeners.http.address: "127.0.0.1:8888". Ctrl-C ends FLUX.',
    ]


def _origin(section: "StreamSection") -> str:
    """Where a stream comes from, in a few words."""
    if section.source is None:
        return "waits for a publisher"
    return f"{section.source}{', starts with its first viewer' * section.on_demand}"


def base_url(address: "ListenAddress") -> str:
    """The URL of a listener as this machine can open it."""
    return f"http://localhost:{address.port}" if address.is_wildcard else f"http://{address}"
