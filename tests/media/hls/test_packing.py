"""One compression for all viewers: whatever the token, what comes out is what went in."""

import gzip as stdlib_gzip
import zlib

from hypothesis import given
from hypothesis import strategies as st

from media.hls.packing import MOST_TOKEN_BYTES, PackedTemplate, gzip
from media.hls.playlist import Playlist

TOKENS = st.text("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_", min_size=1)


def playlist_text(segments: int, name: str = "3f5b3373e8723735") -> str:
    lines = ["#EXTM3U", "#EXT-X-VERSION:3"]
    for number in range(segments):
        lines += ["#EXTINF:2.00000,", f"{name}-{number}.ts\x00"]
    return "\n".join([*lines, ""])


@given(TOKENS, st.integers(0, 60))
def test_every_viewer_gets_the_own_playlist(token: str, segments: int) -> None:
    playlist = Playlist(playlist_text(segments))
    assert stdlib_gzip.decompress(playlist.compress(token)) == playlist.render(token)
    assert stdlib_gzip.decompress(playlist.compress()) == playlist.render()


@given(st.binary(), st.binary(min_size=1, max_size=80))
def test_any_text_comes_out_as_it_went_in(text: bytes, token: bytes) -> None:
    packed = PackedTemplate(text, b"\x00", b"?s=", len(token))
    whole = text.replace(b"\x00", b"?s=" + token)
    assert stdlib_gzip.decompress(packed.pack(token, whole)) == whole


def test_a_playlist_longer_than_the_window_of_the_compression() -> None:
    playlist = Playlist(playlist_text(4_000))
    for token in ("0123456789abcdef", "ffffffffffffffff"):
        assert stdlib_gzip.decompress(playlist.compress(token)) == playlist.render(token)
    assert len(playlist.compress("0123456789abcdef")) < len(playlist.render()) / 6


def test_it_is_compressed_once() -> None:
    """Two viewers' bytes differ in the token and the checksum alone."""
    playlist = Playlist(playlist_text(20))
    one, other = playlist.compress("a" * 16), playlist.compress("b" * 16)
    at = one.index(b"a" * 16)
    assert one[:at] == other[:at]
    assert one[at + 16 : -8] == other[at + 16 : -8]
    assert one.count(b"a" * 16) == 1
    assert zlib.crc32(playlist.render("a" * 16)).to_bytes(4, "little") == one[-8:-4]


def test_tokens_that_are_too_long_are_compressed_anew() -> None:
    token = "x" * (MOST_TOKEN_BYTES + 1)
    playlist = Playlist(playlist_text(5))
    assert playlist.compress(token) == gzip(playlist.render(token))
