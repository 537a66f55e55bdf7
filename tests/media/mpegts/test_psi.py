"""Tables: the CRC, the sections, one packet each."""

from zlib import crc32 as zlib_crc32

from hypothesis import given
from hypothesis import strategies as st

from media.mpegts import psi
from tests.support import ts_check


@given(st.binary(max_size=200))
def test_crc_is_that_of_the_standard(data: bytes) -> None:
    crc = psi.crc32(data)
    assert crc == ts_check.crc(data)
    assert psi.crc32(data + crc.to_bytes(4, "big")) == 0
    assert len(data) < 4 or crc != zlib_crc32(data) or not any(data)


def test_crc_of_the_check_string() -> None:
    assert psi.crc32(b"123456789") == 0x0376E6E7  # CRC-32/MPEG-2


def test_sections_bit_for_bit() -> None:
    assert psi.pat(0)[:-4].hex() == "00b00d0001c100000001f000"
    pmt = psi.pmt([psi.Stream(0x100, 0x1B), psi.Stream(0x101, 0x0F)], 0x100, 3)
    assert pmt[:-4].hex() == "02b0170001c70000e100f0001be100f0000fe101f000"


def test_versions_wrap_at_five_bits() -> None:
    assert psi.pmt([], 0x1FFF, 32) == psi.pmt([], 0x1FFF, 0)
    assert psi.pmt([], 0x1FFF, 31)[5] == 0xFF


def test_tables_are_ready_for_each_counter() -> None:
    tables = psi.tables([psi.Stream(0x100, 0x1B)], 0x100, 0)
    assert len(tables) == 16
    for counter, data in enumerate(tables):
        assert len(data) == 2 * 188
        assert data[3] == data[191] == 0x10 | counter
    report = ts_check.check(b"".join(tables * 3), tables_within=0)
    assert report.problems == []
    assert report.tables == 48
    assert report.streams == {0x100: 0x1B}
