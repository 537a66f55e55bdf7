"""The interop matrix of SRT: programs, directions, modes, keys and lines; how it is run and shown.

A cell is right if what arrived is what was sent. A cell that a program cannot do at all is run all
the same: what the program itself says is kept, and has to be what `IMPOSSIBLE` expects, or the cell
has failed.
"""

import asyncio
import re
import textwrap
import zlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, product

from tests.support.matrix import STATUSES, Cannot, Wrong, plain
from tests.support.srt_programs import (
    CALLER,
    FFMPEG_NEW,
    FFMPEG_OLD,
    LISTENER,
    PROGRAMS,
    RENDEZVOUS,
    VLC,
    Way,
)
from tests.support.udp_proxy import Line

PUBLISH, READ = "publish", "read"
DIRECTIONS = (PUBLISH, READ)
MODES = (CALLER, LISTENER, RENDEZVOUS)
PLAIN = "plain"
KEYS = {PLAIN: 0, "AES-128": 16, "AES-256": 32}
CLEAN, LOSSY = "clean", "2 % lost, 40 ms"
LINES = {CLEAN: None, LOSSY: Line(delay=0.02, loss=0.02)}
PASSPHRASE = "flux-reference-key"
LATENCIES_MS = {CLEAN: 300, LOSSY: 1000}  # libsrt asks late for what was lost twice
LIMIT = 45.0  # seconds until a cell must be done
ELSEWHERE = "192.0.2.1"  # RFC 5737: an address that is nobody's here

# Direction, program, mode, each a regular expression; and what the program must say.
IMPOSSIBLE: Sequence[tuple[str, str, str, str]] = (
    # libavformat binds its own end of a rendezvous to the address that it calls, whatever the URL.
    (".*", "ffmpeg-.*", RENDEZVOUS, "Cannot assign requested address"),
    # VLC knows two modes, and takes any other word for the first, `caller`, which is 0.
    (".*", VLC, RENDEZVOUS, "SRT mode=0"),
)


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One place of the table; `mode` is the program's."""

    direction: str  # publish: the program sends
    program: str
    mode: str
    key: str
    line: str

    @property
    def name(self) -> str:
        """For file and stream names."""
        words = (self.direction, self.program, self.mode, self.key, self.line)
        return re.sub("[^a-z0-9]+", "-", "-".join(words).lower())

    @property
    def seed(self) -> int:
        """Which packets are lost."""
        return zlib.crc32(self.name.encode())

    @property
    def latency_ms(self) -> int:
        """Of both ends."""
        return LATENCIES_MS[self.line]

    @property
    def key_bytes(self) -> int:
        """16, 32; 0: in the clear."""
        return KEYS[self.key]

    @property
    def passphrase(self) -> str:
        """Empty: in the clear."""
        return PASSPHRASE if self.key_bytes else ""

    @property
    def sign(self) -> str | None:
        """What the program says if it cannot do this; None: it can."""
        for *where, sign in IMPOSSIBLE:
            place = (self.direction, self.program, self.mode)
            if all(re.fullmatch(a, b) for a, b in zip(where, place, strict=True)):
                return sign
        return None

    def way(
        self,
        host: str,
        port: int,
        *,
        local: tuple[str, int] | None = None,
        stream_id: str = "",
    ) -> Way:
        """How its program connects."""
        return Way(
            self.program,
            self.mode,
            ELSEWHERE if self.sign and self.program in (FFMPEG_OLD, FFMPEG_NEW) else host,
            port,
            local,
            self.latency_ms,
            self.passphrase,
            self.key_bytes,
            stream_id if self.mode == CALLER else "",
        )


