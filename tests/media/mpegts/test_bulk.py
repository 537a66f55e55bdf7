"""Many packets at once, in Python and compiled: the same as one by one, and never past the end."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.mpegts import bulk
from tests.support.twins import COMPILED, KINDS, choose

PACKET, PAYLOAD = 188, 184
STRIDES = (188, 192, 204)


def packet(pid: int, third: int, first: int = 0) -> bytes:
    return bytes((0x47, first | pid >> 8, pid & 0xFF, third)) + bytes(range(PAYLOAD))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stride", STRIDES)
def test_what_a_run_is(kind: str, stride: int) -> None:
    runs = choose(bulk.runs, kind)
    packets = [
        *(packet(0x100, 0x10 | n & 15) for n in range(14, 20)),  # counters go round
        packet(0x100, 0x15),  # one is missing
        packet(0x100, 0x16),
        packet(0x100, 0x17, 0x40),  # a unit starts
        packet(0x100, 0x18),
        packet(0x100, 0x39),  # with an adaptation field
        packet(0x100, 0x1A, 0x80),  # with an error
        packet(0x100, 0xDB),  # scrambled
        packet(0x101, 0x1C),
        packet(0x1FFF, 0x10),
        packet(0x1FFF, 0x10),
    ]
    data = b"junk" + b"".join(each + bytes(stride - PACKET) for each in packets)
    assert runs(data, 4, len(packets), stride) == [
        (0, 0x100, 1, 0x1E, 6),
        (6, 0x100, 1, 0x15, 2),
        (8, 0x100, 0x41, 0x17, 1),
        (9, 0x100, 1, 0x18, 1),
        (10, 0x100, 1, 0x39, 1),
        (11, 0x100, 0x81, 0x1A, 1),
        (12, 0x100, 1, 0xDB, 1),
        (13, 0x101, 1, 0x1C, 1),
        (14, 0x1FFF, 0x1F, 0x10, 1),
        (15, 0x1FFF, 0x1F, 0x10, 1),
    ]
    assert runs(data, 4, 0, stride) == []
    assert runs(data, 4 + stride, 3, stride) == [(0, 0x100, 1, 0x1F, 3)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_has_an_end(kind: str) -> None:
    count = 3 * bulk.RUN + 5
    data = b"".join(packet(0x100, 0x10 | n & 15) for n in range(count))
    lengths = [row[4] for row in choose(bulk.runs, kind)(data, 0, count, PACKET)]
    assert lengths == [bulk.RUN] * 3 + [5]


@given(st.randoms(use_true_random=False), st.integers(0, 200))
def test_twins_see_the_same_runs(random: Random, start: int) -> None:
    kinds = [packet(pid, 0x10) for pid in (0x100, 0x101)] * 4 + [packet(0x100, 0x30, 0x40)]
    noise = bytearray()
    for number in range(40):
        one = bytearray(random.choice(kinds)) + bytes(16)
        one[3] |= number & 15 if random.random() < 0.9 else 3
        noise += one
    data = bytes(noise)
    for stride in STRIDES:
        found = [choose(bulk.runs, kind)(data, start, 38, stride) for kind in KINDS]
        assert found[0] == found[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stride", STRIDES)
def test_only_payloads_stay(kind: str, stride: int) -> None:
    payloads = [bytes([n]) * PAYLOAD for n in range(9)]
    data = b"xx" + b"".join(b"head" + each + bytes(stride - PACKET) for each in payloads)
    strip = choose(bulk.strip, kind)
    assert strip(data, 2, 9, stride) == b"".join(payloads)
    assert strip(data, 2 + 3 * stride, 1, stride) == payloads[3]


FIELDS = st.sampled_from([b"", b"\x01\x40", b"\x07\x10123456"])


@given(
    st.lists(st.integers(0, 700), min_size=1, max_size=6).filter(any),
    st.integers(0x10, 0x1FFE),
    st.integers(0, 15),
    FIELDS,
    st.sampled_from([b"", b"tables"]),
)
def test_twins_write_the_same(
    sizes: list[int], pid: int, counter: int, field: bytes, lead: bytes
) -> None:
    pes = tuple(bytes([n + 1]) * size for n, size in enumerate(sizes))
    made = [choose(bulk.write, kind)(pes, lead, pid, counter, field) for kind in KINDS]
    assert made[0] == made[1]
    data, payloads = made[0].removeprefix(lead), []
    for index, at in enumerate(range(0, len(data), PACKET)):
        one = data[at : at + PACKET]
        assert one[:3] == bytes((0x47, (0x40 if not index else 0) | pid >> 8, pid & 0xFF))
        assert one[3] & 15 == counter + index & 15
        has_field = one[3] & 0x20 != 0
        if index == 0 and field:
            assert has_field
            assert one[5 : 4 + len(field)] == field[1:]
        payloads.append(one[4 + (1 + one[4] if has_field else 0) :])
    assert b"".join(payloads) == b"".join(pes)


LONG = b"".join(packet(0x100, 0x10 | n & 15) for n in range(20))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("runs", (LONG, 0, 21, PACKET)),
        ("runs", (LONG, PACKET * 19 + 185, 1, PACKET)),
        ("runs", (LONG, -1, 1, PACKET)),
        ("runs", (LONG, 0, -1, PACKET)),
        ("runs", (LONG, 0, 5, 0)),
        ("runs", (LONG, 0, 1 << 60, 1 << 60)),
        ("runs", (memoryview(LONG), 0, 1, PACKET)),
        ("strip", (LONG, 0, 21, PACKET)),
        ("strip", (LONG, 1, 20, PACKET)),
        ("strip", (LONG, -1, 1, PACKET)),
        ("strip", (LONG, 0, 0, PACKET)),
        ("strip", (LONG, 0, 2, 100)),
        ("strip", (LONG, 0, 1 << 60, 1 << 60)),
        ("strip", (None, 0, 1, PACKET)),
        ("write", ((), b"", 0x100, 0, b"")),
        ("write", ((b"",), b"", 0x100, 0, b"")),
        ("write", ((b"x",), b"", 0x100, 0, bytes(184))),
        ("write", (("text",), b"", 0x100, 0, b"")),
        ("write", ([b"x"], b"", 0x100, 0, b"")),
    ],
)
def test_the_compiled_one_refuses_what_it_cannot_reach(name: str, arguments: Any) -> None:
    function: Any = choose(getattr(bulk, name), COMPILED)
    with pytest.raises((ValueError, TypeError)):
        function(*arguments)
