"""The interop matrix: who plays, publishes and is pulled by what way with what codec.

A cell is right if what the other end got (or what FLUX made of what it sent) is the clip, unit by
unit. A cell that a program cannot do at all is run all the same: what the program itself says is
kept, and has to be what `IMPOSSIBLE` expects, or the cell has failed.
"""

import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path

CODECS = ("h264", "h265", "aac", "opus", "g711", "av1")
HEADS = {
    "h264": "H.264 B",
    "h265": "H.265",
    "aac": "+AAC",
    "opus": "Opus",
    "g711": "G.711",
    "av1": "AV1",
}
CLIENTS = ("ffmpeg-5.1", "ffmpeg-new", "gstreamer")
TRANSPORTS = ("tcp", "udp", "multicast", "http", "tls", "srtp")
PLAY, PUBLISH, PULL = "play", "publish", "pull"
ORDER = (PLAY, PUBLISH, PULL)
LOSSY = "1 % lost"


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One place of the table."""

    direction: str
    client: str
    transport: str
    codec: str
    is_lossy: bool = False  # one packet in a hundred does not arrive

    @property
    def name(self) -> str:
        """For file and stream names."""
        words = (self.direction, *self.row, self.codec, *("lossy",) * self.is_lossy)
        return re.sub("[^a-z0-9]+", "-", "-".join(words))

    @property
    def row(self) -> tuple[str, str]:
        """Client and transport."""
        return self.client, self.transport


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a cell; `text` is what went wrong, or what the program said."""

    cell: Cell
    status: str  # ok, cannot, failed
    text: str = ""


class Cannot(Exception):
    """The program did not do it; the message is what it printed."""


class Wrong(Exception):
    """It did it, and the result is not right."""


# Direction, client, transport, codec, each a regular expression; and what the program must say.
IMPOSSIBLE: Sequence[tuple[str, str, str, str, str]] = (
    # Debian's FFmpeg has no RTP format for AV1: it knows no parser, and announces no encoding.
    (PLAY, "ffmpeg-5.1", ".*", "av1", "unknown codec|dimensions not set"),
    (PUBLISH, "ffmpeg-5.1", ".*", "av1", "sdp-no-encoding"),
    (".*", "gstreamer", ".*", "av1", 'no element "rtpav1(de)?pay"'),
    (PUBLISH, "ffmpeg-.*", "multicast|http", ".*", "only UDP and TCP are supported for output"),
    (PULL, "vlc", ".*", "av1", "unsupported codec: av01"),
    # It announces a session without any media then.
    (PUBLISH, "gstreamer", "multicast", ".*", "415 .*no-usable-track"),
)


def run(cells: Iterable[Cell], do: Callable[[Cell], str], workers: int) -> list[Result]:
    """Do all cells, several at a time; `do` answers what is worth telling of a success."""

    def one(cell: Cell) -> Result:
        try:
            return Result(cell, "ok", do(cell))
        except Cannot as error:
            said = str(error).strip()
            for *where, sign in IMPOSSIBLE:
                place = (cell.direction, cell.client, cell.transport, cell.codec)
                if all(re.fullmatch(a, b) for a, b in zip(where, place, strict=True)):
                    line = next((x for x in said.splitlines() if re.search(sign, x)), None)
                    if line is not None:
                        return Result(cell, "cannot", plain(line))
            return Result(cell, "failed", said[-1500:] or "it printed nothing")
        except Wrong as error:
            return Result(cell, "failed", str(error))
        except Exception as error:  # one cell ends no other
            return Result(cell, "failed", f"{type(error).__name__}: {error}")

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, cells))


def plain(line: str) -> str:
    """A line of a program's output without what differs between two runs."""
    line = re.sub(r" @ 0x[0-9a-f]+|^\[[0-9a-f]{16}\] ", "", line)
    return re.sub(r"127\.0\.0\.1:\d+", "HOST", line).strip()


def crossed(
    direction: str, clients: Sequence[str], transports: Sequence[str], *, is_lossy: bool = False
) -> list[Cell]:
    """All cells of a direction."""
    return [Cell(direction, *rest, is_lossy) for rest in product(clients, transports, CODECS)]


def table(results: Sequence[Result]) -> str:
    """The results as Markdown: one row for each way, and below it what programs said."""
    notes: dict[str, int] = {}
    lines: list[str] = []

    def place(result: Result) -> tuple[bool, int, str, int]:
        cell = result.cell
        way = TRANSPORTS.index(cell.transport)
        return cell.is_lossy, ORDER.index(cell.direction), cell.client, way

    lines.append(f"| | | | {' | '.join(HEADS.values())} |")
    lines.append("| --- " * (3 + len(CODECS)) + "|")
    for _, group in groupby(sorted(results, key=place), key=place):
        row = list(group)
        shown = {result.cell.codec: symbol(result, notes) for result in row}
        first = row[0].cell
        cells = " | ".join(shown.get(codec, "") for codec in CODECS)
        way = f"{first.transport}, {LOSSY}" if first.is_lossy else first.transport
        lines.append(f"| {first.direction} | {first.client} | {way} | {cells} |")
    counts = {status: sum(r.status == status for r in results) for status in STATUSES}
    lines += ["", ", ".join(f"{count} {status}" for status, count in counts.items())]
    for text, number in notes.items():
        lines += textwrap.wrap(f"[{number}] {text}", 100, subsequent_indent="    ") or [""]
    return "\n".join(lines)


STATUSES = ("ok", "cannot", "failed")


def symbol(result: Result, notes: dict[str, int]) -> str:
    """What stands in the table's cell."""
    if result.status == "ok":
        return f"ok {result.text}".rstrip()
    number = notes.setdefault(result.text, len(notes) + 1)
    return f"{'-' if result.status == 'cannot' else 'FAILED'} [{number}]"


def show(text: str, file: Path | None = None) -> None:
    """Print the table where the one who runs the tests sees it, and keep it if there is a place."""
    sys.stdout.write(f"\n{text}\n")
    sys.stdout.flush()
    if file is not None:
        file.write_text(text + "\n")