CELLS = [
    Cell(*values)
    for values in product(DIRECTIONS, PROGRAMS, MODES, KEYS, LINES)
    if values[:2] != (PUBLISH, VLC)
]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a cell; `text` is what went wrong, or what the program said."""

    cell: Cell
    status: str  # ok, cannot, failed
    text: str = ""


def pairwise(cells: Sequence[Cell]) -> list[Cell]:
    """Few cells that hold every pair of two columns, and one of each kind that cannot be."""

    def pairs(cell: Cell) -> set[tuple[int, str, int, str]]:
        values = (cell.direction, cell.program, cell.mode, cell.key, cell.line)
        return {(i, values[i], j, values[j]) for i in range(5) for j in range(i)}

    possible = [cell for cell in cells if cell.sign is None]
    wanted = set().union(*map(pairs, possible))
    kinds = {(cell.direction, cell.program): cell for cell in cells if cell.sign is not None}
    chosen = list(kinds.values())
    while wanted:
        best = max(possible, key=lambda cell: len(pairs(cell) & wanted))
        chosen.append(best)
        wanted -= pairs(best)
    return chosen


async def run(
    cells: Iterable[Cell], do: Callable[[Cell], Awaitable[None]], at_once: int
) -> list[Result]:
    """Do all cells, several at a time."""
    gate = asyncio.Semaphore(at_once)

    async def one(cell: Cell) -> Result:
        async with gate:
            try:
                async with asyncio.timeout(LIMIT):
                    await do(cell)
            except Cannot as error:
                return judged(cell, str(error))
            except Wrong as error:
                return Result(cell, "failed", str(error))
            except Exception as error:  # one cell ends no other
                return Result(cell, "failed", f"{type(error).__name__}: {error}")
        if cell.sign is not None:
            return Result(cell, "failed", "it was thought to be impossible")
        return Result(cell, "ok")

    return await asyncio.gather(*map(one, cells))


def judged(cell: Cell, said: str) -> Result:
    """A cell that its program did not do."""
    if cell.sign is not None:
        line = next((x for x in said.splitlines() if re.search(cell.sign, x)), None)
        if line is not None:
            return Result(cell, "cannot", without_places(line))
    return Result(cell, "failed", said[-1500:] or "it printed nothing")


def without_places(line: str) -> str:
    """A line of a program's output without what differs between two runs."""
    line = re.sub(r"^\[[^]]*\] |\?mode=\S*|port=\d+", "", plain(line))
    return re.sub(r"\d+(\.\d+){3}(:\d+)?", "HOST", line).strip()


def table(results: Sequence[Result]) -> str:
    """The results as Markdown: one row for each program and mode, and below it what they said."""
    notes: dict[str, int] = {}
    heads = [(line, key) for line in LINES for key in KEYS]
    titles = [key if line == CLEAN else f"{key}, lossy" for line, key in heads]
    lines = [f"| | | {' | '.join(('', *titles))} |", "| --- " * (3 + len(heads)) + "|"]

    def row_of(result: Result) -> tuple[int, int, int]:
        cell = result.cell
        return (
            DIRECTIONS.index(cell.direction),
            PROGRAMS.index(cell.program),
            MODES.index(cell.mode),
        )

    for _, group in groupby(sorted(results, key=row_of), key=row_of):
        row = list(group)
        shown = {(each.cell.line, each.cell.key): symbol(each, notes) for each in row}
        cells = " | ".join(shown.get(head, "") for head in heads)
        first = row[0].cell
        lines.append(f"| {first.direction} | {first.program} | {first.mode} | {cells} |")
    counts = {status: sum(r.status == status for r in results) for status in STATUSES}
    lines += ["", ", ".join(f"{count} {status}" for status, count in counts.items())]
    for text, number in notes.items():
        lines += textwrap.wrap(f"[{number}] {text}", 100, subsequent_indent="    ") or [""]
    return "\n".join(lines)


def symbol(result: Result, notes: dict[str, int]) -> str:
    """What stands in the table's cell."""
    if result.status == "ok":
        return "ok"
    number = notes.setdefault(result.text, len(notes) + 1)
    return f"{'-' if result.status == 'cannot' else 'FAILED'} [{number}]"
