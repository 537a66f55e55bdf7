"""PES headers: times at the 33-bit wrap, the length field."""

from hypothesis import given
from hypothesis import strategies as st

from media.mpegts.pes import STREAM_ID_AUDIO, STREAM_ID_VIDEO, pes_header

WRAP = 1 << 33


def stamp(data: bytes) -> tuple[int, int]:
    """Prefix and time of five bytes, read bit by bit; all markers are set."""
    bits = "".join(f"{byte:08b}" for byte in data)
    assert bits[7] == bits[23] == bits[39] == "1"
    return int(bits[:4], 2), int(bits[4:7] + bits[8:23] + bits[24:39], 2)


@given(pts=st.integers(-WRAP, 4 * WRAP), offset=st.integers(0, 90_000))
def test_times_come_back(pts: int, offset: int) -> None:
    header = pes_header(STREAM_ID_VIDEO, pts, pts - offset, 100)
    assert header[:4] == b"\0\0\1\xe0"
    if offset:
        assert header[6:9] == b"\x84\xc0\x0a"
        assert stamp(header[9:14]) == (3, pts % WRAP)
        assert stamp(header[14:]) == (1, (pts - offset) % WRAP)
    else:
        assert header[6:9] == b"\x84\x80\x05"
        assert stamp(header[9:]) == (2, pts % WRAP)
    assert int.from_bytes(header[4:6], "big") == 100 + len(header) - 6


def test_length_stays_open_where_it_has_no_room() -> None:
    assert pes_header(STREAM_ID_VIDEO, 0, 0, 0xFFFF - 8)[4:6] == b"\xff\xff"
    assert pes_header(STREAM_ID_VIDEO, 0, 0, 0xFFFF - 7)[4:6] == b"\0\0"
    assert pes_header(STREAM_ID_AUDIO, 0, 0, 8_191)[4:6] != b"\0\0"
