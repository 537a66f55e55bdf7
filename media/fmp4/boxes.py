"""Boxes of ISO/IEC 14496-12 as bytes."""

from struct import Struct

_SIZE = Struct(">I4s")
_FULL = Struct(">I4sI")


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box of this four-letter type around its contents; section 4.2."""
    return b"".join((_SIZE.pack(8 + sum(map(len, parts)), kind), *parts))


def full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    """A box that begins with version (8 bits) and flags (24 bits)."""
    size = 12 + sum(map(len, parts))
    return b"".join((_FULL.pack(size, kind, version << 24 | flags), *parts))


def descriptor(tag: int, *parts: bytes) -> bytes:
    """A descriptor of MPEG-4 Systems, its size in one to four bytes; 14496-1 section 8.3.3."""
    size = sum(map(len, parts))
    head = [size & 0x7F]
    while size := size >> 7:
        head.insert(0, size & 0x7F | 0x80)
    return b"".join((bytes((tag, *head)), *parts))
