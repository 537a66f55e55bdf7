"""In which order tests run that wait for other programs, and which of them not at the same time."""

from collections import Counter
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

BROWSER = "tests/browser/"
INTEROP = ("tests/interop/", BROWSER)  # `make unit` does not look there


def by_weight(items: list[pytest.Item]) -> list[pytest.Item]:
    """Those that run alone, the browser's, then by file those of few tests, the longest mostly.

    So no worker is left with long ones while the others have nothing to do. What waits for nobody
    keeps its order.
    """
    sizes = Counter(item.path for item in items)

    def weight(item: pytest.Item) -> tuple[int, int, str]:
        if item.get_closest_marker("interop") is None:
            return 0, 0, ""
        if item.get_closest_marker("alone") is not None:
            return 1, 0, ""
        if item.nodeid.startswith(BROWSER):
            return 2, 0, ""
        return 3, sizes[item.path], str(item.path)

    return sorted(items, key=weight)


def unmarked(items: list[pytest.Item]) -> list[str]:
    """Those that neither `make unit` nor `make interop` would run."""
    return [
        item.nodeid
        for item in items
        if item.nodeid.startswith(INTEROP) and item.get_closest_marker("interop") is None
    ]


class Files(LoadFileScheduling):  # type: ignore[misc] # xdist ships no types
    """Each worker takes the next file; all that a browser plays is one of them.

    A browser that decodes takes a core: with a second one beside it both would show too little.
    """

    def _split_scope(self, nodeid: str) -> Any:
        return BROWSER if nodeid.startswith(BROWSER) else super()._split_scope(nodeid)
