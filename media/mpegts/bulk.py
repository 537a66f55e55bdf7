"""What is done with many transport packets at once; ISO/IEC 13818-1 section 2.4.3.

Has a compiled twin: see `flux.base.twins`.
"""

from functools import lru_cache
from struct import Struct

SYNC_BYTE = 0x47
PACKET_BYTES = 188
PAYLOAD_BYTES = 184
HEADER_BYTES = 4

ERROR_OR_START = 0xC0  # transport_error_indicator, payload_unit_start_indicator
START = 0x40
ONLY_PAYLOAD = 0x10  # adaptation_field_control, and not scrambled
BOTH = 0x30
RUN = 512  # packets of a run, at the most

_COUNTERS = bytes(ONLY_PAYLOAD | n & 15 for n in range(16 + RUN))

# An adaptation field of n bytes that does nothing but fill, n = 1 .. 183.
_STUFFING = (
    b"",
    b"\x00",
    *(bytes((size - 1, 0)) + b"\xff" * (size - 2) for size in range(2, PAYLOAD_BYTES)),
)

_BLOCK = 64  # payloads that are cut at once
_CUTTERS = tuple(Struct(f"{PAYLOAD_BYTES}s" * count).unpack_from for count in range(_BLOCK + 1))

Row = tuple[int, int, int, int, int]


def runs(data: bytes, start: int, count: int, stride: int) -> list[Row]:
    """Sort `count` packets, which begin `stride` bytes apart, into runs: (index of the first, PID,
    its second header byte, its fourth, how many).

    What is longer than one is of one PID and nothing but payload, with counters that go on.
    """
    end = start + (count - 1) * stride + HEADER_BYTES
    ones = data[start + 1 : end : stride]
    twos = data[start + 2 : end : stride]
    threes = data[start + 3 : end : stride]
    found: list[Row] = []
    index = 0
    while index < count:
        one, two, three = ones[index], twos[index], threes[index]
        run = 1
        following = index + 1
        if (
            following < count
            and twos[following] == two
            and ones[following] == one
            and three & 0xF0 == ONLY_PAYLOAD
            and not one & ERROR_OR_START
        ):
            same = twos[index : index + RUN]
            run = len(same) - len(same.lstrip(same[:1]))
            same = ones[index : index + run]
            run = len(same) - len(same.lstrip(same[:1]))
            first = three & 15
            if threes[index : index + run] != _COUNTERS[first : first + run]:
                run = 1
                while threes[index + run] == _COUNTERS[first + run]:
                    run += 1
        found.append((index, (one & 0x1F) << 8 | two, one, three, run))
        index += run
    return found


def strip(data: bytes, at: int, count: int, stride: int) -> bytes | bytearray:
    """The payloads, joined, of packets that have no adaptation field, the first one at `at`."""
    if stride != PACKET_BYTES:
        starts = range(at + HEADER_BYTES, at + count * stride, stride)
        return b"".join([data[start : start + PAYLOAD_BYTES] for start in starts])
    joined = bytearray(memoryview(data)[at : at + count * stride])
    del joined[::188], joined[::187], joined[::186], joined[::185]
    return joined


def write(pes: tuple[bytes, ...], lead: bytes, pid: int, counter: int, field: bytes) -> bytes:
    """`lead`, and behind it the packets of a PES packet, which comes in pieces.

    The first packet has this continuity counter and, if it is not empty, adaptation field.
    """
    data = b"".join(pes)
    size = len(data)
    start, start_both, both, full = _headers(pid)
    room = PAYLOAD_BYTES - len(field)
    at = min(size, room)
    if field:
        out = [lead, start_both[counter], _stuffed(field, room - at), data[:at]]
    elif size >= PAYLOAD_BYTES:
        out = [lead, start[counter], data[:PAYLOAD_BYTES]]
    else:
        out = [lead, start_both[counter], _STUFFING[room - at], data]
    count = (size - at) // PAYLOAD_BYTES
    if count:
        counter = counter + 1 & 15
        if counter + count > len(full):
            full *= (counter + count) // len(full) + 1
        pieces = [b""] * (2 * count)
        pieces[::2] = full[counter : counter + count]
        pieces[1::2] = _cut(data, at, count)
        out += pieces
        counter += count - 1
        at += count * PAYLOAD_BYTES
    if at < size:
        out += (both[counter + 1 & 15], _STUFFING[PAYLOAD_BYTES - size + at], data[at:])
    return b"".join(out)


def _stuffed(field: bytes, count: int) -> bytes:
    """The same field, longer by `count` stuffing bytes."""
    return bytes((field[0] + count,)) + field[1:] + b"\xff" * count if count else field


def _cut(data: bytes, at: int, count: int) -> list[bytes]:
    """So many whole payloads from `at` on; a quarter of what slices take."""
    pieces: list[bytes] = []
    while count > 0:
        some = min(count, _BLOCK)
        pieces += _CUTTERS[some](data, at)
        at += some * PAYLOAD_BYTES
        count -= some
    return pieces


@lru_cache(maxsize=256)
def _headers(pid: int) -> tuple[list[bytes], list[bytes], list[bytes], list[bytes]]:
    """The headers of a PID by continuity counter: of the first packet of a PES packet without and
    with an adaptation field, of others with one and without. The last list goes round in the order
    in which a long PES packet takes them. They are not changed."""
    high, low = pid >> 8, pid & 0xFF
    start = bytes((SYNC_BYTE, START | high, low))
    head = bytes((SYNC_BYTE, high, low))
    return (
        [start + bytes((ONLY_PAYLOAD | n,)) for n in range(16)],
        [start + bytes((BOTH | n,)) for n in range(16)],
        [head + bytes((BOTH | n,)) for n in range(16)],
        [head + bytes((ONLY_PAYLOAD | n,)) for n in range(16)] * 8,
    )
