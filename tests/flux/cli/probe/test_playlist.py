"""Playlists as the probe reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from flux.cli.probe.playlist import Segment, Variant, parse

BASE = "http://h/live/index.m3u8?s=1"
MEDIA = """#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:4
#EXT-X-MEDIA-SEQUENCE:17
#EXT-X-MAP:URI="init.mp4"
#EXTINF:3.96,title, with a comma
a.ts
#EXT-X-DISCONTINUITY
#EXTINF:4,
/other/b.ts?x=1
# a comment
#EXTINF:2.5
http://cdn/c.ts
"""
MULTI = """#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=1000,CODECS="avc1.4d401f,mp4a.40.2",RESOLUTION=1x1
low.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=3000
high.m3u8
"""


def test_a_media_playlist() -> None:
    playlist = parse(MEDIA, BASE)
    init = "http://h/live/init.mp4"
    assert playlist.segments == (
        Segment(17, "http://h/live/a.ts", 3.96, init),
        Segment(18, "http://h/other/b.ts?x=1", 4.0, init),
        Segment(19, "http://cdn/c.ts", 2.5, init),
    )
    assert (playlist.target, playlist.is_ended, playlist.variants) == (4.0, False, ())
    assert parse(MEDIA + "#EXT-X-ENDLIST\n", BASE).is_ended


def test_a_multivariant_playlist() -> None:
    assert parse(MULTI, BASE).variants == (
        Variant("http://h/live/low.m3u8", 1000, ("avc1.4d401f", "mp4a.40.2")),
        Variant("http://h/live/high.m3u8", 3000, ()),
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "hls-signature"),
        ("<html>", "hls-signature"),
        (MEDIA.replace(":4\n", ":four\n"), "hls-number"),
        (MEDIA.replace("3.96", "-1"), "hls-number"),
        (MEDIA.replace("3.96", "nan"), "hls-number"),
        (MEDIA.replace("17", "1e99"), "hls-number"),
        (MEDIA.replace("# a comment", '#EXT-X-KEY:METHOD=AES-128,URI="k"'), "hls-encrypted"),
        (MEDIA.replace("# a comment", "#EXT-X-BYTERANGE:100@0"), "hls-byte-ranges"),
    ],
)
def test_what_cannot_be_read(text: str, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        parse(text, BASE)
    assert caught.value.reason == reason


@pytest.mark.parametrize("length", range(0, len(MEDIA), 3))
def test_truncation_is_less_of_the_same_or_refused(length: int) -> None:
    try:
        playlist = parse(MEDIA[:length], BASE)
    except WireError as error:
        assert error.reason in ("hls-signature", "hls-number")
    else:
        assert len(playlist.segments) <= 3


@given(st.lists(st.sampled_from([*MEDIA.splitlines(), *MULTI.splitlines()]) | st.text(max_size=40)))
def test_any_lines_are_read_or_refused(lines: list[str]) -> None:
    try:
        parse("\n".join(["#EXTM3U", *lines]), BASE)
    except WireError as error:
        assert error.reason.startswith("hls-")
