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
