"""docs/srt.md has a line for each number that a connection measures."""

from pathlib import Path

from protocols.srt.statistics import Number
from tests.support.markdown import Page
from tests.support.simnet import Link
from tests.support.srt_pair import Pair

ROOT = Path(__file__).parents[2]


def names(values: dict[str, Number]) -> set[str]:
    """Without those that are there in total, too."""
    return {name for name in values if not name.endswith("Total")}


def test_all_statistics_are_told() -> None:
    page = Page((ROOT / "docs/srt.md").read_text(), "docs/srt.md")
    told: set[str] = set()
    for table in page.tables:
        if table.header[0] == "field":
            cells = table.column("field")
            told |= {span.text for cell in cells for span in Page(cell.text).spans}
    pair = Pair(Link(delay=0.01))
    found = pair.caller.statistics(pair.net.now)
    assert told == names(found.values) | set(found.extra)
