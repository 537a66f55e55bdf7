"""Repair on real sockets: FLUX and libsrt at both ends of lossy lines, in one run.

libsrt with itself is the measure. The full scale prints the table of docs/performance.md
(`pytest -s -m long`); the small one shows that all four combinations mend what they can.
"""

import sys

import pytest

from tests.support import srt_lanes
from tests.support.srt_lanes import FLUX, LIBSRT, Lane

pytestmark = pytest.mark.interop

PACKETS = 100_000
NOT_WORSE = 0.0003
CASES = [(50, 0.05), (50, 0.10), (50, 0.20), (20, 0.10)]


def by_ends(lanes: list[Lane]) -> dict[tuple[str, str], float]:
    """What was delivered, by sender and receiver."""
    return {(lane.sender, lane.receiver): lane.delivered for lane in lanes}


@pytest.mark.timeout(60)
def test_losses_are_mended_with_libsrt_at_either_end() -> None:
    """10 % lost, and a latency that bears whatever the machine does meanwhile."""
    lanes = srt_lanes.run(0.020, 0.10, 2000, latency_ms=1000, skips_stalls=False)
    for lane in lanes:
        assert lane.line.lost > 0.05 * lane.line.data, "the line is lossy"
        assert lane.delivered >= 0.99, srt_lanes.table("20 | 10 %", lanes)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("rtt_ms", "loss"), CASES, ids=lambda value: str(value))
def test_not_worse_than_libsrt_with_itself(rtt_ms: int, loss: float) -> None:
    lanes = srt_lanes.run(rtt_ms / 1000, loss, PACKETS)
    table = srt_lanes.table(f"| {rtt_ms} | {loss:.0%}", lanes)
    sys.stdout.write(table)
    found = by_ends(lanes)
    measure = found[LIBSRT, LIBSRT]
    assert found[LIBSRT, FLUX] >= measure - NOT_WORSE, table
    assert found[FLUX, LIBSRT] >= min(measure, 0.9999), table
    assert found[FLUX, FLUX] >= min(measure, 0.9999), table
