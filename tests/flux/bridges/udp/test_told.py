"""Every reason that a source or a target gives is in docs/udp.md."""

from pathlib import Path

from flux.bridges.udp.source import QUIET
from tests.support import reasons
from tests.support.markdown import Page

ROOT = Path(__file__).parents[4]
PLACES = ("flux/bridges/udp", "flux/net/multicast.py", "flux/net/resolve.py")
GIVEN = ("PeerError", "WireError", "_end", "_on_over", "fail", "close", "dropped", "RefusedMedia")
ELSEWHERE = {"no-readers", "open-failed"}  # that no source and no target is given


def test_all_reasons_are_told() -> None:
    files = [
        file
        for place in PLACES
        for file in ([ROOT / place] if place.endswith(".py") else (ROOT / place).rglob("*.py"))
    ]
    code = reasons.given(files, GIVEN).keys() | QUIET
    assert {"no-media", "interface-not-found", "dns-failure", "sdp-not-found"} < code
    told = {span.text for span in Page((ROOT / "docs/udp.md").read_text()).spans}
    assert code - told - ELSEWHERE == set()
