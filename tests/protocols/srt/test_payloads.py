"""Payloads are measured once, and kept as they are by everybody who sends them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.srt.packet import HEADER_BYTES
from protocols.srt.payloads import Payloads
from protocols.srt.send_buffer import SendBuffer


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_what_is_measured(sizes: list[int]) -> None:
    payloads = Payloads([bytes(size) for size in sizes])
    assert payloads.size_bytes == sum(sizes)
    assert (payloads.shortest, payloads.longest) == (min(sizes), max(sizes))
    is_run = set(sizes[:-1]) <= {sizes[0]} and sizes[-1] <= sizes[0]
    assert payloads.is_even == is_run
    assert HEADER_BYTES + payloads.longest >= HEADER_BYTES + len(payloads[0])


def test_measured_ones_stay_the_same_object() -> None:
    given_ = [b"one", b"two"]
    payloads = Payloads.of(given_)
    assert payloads.items == given_ and Payloads.of(payloads) is payloads


def is_row(payloads: Payloads) -> bool:
    return payloads.data is not None


@given(
    st.binary(min_size=1, max_size=60), st.integers(0, 20), st.integers(1, 60), st.integers(1, 9)
)
def test_a_row_is_as_if_it_were_cut(data: bytes, start: int, size: int, step: int) -> None:
    start = min(start, len(data) - 1)
    end = min(start + size, len(data))
    row = Payloads.row(data, start, end, step)
    cut = Payloads([data[at : min(at + step, end)] for at in range(start, end, step)])
    for name in ("size_bytes", "shortest", "longest", "is_even"):
        assert getattr(row, name) == getattr(cut, name), name
    count = len(cut)
    assert len(row) == count
    assert [row[index] for index in range(count)] == cut.items
    for first in range(count):
        part = row.part(first, 3)
        assert part.data is data  # nothing is copied
        assert part.items == cut.part(first, 3).items
    assert is_row(row)
    for _ in range(2):  # before it is cut, and behind
        assert [row.size_of(index) for index in range(count)] == list(map(len, cut))
        assert row[1:] == cut[1:]
        assert row.items is row.items == list(row) == cut.items
        assert row[-1] is row.items[-1] and not is_row(row)
        assert (len(row), row.part(count - 1, 1).items) == (count, cut.items[-1:])
    with pytest.raises(IndexError):
        row[count]
    like = Payloads([bytes(len(each)) for each in cut], cut)
    for name in ("size_bytes", "shortest", "longest", "is_even"):
        assert getattr(like, name) == getattr(cut, name), name


def test_many_buffers_keep_one_list() -> None:
    """Off, every reader of a stream would hold, and measure, a copy."""
    payloads = Payloads([bytes(1316)] * 7)
    buffers = [SendBuffer(first) for first in (100, 2**31 - 3, 7)]
    for buffer in buffers:
        assert buffer.append(payloads, 1.0, 5).payloads is payloads
        assert buffer.bytes == 7 * 1316
