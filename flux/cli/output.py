"""What all commands share: how they print, how they fail, and their exit codes."""

import json
import sys
from enum import Enum
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console
    from rich.table import Table

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h: a service manager sees that a restart will not help
EXIT_INTERRUPTED = 130
PLAIN_WIDTH = 200  # columns where there is no terminal: nothing is folded for a program

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON on standard output, for programs.")
]


class Align(Enum):
    """Where the text of a column stands."""

    LEFT = "left"
    RIGHT = "right"


def fail(message: str, code: int = EXIT_FAILURE) -> NoReturn:
    """Say why, on standard error, and end with `code`."""
    typer.echo(message, err=True)
    raise typer.Exit(code)


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def make_console(*, stderr: bool = False) -> "Console":
    """A console that knows NO_COLOR, terminals, and what is none."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PLAIN_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def make_table(columns: "Sequence[tuple[str, Align]]", *, is_terminal: bool) -> "Table":
    """An empty table: close columns on a terminal, wider apart for programs."""
    from rich.table import Table

    gap = 1 if is_terminal else 2
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for title, align in columns:
        table.add_column(title, justify=align.value, no_wrap=True, overflow="ellipsis")
    return table


def sound_format(sample_rate: int, channels: int) -> str:
    """`44.1 kHz 2ch`."""
    return f"{sample_rate / 1000:g} kHz {channels}ch"


def add_rows(table: "Table", rows: "Iterable[Sequence[object]]") -> None:
    """Fill a table; nothing in a cell is taken for markup or for an escape sequence."""
    from rich.text import Text

    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))


def plain(value: object) -> str:
    """A value as text that cannot move the cursor; it may come from a peer."""
    text = "" if value is None else str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def rate(bits_per_second: float | None) -> str:
    """`4.15 Mbit/s`; a dash for what is not known."""
    if not bits_per_second:
        return "-"
    for unit, factor in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if bits_per_second >= factor:
            return f"{bits_per_second / factor:.3g} {unit}"
    return f"{bits_per_second:.0f} bit/s"


def size(count: float) -> str:
    """`12.3 MB`, in powers of 1000."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count:.0f} B"


def seconds(value: float | None, digits: int = 1) -> str:
    """`2.0 s`, `3m 20s`, `5h 10m`, `2d 3h`; a dash for what is not known."""
    if value is None:
        return "-"
    if value < 60:
        return f"{value:.{digits}f} s"
    whole = int(value)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60}m"
    return f"{whole // 86400}d {whole % 86400 // 3600}h"


def milliseconds(value: float | None) -> str:
    """`1.3 ms`; a dash for what is not known."""
    return "-" if value is None else f"{value * 1000:.1f} ms"


def percent(part: float | None) -> str:
    """`0.12 %`; a dash for what is not known."""
    return "-" if part is None else f"{part * 100:.2f} %"
