"""`flux hash-password`: what stands in a configuration instead of a password."""

import sys

import typer

from flux.cli.output import EXIT_FAILURE, fail

MAX_BYTES = 4096  # of a line on standard input


def hash_password() -> None:
    """Print the argon2id hash of a password, for `access.users`.

    The password is asked for on a terminal, else it is the first line of standard input.
    """
    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline(MAX_BYTES).removesuffix("\n").removesuffix("\r")
    if not password:
        fail("no password was given", EXIT_FAILURE)
    from flux.security import passwords

    typer.echo(passwords.hash_password(password))
