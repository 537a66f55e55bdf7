"""The command line. Imports that take long are made by the command that needs them.

Exit codes: 0 done, 1 failed, 2 wrong use of the command line, 78 wrong configuration (EX_CONFIG
of sysexits.h, so that a service manager can tell that a restart will not help).
"""

import typer

from flux.cli.client import healthcheck, kick, sessions, streams
from flux.cli.output import EXIT_CONFIG, EXIT_FAILURE, EXIT_USAGE
from flux.cli.password import hash_password
from flux.cli.probe.command import probe
from flux.cli.run import banner, check_config, run, version

__all__ = ("EXIT_CONFIG", "EXIT_FAILURE", "EXIT_USAGE", "app", "banner", "main")

app = typer.Typer(
    name="flux",
    help="FLUX, a live-media server: takes live audio and video in, gives it out to many viewers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command("check-config")(check_config)
app.command()(probe)
app.command()(streams)
app.command()(sessions)
app.command()(kick)
app.command()(healthcheck)
app.command("hash-password")(hash_password)
app.command()(version)


def main() -> None:
    """The entry point of the `flux` command."""
    app()
