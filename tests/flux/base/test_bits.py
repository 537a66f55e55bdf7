"""Bit fields and Exp-Golomb codes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.bits import BitReader
from flux.base.errors import WireError


def pack(bits: str) -> bytes:
    bits += "0" * (-len(bits) % 8)
    return int("1" + bits, 2).to_bytes(len(bits) // 8 + 1, "big")[1:]


def ue(value: int) -> str:
    code = f"{value + 1:b}"
    return "0" * (len(code) - 1) + code


@given(st.lists(st.integers(0, 2**32 - 2), max_size=20))
def test_unsigned_golomb_round_trip(values: list[int]) -> None:
    reader = BitReader(pack("".join(map(ue, values)) + "1"))
    assert [reader.golomb() for _ in values] == values


def test_signed_golomb_alternates() -> None:
    reader = BitReader(pack("".join(ue(n) for n in range(7))))
    assert [reader.signed_golomb() for _ in range(7)] == [0, 1, -1, 2, -2, 3, -3]


@given(st.binary(max_size=40), st.lists(st.integers(0, 70), max_size=20))
def test_any_bytes_give_numbers_or_a_named_error(data: bytes, counts: list[int]) -> None:
    reader = BitReader(data)
    try:
        for count in counts:
            assert 0 <= reader.bits(count) < 1 << count
            assert reader.golomb() >= 0
    except WireError as exc:
        assert exc.reason in ("bits-truncated", "golomb-too-long")


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "bits-truncated"), (b"\0\0", "bits-truncated"), (bytes(9), "golomb-too-long")],
)
def test_codes_without_an_end(data: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        BitReader(data).golomb()


def test_skip_and_flag_run_out() -> None:
    reader = BitReader(b"\x80")
    assert reader.flag()
    reader.skip(7)
    assert reader.remaining == 0
    for step in (lambda: reader.skip(1), reader.flag):
        with pytest.raises(WireError):
            step()
