"""Headers and payloads become one piece. Has a compiled twin: see `flux.base.twins`."""

from functools import lru_cache
from struct import Struct
from typing import Any

HEAD_STEP = 1 << 32 | 1  # of a header's first two words: sequence and message number are one more


@lru_cache(maxsize=512)
def _packer(count: int, size: int, last: int) -> Any:
    """Packs so many packets: two words, two words, payload, each; the last payload is `last`."""
    return Struct("!" + f"Q8s{size}s" * (count - 1) + f"Q8s{last}s").pack


def pack_even(head: int, tail: bytes, payloads: list[bytes]) -> bytes:
    """Packets joined, all as long as the first but the last, which may be shorter.

    `head` is the first two words of the first header, which count up; `tail` the others of all.
    """
    count = len(payloads)
    parts: list[Any] = [tail] * (3 * count)
    parts[::3] = range(head, head + count * HEAD_STEP, HEAD_STEP)
    parts[2::3] = payloads
    packed: bytes = _packer(count, len(payloads[0]), len(payloads[-1]))(*parts)
    return packed


@lru_cache(maxsize=512)
def _cutter(count: int, size: int, last: int) -> Any:
    return Struct(f"{size}s" * (count - 1) + f"{last}s").unpack_from


def pack_row(head: int, tail: bytes, data: bytes, start: int, end: int, step: int) -> bytes:
    """The same for payloads that lie in `data` from `start` to `end`, `step` bytes each."""
    size = end - start
    count = (size + step - 1) // step
    last = size - (count - 1) * step
    return pack_even(head, tail, list(_cutter(count, step, last)(data, start)))
