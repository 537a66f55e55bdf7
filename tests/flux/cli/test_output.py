"""Numbers and tables as people read them."""

import io
import sys

import pytest

from flux.cli.output import (
    Align,
    add_rows,
    make_console,
    make_table,
    milliseconds,
    percent,
    plain,
    rate,
    seconds,
    size,
)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "-"), (12, "12 bit/s"), (1500, "1.5 kbit/s"), (4.15e6, "4.15 Mbit/s"),
     (2e9, "2 Gbit/s")],
)  # fmt: skip
def test_rates(value: float | None, text: str) -> None:
    assert rate(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (12_345_678, "12.3 MB")]
)
def test_sizes(value: int, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (61, "1m 1s"),
        (3700, "1h 1m"),
        (90_000, "1d 1h"),
    ],
)
def test_durations(value: float | None, text: str) -> None:
    assert seconds(value) == text


def test_small_parts() -> None:
    assert (milliseconds(None), milliseconds(0.00123)) == ("-", "1.2 ms")
    assert (percent(None), percent(0.0123)) == ("-", "1.23 %")
    assert plain("caf\xe9\x1b[0m\n") == "caf\xe9\ufffd[0m\ufffd"
    assert plain(None) == ""


def draw(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "stdout", stream)
    console = make_console()
    table = make_table([("A", Align.LEFT), ("B", Align.RIGHT)], is_terminal=console.is_terminal)
    add_rows(table, [("[red]x", 1), ("y" * 120, 22)])
    console.print(table)
    return stream.getvalue()


def test_a_table_for_programs_is_not_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = draw(io.StringIO(), monkeypatch).splitlines()
    assert [line.split() for line in lines] == [["A", "B"], ["[red]x", "1"], ["y" * 120, "22"]]


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = draw(Terminal(), monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    plain_text = draw(Terminal(), monkeypatch)
    assert "\x1b[1m" in coloured
    assert "\x1b[3" not in plain_text
