"""SRT against everything that speaks it through libsrt, in every mode, by clean and lossy lines.

First programs against a protocol endpoint, where the datagrams are compared, then through the
server, where frames are. The tables are printed; `FLUX_SRT_MATRIX_REPORT` names a file that keeps
them (docs/srt-interop.md).
"""

import datetime
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import long_report, matrix, srt_matrix
from tests.support.nobody import NOBODY
from tests.support.srt_cells import Exchange
from tests.support.srt_matrix import CELLS, Result, pairwise
from tests.support.srt_media_cells import Passage
from tests.support.srt_programs import FFMPEGS
from tests.support.srt_stage import SrtStage

pytestmark = [pytest.mark.interop, pytest.mark.alone]

AT_ONCE = 10
FEW_AT_ONCE = 6  # our end and all lines are in this process
VERSIONS = (
    *((program, "-version") for program in FFMPEGS.values()),
    ("gst-launch-1.0", "--version"),
    ("srt-live-transmit", "-version"),
    (*NOBODY, "cvlc", "--version"),
)
HEAD = """# SRT: who understands whom

`tests/interop/test_srt_matrix.py` makes these tables: each cell is one run of a real program, all
of which speak SRT through libsrt. *publish*: the program sends; *read*: it receives. The mode is
the program's: a caller calls FLUX, a listener is called by FLUX, in a rendezvous both call. Lossy:
2 % of all packets are lost each way, a round trip takes 40 ms, and the latency is 1 s, else 300 ms.
A cell with a note cannot be, and the note is what the program itself says. VLC is a reader only:
its output connects, to srt-live-transmit as to FLUX, and never sends a packet.
"""
DATAGRAMS = """## Datagrams

Against a protocol endpoint: numbered payloads arrive all, once, in order and unchanged, and the
keys have the length that was asked for.
"""
FRAMES = """## Frames

Through the server, its sources and its forwards: what FLUX makes of the clip that a program
publishes, and what a program records of a clip that FLUX sends, is the clip: each picture and each
sound, with its time (to 2 ms; GStreamer's demuxer moves it by when packets come, to 1 s). VLC and
srt-live-transmit record the transport stream as it comes.
"""


def versions() -> str:
    """Who took part."""
    lines = []
    for command in VERSIONS:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        said = next(line for line in (done.stdout + done.stderr).splitlines() if line.strip())
        said = said.partition(" Copyright")[0].strip()
        lines.append(f"- {said.replace('Built', 'srt-live-transmit built')}")
    return "\n".join(lines)


def report(datagrams: Sequence[Result], frames: Sequence[Result]) -> str:
    """The page."""
    today = datetime.datetime.now(tz=datetime.UTC)
    when = f"{today:%Y-%m-%d}, commit {long_report.commit()}, with"
    tables = map(srt_matrix.table, (datagrams, frames))
    parts = zip((DATAGRAMS, FRAMES), tables, strict=True)
    return "\n".join((HEAD, when, versions(), *(f"\n{head}\n{table}" for head, table in parts)))


def keep(datagrams: Sequence[Result], frames: Sequence[Result]) -> None:
    """Write the page, if somebody wants it."""
    file = os.environ.get("FLUX_SRT_MATRIX_REPORT")
    if file:
        Path(file).write_text(report(datagrams, frames) + "\n")


@pytest.mark.parametrize(
    "is_full",
    [
        pytest.param(False, marks=pytest.mark.timeout(240), id="small"),
        pytest.param(True, marks=[pytest.mark.long, pytest.mark.timeout(900)], id="full"),
    ],
)
async def test_everything_arrives(
    is_full: bool, public_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exchange = Exchange(public_folder, 4.0 if is_full else 0.9)
    datagrams = await srt_matrix.run(CELLS, exchange.do, FEW_AT_ONCE if is_full else AT_ONCE)
    async with SrtStage() as stage:
        passage = Passage(stage, public_folder, 4.0 if is_full else 2.2)
        cells = CELLS if is_full else pairwise(CELLS)
        frames = await srt_matrix.run(cells, passage.do, FEW_AT_ONCE)
    with capsys.disabled():
        for results in (datagrams, frames):
            matrix.show(srt_matrix.table(results))
    keep(datagrams, frames)
    failed = [each for each in (*datagrams, *frames) if each.status == "failed"]
    assert not failed, "\n".join(f"{each.cell.name}: {each.text}" for each in failed)
