"""Bytes cut to payloads."""

from hypothesis import given
from hypothesis import strategies as st

from protocols.srt.pieces import cut, cut_all


@given(st.binary(min_size=1, max_size=200), st.integers(1, 50))
def test_a_message(data: bytes, step: int) -> None:
    pieces = cut(data, step)
    assert b"".join(pieces) == data
    assert all(len(piece) == step for piece in pieces[:-1]) and 0 < len(pieces[-1]) <= step


@given(st.lists(st.binary(max_size=100), max_size=10), st.integers(1, 30), st.integers(0, 40))
def test_a_stream(payloads: list[bytes], step: int, room: int) -> None:
    pieces, taken, refused = cut_all(payloads, step, room)
    assert b"".join(pieces) == b"".join(payloads[:taken])
    assert len(pieces) <= room and all(0 < len(piece) <= step for piece in pieces)
    if taken < len(payloads):
        assert refused == -(-len(payloads[taken]) // step) > room - len(pieces)
    else:
        assert refused == 0
