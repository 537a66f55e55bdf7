"""Request URLs of all fashions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from protocols.rtsp.server_target import Target, same_place, track_of
from protocols.rtsp.url import resolve_control


@pytest.mark.parametrize(
    ("url", "path", "query", "control"),
    [
        ("rtsp://h/live", "live", "", ""),
        ("rtsp://h:8554/live/a/b/", "live/a/b", "", ""),
        ("rtsp://h", "", "", ""),
        ("rtsp://h?x", "", "x", ""),
        ("rtsps://[2001:db8::1]:322/a?x=1&y=2", "a", "x=1&y=2", ""),
        ("rtsp://u:p@h/a#part", "a", "", ""),
        ("/a/trackID=0", "a", "", "trackID=0"),
        ("rtsp://h/a/streamid=12", "a", "", "streamid=12"),
        ("rtsp://h/a/stream=0", "a", "", "stream=0"),
        ("rtsp://h/a%20b/track=v", "a b", "", "track=v"),
        ("rtsp://h/a?u=http://x/y/trackID=3", "a", "u=http://x/y", "trackID=3"),
        ("rtsp://h/trackID=0", "", "", "trackID=0"),
        ("rtsp://h/track=1/x", "track=1/x", "", ""),
        ("rtsp://h/attrackID=1", "attrackID=1", "", ""),
        ("*", "", "", ""),
    ],
)
def test_parts(url: str, path: str, query: str, control: str) -> None:
    target = Target.parse(url)
    assert (target.path, target.query, target.control) == (path, query, control)
    assert "u:p" not in target.url
    assert target.base.endswith("/")


@pytest.mark.parametrize("url", ["", "x", "ftp://h/a", "rtsp:/a", "rtsp://h/a b", "rtsp://h/\x7f"])
def test_what_is_none(url: str) -> None:
    with pytest.raises(WireError) as caught:
        Target.parse(url)
    assert caught.value.reason == "rtsp-url"


BASES = ("rtsp://h/live/", "rtsp://h/live", "rtsp://h/live?a=1", "rtsp://h/live?a=1/")


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("controls", [("trackID=0", "trackID=1"), ("audio", "video"), ("a/b", "c")])
def test_every_control_finds_its_track(base: str, controls: tuple[str, ...]) -> None:
    for index, control in enumerate(controls):
        url = resolve_control(base, control)
        assert track_of(url, base, controls) == index
        assert track_of(url.replace("//h/", "//other:1/"), base, controls) == index
        absolute = [resolve_control("rtsp://10.0.0.1/live/", c) for c in controls]
        if "?" not in base:
            assert track_of(url, base, absolute) == index
    assert track_of("rtsp://h/live/nothing", base, controls) is None
    assert track_of("rtsp://h/live", base, controls) is None


def test_one_track_answers_to_the_aggregate() -> None:
    assert track_of("rtsp://h/live", "rtsp://h/live/", ("trackID=0",)) == 0
    assert track_of("rtsp://h/live/", "rtsp://h/live/", ("*",)) == 0
    assert track_of("rtsp://h/other", "rtsp://h/live/", ("trackID=0",)) is None


def test_a_client_that_leaves_the_query_out() -> None:
    controls = ("trackID=0", "trackID=1")
    assert track_of("rtsp://h/live/trackID=1", "rtsp://h/live?a=1/", controls) == 1


def test_same_place() -> None:
    assert same_place("rtsp://h/a/trackID=1?x", "rtsp://other/a?x/TRACKID=1")
    assert not same_place("rtsp://h/a", "rtsp://h/b")
    assert not same_place("rtsp://h/a", "nonsense")


@given(st.text(max_size=60), st.sampled_from(["", "/", "rtsp://h/", "rtsp://h/a?"]))
def test_any_text(text: str, prefix: str) -> None:
    try:
        target = Target.parse(prefix + text)
    except WireError:
        return
    assert Target.parse(target.url) == target
    track_of(target.url, "rtsp://h/live/", ("trackID=0", "*"))
