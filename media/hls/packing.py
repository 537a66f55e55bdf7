"""Playlists compressed once for all viewers, although each has its token in them.

DEFLATE copies what repeats from the window. The first token of a text is put into a stored block of
its own; all later ones are copies of it, whatever it says, as long as it is as long as the one that
the text was compressed with. So another token takes other 16 bytes and another checksum. That
no piece of a token was written out again is looked at once for each text.
"""

import zlib
from struct import Struct

LEVEL = 6
WINDOW_BYTES = 32 << 10
MOST_TOKEN_BYTES = 64
_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # RFC 1952: no name, no time, no system
_TAIL = Struct("<II")
_STORED = Struct("<BHH")  # RFC 1951 section 3.2.4, behind a byte boundary
_STAND_IN, _OTHER = 0x80, 0xC0  # first bytes of two tokens that have no byte in common with a text


def gzip(text: bytes) -> bytes:
    """One text, RFC 1952."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -15)
    return b"".join((_HEAD, packer.compress(text), packer.flush(), _check(text)))


class PackedTemplate:
    """A text with a mark wherever a token goes, for tokens of one length."""

    def __init__(self, template: bytes, mark: bytes, before: bytes, size: int) -> None:
        """`before`: what stands before a token in place of the mark; `size`: bytes of a token."""
        self._pieces: tuple[bytes, bytes] | None = None
        if not 0 < size <= MOST_TOKEN_BYTES or mark not in template:
            return
        stand_in = bytes(range(_STAND_IN, _STAND_IN + size))
        text = template.replace(mark, before + stand_in)
        at = text.index(stand_in)
        head, tail = text[:at], text[at + size :]
        packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -15)
        first = packer.compress(head) + packer.flush(zlib.Z_SYNC_FLUSH)
        window = (head + stand_in)[-WINDOW_BYTES:]
        packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -15, zdict=window)
        second = packer.compress(tail) + packer.flush()
        pieces = first + _STORED.pack(0, size, size ^ 0xFFFF), second
        other = bytes(range(_OTHER, _OTHER + size))
        try:
            found = zlib.decompress(other.join(pieces), -15)
        except zlib.error:
            return
        if found == template.replace(mark, before + other):
            self._pieces = _HEAD + pieces[0], second

    def pack(self, token: bytes, text: bytes) -> bytes:
        """The text with this token, compressed; `text` is the same in the clear."""
        if self._pieces is None:
            return gzip(text)
        head, tail = self._pieces
        return b"".join((head, token, tail, _check(text)))


def _check(text: bytes) -> bytes:
    return _TAIL.pack(zlib.crc32(text), len(text) & 0xFFFFFFFF)
