"""FFmpeg, GStreamer, VLC and FLUX by every transport with every codec: frame for frame.

The table is printed; `FLUX_MATRIX_REPORT` names a file that keeps it (docs/rtsp-interop.md).
"""

import datetime
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import matrix
from tests.support.matrix import CLIENTS, PLAY, PUBLISH, PULL, Cell, Result, crossed
from tests.support.matrix_stage import stage
from tests.support.network import Network, NetworkImpossible, in_network
from tests.support.nobody import NOBODY
from tests.support.rtsp_clients import FFMPEGS

pytestmark = [pytest.mark.interop, pytest.mark.alone]

AT_LEAST = 60  # cells that must be right, whatever programs there are
WORKERS = 8
LIMIT = 480.0
WAYS = ("tcp", "udp", "multicast", "http", "tls")
CELLS = (
    *crossed(PLAY, CLIENTS, WAYS),
    *crossed(PLAY, ("gstreamer",), ("srtp",)),
    *crossed(PUBLISH, CLIENTS, WAYS),
    *crossed(PUBLISH, ("gstreamer",), ("srtp",)),
    *crossed(PULL, ("flux", "gstreamer"), WAYS),
    *crossed(PULL, ("vlc",), ("udp",)),
)
LOSSY_CELLS = (
    *crossed(PLAY, CLIENTS, ("udp", "multicast"), is_lossy=True),
    *crossed(PUBLISH, CLIENTS, ("udp",), is_lossy=True),
    *crossed(PULL, ("flux", "gstreamer"), ("udp",), is_lossy=True),
)
NOWHERE = Network("127.0.0.1", "127.0.0.1", "lo", ())
VERSIONS = (
    (FFMPEGS["ffmpeg-5.1"], "-version"),
    (FFMPEGS["ffmpeg-new"], "-version"),
    ("gst-launch-1.0", "--version"),
    (*NOBODY, "cvlc", "--version"),
)
HEAD = """# RTSP: who understands whom

`tests/interop/test_rtsp_matrix.py` makes this table: each cell is one run of a real program against
FLUX, whose result is compared with the clip unit by unit: content, order, PTS within 1 ms, distance
of picture and sound. In "H.264 B" and "+AAC" pictures are three B-frames deep; TLS is RTSPS with
media in the connection, SRTP with media over UDP. A cell with a note cannot be, and the note is
what the program itself says. With 1 % of all packets lost, `-n` counts units that are missing and
`~n` what a player made of pieces; FLUX itself passes on whole units alone.
"""


def run_all(folder: Path, seconds: float) -> list[Result]:
    """All cells, the lossy ones last; what this machine has no network for is told apart."""
    results: list[Result] = []

    def body(network: Network) -> None:
        with stage(folder, network, seconds) as on:
            cells = [cell for cell in CELLS if network is not NOWHERE or may_be_anywhere(cell)]
            results.extend(matrix.run(cells, on.do, WORKERS))
            if network is not NOWHERE:
                with on.loss():
                    results.extend(matrix.run(LOSSY_CELLS, on.do, WORKERS))

    try:
        in_network(body, limit=LIMIT)
    except NetworkImpossible as error:
        body(NOWHERE)
        others = [*(cell for cell in CELLS if not may_be_anywhere(cell)), *LOSSY_CELLS]
        results += [Result(cell, "cannot", f"no network: {error}") for cell in others]
    return results


def may_be_anywhere(cell: Cell) -> bool:
    """Whether it needs no network of its own."""
    return cell.transport != "multicast" and not cell.is_lossy


def report(results: Sequence[Result]) -> str:
    """The page."""
    lines = [HEAD, f"{datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}, with"]
    for command in VERSIONS:
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        lines.append(f"- {said.stdout.splitlines()[0].partition(' Copyright')[0]}")
    return "\n".join((*lines, "", matrix.table(results)))


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(2.0, marks=pytest.mark.timeout(LIMIT + 60)),
        pytest.param(8.0, marks=[pytest.mark.long, pytest.mark.timeout(2 * LIMIT + 60)]),
    ],
)
def test_everybody_gets_every_frame(
    seconds: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = run_all(tmp_path, seconds)
    file = os.environ.get("FLUX_MATRIX_REPORT")
    with capsys.disabled():
        matrix.show(matrix.table(results))
    if file:
        Path(file).write_text(report(results) + "\n")
    failed = [result for result in results if result.status == "failed"]
    assert not failed, "\n".join(f"{each.cell.name}: {each.text}" for each in failed)
    assert sum(result.status == "ok" for result in results) >= AT_LEAST
    shutil.rmtree(tmp_path, ignore_errors=True)
