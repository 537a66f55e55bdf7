"""Slates and fallback sources in the configuration."""

import pytest
from pydantic import ValidationError

from config.continuity import check_slate
from config.schema import Config, StreamSection


@pytest.mark.parametrize("text", ["off", "builtin", "/etc/flux/slate.mp4", "films/Back Soon.MP4"])
def test_slates(text: str) -> None:
    assert check_slate(text) == text
    assert StreamSection.model_validate({"slate": text}).slate == text


@pytest.mark.parametrize("text", ["", "on", "picture.png", "a\0.mp4", "x" * 1000 + ".mp4"])
def test_what_is_no_slate(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected off, builtin or the path of an \.mp4 file"):
        check_slate(text)


def test_defaults() -> None:
    assert StreamSection().slate is None and StreamSection().fallback == ()
    assert Config().sources.slate == "off"


@pytest.mark.parametrize(
    ("value", "count"),
    [(None, 0), ("rtsp://a/1", 1), (["rtsp://a/1", "srt://b:9000", "testcard:"], 3)],
)
def test_fallbacks(value: object, count: int) -> None:
    section = StreamSection.model_validate({"fallback": value})
    assert len(section.fallback) == count


@pytest.mark.parametrize(
    "value", [["rtsp://a/1", "rtsp://a/1"], [f"rtsp://a/{n}" for n in range(9)], ["pigeon://a"]]
)
def test_what_is_no_list_of_fallbacks(value: list[str]) -> None:
    with pytest.raises(ValidationError):
        StreamSection.model_validate({"fallback": value})


def test_credentials_of_a_fallback_are_not_shown() -> None:
    section = StreamSection.model_validate({"fallback": "rtsp://user:hunter2@a/1"})
    assert "hunter2" not in repr(section)
