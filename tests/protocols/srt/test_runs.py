"""Runs: what is joined is what each packet by itself would be, in sizes that the kernel can cut."""

from struct import Struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.srt import packing
from protocols.srt.packet import HEADER, HEADER_BYTES, Run
from protocols.srt.payloads import Payloads
from protocols.srt.runs import MAX_BYTES, MAX_SEGMENTS, RunBuilder
from tests.support.twins import COMPILED, KINDS, choose

PEER = ("198.18.0.2", 4000)
TAIL = Struct("!II").pack(123_456, 77)


@pytest.fixture(params=KINDS, autouse=True)
def twin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for original in (packing.pack_even, packing.pack_row):
        pack = choose(original, request.param)
        monkeypatch.setattr(f"protocols.srt.runs._{original.__name__}", pack)


def cut(runs: list[Run]) -> list[bytes]:
    """As the kernel does."""
    return [data[at : at + size] for _, size, data in runs for at in range(0, len(data), size)]


def packet(number: int, payload: bytes) -> bytes:
    return HEADER.pack(1000 + number, 0xC0000000 + 1 + number, 123_456, 77) + payload


def check_limits(runs: list[Run]) -> None:
    for address, size, data in runs:
        assert address == PEER
        assert 0 < len(data) <= max(MAX_BYTES, size)
        assert -(-len(data) // size) <= MAX_SEGMENTS


# The twin stays the same over all examples.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(1, 200), st.integers(1, 1400), st.integers(0, 1399)), max_size=6
    ),
    st.booleans(),
    st.booleans(),
)
def test_even_packets_are_joined_as_they_would_be_one_by_one(
    batches: list[tuple[int, int, int]], has_answer: bool, are_rows: bool
) -> None:
    builder = RunBuilder(PEER)
    expected: list[bytes] = []
    for count, size, less in batches:
        given_ = [bytes([each & 255]) * size for each in range(count)]
        if less:
            given_[-1] = given_[-1][: max(size - less, 1)]
        first = len(expected)
        payloads = Payloads(given_)
        if are_rows:
            data = b"before" + b"".join(given_) + b"behind"
            payloads = Payloads.row(data, 6, len(data) - 6, size)
        builder.add_even(1000 + first << 32 | 0xC0000001 + first, TAIL, payloads)
        expected += [packet(first + each, payload) for each, payload in enumerate(given_)]
    if has_answer:
        expected.append(b"an answer, which is short")
        builder.add(expected[-1])
    runs = builder.take()
    assert cut(runs) == expected
    check_limits(runs)
    assert builder.take() == []


@pytest.mark.parametrize("last", [1, 188, 1316])
def test_sealed_packets_keep_their_lengths(last: int) -> None:
    payloads = [bytes([each]) * 1316 for each in range(99)] + [bytes(last)]
    headers = [bytes([each]) * HEADER_BYTES for each in range(100)]
    builder = RunBuilder(PEER)
    builder.add_equal(headers, payloads)
    runs = builder.take()
    assert cut(runs) == [head + body for head, body in zip(headers, payloads, strict=True)]
    check_limits(runs)
    assert len(runs) == 3  # 48 of 1332 bytes fit in one


def test_a_picture_and_its_answer_are_one_run() -> None:
    """Off, the short last packet, and the answer behind it, would each cost a call of their own."""
    builder = RunBuilder(PEER)
    builder.add_even(1000 << 32 | 1, TAIL, Payloads([bytes(1316)] * 10 + [bytes(188)]))
    assert len(builder.take()) == 1
    builder.add_even(1000 << 32 | 1, TAIL, Payloads([bytes(1316)] * 10))
    builder.add(bytes(20))
    assert len(builder.take()) == 1


@pytest.mark.parametrize(
    ("head", "tail", "payloads"),
    [
        (1, bytes(7), [b"x"]),
        (1, "12345678", [b"x"]),
        (-1, bytes(8), [b"x"]),
        (1 << 64, bytes(8), [b"x"]),
        (1, bytes(8), [b"x", None]),
        (1, bytes(8), (b"x",)),
        (1, bytes(8), None),
    ],
)
def test_the_compiled_one_refuses_what_it_cannot_read(head: Any, tail: Any, payloads: Any) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)):
        choose(packing.pack_even, COMPILED)(head, tail, payloads)


@pytest.mark.parametrize(
    ("tail", "data", "start", "end", "step"),
    [
        (bytes(7), b"data", 0, 4, 2),
        (bytes(8), b"data", 0, 5, 2),
        (bytes(8), b"data", -1, 4, 2),
        (bytes(8), b"data", 2, 2, 2),
        (bytes(8), b"data", 0, 4, 0),
        (bytes(8), b"data", 0, 4, -2),
        (bytes(8), "data", 0, 4, 2),
        (bytes(8), None, 0, 4, 2),
    ],
)
def test_the_compiled_one_stays_within_its_data(
    tail: Any, data: Any, start: int, end: int, step: int
) -> None:
    with pytest.raises((ValueError, TypeError)):
        choose(packing.pack_row, COMPILED)(1, tail, data, start, end, step)
