"""Reads Markdown as far as the project's own pages use it: headings, fences, tables, links, code.

Everything has the number of its line, from 1. Fenced code is no prose: it holds no links, no
tables and no code spans.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

FENCE = re.compile(r"(`{3,}|~{3,})\s*(.*?)\s*")
HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*")
RULE = re.compile(r"\|?\s*:?-{3,}:?\s*(\|\s*:?-{3,}:?\s*)*\|?")
CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
LINK = re.compile(r"\]\(\s*<?([^)\s>]*)>?(?:\s+\"[^\"]*\")?\s*\)")
NO_ANCHOR = re.compile(r"[^\w\- ]")


@dataclass(frozen=True, slots=True)
class Fence:
    """A fenced block. `info` is what stands behind the fence: `sh`, `json api.Info`."""

    info: str
    text: str
    line: int  # of its first line of text


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of prose: a code span, a link's target, a heading's text."""

    text: str
    line: int


@dataclass(slots=True)
class Table:
    """A table; cells are stripped, a row may be shorter than the header."""

    header: list[str]
    line: int
    rows: list[tuple[int, list[str]]] = field(default_factory=list)  # line, cells

    def column(self, name: str) -> list[Span]:
        """The cells below a header, which must be there."""
        place = self.header.index(name)
        return [Span(cells[place], line) for line, cells in self.rows if place < len(cells)]


class Page:
    """One Markdown text."""

    def __init__(self, text: str, path: str = "page.md") -> None:
        self.path = path
        self.fences: list[Fence] = []
        self.tables: list[Table] = []
        self.headings: list[Span] = []
        self._prose: list[tuple[int, str]] = []
        self._read(text.split("\n"))

    @property
    def spans(self) -> list[Span]:
        """Every code span of the prose, tables included."""
        return [
            Span(match[2].strip(), line)
            for line, text in self._prose
            for match in CODE.finditer(text)
        ]

    @property
    def links(self) -> list[Span]:
        """The target of every link and picture."""
        return [
            Span(match[1], line)
            for line, text in self._prose
            for match in LINK.finditer(CODE.sub("", text))
        ]

    @property
    def anchors(self) -> set[str]:
        """What a link's fragment may name, made from the headings."""
        found: set[str] = set()
        for heading in self.headings:
            plain = NO_ANCHOR.sub("", heading.text.replace("`", "").lower()).replace(" ", "-")
            name, number = plain, 0
            while name in found:
                number += 1
                name = f"{plain}-{number}"
            found.add(name)
        return found

    def place(self, line: int) -> str:
        """How a problem is said to be found."""
        return f"{self.path}:{line}"

    def _read(self, lines: list[str]) -> None:
        mark, info, start = "", "", 0
        block: list[str] = []
        table: Table | None = None
        for number, line in enumerate(lines, 1):
            fence = FENCE.fullmatch(line)
            if mark:
                if fence and fence[1].startswith(mark) and not fence[2]:
                    self.fences.append(Fence(info, "\n".join(block) + "\n", start))
                    mark = ""
                else:
                    block.append(line)
                continue
            if fence:
                mark, info, start, block, table = fence[1], fence[2], number + 1, [], None
                continue
            if heading := HEADING.fullmatch(line):
                self.headings.append(Span(heading[2], number))
            table = self._read_row(number, line, table)
            self._prose.append((number, line))
        if mark:
            raise ValueError(f"{self.path}:{start - 1}: a fence without an end")

    def _read_row(self, number: int, line: str, table: Table | None) -> Table | None:
        """The table that this line belongs to, if any."""
        if "|" not in line:
            return None
        if table is not None:
            table.rows.append((number, list(_cells(line))))
        elif RULE.fullmatch(line.strip()) and self._prose and "|" in self._prose[-1][1]:
            table = Table(list(_cells(self._prose[-1][1])), number - 1)
            self.tables.append(table)
        return table


def _cells(line: str) -> Iterator[str]:
    for cell in re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|")):
        yield cell.strip().replace("\\|", "|")
