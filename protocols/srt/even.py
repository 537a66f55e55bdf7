"""A batch of packets that are just the next ones: their headers are read as columns, in one go.

That is what a stream looks like on a good line, and costs half of reading one header after the
other. What is different in any way is read singly (`receiver`).
"""

import sys
from array import array
from collections.abc import Sequence

from protocols.srt.packet import HEADER_BYTES, KEY_MASK, MESSAGE_MASK, RETRANSMITTED

FEW = 4  # packets; fewer are read singly
WORDS = HEADER_BYTES // 4  # of a header: number, message word, timestamp, destination
CHECKED = KEY_MASK | RETRANSMITTED
IS_LITTLE = sys.byteorder == "little"

Columns = tuple[list[int], list[int]]  # message words, timestamps


def even_columns(
    datagrams: Sequence[bytes], sequence: int, flags: int, destination: int
) -> Columns | None:
    """The columns of packets numbered from `sequence` on, in messages of one packet each that are
    numbered in a row too, none sent again, all with the key bits `flags`, for `destination`.

    None: they are not like that, or few.
    """
    count = len(datagrams)
    if count < FEW:
        return None
    heads = array("I", b"".join([each[:HEADER_BYTES] for each in datagrams]))
    if IS_LITTLE:
        heads.byteswap()
    word = heads[1]
    if heads[0] != sequence or heads[-WORDS] != sequence + count - 1 or word & CHECKED != flags:
        return None
    if (word & MESSAGE_MASK) + count > MESSAGE_MASK:
        return None
    words = heads[1::WORDS].tolist()
    is_even = (
        words == list(range(word, word + count))
        and heads[0::WORDS].tolist() == list(range(sequence, sequence + count))
        and heads[3::WORDS].count(destination) == count
    )
    return (words, heads[2::WORDS].tolist()) if is_even else None
