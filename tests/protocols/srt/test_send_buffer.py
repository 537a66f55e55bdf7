"""The send buffer: batches by number, words of the headers, what is sent again is the same."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from protocols.srt.cipher import PacketCipher, make_cipher
from protocols.srt.keys import CipherKind
from protocols.srt.packet import (
    FIRST,
    IN_ORDER,
    LAST,
    MAX_MESSAGE,
    MIDDLE,
    SOLO,
    DataPacket,
    pack_header,
)
from protocols.srt.send_buffer import SendBuffer

NEVER = float("inf")


def fill(buffer: SendBuffer, *sizes: int) -> None:
    """Batches of so many packets, a second apart."""
    for at, size in enumerate(sizes):
        buffer.append([b"%d-%d" % (at, each) for each in range(size)], float(at), at * 1000)


def test_every_packet_is_found_until_it_is_forgotten() -> None:
    buffer = SendBuffer(100)
    fill(buffer, 3, 1, 5)
    assert (buffer.first, buffer.end, len(buffer), buffer.seconds) == (100, 109, 9, 2.0)
    assert buffer.bytes == 9 * 3
    for number in range(100, 109):
        batch = buffer.find(number)
        assert batch is not None and batch.first <= number < batch.end
    assert buffer.find(99) is None and buffer.find(109) is None
    assert buffer.pop().payloads.items == [b"0-0", b"0-1", b"0-2"]
    assert (buffer.first, buffer.unsent, buffer.bytes) == (103, 103, 18)
    assert buffer.find(102) is None
    assert buffer.find(103) is buffer.oldest


def test_emptied_it_goes_on_counting() -> None:
    buffer = SendBuffer(100)
    fill(buffer, 2)
    buffer.unsent = 102
    buffer.pop()
    assert buffer.is_empty and buffer.oldest is None and buffer.seconds == 0
    assert (buffer.first, buffer.end) == (102, 102)
    fill(buffer, 1)
    assert buffer.message == 4
    buffer.jump(5000, 0)
    assert (buffer.first, buffer.unsent, buffer.end, buffer.message) == (5000, 5000, 5000, 1)
    assert buffer.bytes == 0 and buffer.find(102) is None


def words_of(buffer: SendBuffer) -> list[int]:
    """Word 1 of every packet."""
    found: list[int] = []
    number = buffer.first
    while number < buffer.end:
        batch = buffer.find(number)
        assert batch is not None
        batch.key = max(batch.key, 0)
        found += batch.words(0, len(batch.payloads))
        number = batch.end
    return found


def test_message_numbers_wrap_to_one() -> None:
    buffer = SendBuffer(0)
    buffer.message = MAX_MESSAGE - 1
    fill(buffer, 4, 1)
    expected = [MAX_MESSAGE - 1, MAX_MESSAGE, 1, 2, 3]
    assert words_of(buffer) == [SOLO | each for each in expected]
    buffer.jump(0, MAX_MESSAGE)
    fill(buffer, 1, 1)
    assert words_of(buffer) == [SOLO | MAX_MESSAGE, SOLO | 1]


def test_the_packets_of_a_message_have_one_number() -> None:
    buffer = SendBuffer(0)
    buffer.append_message([b"a", b"b", b"c"], 0.0, 0, True, NEVER)
    buffer.append_message([b"d"], 0.0, 0, False, NEVER)
    assert words_of(buffer) == [
        FIRST | IN_ORDER | 1,
        MIDDLE | IN_ORDER | 1,
        LAST | IN_ORDER | 1,
        SOLO | 2,
    ]


def sealed(kind: CipherKind) -> PacketCipher:
    return make_cipher(kind, bytes(range(16)), bytes(range(14)) + b"\0\0")


@given(st.sampled_from([None, CipherKind.CTR, CipherKind.GCM]), st.integers(0, (1 << 31) + 10))
def test_what_is_sent_again_differs_in_its_flag_alone(kind: CipherKind | None, first: int) -> None:
    buffer = SendBuffer(first)
    batch = buffer.append([b"one", b"two"], 1.0, 4711)
    batch.key = 0 if kind is None else 1
    batch.cipher = None if kind is None else sealed(kind)
    number = first + 1
    sequence = number & 0x7FFFFFFF
    (word,) = batch.words(1, 1)
    header = pack_header(sequence, word, 4711, 9)
    once = header + (
        b"two" if batch.cipher is None else batch.cipher.seal(sequence, header, b"two")
    )
    again = DataPacket.parse(batch.packet(number, 9))
    assert again.is_retransmitted
    again.is_retransmitted = False
    assert again.serialize() == once


@given(st.lists(st.integers(-3, 5), max_size=40))
def test_it_is_like_a_plain_list(steps: list[int]) -> None:
    """Positive: append so many; else forget the oldest batch."""
    buffer = SendBuffer(10)
    model: deque[list[int]] = deque()
    number = 10
    for step in steps:
        if step > 0:
            buffer.append([b"x"] * step, 0.0, 0)
            model.append(list(range(number, number + step)))
            number += step
        elif model:
            popped = buffer.pop()
            kept = model.popleft()
            assert (popped.first, popped.end) == (kept[0], kept[-1] + 1)
        held = {each for batch in model for each in batch}
        assert len(buffer) == len(held) == buffer.bytes
        assert all((buffer.find(each) is not None) == (each in held) for each in range(5, 60))


def test_what_is_taken_out_leaves_no_hole() -> None:
    buffer = SendBuffer(100)
    fill(buffer, 3, 4, 2, 5)
    buffer.unsent = 103
    batch = buffer.find(103)
    assert batch is not None
    buffer.remove(batch)
    assert (buffer.first, buffer.unsent, buffer.end, buffer.bytes) == (100, 103, 110, 30)
    later = buffer.find(103)
    assert later is not None and later.payloads.items == [b"2-0", b"2-1"]
    assert (later.first, later.end, later.message) == (103, 105, 8)
    last = buffer.find(109)
    assert last is not None and (last.first, last.end) == (105, 110)
    assert buffer.find(110) is None
    for each in (last, later):
        buffer.remove(each)
    assert (buffer.unsent, buffer.end) == (103, 103)
    buffer.pop()
    alone = buffer.append([b"x"], 9.0, 9)
    buffer.remove(alone)
    assert buffer.is_empty and (buffer.first, buffer.unsent, buffer.end) == (103, 103, 103)
