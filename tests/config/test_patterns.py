"""Patterns of stream names, and what they put into URLs."""

import pytest

from config.patterns import StreamPattern, check_name_or_pattern, fill_in


@pytest.mark.parametrize(
    ("pattern", "name", "parts"),
    [
        ("cam1", "cam1", ()),
        ("cam1", "cam2", None),
        ("live/*", "live/a", ("a",)),
        ("live/*", "live/a/b", ("a/b",)),
        ("live/*", "lives/a", None),
        ("live/*", "live/", None),
        ("site*/cam*", "site7/cam12", ("7", "12")),
        (r"~site(\d+)/(.+)", "site7/yard/north", ("7", "yard/north")),
        (r"~^site(\d+)/(.+)", "xsite7/yard", None),
        ("~^cam", "cam5", ()),
        (r"~a(b)?c", "ac", ("",)),
        ("all", "whatever/it/is", ("whatever/it/is",)),
        ("a.b", "axb", None),
    ],
)
def test_what_matches(pattern: str, name: str, parts: tuple[str, ...] | None) -> None:
    assert StreamPattern.parse(pattern).match(name) == parts


@pytest.mark.parametrize("text", ["", "~(", "a//*", "/x*", "a b*", "_x", "live/../*"])
def test_what_is_neither_a_name_nor_a_pattern(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        check_name_or_pattern(text)


def test_filling_in_escapes_what_a_viewer_chose() -> None:
    url = "rtsp://u:p@nvr/ch/$1/$2?name=$name"
    assert fill_in(url, "x/1 2", ("1 2", "?a")) == "rtsp://u:p@nvr/ch/1%202/%3Fa?name=x/1%202"
    assert fill_in("rtsp://nvr/$9", "x", ("1",)) == "rtsp://nvr/"
