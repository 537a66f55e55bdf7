"""Mutations of good inputs, from a seeded generator."""

import random
from collections.abc import Sequence


def mutate(source: random.Random, seeds: Sequence[bytes], words: Sequence[bytes] = ()) -> bytes:
    """One of the seeds with some bytes changed, cut, repeated, or parts of another put in."""
    data = bytearray(source.choice(seeds))
    for _ in range(source.choice((0, 1, 1, 1, 2, 4))):
        place = source.randrange(len(data) + 1)
        match source.randrange(7):
            case 0 if data:
                data[place - 1] ^= 1 << source.randrange(8)
            case 1 if data:
                data[place - 1] = source.choice((0, 1, 0x7F, 0x80, 0xFF, source.randrange(256)))
            case 2:
                del data[place:]
            case 3:
                del data[place : place + source.randrange(1, 9)]
            case 4:
                data[place:place] = data[place : place + source.randrange(1, 17)]
            case 5:
                other = source.choice(seeds)
                at = source.randrange(len(other) + 1)
                data[place:place] = other[at : at + source.randrange(1, 33)]
            case _:
                data[place:place] = source.choice(words) if words else source.randbytes(3)
    return bytes(data)
