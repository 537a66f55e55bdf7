"""Playlists: the exact text, the token, the date."""

from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from flux.base.units import ntp_from_unix
from media.hls.playlist import (
    Playlist,
    Variant,
    date_time,
    media_playlist,
    multivariant_playlist,
)
from media.hls.segment import Segment
from media.hls.window import Window
from tests.support import hls_check


def segment(sequence: int, duration: int = 180_000, *, is_discontinuity: bool = False) -> Segment:
    """A small segment."""
    ntp = ntp_from_unix(1_700_000_000) + (sequence * duration << 32) // 90_000
    return Segment(f"run-{sequence}.ts", b"x", sequence, duration, ntp, is_discontinuity, True, 60)


def test_media_playlist_text() -> None:
    window = Window(3)
    for number in range(4):
        window.add(segment(number, is_discontinuity=number in (0, 2)))
    playlist = media_playlist(
        window, target_duration=3, version=3, is_independent=True, is_ended=True
    )
    assert playlist.render("abc").decode() == (
        "#EXTM3U\n"
        "#EXT-X-VERSION:3\n"
        "#EXT-X-TARGETDURATION:3\n"
        "#EXT-X-MEDIA-SEQUENCE:1\n"
        "#EXT-X-DISCONTINUITY-SEQUENCE:1\n"
        "#EXT-X-INDEPENDENT-SEGMENTS\n"
        "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:22.000Z\n"
        "#EXTINF:2.00000,\n"
        "run-1.ts?s=abc\n"
        "#EXT-X-DISCONTINUITY\n"
        "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:24.000Z\n"
        "#EXTINF:2.00000,\n"
        "run-2.ts?s=abc\n"
        "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:26.000Z\n"
        "#EXTINF:2.00000,\n"
        "run-3.ts?s=abc\n"
        "#EXT-X-ENDLIST\n"
    )
    assert hls_check.check_media([playlist.render().decode()]) == []


def test_multivariant_playlist_text() -> None:
    variant = Variant(
        "media.m3u8", 2_000_000, 1_500_000, ("avc1.64001f", "mp4a.40.2"), 1280, 720, 30_000 / 1001
    )
    playlist = multivariant_playlist(variant, version=3, is_independent=True)
    assert playlist.render("t").decode() == (
        "#EXTM3U\n"
        "#EXT-X-VERSION:3\n"
        "#EXT-X-INDEPENDENT-SEGMENTS\n"
        '#EXT-X-STREAM-INF:BANDWIDTH=2000000,AVERAGE-BANDWIDTH=1500000,CODECS="avc1.64001f,'
        'mp4a.40.2",RESOLUTION=1280x720,FRAME-RATE=29.970\n'
        "media.m3u8?s=t\n"
    )
    assert hls_check.check_multivariant(playlist.render().decode()) == []


def test_sound_alone_has_no_picture_attributes() -> None:
    variant = Variant("media.m3u8", 130_000, 128_000, ("mp4a.40.2",))
    text = multivariant_playlist(variant, version=3, is_independent=True).render().decode()
    assert "RESOLUTION" not in text
    assert "FRAME-RATE" not in text
    assert hls_check.check_multivariant(text) == []


def test_without_token_the_bytes_are_shared() -> None:
    playlist = Playlist("a\x00\nb\x00\n")
    assert playlist.render() == b"a\nb\n"
    assert playlist.render() is playlist.render("")
    assert playlist.render("tok") == b"a?s=tok\nb?s=tok\n"


@given(st.integers(0, 3_000_000_000_000))
def test_date_is_right_to_the_millisecond(milliseconds: int) -> None:
    ntp = (milliseconds << 32) // 1000 + ntp_from_unix(0)
    text = date_time(ntp)
    assert hls_check.DATE.fullmatch(text)
    parsed = datetime.fromisoformat(text)
    assert round(parsed.timestamp() * 1000) == milliseconds
