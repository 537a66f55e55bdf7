"""Headers of JPEG files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from media.codecs.mjpeg import (
    HUFFMAN_TABLES,
    MjpegParameters,
    Picture,
    quality_of,
    scaled_tables,
)
from tests.support.coded import encoded, pixels_of

TABLES = scaled_tables(80)


def file(scan: bytes = b"scan", interval: int = 0) -> bytes:
    return Picture(320, 240, 0x22, TABLES, interval, scan).serialize()


@pytest.mark.parametrize("interval", [0, 20])
def test_round_trip(interval: int) -> None:
    picture = Picture(320, 240, 0x21, TABLES, interval, b"scan\xff\x00scan")
    assert Picture.parse(picture.serialize()) == picture


def test_a_file_of_an_encoder_made_anew_shows_the_same_picture() -> None:
    for data, _ in encoded("mjpeg", 2, pixels="yuvj420p"):
        again = Picture.parse(data).serialize()
        assert pixels_of("mjpeg", again) == pixels_of("mjpeg", data)


def test_huffman_tables_are_whole() -> None:
    at = 0
    sizes = []
    while at < len(HUFFMAN_TABLES):
        length = int.from_bytes(HUFFMAN_TABLES[at + 2 : at + 4], "big")
        counts = HUFFMAN_TABLES[at + 5 : at + 21]
        assert length == 2 + 1 + 16 + sum(counts)
        sizes.append(sum(counts))
        at += 2 + length
    assert sizes == [12, 162, 12, 162]


def test_quality_factors() -> None:
    """RFC 2435 appendix A, at its ends and in the middle."""
    assert scaled_tables(50)[:8] == bytes((16, 11, 12, 14, 12, 10, 16, 14))
    assert scaled_tables(50)[64:70] == bytes((17, 18, 18, 24, 21, 24))
    assert scaled_tables(99)[:2] == b"\1\1"
    assert scaled_tables(1)[:2] == b"\xff\xff"
    assert scaled_tables(75)[0] == 8
    for quality in range(1, 100):
        assert scaled_tables(quality_of(scaled_tables(quality))) == scaled_tables(quality)
    assert quality_of(bytes(128)) == 0


def test_parameters() -> None:
    found = MjpegParameters.read(file(), 2)
    assert found == MjpegParameters(version=2, width=320, height=240, reorder_frames=0)
    assert found.codec_string() == "mp4v.6C"
    # A progressive file is a JPEG too, though RTP cannot carry it.
    progressive = file().replace(b"\xff\xc0", b"\xff\xc2")
    assert MjpegParameters.read(progressive) == MjpegParameters.read(file())


def test_what_is_before_the_scan_may_be_anything() -> None:
    data = file()
    vendor = data[:2] + b"\xff\xe1\x00\x06Exif" + b"\xff\xff" + data[2:]  # with a fill byte
    assert Picture.parse(vendor) == Picture.parse(data)
    assert MjpegParameters.read(vendor)


def test_other_than_the_first_tables() -> None:
    """Two tables in one segment; a picture without Huffman tables has the standard ones."""
    data = file()
    both = data.replace(b"\xff\xdb\x00\x43\x00" + TABLES[:64], b"").replace(
        b"\xff\xdb\x00\x43\x01" + TABLES[64:],
        b"\xff\xdb\x00\x84\x00" + TABLES[:64] + b"\x01" + TABLES[64:],
    )
    assert Picture.parse(both) == Picture.parse(data)
    assert Picture.parse(data.replace(HUFFMAN_TABLES, b"")) == Picture.parse(data)


def test_what_is_behind_the_scan_does_not_matter() -> None:
    data = file()
    assert Picture.parse(data + b"trailer") == Picture.parse(data)
    assert Picture.parse(data[:-2]) == Picture.parse(data)  # no EOI


def test_truncation() -> None:
    head = len(file(b"")) - 2
    for size in range(head):
        with pytest.raises(WireError, match="mjpeg-malformed"):
            Picture.parse(file()[:size])


BASE = file()
AT = BASE.index(b"\xff\xc0")  # FF C0 | length | precision, height, width, components


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "mjpeg-malformed"),
        (BASE[1:], "mjpeg-malformed"),
        (BASE[:2] + b"x" + BASE[2:], "mjpeg-malformed"),
        (BASE[:2] + b"\xff\xe1\x00\x01" + BASE[2:], "mjpeg-malformed"),  # a segment of one byte
        (BASE[: AT + 5] + b"\0\0" + BASE[AT + 7 :], "mjpeg-malformed"),  # no height
        (BASE[:2] + b"\xff\xd0" * 200, "mjpeg-malformed"),
        (BASE[:2] + b"\xff\xdd\x00\x03x" + BASE[2:], "mjpeg-malformed"),
        (BASE.replace(b"\xff\xdb\x00\x43\x01", b"\xff\xfe\x00\x43\x01"), "mjpeg-malformed"),
        (BASE[: AT + 4] + b"\x0c" + BASE[AT + 5 :], "mjpeg-progressive-unsupported"),
        (BASE[: AT + 18] + b"\x00" + BASE[AT + 19 :], "mjpeg-tables-unsupported"),
        (BASE[: AT + 14] + b"\x21" + BASE[AT + 15 :], "mjpeg-sampling-unsupported"),
        (BASE.replace(b"\x02\x11\x03\x11", b"\x02\x00\x03\x11"), "mjpeg-tables-unsupported"),
    ],
)
def test_what_cannot_be_taken_apart(data: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        Picture.parse(data)


@given(st.integers(0, len(BASE)), st.binary(max_size=4))
def test_any_damage(at: int, change: bytes) -> None:
    data = BASE[:at] + change + BASE[at + len(change) :]
    for read in (Picture.parse, MjpegParameters.read):
        try:
            read(data)
        except WireError as error:
            assert error.reason.startswith("mjpeg-")
