"""The row of blocks: frame number and wall clock as black and white fields of a picture.

80 fields of equal width fill the whole width of the picture at its upper edge, one fifteenth of
its height: 1 is white, 0 is black, the most significant bit is on the left.

    24 bits  frame number, modulo 2^24
    40 bits  milliseconds since 2020-01-01T00:00:00Z, modulo 2^40 (until 2054)
    16 bits  CRC-16 of the 8 bytes before it: polynomial 0x1021, start 0xffff, not reflected

Read it at the middle of each field, at one thirtieth of the height, against half brightness. At
widths that are multiples of 1280 the fields are whole macroblocks, and nothing in the row is
coloured, so it outlives hard compression and scaling.
"""

from binascii import crc_hqx

import numpy as np
from numpy.typing import NDArray

COUNT = 80
HEIGHT_FRACTION = 15  # the row is 1/15 of the height
EPOCH_MS = 1_577_836_800_000  # 2020-01-01T00:00:00Z in Unix milliseconds
BLACK, WHITE = 16, 235  # luma of limited range


def row_bytes(number: int, wall_ms: int) -> bytes:
    """The 10 bytes of a row; `wall_ms` is Unix time in milliseconds."""
    word = (number & 0xFF_FFFF) << 40 | (wall_ms - EPOCH_MS) & 0xFF_FFFF_FFFF
    data = word.to_bytes(8, "big")
    return data + crc_hqx(data, 0xFFFF).to_bytes(2, "big")


class BlockRow:
    """Draws the row into a luma plane."""

    def __init__(self, luma: NDArray[np.uint8]) -> None:
        height, width = luma.shape
        self._target = luma[: height // HEIGHT_FRACTION]
        self._widths = np.diff(np.arange(COUNT + 1) * width // COUNT)

    def draw(self, number: int, wall_ms: int) -> None:
        """Draw one frame's row."""
        bits = np.unpackbits(np.frombuffer(row_bytes(number, wall_ms), np.uint8))
        luma = (bits * np.uint8(WHITE - BLACK) + np.uint8(BLACK)).astype(np.uint8)
        self._target[:] = np.repeat(luma, self._widths)
